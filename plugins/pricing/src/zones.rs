//! Where things are: areas and circles as GeoJSON, and which of them hold a place.

use std::ops::ControlFlow;

use geo::{BoundingRect, Coord, Distance, Haversine, Intersects, LineString, Point, Polygon};
use rstar::primitives::{GeomWithData, Rectangle};
use rstar::{AABB, RTree};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::decimal::Exact;
use crate::tariff::check_id;

/// Corners of all zones of a config at most: with the text and the tree they stay within 16 MiB.
pub const CORNERS_MAX: usize = 50_000;
/// The largest circle, metres.
pub const RADIUS_M_MAX: f64 = 1_000_000.0;
/// A little more than the metres of a degree of latitude are, so that a box is never smaller than its circle.
const METRES_PER_DEGREE: f64 = 110_000.0;

/// A GeoJSON FeatureCollection; members that the rule does not know are passed over, as GeoJSON asks.
#[derive(Deserialize, Default)]
pub struct FeatureCollection {
    #[serde(rename = "type")]
    _kind: CollectionKind,
    features: Vec<Feature>,
}

#[derive(Deserialize, Default)]
enum CollectionKind {
    #[default]
    FeatureCollection,
}

#[derive(Deserialize)]
struct Feature {
    #[serde(default)]
    id: Option<Id>,
    geometry: Geometry,
    #[serde(default)]
    properties: Option<Properties>,
}

/// GeoJSON lets an id be a text or a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an id is a text or a whole number")]
enum Id {
    Text(String),
    Number(i64),
}

#[derive(Deserialize, Default)]
struct Properties {
    #[serde(default)]
    id: Option<Id>,
    #[serde(default)]
    radius_m: Option<f64>,
    #[serde(default)]
    section_length_m: Option<Exact>,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "coordinates")]
enum Geometry {
    Point(Position),
    Polygon(Vec<Vec<Position>>),
    MultiPolygon(Vec<Vec<Vec<Position>>>),
}

/// Longitude, latitude, and perhaps an altitude, which is not used.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "Vec<f64>")]
struct Position(Coord<f64>);

impl TryFrom<Vec<f64>> for Position {
    type Error = String;
    fn try_from(numbers: Vec<f64>) -> Result<Self, String> {
        match numbers[..] {
            [x, y] | [x, y, _] if x.abs() <= 180.0 && y.abs() <= 90.0 => Ok(Self(Coord { x, y })),
            _ => Err(format!("{numbers:?} is not [longitude, latitude]")),
        }
    }
}

/// The zones of a config, in the order of their ids.
pub struct Zones {
    zones: Box<[Named]>,
    parts: Box<[(u32, Shape)]>,
    tree: RTree<GeomWithData<Rectangle<[f64; 2]>, u32>>,
}

struct Named {
    id: String,
    key: u64,
    section_length_m: Option<Decimal>,
}

enum Shape {
    Area(Polygon<f64>),
    Circle { centre: Point<f64>, radius_m: f64 },
}

impl FeatureCollection {
    /// Makes the zones.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn into_zones(self) -> Result<Zones, String> {
        let corners: usize = self.features.iter().map(|it| it.geometry.corners()).sum();
        if corners > CORNERS_MAX {
            return Err(format!("zones.features: {corners} corners are more than the {CORNERS_MAX} that fit"));
        }
        let mut made = Vec::with_capacity(self.features.len());
        for (index, feature) in self.features.into_iter().enumerate() {
            let at = format!("zones.features[{index}]");
            let Properties { id, radius_m, section_length_m } = feature.properties.unwrap_or_default();
            let id = match feature.id.or(id) {
                Some(Id::Text(text)) => text,
                Some(Id::Number(number)) => number.to_string(),
                None => return Err(format!("{at}.id: is missing, and so is properties.id")),
            };
            check_id(&format!("{at}.id"), &id)?;
            if let Some(Exact(length)) = section_length_m.filter(|it| it.0 <= Decimal::ZERO) {
                return Err(format!("{at}.properties.section_length_m: {length} is not above 0"));
            }
            let shapes = feature.geometry.into_shapes(&at, radius_m)?;
            let key = key_of(&id);
            made.push((Named { id, key, section_length_m: section_length_m.map(|it| it.0) }, shapes));
        }
        made.sort_by(|one, other| one.0.id.cmp(&other.0.id));
        Zones::new(made)
    }
}

impl Geometry {
    fn corners(&self) -> usize {
        match self {
            Geometry::Point(_) => 1,
            Geometry::Polygon(rings) => rings.iter().map(Vec::len).sum(),
            Geometry::MultiPolygon(polygons) => polygons.iter().flatten().map(Vec::len).sum(),
        }
    }

