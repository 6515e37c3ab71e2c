//! One fix of one vehicle: the row before, the zones that hold it, the row after and what has happened.

use geo::Coord;

use crate::config::{InitialState, Settings};
use crate::state::{Phase, Row, Slot};
use crate::zones::Zones;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The vehicle has left: stands before enters of the same instant.
    Exit,
    /// The vehicle has come in.
    Enter,
}

/// An enter or an exit. Ordered by time, exits first, then by the order of the zones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Event time in milliseconds.
    pub time_ms: i64,
    /// Which.
    pub kind: Kind,
    /// Of which zone.
    pub zone: u32,
}

/// A fix, and the zones that hold it.
pub struct Fix<'a> {
    /// Event time in milliseconds.
    pub time_ms: i64,
    /// Where.
    pub place: Coord<f64>,
    /// In order.
    pub covering: &'a [u32],
}

/// Applies a fix. Appends what has happened, in order, to `changes`; returns a zone that found no free slot.
pub fn apply(
    zones: &Zones,
    settings: &Settings,
    row: &mut Row<'_>,
    fix: &Fix<'_>,
    changes: &mut Vec<Change>,
) -> Option<u32> {
    let before = changes.len();
    let mut slot = 0;
    while slot < row.len() {
        let was = row.get(slot);
        match advance(zones, settings, was, fix, changes) {
            Some(now) => {
                if now != was {
                    row.set(slot, now);
                }
                slot += 1;
            }
            None => row.remove(slot),
        }
    }
    let mut without_slot = None;
    for &zone in fix.covering {
        let key = zones.key(zone);
        if (0..row.len()).any(|slot| row.zone(slot) == key) {
            continue;
        }
        let silent = !row.is_seen() && settings.initial_state == InitialState::Silent;
        let entered = silent || settings.min_inside_ms == 0;
        let phase = if entered { Phase::Inside } else { Phase::Entering };
        if !row.push(Slot { zone: key, phase, since_ms: fix.time_ms }) {
            without_slot = without_slot.or(Some(zone));
        } else if entered && !silent {
            changes.push(Change { time_ms: fix.time_ms, kind: Kind::Enter, zone });
        }
    }
    row.set_seen();
    if changes.len() - before > 1 {
        changes[before..].sort_unstable();
    }
    without_slot
}

/// What becomes of a slot; none when the vehicle is outside for good.
#[inline]
fn advance(zones: &Zones, settings: &Settings, was: Slot, fix: &Fix<'_>, changes: &mut Vec<Change>) -> Option<Slot> {
    let covering = fix.covering.iter().copied().find(|&zone| zones.key(zone) == was.zone);
    // A zone that the config no longer has is forgotten.
    let zone = covering.or_else(|| zones.by_key(was.zone))?;
    let inside = covering.is_some();
    let lasted_ms = fix.time_ms - was.since_ms;
    match was.phase {
        Phase::Entering if !inside => None,
        Phase::Entering if lasted_ms < settings.min_inside_ms => Some(was),
        Phase::Entering => {
            changes.push(Change { time_ms: was.since_ms, kind: Kind::Enter, zone });
            Some(Slot { phase: Phase::Inside, ..was })
        }
        Phase::Inside | Phase::Leaving if inside || in_buffer(zones, settings, zone, fix) => match was.phase {
            Phase::Inside => Some(was),
            _ => Some(Slot { phase: Phase::Inside, since_ms: fix.time_ms, ..was }),
        },
        Phase::Inside if settings.min_outside_ms > 0 => {
            Some(Slot { phase: Phase::Leaving, since_ms: fix.time_ms, ..was })
        }
        Phase::Inside => {
            changes.push(Change { time_ms: fix.time_ms, kind: Kind::Exit, zone });
            None
        }
        Phase::Leaving if lasted_ms < settings.min_outside_ms => Some(was),
        Phase::Leaving => {
            changes.push(Change { time_ms: was.since_ms, kind: Kind::Exit, zone });
            None
        }
    }
}

fn in_buffer(zones: &Zones, settings: &Settings, zone: u32, fix: &Fix<'_>) -> bool {
    settings.exit_buffer_m > 0.0 && zones.is_near(zone, fix.place, settings.exit_buffer_m)
}
