//! What a zone covers.

use geo::{Coord, Distance, Haversine, Point};

use crate::corridor::Stretch;
use crate::ring::{Bounds, METRES_PER_DEGREE, Ring, Side};

/// Steps in search of the nearest place of a way of some kilometres, each leaves two thirds: to less than a millimetre.
const NEAREST_STEPS: usize = 50;

/// The area of a zone.
pub enum Shape {
    /// Polygons; a place in any of them is in the zone.
    Area(Vec<Polygon>),
    /// A circle on the sphere.
    Circle(Circle),
    /// Corridors or gates.
    Lines(Vec<Stretch>),
}

/// A ring and its holes.
pub struct Polygon {
    outer: Ring,
    holes: Box<[Ring]>,
}

impl Polygon {
    /// The first ring is the outer one, the others are holes. None without a ring.
    #[must_use]
    pub fn new(rings: Vec<Ring>) -> Option<Self> {
        let mut rings = rings.into_iter();
        let outer = rings.next()?;
        Some(Self { outer, holes: rings.collect() })
    }

    /// The box around it.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.outer.bounds()
    }

    /// Interior or boundary; a hole's edge is boundary.
    #[inline]
    #[must_use]
    pub fn covers(&self, place: Coord<f64>) -> bool {
        match self.outer.side(place) {
            Side::Outside => false,
            Side::Boundary => true,
            Side::Inside => self.holes.iter().all(|hole| hole.side(place) != Side::Inside),
        }
    }

    /// True when an edge, of a hole too, is not farther than this.
    #[must_use]
    pub fn is_near(&self, place: Coord<f64>, metres: f64) -> bool {
        self.outer.is_near(place, metres) || self.holes.iter().any(|hole| hole.is_near(place, metres))
    }

    /// True when the straight way between two positions touches an edge, of a hole too.
    #[must_use]
    pub fn meets(&self, way: [Coord<f64>; 2]) -> bool {
        self.outer.meets(way) || self.holes.iter().any(|hole| hole.meets(way))
    }
}

/// All places within a distance of a centre, by haversine.
pub struct Circle {
    centre: Point<f64>,
    radius_m: f64,
    bounds: Bounds,
}

impl Circle {
    /// A circle.
    #[must_use]
    pub fn new(centre: Coord<f64>, radius_m: f64) -> Self {
        // A little more than the circle: the exact distance decides.
        let reach = radius_m / METRES_PER_DEGREE * (1.0 + 1e-9) + 1e-9;
        let (south, north) = (centre.y - reach, centre.y + reach);
        let sine = reach.to_radians().sin() / centre.y.to_radians().cos();
        let aside =
            if south <= -90.0 || north >= 90.0 || sine >= 1.0 { 360.0 } else { sine.asin().to_degrees() + 1e-9 };
        let (mut west, mut east) = (centre.x - aside, centre.x + aside);
        if west < -180.0 || east > 180.0 {
            // Over the 180th meridian or a pole: the distance wraps by itself, the box can't.
            (west, east) = (-180.0, 180.0);
        }
        let bounds = Bounds { min: Coord { x: west, y: south }, max: Coord { x: east, y: north } };
        Self { centre: centre.into(), radius_m, bounds }
    }

    /// The box around it.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Not farther than the radius.
    #[must_use]
    pub fn covers(&self, place: Coord<f64>) -> bool {
        self.bounds.hold(place) && self.is_near(place, 0.0)
    }

    /// Not farther than this from the circle.
    #[must_use]
    pub fn is_near(&self, place: Coord<f64>, metres: f64) -> bool {
        Haversine.distance(self.centre, place.into()) <= self.radius_m + metres
    }

    /// True when the straight way between two positions, of some kilometres, comes within the radius.
    #[must_use]
    pub fn meets(&self, way: [Coord<f64>; 2]) -> bool {
        let place = |at: f64| way[0] + (way[1] - way[0]) * at;
        let distance = |at: f64| Haversine.distance(self.centre, place(at).into());
        // Along so short a way the distance falls and then rises.
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..NEAREST_STEPS {
            let (one, other) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
            if distance(one) <= distance(other) {
                high = other;
            } else {
                low = one;
            }
        }
        distance(low) <= self.radius_m
    }
}
