//! One fix of one vehicle through all that the rule looks at, in this order:
//!
//! ```text
//! zones of another config? ─▶ crossed on the way here? ─▶ enters and exits ─▶ stayed long? ─▶ too fast? ─▶ sorted
//! ```

use geo::Coord;

use crate::config::{Config, OnZoneChange};
use crate::crossing;
use crate::state::{LastFix, Row};
use crate::transition::{self, Change};
use crate::zones::Met;
use crate::{dwell, overspeed};

/// A fix, and the zones that hold it.
pub struct Fix<'a> {
    /// Event time in milliseconds.
    pub time_ms: i64,
    /// Where.
    pub place: Coord<f64>,
    /// Metres; NaN when not reported.
    pub altitude: f32,
    /// Metres per second; NaN when not reported.
    pub speed: f32,
    /// Those that exist for this fix, in order.
    pub covering: &'a [u32],
}

/// Applies a fix. Appends what has happened, in order, to `changes`, which is empty; returns a zone that found no free
/// slot. `met` is scratch.
#[inline]
pub fn apply(
    config: &Config,
    row: &mut Row<'_>,
    fix: &Fix<'_>,
    met: &mut Vec<Met>,
    changes: &mut Vec<Change>,
) -> Option<u32> {
    let Config { zones, settings, .. } = config;
    let last = if settings.needs_last_fix { row.last_fix() } else { None };
    if row.config() != config.fingerprint {
        if settings.on_zone_change == OnZoneChange::Keep && row.is_seen() {
            let then = last.unwrap_or(LastFix { time_ms: fix.time_ms, place: fix.place, altitude: fix.altitude });
            transition::realign(zones, settings, row, then);
        }
        row.set_config(config.fingerprint);
    }
    if let (true, Some(last)) = (settings.crossing, last) {
        crossing::find(zones, settings, row, last, fix, met, changes);
    }
    let without_slot = transition::apply(zones, settings, row, last, fix, changes);
    if zones.have_dwell() {
        dwell::apply(zones, row, fix, changes);
    }
    if zones.have_limits() {
        overspeed::apply(zones, settings.prefer, row, fix, changes);
    }
    if settings.needs_last_fix {
        row.set_last_fix(LastFix { time_ms: fix.time_ms, place: fix.place, altitude: fix.altitude });
    }
    if changes.len() > 1 {
        changes.sort_unstable_by_key(Change::order);
    }
    without_slot
}
