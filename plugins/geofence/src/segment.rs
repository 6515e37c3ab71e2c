//! Straight pieces between two positions on a plane: where they meet and how far they are apart.

use geo::Coord;
use geo::kernels::{Kernel, Orientation, RobustKernel};

use crate::ring::{Bounds, METRES_PER_DEGREE};

/// A plane that touches the sphere at a place, in metres from there. Good to a part in a thousand for some kilometres.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane {
    origin: Coord<f64>,
    scale: Coord<f64>,
}

impl Plane {
    /// The plane at a place in degrees.
    #[inline]
    pub(crate) fn at(origin: Coord<f64>) -> Self {
        Self { origin, scale: Coord { x: METRES_PER_DEGREE * origin.y.to_radians().cos(), y: METRES_PER_DEGREE } }
    }

    /// A position in degrees, in metres east and north of the origin.
    #[inline]
    pub(crate) fn metres(&self, place: Coord<f64>) -> Coord<f64> {
        Coord { x: (place.x - self.origin.x) * self.scale.x, y: (place.y - self.origin.y) * self.scale.y }
    }
}

/// The box around two positions.
pub(crate) fn bounds(from: Coord<f64>, to: Coord<f64>) -> Bounds {
    Bounds {
        min: Coord { x: from.x.min(to.x), y: from.y.min(to.y) },
        max: Coord { x: from.x.max(to.x), y: from.y.max(to.y) },
    }
}

/// Of the origin to the segment.
#[inline]
pub(crate) fn squared_distance_to_origin(from: Coord<f64>, to: Coord<f64>) -> f64 {
    let along = to - from;
    let length = along.x * along.x + along.y * along.y;
    let at = if length > 0.0 { (-(from.x * along.x + from.y * along.y) / length).clamp(0.0, 1.0) } else { 0.0 };
    let nearest = from + along * at;
    nearest.x * nearest.x + nearest.y * nearest.y
}

/// Between two segments, each given by its ends; 0 where they meet.
pub(crate) fn squared_distance(one: [Coord<f64>; 2], other: [Coord<f64>; 2]) -> f64 {
    if meet(one, other) {
        return 0.0;
    }
    let to_one = other.map(|end| squared_distance_to_origin(one[0] - end, one[1] - end));
    let to_other = one.map(|end| squared_distance_to_origin(other[0] - end, other[1] - end));
    to_one.into_iter().chain(to_other).fold(f64::INFINITY, f64::min)
}

/// True when the segments have a position in common, ends included; exact for the numbers as they are.
pub(crate) fn meet(one: [Coord<f64>; 2], other: [Coord<f64>; 2]) -> bool {
    let (box_one, box_other) = (bounds(one[0], one[1]), bounds(other[0], other[1]));
    if box_one.max.x < box_other.min.x
        || box_other.max.x < box_one.min.x
        || box_one.max.y < box_other.min.y
        || box_other.max.y < box_one.min.y
    {
        return false;
    }
    let ends_of_one = one.map(|end| RobustKernel::orient2d(other[0], other[1], end));
    let ends_of_other = other.map(|end| RobustKernel::orient2d(one[0], one[1], end));
    let apart = |sides: [Orientation; 2]| sides[0] == sides[1] && sides[0] != Orientation::Collinear;
    // On one line the boxes have decided.
    !apart(ends_of_one) && !apart(ends_of_other)
}

/// 1 for a way that goes over the line from its left to its right, -1 the other way, 0 when it does not. Ways count as
/// a hair farther east, and a hair's hair farther north, than they are: so one that stops on the line and goes on, or
/// passes over a corner, is told once, and one that only touches is told twice or not at all.
pub(crate) fn crossing(way: [Coord<f64>; 2], line: [Coord<f64>; 2]) -> i32 {
    let (was_left, is_left) = (left_of(line, way[0], 1.0), left_of(line, way[1], 1.0));
    if was_left == is_left || line[0] == line[1] || left_of(way, line[0], -1.0) == left_of(way, line[1], -1.0) {
        return 0;
    }
    if was_left { 1 } else { -1 }
}

