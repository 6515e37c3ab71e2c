//! The pricing rule: tells what a vehicle's trips cost.
//!
//! ```text
//! config ─▶ tariffs (components, policies), zones, time zone
//!                                                       ┌─▶ segments, rates, policies, limits, rounding
//! readings, rows ─▶ rule ─▶ trip (state, fix) ─▶ Trip ─▶ charge (config, Trip) ─▶ lines ─▶ proposals
//! ```
//!
//! Everything is plain Rust that runs natively too; only the last line, the export, is for WebAssembly.
//!
//! **Money** is decimal from the config to the event. Binary floating point ends where a measured distance becomes a
//! [`usage::Trip`]: in millimetres. A quantity stays a fraction until one division rounds an amount.
//!
//! **Time** is the event time of the readings, and the config's time zone says which day and hour it is.
//!
//! **A charge is final once.** The lines of a trip are proposed when it closes, those of toll sections when they are
//! passed. A trip that goes on soon after is charged again as a whole, and the difference is proposed as an adjustment.
//! What late readings change is the host's to derive and to correct.
//!
//! **State** is a row of [`state::ROW_BYTES`] bytes per vehicle: see [`state`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod charge;
pub mod condition;
pub mod config;
pub mod decimal;
pub mod measure;
pub mod policy;
pub mod rule;
pub mod segments;
pub mod state;
pub mod tariff;
pub mod trip;
pub mod usage;
pub mod windows;
pub mod zones;

pub use rule::Pricing;

plugin_sdk::export_plugin!(Pricing);
