//! Enters and exits: the row before, the zones that hold a fix, the row after and what has happened.

use crate::config::{InitialState, OnSchedule, Settings};
use crate::state::{LastFix, Phase, Row, Slot, Speeding};
use crate::step::Fix;
use crate::zones::Zones;

/// What has happened, in the order in which it is told of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The vehicle has left: stands before enters of the same instant.
    Exit,
    /// The vehicle has come in.
    Enter,
    /// The vehicle has passed through, or over a gate.
    Crossed,
    /// The vehicle has stayed long.
    Dwell,
    /// The vehicle is too fast.
    Overspeed,
}

/// Something that has happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Event time in milliseconds.
    pub time_ms: i64,
    /// Which.
    pub kind: Kind,
    /// Of which zone.
    pub zone: u32,
    /// Of `Crossed` of a gate 1 or -1, of `Dwell` seconds, of `Overspeed` metres per second; else NaN.
    pub value: f64,
}

impl Change {
    /// By time, then as kinds stand, then by the order of the zones.
    #[must_use]
    pub fn order(&self) -> (i64, Kind, u32) {
        (self.time_ms, self.kind, self.zone)
    }

    fn enter(time_ms: i64, zone: u32) -> Self {
        Self { time_ms, kind: Kind::Enter, zone, value: f64::NAN }
    }

    fn exit(time_ms: i64, zone: u32) -> Self {
        Self { time_ms, kind: Kind::Exit, zone, value: f64::NAN }
    }
}

/// Applies a fix; `last` is the one before where the config asks for it. Appends enters and exits to `changes` in no
/// order; returns a zone that found no free slot.
#[inline]
pub fn apply(
    zones: &Zones,
    settings: &Settings,
    row: &mut Row<'_>,
    last: Option<LastFix>,
    fix: &Fix<'_>,
    changes: &mut Vec<Change>,
) -> Option<u32> {
    let mut slot = 0;
    while slot < row.len() {
        let key = row.zone(slot);
        let covering = fix.covering.iter().copied().find(|&zone| zones.key(zone) == key);
        if covering.is_some() && row.is_inside(slot) {
            // What most readings are like.
            slot += 1;
            continue;
        }
        match advance(zones, settings, row.get(slot), covering, fix, changes) {
            After::Same => slot += 1,
            After::Is(now) => {
                row.set(slot, now);
                slot += 1;
            }
            After::Gone => row.remove(slot),
        }
    }
    let mut without_slot = None;
    for &zone in fix.covering {
        let key = zones.key(zone);
        if (0..row.len()).any(|slot| row.zone(slot) == key) {
            continue;
        }
        let silent = !row.is_seen() && settings.initial_state == InitialState::Silent
            || settings.on_schedule_start == OnSchedule::Silent
                && last.is_some_and(|last| stood_there_before_it_opened(zones, zone, last));
        let entered = silent || settings.min_inside_ms == 0;
        let phase = if entered { Phase::Inside(Speeding::Under) } else { Phase::Entering };
        if !row.push(Slot::new(key, phase, fix.time_ms)) {
            without_slot = without_slot.or(Some(zone));
        } else if entered && !silent {
            changes.push(Change::enter(fix.time_ms, zone));
        }
    }
    row.set_seen();
    without_slot
}

fn stood_there_before_it_opened(zones: &Zones, zone: u32, last: LastFix) -> bool {
    !zones.is_open(zone, last.time_ms) && zones.is_at_altitude(zone, last.altitude) && zones.covers(zone, last.place)
}

/// What becomes of a slot.
enum After {
    Same,
    Is(Slot),
    /// The vehicle is outside for good.
    Gone,
}