/// On which side of a line of some length a place is that is moved by a hair: east for 1, west for -1.
fn left_of(line: [Coord<f64>; 2], place: Coord<f64>, hair: f64) -> bool {
    match RobustKernel::orient2d(line[0], line[1], place) {
        Orientation::CounterClockwise => true,
        Orientation::Clockwise => false,
        // East of a line to the north is right; along a line to the east the hair's hair to the north is left.
        Orientation::Collinear if line[0].y != line[1].y => (line[1].y < line[0].y) == (hair > 0.0),
        Orientation::Collinear => (line[0].x < line[1].x) == (hair > 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(x: f64, y: f64) -> Coord<f64> {
        Coord { x, y }
    }

    #[test]
    fn segments_that_touch_meet_and_those_on_one_line_only_where_they_overlap() {
        let one = [at(0.0, 0.0), at(2.0, 0.0)];
        assert!(meet(one, [at(1.0, -1.0), at(1.0, 1.0)]));
        assert!(meet(one, [at(2.0, 0.0), at(3.0, 5.0)]), "an end on an end");
        assert!(meet(one, [at(1.0, 0.0), at(1.0, 5.0)]), "an end on the middle");
        assert!(meet(one, [at(1.5, 0.0), at(9.0, 0.0)]), "overlapping");
        assert!(!meet(one, [at(2.5, 0.0), at(9.0, 0.0)]), "behind one another");
        assert!(!meet(one, [at(0.0, 1.0), at(2.0, 1.0)]), "parallel");
        assert!(meet([at(1.0, 0.0); 2], one), "a way of no length");
    }

    #[test]
    fn a_line_that_points_north_is_crossed_to_the_east_from_left_to_right() {
        let line = [at(0.0, -1.0), at(0.0, 1.0)];
        assert_eq!(crossing([at(-1.0, 0.0), at(1.0, 0.0)], line), 1);
        assert_eq!(crossing([at(1.0, 0.0), at(-1.0, 0.0)], line), -1);
        assert_eq!(crossing([at(-1.0, 2.0), at(1.0, 2.0)], line), 0, "past its end");
        assert_eq!(crossing([at(-1.0, 0.0), at(-0.5, 0.0)], line), 0);
        // A stop on the line is told once: on the way to it from the left, on the way on from the right.
        let through = |x: [f64; 3]| {
            crossing([at(x[0], 0.0), at(x[1], 0.0)], line) + crossing([at(x[1], 0.0), at(x[2], 0.0)], line)
        };
        assert_eq!(through([-1.0, 0.0, 1.0]), 1);
        assert_eq!(through([1.0, 0.0, -1.0]), -1);
        assert_eq!(through([-1.0, 0.0, -1.0]), 0);
    }

    proptest! {
        #[test]
        fn the_distance_of_segments_is_that_of_their_nearest_samples(ends in prop::array::uniform8(-5.0_f64..5.0)) {
            let one = [at(ends[0], ends[1]), at(ends[2], ends[3])];
            let other = [at(ends[4], ends[5]), at(ends[6], ends[7])];
            let sample = |segment: [Coord<f64>; 2], n: i32| segment[0] + (segment[1] - segment[0]) * (f64::from(n) / 200.0);
            let mut nearest = f64::INFINITY;
            for n in 0..=200 {
                for m in 0..=200 {
                    let between = sample(one, n) - sample(other, m);
                    nearest = nearest.min(between.x.hypot(between.y));
                }
            }
            let distance = squared_distance(one, other).sqrt();
            prop_assert!(distance <= nearest + 1e-9 && nearest <= distance + 0.15, "{} {}", distance, nearest);
        }

        /// Any way over a closed line of any form goes out as often as in.
        #[test]
        fn a_way_over_a_closed_line_and_back_adds_up_to_nothing(
            corners in prop::collection::vec((-4_i32..4, -4_i32..4), 3..12),
            stops in prop::collection::vec((-5_i32..5, -5_i32..5), 2..12),
        ) {
            let places = |list: &[(i32, i32)]| -> Vec<Coord<f64>> {
                let mut list: Vec<_> = list.iter().map(|&(x, y)| at(f64::from(x), f64::from(y))).collect();
                list.push(list[0]);
                list
            };
            let (line, way) = (places(&corners), places(&stops));
            let mut sum = 0;
            for leg in way.windows(2) {
                for piece in line.windows(2) {
                    sum += crossing([leg[0], leg[1]], [piece[0], piece[1]]);
                }
            }
            prop_assert_eq!(sum, 0);
        }
    }
}
