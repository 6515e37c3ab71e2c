//! GeoJSON as it is read: straight into flat lists of corners. A tree of JSON values would take ten times the memory of
//! the corners, and an instance has 16 MiB.

use std::fmt;

use geo::Coord;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::corridor::{self, Stretch};
use crate::ring::Ring;
use crate::shape::{Circle, Polygon, Shape};
use crate::terms::{self, Defaults, Terms};
use crate::zones::Named;

/// Corners of all zones of a config: as many fit into 16 MiB with 15 digits each, text and all (tried: 14.9 MiB).
pub const CORNERS_MAX: usize = 150_000;
/// Bytes of an id: it becomes the subject of events.
pub const ID_BYTES_MAX: usize = 256;
/// Degrees of longitude between two corners. A longer edge is rather one that crosses the 180th meridian uncut.
pub const EDGE_DEGREES_MAX: f64 = 180.0;
/// An edge that goes round the whole world from meridian to meridian, as the map's own frame does, is meant.
const WHOLE_WORLD_DEGREES: f64 = 360.0;
/// The largest circle.
pub const RADIUS_M_MAX: f64 = 1_000_000.0;

/// A GeoJSON FeatureCollection; members that the rule does not know are passed over, as GeoJSON asks.
#[derive(Deserialize)]
pub struct FeatureCollection {
    #[serde(rename = "type")]
    kind: String,
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<serde_json::Value>,
    #[serde(default)]
    properties: Option<Properties>,
    #[serde(default)]
    geometry: Option<Geometry>,
}

#[derive(Default)]
struct Properties {
    id: Option<serde_json::Value>,
    radius_m: Option<serde_json::Value>,
    /// A list, because most features have none: thousands of features would pay for a field each.
    others: terms::Properties,
}

#[derive(Deserialize)]
struct Geometry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    coordinates: Option<Coordinates>,
}

impl FeatureCollection {
    /// Makes the zones.
    ///
    /// # Errors
    /// What is wrong with which feature.
    pub fn into_zones(self, defaults: &Defaults) -> Result<Vec<Named>, String> {
        if self.kind != "FeatureCollection" {
            return Err(format!("zones.type: {:?} is not \"FeatureCollection\"", self.kind));
        }
        let corners: usize = self.features.iter().map(Feature::corners).sum();
        if corners > CORNERS_MAX {
            return Err(format!("zones: {corners} corners are more than the {CORNERS_MAX} that fit"));
        }
        let mut zones = Vec::with_capacity(self.features.len());
        for (index, feature) in self.features.into_iter().enumerate() {
            zones.push(feature.into_zone(defaults).map_err(|what| format!("zones.features[{index}]{what}"))?);
        }
        Ok(zones)
    }
}

impl Feature {
    fn corners(&self) -> usize {
        self.geometry.as_ref().and_then(|it| it.coordinates.as_ref()).map_or(0, |it| it.corners.len())
    }

    /// An error goes on where `zones.features[n]` stops.
    fn into_zone(self, defaults: &Defaults) -> Result<Named, String> {
        if self.kind != "Feature" {
            return Err(format!(".type: {:?} is not \"Feature\"", self.kind));
        }
        let properties = self.properties.unwrap_or_default();
        let id = match (&self.id, &properties.id) {
            (Some(id), _) => id_text(id).map_err(|what| format!(".id: {what}"))?,
            (None, Some(id)) => id_text(id).map_err(|what| format!(".properties.id: {what}"))?,
            (None, None) => return Err(": has neither id nor properties.id".to_owned()),
        };
        let geometry = self.geometry.ok_or_else(|| format!(" ({id:?}).geometry: is missing"))?;
        let shape = geometry.into_shape(&properties, defaults).map_err(|what| format!(" ({id:?}){what}"))?;
        let terms = terms::read(&properties.others, defaults).map_err(|what| format!(" ({id:?}){what}"))?;
        let terms = (terms != Terms::default()).then(|| Box::new(terms));
        Ok(Named { id, shape, terms })
    }
}

fn id_text(id: &serde_json::Value) -> Result<String, String> {
    let text = match id {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        other => return Err(format!("{other} is neither text nor a whole number")),
    };
    if text.is_empty() || text.len() > ID_BYTES_MAX {
        return Err(format!("has {} bytes, not 1 to {ID_BYTES_MAX}", text.len()));
    }
    Ok(text)
}

