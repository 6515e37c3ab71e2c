//! The geofence rule: tells when vehicles enter and leave zones.
//!
//! ```text
//! config ─▶ feature_collection ─▶ zones (R-tree over their parts, rings cut into bands of latitude)
//!                                   │ which zones hold this position?
//! readings, rows ──▶ rule ─────────▶ transition (row, covering zones) ─▶ row, changes ─▶ proposals
//! ```
//!
//! Everything is plain Rust that runs natively too; only the last line, the export, is for WebAssembly.
//!
//! **Inside** is planar on longitude and latitude as written: the interior or the boundary of an area, its holes
//! excluded, a hole's edge inside. Even-odd decides for rings that cross themselves. A Point with `radius_m` is a circle
//! on the sphere. Zones do not wrap at the 180th meridian: cut them there, as GeoJSON asks; edges that look uncut are
//! refused.
//!
//! **Time** is the event time of the readings. An enter or exit stands at a fix; nothing is interpolated, nothing
//! happens without a fix. With `min_inside_s` an enter is proposed at the first fix that is still inside after that
//! time, and its event time is that of the first fix inside; the same for `min_outside_s` and exits.
//!
//! **State** is a row of [`state::ROW_BYTES`] bytes per vehicle: see [`state`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod feature_collection;
pub mod ring;
pub mod rule;
pub mod shape;
pub mod state;
pub mod transition;
pub mod zones;

pub use rule::Geofence;

plugin_sdk::export_plugin!(Geofence);
