//! The ractor shell around the vehicle model: admission, vehicle actors, the plugin stage, the event writer.
//!
//! ```text
//!                          worker thread (one of a few)
//!  apply(block) --credit-> [ supervisor -> vehicle actors -> plugin stage ] --events--> event writer -> events log
//!                                                                                              |
//!                                                    applied() <---------- durable ------------+
//! ```
//!
//! Readings come from the telemetry log, in its order. What is derived from them is durable in the events log before
//! [`Runtime::applied`] passes them. A crash loses nothing: readings after the last checkpoint are applied again, and
//! events that were written already are recognised by their id (`docs/adr/0002-checkpoints-and-replay.md`).
//!
//! What no part of this crate does: read a clock other than the [`Clock`] it was given for anything that is stored,
//! cut a block, or show an event that is not durable.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod acts;
pub mod admission;
mod audit;
mod breaker;
mod budget_book;
mod budgets;
mod checkpoint;
mod config;
pub mod dead_letter;
mod deployer;
mod deployment;
mod error;
mod event_writer;
mod keeper;
mod keys;
mod leash;
mod metering;
pub mod metrics;
mod over_budget;
mod plugin;
mod plugin_reports;
mod poison_letter;
mod progress;
mod record_format;
mod recovery;
mod repeat_archive;
mod retention;
mod rows_plan;
mod runtime;
mod suspend;
mod swap;
#[cfg(test)]
mod tests;
mod trace;
mod trial;
pub mod usage_metrics;
mod work_block;
mod worker;

pub use audit::AuditTrail;
pub use budgets::{BudgetConfig, TenantBudget};
pub use config::{Clock, Logs, RuntimeConfig, system_clock};
pub use deployer::{Deployer, PluginSupply, SupplyError};
pub use deployment::{Deployment, DeploymentState, RevisionId, Suspension, SuspensionCause, SwapReport};
pub use error::{DeployError, RuntimeError, StartError};
pub use metering::{MeterKey, Usage};
pub use plugin::{NoPlugins, PluginSource};
pub use plugin_reports::{Meters, PluginReports, ReportsProgress};
pub use record_format::RecordError;
pub use retention::{TrimLimits, TrimLimitsError, shed_to};
pub use runtime::{NoSink, Runtime, StateSink};
pub use trial::{Trial, TrialCounts, TrialState};