    fn into_shapes(self, at: &str, radius_m: Option<f64>) -> Result<Vec<Shape>, String> {
        match self {
            Geometry::Point(centre) => match radius_m {
                Some(radius_m) if radius_m > 0.0 && radius_m <= RADIUS_M_MAX => {
                    Ok(vec![Shape::Circle { centre: centre.0.into(), radius_m }])
                }
                Some(radius_m) => {
                    Err(format!("{at}.properties.radius_m: {radius_m} is not above 0 and up to {RADIUS_M_MAX}"))
                }
                None => Err(format!("{at}.properties.radius_m: is missing, and a Point needs it")),
            },
            Geometry::Polygon(rings) => Ok(vec![area(at, rings)?]),
            Geometry::MultiPolygon(polygons) => polygons.into_iter().map(|rings| area(at, rings)).collect(),
        }
    }
}

fn area(at: &str, rings: Vec<Vec<Position>>) -> Result<Shape, String> {
    let mut lines = Vec::with_capacity(rings.len());
    for ring in rings {
        let corners: Vec<Coord<f64>> = ring.into_iter().map(|position| position.0).collect();
        if corners.len() < 4 || corners.first() != corners.last() {
            return Err(format!("{at}.geometry.coordinates: a ring has 4 positions or more, the last is the first"));
        }
        if corners.windows(2).any(|edge| (edge[1].x - edge[0].x).abs() > 180.0) {
            return Err(format!("{at}.geometry.coordinates: cut the area at the 180th meridian, into a MultiPolygon"));
        }
        lines.push(LineString(corners));
    }
    let mut lines = lines.into_iter();
    let outer = lines.next().ok_or_else(|| format!("{at}.geometry.coordinates: has no ring"))?;
    Ok(Shape::Area(Polygon::new(outer, lines.collect())))
}

impl Zones {
    fn new(made: Vec<(Named, Vec<Shape>)>) -> Result<Self, String> {
        if let Some(pair) = made.windows(2).find(|pair| pair[0].0.id == pair[1].0.id) {
            return Err(format!("zones.features: more than one has the id {:?}", pair[0].0.id));
        }
        let mut keys: Vec<u64> = made.iter().map(|it| it.0.key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("zones.features: two ids have the same 64-bit key: rename one".to_owned());
        }
        let (mut zones, mut parts, mut boxes) = (Vec::new(), Vec::new(), Vec::new());
        for (named, shapes) in made {
            for shape in shapes {
                let envelope = shape.envelope();
                let bounds = Rectangle::from_corners(envelope.lower(), envelope.upper());
                boxes.push(GeomWithData::new(bounds, parts.len() as u32));
                parts.push((zones.len() as u32, shape));
            }
            zones.push(named);
        }
        Ok(Self { zones: zones.into(), parts: parts.into(), tree: RTree::bulk_load(boxes) })
    }

    /// The zone with this id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<u32> {
        self.zones.binary_search_by(|zone| zone.id.as_str().cmp(id)).ok().map(|index| index as u32)
    }

    /// The zone with this key, if there still is one.
    #[must_use]
    pub fn by_key(&self, key: u64) -> Option<u32> {
        self.zones.iter().position(|zone| zone.key == key).map(|index| index as u32)
    }

    /// The id of a zone.
    #[must_use]
    pub fn id(&self, zone: u32) -> &str {
        &self.zones[zone as usize].id
    }

    /// The number by which rows name a zone: the same for the same id in every config.
    #[must_use]
    pub fn key(&self, zone: u32) -> u64 {
        self.zones[zone as usize].key
    }

    /// The length that counts for a toll section; none for a zone that is not one.
    #[must_use]
    pub fn section_length_m(&self, zone: u32) -> Option<Decimal> {
        self.zones[zone as usize].section_length_m
    }

    /// Puts the zones that hold the place into `covering`, in order. A boundary belongs to its zone.
    pub fn find_covering(&self, place: Point<f64>, covering: &mut Vec<u32>) {
        covering.clear();
        let _ = self.tree.locate_all_at_point_int([place.x(), place.y()], |entry| {
            let (zone, shape) = &self.parts[entry.data as usize];
            if shape.covers(place) {
                covering.push(*zone);
            }
            ControlFlow::<()>::Continue(())
        });
        covering.sort_unstable();
        covering.dedup();
    }
}

impl Shape {
    fn envelope(&self) -> AABB<[f64; 2]> {
        match self {
            Shape::Area(polygon) => match polygon.bounding_rect() {
                Some(bounds) => AABB::from_corners([bounds.min().x, bounds.min().y], [bounds.max().x, bounds.max().y]),
                None => AABB::from_point([0.0, 0.0]),
            },
            Shape::Circle { centre, radius_m } => {
                let reach = radius_m / METRES_PER_DEGREE;
                let (south, north) = (centre.y() - reach, centre.y() + reach);
                // Near a pole, or over the 180th meridian, the box is the whole belt; the distance decides.
                let aside = reach / south.abs().max(north.abs()).min(90.0).to_radians().cos().max(1e-9);
                let wraps = centre.x() - aside < -180.0 || centre.x() + aside > 180.0;
                let (west, east) = if wraps { (-180.0, 180.0) } else { (centre.x() - aside, centre.x() + aside) };
                AABB::from_corners([west, south], [east, north])
            }
        }
    }

