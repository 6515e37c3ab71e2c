//! What a rule author imports.
//!
//! A rule is a WebAssembly component for the contract in `wit/v1.1`. With this crate it is a type and a trait: say what the
//! rule is, make it from a config, and evaluate batches of readings. The state of a vehicle is a *row* of bytes that
//! the host keeps, commits together with what the rule proposed, and brings along with the vehicle's next reading; so a
//! rule keeps nothing else between batches, any instance may serve any vehicle, and a batch may be run twice.
//!
#![doc = concat!("```\n", include_str!("../../examples/hello-geofence/src/lib.rs"), "\n```")]
//!
//! A rule has no clock, no random numbers, no files and no network: the same readings and rows give the same answer
//! wherever it runs. A panic is a trap: the host throws the instance away, finds the reading that caused it and goes on
//! with the others.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[doc(hidden)]
pub mod bindings;
pub mod export;
pub mod log;
mod proposals;
mod reading;
mod rows;
mod rule;

pub use bindings::drover::plugin::types::{Kind, Proposal, Reading};
pub use proposals::{Proposals, charge, kind, service};
pub use rows::Rows;
pub use rule::{Description, Rule};
