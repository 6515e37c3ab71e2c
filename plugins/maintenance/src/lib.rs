//! The maintenance rule: tells when vehicles need a workshop, and why.
//!
//! ```text
//! config ─▶ plan: what to watch, and where each watcher's memory stands in a row
//!             │
//! readings, ──┴─▶ rule ─┬─▶ counters ──▶ schedule ───────┐
//! rows                  ├─▶ threshold (runs)             ├──▶ row, events ─▶ proposals
//!                       ├─▶ trouble_codes (debounce)     │
//!                       ├─▶ trend (Theil-Sen, EWMA) ◀────┤ the used share of a schedule
//!                       └─▶ remaining_life (model) ──────┘
//! ```
//!
//! Everything is plain Rust that runs natively too; only the last line, the export, is for WebAssembly.
//!
//! **Time** is the event time of the readings: there is no clock. Nothing happens without a reading, so what a vehicle
//! left open when it fell silent (a run, a calendar date that passes) is told at its next reading.
//!
//! **Numbers** are added, multiplied, divided and compared, and square roots are taken: all of it is exact IEEE 754, so
//! a native run and a component give the same bytes.
//!
//! **State** is a row of [`state::ROW_BYTES`] bytes per vehicle: see [`state`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bucket;
pub mod calendar;
pub mod config;
pub mod counter;
pub mod event;
pub mod model;
pub mod plan;
pub mod remaining_life;
pub mod rule;
pub mod schedule;
pub mod signal;
pub mod state;
pub mod threshold;
pub mod trend;
pub mod trouble_codes;

pub use rule::Maintenance;

plugin_sdk::export_plugin!(Maintenance);
