//! Lines: corridors, which hold what is within half their width, and gates, which have no width and are only crossed.
//!
//! A line is cut into stretches of a few pieces. Each is a part of its zone with a box of its own in the zones' R-tree,
//! so a long road costs a position no more than a short one.

use geo::Coord;

use crate::ring::{Bounds, METRES_PER_DEGREE};
use crate::segment::{self, Plane};

/// The widest corridor: beyond it the flat approximation of distances is no longer good.
pub const WIDTH_M_MAX: f64 = 20_000.0;
/// Pieces of one stretch.
const STRETCH_PIECES: usize = 16;
/// Once round the world.
const ROUND_DEGREES: f64 = 360.0;

/// Some pieces of a line, one behind the other, and how far to each side of them the zone reaches.
pub struct Stretch {
    corners: Box<[Coord<f64>]>,
    half_width_m: f64,
    bounds: Bounds,
    /// It reaches over the 180th meridian or round a pole: positions on the other side are looked at, too.
    wraps: bool,
}

/// Cuts a line of at least two corners into stretches; `half_width_m` is 0 for a gate.
///
/// # Errors
/// When it has fewer corners.
pub fn stretches(corners: &[Coord<f64>], half_width_m: f64) -> Result<Vec<Stretch>, String> {
    if corners.len() < 2 {
        return Err(format!("a line has at least two positions, this one has {}", corners.len()));
    }
    let starts = (0..corners.len() - 1).step_by(STRETCH_PIECES);
    // A stretch ends where the next begins.
    let cut = starts.map(|start| &corners[start..corners.len().min(start + STRETCH_PIECES + 1)]);
    Ok(cut.map(|corners| Stretch::new(corners, half_width_m)).collect())
}

impl Stretch {
    fn new(corners: &[Coord<f64>], half_width_m: f64) -> Self {
        let mut bounds = Bounds { min: corners[0], max: corners[0] };
        for corner in corners {
            bounds.min = Coord { x: bounds.min.x.min(corner.x), y: bounds.min.y.min(corner.y) };
            bounds.max = Coord { x: bounds.max.x.max(corner.x), y: bounds.max.y.max(corner.y) };
        }
        let mut wraps = false;
        if half_width_m > 0.0 {
            // A little more than the corridor: the distance decides.
            let reach = half_width_m / METRES_PER_DEGREE * (1.0 + 1e-9) + 1e-9;
            bounds.min.y -= reach;
            bounds.max.y += reach;
            let farthest = bounds.max.y.max(-bounds.min.y);
            let aside = if farthest >= 90.0 { ROUND_DEGREES } else { reach / farthest.to_radians().cos() + 1e-9 };
            bounds.min.x -= aside;
            bounds.max.x += aside;
            wraps = bounds.min.x < -180.0 || bounds.max.x > 180.0;
            if wraps {
                (bounds.min.x, bounds.max.x) = (-180.0, 180.0);
            }
        }
        Self { corners: corners.into(), half_width_m, bounds, wraps }
    }

    /// The box around it, its width included.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// True for a stretch without width: it holds nothing.
    #[must_use]
    pub fn is_gate(&self) -> bool {
        self.half_width_m == 0.0
    }

    /// True when the place is not farther than half the width from the line. Distances are taken on a plane that
    /// touches the sphere at the place: good to a part in a thousand.
    // Not inlined, so that polygons, of which most zones are made, are.
    #[inline(never)]
    #[must_use]
    pub fn covers(&self, place: Coord<f64>) -> bool {
        !self.is_gate() && self.bounds.hold(place) && self.is_within(place, self.half_width_m)
    }

    /// True when the place is not farther than this from the corridor. A gate has nothing to be near to.
    #[must_use]
    pub fn is_near(&self, place: Coord<f64>, metres: f64) -> bool {
        let reach = metres / METRES_PER_DEGREE;
        let aside = reach / place.y.to_radians().cos().max(f64::MIN_POSITIVE);
        let beside = |x: f64| x < self.bounds.min.x - aside || x > self.bounds.max.x + aside;
        let beside = place.y < self.bounds.min.y - reach
            || place.y > self.bounds.max.y + reach
            || beside(place.x) && beside(place.x + ROUND_DEGREES) && beside(place.x - ROUND_DEGREES);
        !self.is_gate() && !beside && self.is_within(place, self.half_width_m + metres)
    }

    fn is_within(&self, place: Coord<f64>, metres: f64) -> bool {
        let near = |place: Coord<f64>| {
            let plane = Plane::at(place);
            self.corners.windows(2).any(|piece| {
                let (from, to) = (plane.metres(piece[0]), plane.metres(piece[1]));
                segment::squared_distance_to_origin(from, to) <= metres * metres
            })
        };
        let aside = |degrees: f64| Coord { x: place.x + degrees, y: place.y };
        near(place)
            || (self.wraps || metres > self.half_width_m) && (near(aside(ROUND_DEGREES)) || near(aside(-ROUND_DEGREES)))
    }

