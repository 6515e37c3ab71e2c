//! How the programs are observed: logs, metrics and traces, set up once in `main`.
//!
//! "Telemetry" is vehicle data; what is here is about ourselves. Instruments live in each crate's `metrics.rs` and come
//! from `opentelemetry::global::meter(METER)`; nothing outside `main` needs this crate except [`trace`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod setup;
pub mod trace;

pub use config::{LogFormat, ObservabilityConfig};
pub use setup::{Observability, SetupError, init};

/// The one meter that every crate's instruments come from.
pub const METER: &str = "drover";
