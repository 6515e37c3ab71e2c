//! Whole runtimes over logs in memory, with native rules and with the real geofence component.

mod backpressure;
mod breakdowns;
mod crashes;
mod failures;
pub(crate) mod fleet;
mod geofence;
mod model;
mod native_rule;
#[path = "../../../system-tests/src/skipped.rs"]
mod skipped;
mod suspensions;
mod swaps;
mod traces;
mod world;