impl Geometry {
    fn into_shape(self, properties: &Properties, defaults: &Defaults) -> Result<Shape, String> {
        let kind = self.kind;
        let depth = match kind.as_str() {
            "Point" => 0,
            "LineString" => 1,
            "Polygon" | "MultiLineString" => 2,
            "MultiPolygon" => 3,
            _ => {
                return Err(format!(
                    ".geometry.type: {kind:?} is not Polygon, MultiPolygon, Point, LineString or MultiLineString"
                ));
            }
        };
        let coordinates = self.coordinates.ok_or(".geometry.coordinates: is missing")?;
        if coordinates.depth != depth {
            return Err(format!(".geometry.coordinates: is not nested as a {kind}'s"));
        }
        for corner in &coordinates.corners {
            if corner.x.abs() > 180.0 || corner.y.abs() > 90.0 {
                let place = format!("[{}, {}]", corner.x, corner.y);
                return Err(format!(
                    ".geometry.coordinates: {place} is not [longitude, latitude]; an area over the 180th meridian is cut there"
                ));
            }
        }
        if depth == 0 {
            return circle(coordinates.corners[0], properties.radius_m.as_ref());
        }
        if kind.ends_with("LineString") {
            let half_width_m = width_m(&properties.others, defaults)? / 2.0;
            let lines = coordinates.into_stretches(half_width_m);
            return lines.map(Shape::Lines).map_err(|what| format!(".geometry.coordinates{what}"));
        }
        coordinates.into_polygons().map(Shape::Area).map_err(|what| format!(".geometry.coordinates{what}"))
    }
}

fn circle(centre: Coord<f64>, radius_m: Option<&serde_json::Value>) -> Result<Shape, String> {
    let radius_m = radius_m.ok_or(".properties.radius_m: is missing, and a Point needs it")?;
    match radius_m.as_f64() {
        Some(radius_m) if radius_m > 0.0 && radius_m <= RADIUS_M_MAX => {
            Ok(Shape::Circle(Circle::new(centre, radius_m)))
        }
        _ => Err(format!(".properties.radius_m: {radius_m} is not a number above 0 and up to {RADIUS_M_MAX}")),
    }
}

fn width_m(properties: &terms::Properties, defaults: &Defaults) -> Result<f64, String> {
    let max = corridor::WIDTH_M_MAX;
    let fine = |width_m: f64| (0.0..=max).contains(&width_m);
    match properties.number("width_m", fine, &format!("between 0 and {max}"))? {
        None => Err(".properties.width_m: is missing, and a line needs it".to_owned()),
        Some(0.0) if !defaults.crossing => {
            Err(".properties.width_m: 0 makes a gate, which does nothing unless the config has crossing: true"
                .to_owned())
        }
        Some(width_m) => Ok(width_m),
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PropertiesVisitor)
    }
}

struct PropertiesVisitor;

