//! The zones of the town: one of each shape that a geofence knows.

use super::geography::Geography;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// Corners in metres, without the closing one.
type Ring = Vec<(f64, f64)>;

/// An area with a name.
#[derive(Debug)]
pub(crate) struct Zone {
    id: &'static str,
    name: &'static str,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// An outline and holes.
    Area(Ring, Vec<Ring>),
    /// Several outlines.
    Areas(Vec<Ring>),
    /// A centre and a radius.
    Circle((f64, f64), f64),
}

/// Lays the zones out.
pub(crate) fn plan(size_m: (f64, f64), depots: [(f64, f64); 2], random: &mut StdRng) -> Vec<Zone> {
    let (width, height) = size_m;
    let mut near = |x: f64, y: f64| {
        (width * (x + random.random_range(-0.04..0.04)), height * (y + random.random_range(-0.04..0.04)))
    };
    let centre = near(0.5, 0.5);
    let (school, hospital) = (near(0.28, 0.3), near(0.75, 0.72));
    let (pier, quay, works) = (near(0.9, 0.35), near(0.92, 0.55), near(0.15, 0.15));
    let zone = |id, name, shape| Zone { id, name, shape };
    vec![
        zone("depot-north", "Depot North", Shape::Area(around(depots[0], 110.0, 4), Vec::new())),
        zone("depot-south", "Depot South", Shape::Area(around(depots[1], 110.0, 4), Vec::new())),
        zone("old-town", "Old town, without the castle park", {
            Shape::Area(around(centre, 420.0, 12), vec![around(centre, 120.0, 8)])
        }),
        zone("low-emission", "Low-emission zone", Shape::Area(around(centre, 900.0, 24), Vec::new())),
        zone("harbour", "Harbour, two basins", Shape::Areas(vec![around(pier, 200.0, 6), around(quay, 170.0, 5)])),
        zone("works", "Brick works", Shape::Area(around(works, 330.0, 7), Vec::new())),
        zone("school", "School, within 160 m", Shape::Circle(school, 160.0)),
        zone("hospital", "Hospital, within 220 m", Shape::Circle(hospital, 220.0)),
    ]
}

/// A regular polygon, counter-clockwise as RFC 7946 wants an outline.
fn around((x, y): (f64, f64), radius: f64, corners: usize) -> Ring {
    (0..corners)
        .map(|corner| {
            let angle = (corner as f64 + 0.5) / corners as f64 * std::f64::consts::TAU;
            (x + radius * angle.cos(), y + radius * angle.sin())
        })
        .collect()
}

impl Zone {
    pub(crate) fn geojson(&self, geography: Geography) -> Value {
        // Seven decimals: a centimetre.
        let rounded = |degrees: f64| (degrees * 1e7).round() / 1e7;
        let position = |(x, y): (f64, f64)| {
            let (latitude, longitude) = geography.degrees(x, y);
            json!([rounded(longitude), rounded(latitude)])
        };
        let closed = |ring: &Ring| -> Vec<Value> { ring.iter().chain(ring.first()).map(|at| position(*at)).collect() };
        // Holes run the other way round.
        let hole = |ring: &Ring| -> Vec<Value> { closed(ring).into_iter().rev().collect() };
        let mut properties = json!({ "id": self.id, "name": self.name });
        let geometry = match &self.shape {
            Shape::Area(outline, holes) => {
                let rings: Vec<_> = std::iter::once(closed(outline)).chain(holes.iter().map(hole)).collect();
                json!({ "type": "Polygon", "coordinates": rings })
            }
            Shape::Areas(outlines) => {
                let areas: Vec<_> = outlines.iter().map(|outline| [closed(outline)]).collect();
                json!({ "type": "MultiPolygon", "coordinates": areas })
            }
            Shape::Circle(centre, radius) => {
                properties["radius_m"] = json!(radius);
                json!({ "type": "Point", "coordinates": position(*centre) })
            }
        };
        json!({ "type": "Feature", "id": self.id, "properties": properties, "geometry": geometry })
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, x: f64, y: f64) -> bool {
        let inside = |ring: &Ring| {
            let pairs = ring.iter().zip(ring.iter().cycle().skip(1));
            pairs.filter(|(a, b)| (a.1 > y) != (b.1 > y) && x < (b.0 - a.0) * (y - a.1) / (b.1 - a.1) + a.0).count() % 2
                == 1
        };
        match &self.shape {
            Shape::Area(outline, holes) => inside(outline) && !holes.iter().any(inside),
            Shape::Areas(outlines) => outlines.iter().any(inside),
            Shape::Circle(centre, radius) => (x - centre.0).hypot(y - centre.1) <= *radius,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::simulate::Town;

    #[test]
    fn zones_have_ids_closed_rings_and_every_shape() {
        let zones = Town::new(1).zones_geojson();
        let features = zones["features"].as_array().unwrap();
        assert!((6..=10).contains(&features.len()));
        let mut shapes: Vec<&str> = features.iter().map(|f| f["geometry"]["type"].as_str().unwrap()).collect();
        shapes.sort_unstable();
        shapes.dedup();
        assert_eq!(shapes, ["MultiPolygon", "Point", "Polygon"]);
        for feature in features {
            assert_eq!(feature["id"], feature["properties"]["id"]);
            if feature["geometry"]["type"] == "Polygon" {
                for ring in feature["geometry"]["coordinates"].as_array().unwrap() {
                    let ring = ring.as_array().unwrap();
                    assert!(ring.len() >= 4 && ring.first() == ring.last());
                }
            } else if feature["geometry"]["type"] == "Point" {
                assert!(feature["properties"]["radius_m"].as_f64().unwrap() > 0.0);
            }
        }
    }
}