    /// True when the straight way between two positions comes within half the width of the line.
    #[must_use]
    pub fn meets(&self, way: [Coord<f64>; 2]) -> bool {
        let meets = |way: [Coord<f64>; 2]| {
            let plane = Plane::at((way[0] + way[1]) / 2.0);
            let flat = way.map(|end| plane.metres(end));
            self.corners.windows(2).any(|piece| {
                let piece = [plane.metres(piece[0]), plane.metres(piece[1])];
                segment::squared_distance(flat, piece) <= self.half_width_m * self.half_width_m
            })
        };
        let aside = |degrees: f64| way.map(|end| Coord { x: end.x + degrees, y: end.y });
        meets(way) || self.wraps && (meets(aside(ROUND_DEGREES)) || meets(aside(-ROUND_DEGREES)))
    }

    /// How often the way goes over the line from left to right, less how often from right to left.
    #[must_use]
    pub fn crossings(&self, way: [Coord<f64>; 2]) -> i32 {
        self.corners.windows(2).map(|piece| segment::crossing(way, [piece[0], piece[1]])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::{Distance, Haversine, Point};
    use proptest::prelude::*;

    fn at(x: f64, y: f64) -> Coord<f64> {
        Coord { x, y }
    }

    fn covers(stretches: &[Stretch], place: Coord<f64>) -> bool {
        stretches.iter().any(|stretch| stretch.covers(place))
    }

    /// Of the line's samples, on the sphere; the line is straight on longitude and latitude.
    fn nearest_m(corners: &[Coord<f64>], place: Coord<f64>) -> f64 {
        let samples = corners.windows(2).flat_map(|piece| {
            let (from, to) = (piece[0], piece[1]);
            (0..=2_000).map(move |n| from + (to - from) * (f64::from(n) / 2_000.0))
        });
        samples.map(|it| Haversine.distance(Point(it), Point(place))).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn a_corridor_holds_half_its_width_to_each_side_and_round_its_ends() {
        // On the equator 0.001 degrees are 111.2 m.
        let road = stretches(&[at(0.0, 0.0), at(1.0, 0.0)], 112.0).unwrap();
        for inside in [at(0.5, 0.0), at(0.5, 0.001), at(0.5, -0.001), at(1.001, 0.0), at(-0.001, 0.0)] {
            assert!(covers(&road, inside), "{inside:?}");
        }
        for outside in [at(0.5, 0.00101), at(1.00101, 0.0), at(1.0008, 0.0008)] {
            assert!(!covers(&road, outside), "{outside:?}");
        }
        assert!(road[0].is_near(at(0.5, 0.002), 112.0) && !road[0].is_near(at(0.5, 0.0021), 112.0));
    }

    #[test]
    fn a_gate_holds_nothing() {
        let gate = stretches(&[at(0.0, 0.0), at(1.0, 0.0)], 0.0).unwrap();
        assert!(!covers(&gate, at(0.5, 0.0)) && !gate[0].is_near(at(0.5, 0.0), 100.0));
    }

    #[test]
    fn a_corridor_reaches_over_the_180th_meridian() {
        let road = stretches(&[at(179.0, 0.0), at(180.0, 0.0)], 500.0).unwrap();
        assert!(covers(&road, at(-179.997, 0.001)) && !covers(&road, at(-179.99, 0.0)));
        assert!(road[0].meets([at(-179.997, -0.1), at(-179.997, 0.1)]));
        assert!(!road[0].meets([at(-179.99, -0.1), at(-179.99, 0.1)]));
    }

    #[test]
    fn a_long_line_is_cut_and_nothing_lies_between_the_stretches() {
        let corners: Vec<_> = (0..100).map(|n| at(f64::from(n) * 0.01, f64::from(n % 2) * 0.01)).collect();
        let road = stretches(&corners, 5.0).unwrap();
        assert_eq!(road.len(), 7);
        assert_eq!(road.iter().map(|it| it.corners.len() - 1).sum::<usize>(), 99);
        assert!(corners.iter().all(|&corner| covers(&road, corner)));
        assert!(stretches(&corners[..1], 5.0).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_corridor_is_what_is_near_its_line_on_the_sphere(
            steps in prop::collection::vec((-0.02_f64..0.02, -0.02_f64..0.02), 1..40),
            (lon, lat) in (-180.0_f64..180.0, -75.0_f64..75.0),
            half_width_m in 1.0_f64..3_000.0,
            places in prop::collection::vec((-0.06_f64..0.06, -0.06_f64..0.06), 12),
        ) {
            let mut corners = vec![at(lon, lat)];
            for (east, north) in steps {
                let last = corners[corners.len() - 1];
                corners.push(at((last.x + east).clamp(-180.0, 180.0), last.y + north));
            }
            let road = stretches(&corners, half_width_m).unwrap();
            for (east, north) in places {
                let mut place = at(lon + east, lat + north);
                if place.x.abs() > 180.0 {
                    place.x -= ROUND_DEGREES.copysign(place.x);
                }
                let distance = nearest_m(&corners, place);
                if distance < half_width_m * 0.99 - 1.0 {
                    prop_assert!(covers(&road, place), "{} of {}", distance, half_width_m);
                } else if distance > half_width_m * 1.01 + 1.0 {
                    prop_assert!(!covers(&road, place), "{} of {}", distance, half_width_m);
                }
            }
        }
    }
}
