//! The cloud of Drover, as its program `drover-cloud` and its tests use it.
//!
//! ```text
//! edges -> cloud_ingest -> logs -> runtime -> projections -> serving -> partners
//!              ^                                                |
//!              +---------- registry (plugins, deployments) <----+
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cloud;
pub mod cloud_ingest;
mod cloud_rules;
pub mod config;
pub mod metrics;
pub mod plugin_reports;
pub mod preview;
pub mod projections;
mod quic_endpoint;
pub mod registry;
pub mod serving;
