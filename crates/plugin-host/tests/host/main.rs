//! The host with real components.
#![allow(clippy::unwrap_used, missing_docs)]

mod answers;
mod cached;
mod contracts;
mod geofence;
mod guest;
mod hostile;
mod loading;
mod logs;
mod mutations;
mod rehearsals;
#[path = "../../../../system-tests/src/skipped.rs"]
mod skipped;
