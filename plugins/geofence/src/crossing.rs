//! Zones that a vehicle has passed through between two fixes of which neither is inside, and gates it has gone over.
//!
//! The way between the fixes is taken as straight on longitude and latitude, the shorter way round the world. A zone
//! counts when it exists for both fixes: open at both times, both at its altitudes.

use geo::{Coord, Distance, Haversine, Point};

use crate::config::Settings;
use crate::state::{LastFix, Row};
use crate::step::Fix;
use crate::transition::{Change, Kind};
use crate::zones::{Met, Zones};

/// Once round the world.
const ROUND_DEGREES: f64 = 360.0;

/// Looks at the way from the last fix to this one, before the row knows of this one. `met` is scratch.
#[inline(never)]
pub fn find(
    zones: &Zones,
    settings: &Settings,
    row: &Row<'_>,
    last: LastFix,
    fix: &Fix<'_>,
    met: &mut Vec<Met>,
    changes: &mut Vec<Change>,
) {
    let gap_ms = fix.time_ms.saturating_sub(last.time_ms);
    // Of places that are no places it is not a number, and nothing is told.
    let near_enough = |place| Haversine.distance(Point(last.place), Point(place)) <= settings.crossing_max_gap_m;
    if gap_ms < 0 || gap_ms > settings.crossing_max_gap_ms || last.place == fix.place || !near_enough(fix.place) {
        return;
    }
    met.clear();
    for way in unwrapped(last.place, fix.place).into_iter().flatten() {
        zones.find_meeting(way, met);
    }
    met.sort_unstable_by_key(|it| it.zone);
    for of_zone in met.chunk_by(|one, other| one.zone == other.zone) {
        let zone = of_zone[0].zone;
        let value = match of_zone[0].turns {
            None => f64::NAN,
            // Of a gate that bends, what is left of all its pieces: over and back again is nothing.
            Some(_) => match of_zone.iter().filter_map(|it| it.turns).sum::<i32>().signum() {
                0 => continue,
                direction => f64::from(direction),
            },
        };
        let key = zones.key(zone);
        let counts_as_inside = fix.covering.contains(&zone) || (0..row.len()).any(|slot| row.zone(slot) == key);
        let exists = zones.admits(zone, last.altitude, last.time_ms) && zones.admits(zone, fix.altitude, fix.time_ms);
        if !counts_as_inside && exists && !zones.covers(zone, last.place) {
            changes.push(Change { time_ms: fix.time_ms, kind: Kind::Crossed, zone, value });
        }
    }
}

/// The shorter way between two positions; over the 180th meridian it is two, one for each side of the map.
fn unwrapped(from: Coord<f64>, to: Coord<f64>) -> [Option<[Coord<f64>; 2]>; 2] {
    let degrees = to.x - from.x;
    if degrees.abs() <= ROUND_DEGREES / 2.0 {
        return [Some([from, to]), None];
    }
    let aside = ROUND_DEGREES.copysign(degrees);
    let moved = |place: Coord<f64>, by: f64| Coord { x: place.x + by, y: place.y };
    [Some([from, moved(to, -aside)]), Some([moved(from, aside), to])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_over_the_180th_meridian_is_short_on_both_sides() {
        let at = |x: f64| Coord { x, y: 1.0 };
        assert_eq!(unwrapped(at(10.0), at(-10.0)), [Some([at(10.0), at(-10.0)]), None]);
        assert_eq!(unwrapped(at(179.0), at(-179.0)), [Some([at(179.0), at(181.0)]), Some([at(-181.0), at(-179.0)])]);
        assert_eq!(unwrapped(at(-179.0), at(179.0)), [Some([at(-179.0), at(-181.0)]), Some([at(181.0), at(179.0)])]);
    }
}
