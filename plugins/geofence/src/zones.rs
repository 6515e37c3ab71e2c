//! All zones of a config, and which of them hold a place.

use std::ops::ControlFlow;

use geo::Coord;
use rstar::RTree;
use rstar::primitives::{GeomWithData, Rectangle};

use crate::ring::Bounds;
use crate::shape::{Circle, Polygon, Shape};

/// The zones, in the order of their ids.
pub struct Zones {
    zones: Box<[Zone]>,
    /// Polygons and circles of all zones; a zone's stand together.
    parts: Box<[Part]>,
    /// The boxes of the parts.
    tree: RTree<GeomWithData<Rectangle<[f64; 2]>, u32>>,
    /// Keys and zones, in the order of the keys.
    by_key: Box<[(u64, u32)]>,
}

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
}

impl Zones {
    /// Orders and indexes the zones.
    ///
    /// # Errors
    /// When two have the same id.
    pub fn new(mut named: Vec<(String, Shape)>) -> Result<Self, String> {
        named.sort_by(|one, other| one.0.cmp(&other.0));
        if let Some(pair) = named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("zones: more than one has the id {:?}", pair[0].0));
        }
        let mut zones: Vec<Zone> = Vec::with_capacity(named.len());
        let mut parts = Vec::with_capacity(named.len());
        for (id, shape) in named {
            let first_part = parts.len();
            let zone = zones.len() as u32;
            match shape {
                Shape::Circle(circle) => parts.push(Part { zone, covered: Covered::Circle(circle) }),
                Shape::Area(polygons) => {
                    parts.extend(polygons.into_iter().map(|it| Part { zone, covered: Covered::Polygon(it) }));
                }
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
        Ok(Self { zones: zones.into(), parts: parts.into(), tree, by_key: by_key.into() })
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

    /// True when the place is not farther than this from the zone's edge. Ask for places outside.
    #[must_use]
    pub fn is_near(&self, zone: u32, place: Coord<f64>, metres: f64) -> bool {
        let Zone { first_part, parts, .. } = self.zones[zone as usize];
        let parts = &self.parts[first_part as usize..(first_part + parts) as usize];
        parts.iter().any(|part| match &part.covered {
            Covered::Polygon(polygon) => polygon.is_near(place, metres),
            Covered::Circle(circle) => circle.is_near(place, metres),
        })
    }
}

impl Covered {
    fn bounds(&self) -> Bounds {
        match self {
            Covered::Polygon(polygon) => polygon.bounds(),
            Covered::Circle(circle) => circle.bounds(),
        }
    }

    #[inline]
    fn covers(&self, place: Coord<f64>) -> bool {
        match self {
            Covered::Polygon(polygon) => polygon.covers(place),
            Covered::Circle(circle) => circle.covers(place),
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
