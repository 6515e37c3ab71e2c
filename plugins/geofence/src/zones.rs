//! All zones of a config, and which of them hold a place.

use std::ops::ControlFlow;

use geo::Coord;
use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, RTree};

use crate::config::WithoutAltitude;
use crate::corridor::Stretch;
use crate::ring::Bounds;
use crate::schedule::Schedule;
use crate::segment;
use crate::shape::{Circle, Polygon, Shape};
use crate::terms::Terms;

/// A zone as it was read.
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its area.
    pub shape: Shape,
    /// What it asks, if anything: most of thousands of zones do not.
    pub terms: Option<Box<Terms>>,
}

/// A zone's part that a way touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// The zone.
    pub zone: u32,
    /// Of a gate: how often the way goes over it from left to right, less how often from right to left. None: no gate.
    pub turns: Option<i32>,
}

/// The zones, in the order of their ids.
pub struct Zones {
    zones: Box<[Zone]>,
    /// Polygons, circles and stretches of lines of all zones; a zone's stand together.
    parts: Box<[Part]>,
    /// The boxes of the parts.
    tree: RTree<GeomWithData<Rectangle<[f64; 2]>, u32>>,
    /// Keys and zones, in the order of the keys.
    by_key: Box<[(u64, u32)]>,
    /// By zone; empty when no zone asks anything.
    terms: Box<[Terms]>,
    schedules: Box<[Schedule]>,
    without_altitude: WithoutAltitude,
    have_conditions: bool,
    have_dwell: bool,
    have_limits: bool,
}

const NO_TERMS: Terms = Terms { altitudes: None, schedule: None, dwell_ms: None, limit: None };

struct Zone {
    id: Box<str>,
    key: u64,
    /// From here to the next zone's.
    first_part: u32,
    parts: u32,
}

struct Part {
    zone: u32,
    covered: Covered,
}

enum Covered {
    Polygon(Polygon),
    Circle(Circle),
    Stretch(Stretch),
}

