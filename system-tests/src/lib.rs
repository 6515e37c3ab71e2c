//! Whole fleets as real processes on this machine: started, fed, cut, killed, and held against reference answers.
//!
//! [`Fleet`] is one cloud and one edge in a directory of their own, with certificates, keys and ports of their own.
//! The demo and the system tests drive the same one.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod alerts;
pub mod data;
pub mod engines;
pub mod figures;
pub mod fleet;
pub mod link;
pub mod obd_drives;
pub mod process;
pub mod programs;
pub mod reference;
pub mod scenario;
pub mod skipped;
pub mod taxi_trips;
pub mod truck_tolls;

pub use fleet::{Fleet, Semantics};
pub use link::Link;
pub use process::Process;
pub use programs::Programs;