impl<'de> Visitor<'de> for PropertiesVisitor {
    type Value = Properties;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
        let mut properties = Properties::default();
        while let Some(name) = map.next_key::<String>()? {
            let known = terms::NAMES.into_iter().find(|known| name == *known);
            let twice = || A::Error::custom(format_args!("duplicate field `{name}`"));
            match (name.as_str(), known) {
                ("id", _) if properties.id.is_none() => properties.id = map.next_value()?,
                ("radius_m", _) if properties.radius_m.is_none() => properties.radius_m = map.next_value()?,
                ("id" | "radius_m", _) => return Err(twice()),
                (_, Some(known)) if properties.others.get(known).is_some() => return Err(twice()),
                (_, Some(known)) => {
                    if let Some(value) = map.next_value::<Option<serde_json::Value>>()? {
                        properties.others.0.push((known, value));
                    }
                }
                (_, None) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(properties)
    }
}

/// Coordinates of any nesting, flat.
#[derive(Default)]
struct Coordinates {
    corners: Vec<Coord<f64>>,
    /// For each ring where it ends in `corners`.
    ring_ends: Vec<u32>,
    /// For each polygon where it ends in `ring_ends`.
    polygon_ends: Vec<u32>,
    /// 0: a position; 1: a list of positions; 2: a list of these; 3: a list of these.
    depth: u8,
}

impl Coordinates {
    fn into_polygons(mut self) -> Result<Vec<Polygon>, String> {
        if self.depth == 2 {
            self.polygon_ends = vec![self.ring_ends.len() as u32];
        }
        let mut polygons = Vec::with_capacity(self.polygon_ends.len());
        let (mut first_ring, mut first_corner) = (0_usize, 0_usize);
        for (polygon, &last_ring) in self.polygon_ends.iter().enumerate() {
            let mut rings = Vec::with_capacity(last_ring as usize - first_ring);
            for (ring, &last_corner) in self.ring_ends[first_ring..last_ring as usize].iter().enumerate() {
                let corners = &self.corners[first_corner..last_corner as usize];
                let made = check_edges(corners).and_then(|()| Ring::new(corners)).map_err(|what| {
                    if self.depth == 2 { format!("[{ring}]: {what}") } else { format!("[{polygon}][{ring}]: {what}") }
                })?;
                rings.push(made);
                first_corner = last_corner as usize;
            }
            first_ring = last_ring as usize;
            polygons.push(Polygon::new(rings).ok_or_else(|| format!("[{polygon}]: has no ring"))?);
        }
        Ok(polygons)
    }
}

impl Coordinates {
    fn into_stretches(self, half_width_m: f64) -> Result<Vec<Stretch>, String> {
        let mut stretches = Vec::new();
        let mut first = 0;
        for (line, &last) in self.ring_ends.iter().enumerate() {
            let corners = &self.corners[first..last as usize];
            let cut = check_edges(corners).and_then(|()| corridor::stretches(corners, half_width_m));
            let of_many = |what| if self.depth == 1 { format!(": {what}") } else { format!("[{line}]: {what}") };
            stretches.extend(cut.map_err(of_many)?);
            first = last as usize;
        }
        Ok(stretches)
    }
}

/// GeoJSON is planar: an edge from 179 to -179 would go round the world the other way and turn the area inside out.
fn check_edges(corners: &[Coord<f64>]) -> Result<(), String> {
    let too_long = |edge: &&[Coord<f64>]| {
        let degrees = (edge[1].x - edge[0].x).abs();
        degrees > EDGE_DEGREES_MAX && degrees < WHOLE_WORLD_DEGREES
    };
    let Some(edge) = corners.windows(2).find(too_long) else { return Ok(()) };
    Err(format!(
        "the edge from [{}, {}] to [{}, {}] is longer than {EDGE_DEGREES_MAX} degrees of longitude: if the area lies \
         over the 180th meridian, cut it there into a MultiPolygon; if it is that wide, put a corner between",
        edge[0].x, edge[0].y, edge[1].x, edge[1].y
    ))
}

/// Reads one level of nesting into the flat lists and says which it was.
struct Level<'a>(&'a mut Coordinates);

/// What stood at a place.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    Number(f64),
    /// A list of this depth.
    List(u8),
}

impl<'de> Deserialize<'de> for Coordinates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut coordinates = Coordinates::default();
        match Level(&mut coordinates).deserialize(deserializer)? {
            Found::Number(_) => Err(D::Error::custom("coordinates are a list")),
            Found::List(depth) => {
                coordinates.depth = depth;
                coordinates.corners.shrink_to_fit();
                Ok(coordinates)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Found;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("numbers or lists of coordinates")
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Found, E> {
        Ok(Found::Number(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Found, E> {
        Ok(Found::Number(value as f64))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Found, E> {
        Ok(Found::Number(value as f64))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let Level(coordinates) = self;
        let Some(first) = list.next_element_seed(Level(&mut *coordinates))? else {
            return Err(A::Error::custom("an empty list of coordinates"));
        };
        match first {
            Found::Number(x) => {
                let Some(Found::Number(y)) = list.next_element_seed(Level(&mut *coordinates))? else {
                    return Err(A::Error::custom("a position is [longitude, latitude]"));
                };
                // A third number is an altitude.
                while let Some(more) = list.next_element_seed(Level(&mut *coordinates))? {
                    if !matches!(more, Found::Number(_)) {
                        return Err(A::Error::custom("a position holds only numbers"));
                    }
                }
                coordinates.corners.push(Coord { x, y });
                Ok(Found::List(0))
            }
            Found::List(below) => {
                if below >= 3 {
                    return Err(A::Error::custom("coordinates are nested too deeply"));
                }
                while let Some(next) = list.next_element_seed(Level(&mut *coordinates))? {
                    if next != Found::List(below) {
                        return Err(A::Error::custom("coordinates are nested unevenly"));
                    }
                }
                match below {
                    0 => coordinates.ring_ends.push(coordinates.corners.len() as u32),
                    1 => coordinates.polygon_ends.push(coordinates.ring_ends.len() as u32),
                    _ => {}
                }
                Ok(Found::List(below + 1))
            }
        }
    }
}
