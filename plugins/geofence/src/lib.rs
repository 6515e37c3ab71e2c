//! The geofence rule: tells when vehicles enter and leave zones, pass through them, stay long and drive too fast in them.
//!
//! ```text
//! config ─▶ feature_collection, terms ─▶ zones (R-tree over their parts: polygons, circles, stretches of lines)
//!                                   │ which zones hold this fix? (position, then altitudes and schedule)
//! readings, rows ──▶ rule ──▶ step: zone changes ─▶ crossing ─▶ transition ─▶ dwell ─▶ overspeed ─▶ row, proposals
//! ```
//!
//! Everything is plain Rust that runs natively too; only the last line, the export, is for WebAssembly.
//!
//! **Inside** is planar on longitude and latitude as written: the interior or the boundary of an area, its holes
//! excluded, a hole's edge inside. Even-odd decides for rings that cross themselves. A Point with `radius_m` is a circle
//! on the sphere; a line with `width_m` is a corridor, measured on a plane that touches the sphere at the vehicle. Zones
//! do not wrap at the 180th meridian: cut them there, as GeoJSON asks; edges that look uncut are refused. A zone that
//! has altitudes or a schedule exists for a fix only where and when they allow it.
//!
//! **Time** is the event time of the readings. What happens stands at a fix; nothing is interpolated, nothing
//! happens without a fix. With `min_inside_s` an enter is proposed at the first fix that is still inside after that
//! time, and its event time is that of the first fix inside; the same for `min_outside_s` and exits.
//!
//! **State** is a row of [`state::ROW_BYTES`] bytes per vehicle: see [`state`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod corridor;
pub mod crossing;
pub mod dwell;
pub mod feature_collection;
pub mod migration;
pub mod overspeed;
pub mod ring;
pub mod rule;
pub mod schedule;
mod segment;
pub mod shape;
pub mod state;
pub mod step;
pub mod terms;
pub mod time_zones;
pub mod transition;
pub mod zones;

pub use rule::Geofence;

plugin_sdk::export_plugin!(Geofence);
