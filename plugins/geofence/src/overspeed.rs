//! Tells that a vehicle is too fast for a zone: once per episode.
//!
//! ```text
//!          above the limit              for min_ms, told
//!  Under ──────────────────▶ Over since ─────────────────▶ Told
//!    ▲                           │                           │
//!    └───────────────────────────┴───────────────────────────┘  not above the limit less the hysteresis, or outside
//! ```
//!
//! An episode is the zone's: with `prefer: lowest` the zones whose limit is not the lowest have theirs, too, but do not
//! tell of it. So a vehicle that leaves a zone of 30 and is too fast for the 50 around it as well is told of then.

use serde::Deserialize;

use crate::state::{Phase, Row, Slot, Speeding};
use crate::step::Fix;
use crate::transition::{Change, Kind};
use crate::zones::Zones;

/// What a device may round up when it makes metres per second of kilometres per hour, as a part of the speed: the limit
/// itself is not above the limit.
const ROUNDING: f64 = 1e-6;

/// Whose limits count for a vehicle in several zones.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// The lowest one; of equal ones that of the lowest id.
    #[default]
    Lowest,
    /// All.
    Each,
}

/// What a zone asks of speed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Kilometres per hour as written: decides which is the lowest.
    kph: f64,
    /// Metres per second. A faster vehicle is too fast.
    over: f32,
    /// Metres per second. An episode goes on above.
    until: f32,
    /// Milliseconds for which it must be so.
    min_ms: i64,
}

impl Limit {
    /// A limit of `kph` km/h that may be exceeded by `tolerance_kph`, or for less than `min_ms` milliseconds. An episode
    /// ends `hysteresis_kph` below that.
    #[must_use]
    pub fn new(kph: f64, tolerance_kph: f64, hysteresis_kph: f64, min_ms: i64) -> Self {
        let over_kph = kph + tolerance_kph;
        let metres_per_second = |kph: f64| (kph / 3.6 * (1.0 + ROUNDING)) as f32;
        Self { kph, over: metres_per_second(over_kph), until: metres_per_second(over_kph - hysteresis_kph), min_ms }
    }
}

/// Looks at the zones that the vehicle is in after a fix was applied. A fix without a speed changes nothing.
#[inline(never)]
pub fn apply(zones: &Zones, prefer: Prefer, row: &mut Row<'_>, fix: &Fix<'_>, changes: &mut Vec<Change>) {
    if !fix.speed.is_finite() {
        return;
    }
    let limited = |slot: Slot| {
        let Phase::Inside(speeding) = slot.phase else { return None };
        let zone = zones.by_key(slot.zone)?;
        Some((zone, zones.terms(zone).limit?, speeding))
    };
    let lowest = match prefer {
        Prefer::Each => None,
        Prefer::Lowest => (0..row.len())
            .filter_map(|index| limited(row.get(index)))
            .min_by(|one, other| one.1.kph.total_cmp(&other.1.kph).then(one.0.cmp(&other.0)))
            .map(|(zone, ..)| zone),
    };
    for index in 0..row.len() {
        let slot = row.get(index);
        let Some((zone, limit, was)) = limited(slot) else { continue };
        let mut now = match was {
            Speeding::Under if fix.speed > limit.over => Speeding::Over { since_ms: fix.time_ms },
            Speeding::Over { .. } | Speeding::Told if fix.speed <= limit.until => Speeding::Under,
            other => other,
        };
        if let Speeding::Over { since_ms } = now
            && fix.time_ms.saturating_sub(since_ms) >= limit.min_ms
            && lowest.is_none_or(|lowest| lowest == zone)
        {
            let value = f64::from(fix.speed);
            changes.push(Change { time_ms: fix.time_ms, kind: Kind::Overspeed, zone, value });
            now = Speeding::Told;
        }
        if now != was {
            row.set(index, Slot { phase: Phase::Inside(now), ..slot });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_at_the_limit_is_not_above_it() {
        for kph in 1..=200_u8 {
            let limit = Limit::new(f64::from(kph), 0.0, 0.0, 0);
            for at_the_limit in
                [(f64::from(kph) / 3.6) as f32, f32::from(kph) / 3.6, f32::from(kph) * (1_000.0 / 3_600.0)]
            {
                assert!(at_the_limit <= limit.over, "{kph}");
            }
            assert!(((f64::from(kph) + 0.001) / 3.6) as f32 > limit.over, "{kph}");
        }
    }
}