impl Zones {
    /// Orders and indexes the zones. Their terms name `schedules` by index.
    ///
    /// # Errors
    /// When two have the same id.
    pub fn new(
        mut named: Vec<Named>,
        schedules: Vec<Schedule>,
        without_altitude: WithoutAltitude,
    ) -> Result<Self, String> {
        named.sort_by(|one, other| one.id.cmp(&other.id));
        if let Some(pair) = named.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(format!("zones: more than one has the id {:?}", pair[0].id));
        }
        let asked = |asks: fn(&Terms) -> bool| named.iter().filter_map(|it| it.terms.as_deref()).any(asks);
        let have_conditions = asked(|terms| terms.altitudes.is_some() || terms.schedule.is_some());
        let have_dwell = asked(|terms| terms.dwell_ms.is_some());
        let have_limits = asked(|terms| terms.limit.is_some());
        let some_terms = have_conditions || have_dwell || have_limits;
        let terms_of = |it: &Named| it.terms.as_deref().copied().unwrap_or_default();
        let terms: Vec<Terms> = named.iter().filter(|_| some_terms).map(terms_of).collect();
        let mut zones: Vec<Zone> = Vec::with_capacity(named.len());
        let mut parts = Vec::with_capacity(named.len());
        for Named { id, shape, .. } in named {
            let first_part = parts.len();
            let zone = zones.len() as u32;
            let mut add = |covered| parts.push(Part { zone, covered });
            match shape {
                Shape::Circle(circle) => add(Covered::Circle(circle)),
                Shape::Area(polygons) => polygons.into_iter().map(Covered::Polygon).for_each(add),
                Shape::Lines(stretches) => stretches.into_iter().map(Covered::Stretch).for_each(add),
            }
            let count = (parts.len() - first_part) as u32;
            zones.push(Zone { key: key_of(&id), id: id.into(), first_part: first_part as u32, parts: count });
        }
        let mut by_key: Vec<(u64, u32)> =
            zones.iter().enumerate().map(|(index, zone)| (zone.key, index as u32)).collect();
        by_key.sort_unstable();
        if let Some(pair) = by_key.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (one, other) = (&zones[pair[0].1 as usize].id, &zones[pair[1].1 as usize].id);
            return Err(format!("zones: the ids {one:?} and {other:?} have the same 64-bit key: rename one"));
        }
        let boxes = parts.iter().enumerate().map(|(index, part)| {
            let Bounds { min, max } = part.covered.bounds();
            GeomWithData::new(Rectangle::from_corners([min.x, min.y], [max.x, max.y]), index as u32)
        });
        let tree = RTree::bulk_load(boxes.collect());
        Ok(Self {
            zones: zones.into(),
            parts: parts.into(),
            tree,
            by_key: by_key.into(),
            terms: terms.into(),
            schedules: schedules.into(),
            without_altitude,
            have_conditions,
            have_dwell,
            have_limits,
        })
    }

    /// How many zones there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.zones.len()
    }

    /// True without zones.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// The id of a zone.
    #[must_use]
    pub fn id(&self, zone: u32) -> &str {
        &self.zones[zone as usize].id
    }

    /// The number by which rows name a zone: the same for the same id in every config.
    #[inline]
    #[must_use]
    pub fn key(&self, zone: u32) -> u64 {
        self.zones[zone as usize].key
    }

    /// The zone with this key, if there still is one.
    #[must_use]
    pub fn by_key(&self, key: u64) -> Option<u32> {
        let at = self.by_key.binary_search_by_key(&key, |entry| entry.0).ok()?;
        Some(self.by_key[at].1)
    }

    /// Puts the zones that hold the place into `covering`, in order.
    #[inline]
    pub fn find_covering(&self, place: Coord<f64>, covering: &mut Vec<u32>) {
        covering.clear();
        let _ = self.tree.locate_all_at_point_int([place.x, place.y], |entry| {
            let part = &self.parts[entry.data as usize];
            if part.covered.covers(place) {
                covering.push(part.zone);
            }
            ControlFlow::<()>::Continue(())
        });
        if covering.len() > 1 {
            covering.sort_unstable();
            covering.dedup();
        }
    }

    /// Puts the parts that a straight way of some kilometres touches behind what is in `met`, in no order.
    pub fn find_meeting(&self, way: [Coord<f64>; 2], met: &mut Vec<Met>) {
        let Bounds { min, max } = segment::bounds(way[0], way[1]);
        let envelope = AABB::from_corners([min.x, min.y], [max.x, max.y]);
        for entry in self.tree.locate_in_envelope_intersecting(envelope) {
            let Part { zone, covered } = &self.parts[entry.data as usize];
            let turns = match covered {
                Covered::Stretch(stretch) if stretch.is_gate() => match stretch.crossings(way) {
                    0 => continue,
                    turns => Some(turns),
                },
                Covered::Stretch(stretch) if stretch.meets(way) => None,
                Covered::Polygon(polygon) if polygon.meets(way) => None,
                Covered::Circle(circle) if circle.meets(way) => None,
                _ => continue,
            };
            met.push(Met { zone: *zone, turns });
        }
    }

    /// True when the place is not farther than this from the zone's edge. Ask for places outside.
    #[must_use]
    pub fn is_near(&self, zone: u32, place: Coord<f64>, metres: f64) -> bool {
        self.parts_of(zone).iter().any(|part| match &part.covered {
            Covered::Polygon(polygon) => polygon.is_near(place, metres),
            Covered::Circle(circle) => circle.is_near(place, metres),
            Covered::Stretch(stretch) => stretch.is_near(place, metres),
        })
    }

    /// True when the zone holds the place, by position alone.
    #[must_use]
    pub fn covers(&self, zone: u32, place: Coord<f64>) -> bool {
        self.parts_of(zone).iter().any(|part| part.covered.covers(place))
    }

    fn parts_of(&self, zone: u32) -> &[Part] {
        let Zone { first_part, parts, .. } = self.zones[zone as usize];
        &self.parts[first_part as usize..(first_part + parts) as usize]
    }

    /// What the zone asks.
    #[inline]
    #[must_use]
    pub fn terms(&self, zone: u32) -> &Terms {
        self.terms.get(zone as usize).unwrap_or(&NO_TERMS)
    }

    /// True when a zone has altitudes or a schedule, so that [`Self::admits`] must be asked.
    #[inline]
    #[must_use]
    pub fn have_conditions(&self) -> bool {
        self.have_conditions
    }

    /// True when a zone tells of long stays.
    #[inline]
    #[must_use]
    pub fn have_dwell(&self) -> bool {
        self.have_dwell
    }

    /// True when a zone has a speed limit.
    #[inline]
    #[must_use]
    pub fn have_limits(&self) -> bool {
        self.have_limits
    }

    /// True when the zone exists for a fix at this altitude in metres (NaN: not reported) and time in milliseconds.
    #[must_use]
    pub fn admits(&self, zone: u32, altitude: f32, time_ms: i64) -> bool {
        self.is_at_altitude(zone, altitude) && self.is_open(zone, time_ms)
    }

    /// True when the altitude in metres is one of the zone's; what is not reported is by the config's choice.
    #[must_use]
    pub fn is_at_altitude(&self, zone: u32, altitude: f32) -> bool {
        match self.terms(zone).altitudes {
            None => true,
            Some(_) if altitude.is_nan() => self.without_altitude == WithoutAltitude::Inside,
            Some((min, max)) => (min..=max).contains(&f64::from(altitude)),
        }
    }

    /// True when it is within the zone's hours at this time in milliseconds.
    #[must_use]
    pub fn is_open(&self, zone: u32, time_ms: i64) -> bool {
        self.terms(zone).schedule.is_none_or(|schedule| self.schedules[schedule as usize].is_open(time_ms))
    }
}

impl Covered {
    fn bounds(&self) -> Bounds {
        match self {
            Covered::Polygon(polygon) => polygon.bounds(),
            Covered::Circle(circle) => circle.bounds(),
            Covered::Stretch(stretch) => stretch.bounds(),
        }
    }

    #[inline]
    fn covers(&self, place: Coord<f64>) -> bool {
        match self {
            Covered::Polygon(polygon) => polygon.covers(place),
            Covered::Circle(circle) => circle.covers(place),
            Covered::Stretch(stretch) => stretch.covers(place),
        }
    }
}

/// 64 bits of FNV-1a with a last mixing step. Stored in rows: never change it. 0 stands for no zone.
fn key_of(id: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_the_same_over_releases() {
        assert_eq!(key_of("waw-1"), 17_235_473_485_753_310_022);
    }
}
