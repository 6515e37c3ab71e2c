//! The parts of `drover-edge`: what runs in a depot.
//!
//! ```text
//! device -> device_link -> ingest -> Runtime (actors, plugins, events) ;  uplink tails both logs -> cloud
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod config;
pub mod deployments;
pub mod device_link;
mod http_server;
pub mod ingest;
pub mod metrics;
pub mod node;
mod problem;
pub mod retention;
pub mod status;
pub mod trace;
pub mod uplink;