    fn covers(&self, place: Point<f64>) -> bool {
        match self {
            Shape::Area(polygon) => polygon.intersects(&place),
            Shape::Circle { centre, radius_m } => Haversine.distance(*centre, place) <= *radius_m,
        }
    }
}

/// 64 bits of FNV-1a with a last mixing step. Stored in rows: never change it. 0 stands for nothing.
#[must_use]
pub fn key_of(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
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

    fn zones(features: &str) -> Result<Zones, String> {
        let text = format!(r#"{{"type":"FeatureCollection","features":[{features}]}}"#);
        serde_json::from_str::<FeatureCollection>(&text).map_err(|error| error.to_string())?.into_zones()
    }

    fn covering(zones: &Zones, x: f64, y: f64) -> Vec<&str> {
        let mut covering = Vec::new();
        zones.find_covering(Point::new(x, y), &mut covering);
        covering.into_iter().map(|zone| zones.id(zone)).collect()
    }

    #[test]
    fn areas_and_circles_hold_places() {
        let zones = zones(
            r#"{"type":"Feature","id":"b","geometry":{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1],[0,0]]]}},
               {"type":"Feature","id":"a","properties":{"radius_m":20000,"section_length_m":"2608"},
                "geometry":{"type":"Point","coordinates":[1,1]}},
               {"type":"Feature","id":"c","properties":{"radius_m":50000},
                "geometry":{"type":"Point","coordinates":[179.9,0]}}"#,
        )
        .unwrap();
        assert_eq!(covering(&zones, 0.0, 0.5), ["b"], "the boundary is in");
        assert_eq!(covering(&zones, 0.95, 0.95), ["a", "b"]);
        assert_eq!(covering(&zones, 1.1, 1.1), ["a"]);
        assert_eq!(covering(&zones, -179.9, 0.0), ["c"], "over the meridian");
        assert!(covering(&zones, 5.0, 5.0).is_empty());
        assert_eq!(zones.section_length_m(zones.by_id("a").unwrap()), Some(Decimal::from(2608)));
        assert_eq!(zones.by_key(key_of("c")), zones.by_id("c"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |feature: &str| zones(feature).err().unwrap();
        let point = |properties: &str| {
            format!(r#"{{"id":"a","properties":{properties},"geometry":{{"type":"Point","coordinates":[1,1]}}}}"#)
        };
        assert!(wrong(&point("{}")).starts_with("zones.features[0].properties.radius_m"));
        assert!(wrong(&point(r#"{"radius_m":0}"#)).starts_with("zones.features[0].properties.radius_m"));
        assert!(wrong(&point(r#"{"radius_m":1,"section_length_m":"0"}"#)).contains("section_length_m"));
        let ring = |ring: &str| format!(r#"{{"id":"a","geometry":{{"type":"Polygon","coordinates":[{ring}]}}}}"#);
        assert!(wrong(&ring("[[0,0],[1,0],[1,1],[0,1]]")).starts_with("zones.features[0].geometry"));
        assert!(wrong(&ring("[[179,0],[-179,0],[1,1],[179,0]]")).contains("180th meridian"));
        assert!(wrong(&ring("[[0,0],[1,0],[181,1],[0,0]]")).contains("not [longitude, latitude]"));
        let twice = [ring("[[0,0],[1,0],[1,1],[0,0]]"), ring("[[0,0],[1,0],[1,1],[0,0]]")].join(",");
        assert!(wrong(&twice).contains("more than one has the id"));
    }

    #[test]
    fn an_id_is_the_features_own_or_among_its_properties() {
        let circle =
            |ids: &str| format!(r#"{{{ids}"radius_m":9}},"geometry":{{"type":"Point","coordinates":[1,1]}}}}"#);
        let id = |ids: &str| zones(&circle(ids)).map(|zones| zones.id(0).to_owned());
        assert_eq!(id(r#""id":"own","properties":{"id":"other","#).as_deref(), Ok("own"));
        assert_eq!(id(r#""id":12,"properties":{"#).as_deref(), Ok("12"));
        assert_eq!(id(r#""properties":{"id":"waw-1","#).as_deref(), Ok("waw-1"));
        assert!(id(r#""properties":{"#).unwrap_err().starts_with("zones.features[0].id"));
    }

    #[test]
    fn keys_stay_the_same_over_releases() {
        assert_eq!(key_of("waw-1"), 17_235_473_485_753_310_022);
    }
}