/// `covering` is the slot's zone when it holds the fix.
fn advance(
    zones: &Zones,
    settings: &Settings,
    was: Slot,
    covering: Option<u32>,
    fix: &Fix<'_>,
    changes: &mut Vec<Change>,
) -> After {
    // A zone that the config no longer has is forgotten.
    let Some(zone) = covering.or_else(|| zones.by_key(was.zone)) else { return After::Gone };
    let inside = covering.is_some();
    if !inside && !zones.is_open(zone, fix.time_ms) {
        // Its hours are over: this is no jitter at an edge, so nothing waits.
        match was.phase {
            Phase::Entering => {}
            Phase::Inside(_) if settings.on_schedule_end == OnSchedule::Silent => {}
            Phase::Inside(_) => changes.push(Change::exit(fix.time_ms, zone)),
            Phase::Leaving { since_ms } => changes.push(Change::exit(since_ms, zone)),
        }
        return After::Gone;
    }
    let counts_as_inside = || inside || in_buffer(zones, settings, zone, fix);
    let back = Phase::Inside(Speeding::Under);
    match was.phase {
        Phase::Entering if !inside => After::Gone,
        Phase::Entering if fix.time_ms.saturating_sub(was.since_ms) < settings.min_inside_ms => After::Same,
        Phase::Entering => {
            changes.push(Change::enter(was.since_ms, zone));
            After::Is(Slot { phase: back, ..was })
        }
        Phase::Inside(_) if counts_as_inside() => After::Same,
        Phase::Inside(_) if settings.min_outside_ms > 0 => {
            After::Is(Slot { phase: Phase::Leaving { since_ms: fix.time_ms }, ..was })
        }
        Phase::Inside(_) => {
            changes.push(Change::exit(fix.time_ms, zone));
            After::Gone
        }
        Phase::Leaving { .. } if counts_as_inside() => After::Is(Slot { phase: back, ..was }),
        Phase::Leaving { since_ms } if fix.time_ms.saturating_sub(since_ms) < settings.min_outside_ms => After::Same,
        Phase::Leaving { since_ms } => {
            changes.push(Change::exit(since_ms, zone));
            After::Gone
        }
    }
}

fn in_buffer(zones: &Zones, settings: &Settings, zone: u32, fix: &Fix<'_>) -> bool {
    settings.exit_buffer_m > 0.0
        && zones.is_at_altitude(zone, fix.altitude)
        && zones.is_near(zone, fix.place, settings.exit_buffer_m)
}

/// Makes a row what it would be had the zones always been as they are, without a word, as of the fix `then`: what the
/// zones have done is not told, what the vehicle does from there on is. An exit that is only waiting is the vehicle's,
/// and stays; so does an enter that is waiting.
#[cold]
pub fn realign(zones: &Zones, settings: &Settings, row: &mut Row<'_>, then: LastFix) {
    let LastFix { time_ms, place, altitude } = then;
    let mut covering = Vec::new();
    zones.find_covering(place, &mut covering);
    covering.retain(|&zone| zones.admits(zone, altitude, time_ms));
    let fix = Fix { time_ms, place, altitude, speed: f32::NAN, covering: &covering };
    let mut slot = 0;
    while slot < row.len() {
        let was = row.get(slot);
        let Some(zone) = zones.by_key(was.zone) else {
            row.remove(slot);
            continue;
        };
        let inside = covering.contains(&zone);
        let stays = match was.phase {
            Phase::Entering => inside,
            Phase::Inside(_) => inside || zones.is_open(zone, time_ms) && in_buffer(zones, settings, zone, &fix),
            Phase::Leaving { .. } => true,
        };
        if !stays {
            row.remove(slot);
            continue;
        }
        if inside && matches!(was.phase, Phase::Leaving { .. }) {
            row.set(slot, Slot { phase: Phase::Inside(Speeding::Under), ..was });
        }
        slot += 1;
    }
    for &zone in &covering {
        let key = zones.key(zone);
        // Without a free slot it waits for one, as any zone does.
        if !(0..row.len()).any(|slot| row.zone(slot) == key)
            && !row.push(Slot::new(key, Phase::Inside(Speeding::Under), time_ms))
        {
            break;
        }
    }
}
