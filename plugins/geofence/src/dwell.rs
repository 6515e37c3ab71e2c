//! Tells that a vehicle has been in a zone for long: once per stay.

use crate::state::{Phase, Row};
use crate::step::Fix;
use crate::transition::{Change, Kind};
use crate::zones::Zones;

/// Looks at the zones that the vehicle is in after a fix was applied. A stay begins with the first fix inside, and goes
/// on while the vehicle counts as inside; a fix outside that is not yet an exit tells nothing.
#[inline(never)]
pub fn apply(zones: &Zones, row: &mut Row<'_>, fix: &Fix<'_>, changes: &mut Vec<Change>) {
    for index in 0..row.len() {
        let slot = row.get(index);
        let (false, Phase::Inside(_)) = (slot.dwelt, slot.phase) else { continue };
        let Some(zone) = zones.by_key(slot.zone) else { continue };
        let Some(dwell_ms) = zones.terms(zone).dwell_ms else { continue };
        let stayed_ms = fix.time_ms.saturating_sub(slot.since_ms);
        if stayed_ms >= dwell_ms {
            changes.push(Change { time_ms: fix.time_ms, kind: Kind::Dwell, zone, value: stayed_ms as f64 / 1_000.0 });
            row.set(index, crate::state::Slot { dwelt: true, ..slot });
        }
    }
}
