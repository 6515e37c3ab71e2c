//! A closed ring of corners that answers quickly which side of it a position is on.
//!
//! The ring is cut into bands of latitude; each knows the edges that reach into it. A position looks only at its own
//! band, so a ring of 100,000 corners costs about as much as one of ten.

use geo::Coord;
use geo::kernels::{Kernel, Orientation, RobustKernel};

use crate::segment::{self, squared_distance_to_origin};

/// Metres of a degree of latitude on the sphere that `geo`'s haversine uses too.
pub const METRES_PER_DEGREE: f64 = 6_371_008.8 * std::f64::consts::PI / 180.0;
/// Edges that are looked at without bands.
const EDGES_WITHOUT_BANDS: usize = 12;
/// A bound on what the bands hold, as a multiple of the edges: tall edges stand in many bands.
const ENTRIES_PER_EDGE: usize = 3;

/// On which side of a ring a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Enclosed an odd number of times.
    Inside,
    /// On an edge or a corner.
    Boundary,
    /// Neither.
    Outside,
}

/// A box of degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// South-west.
    pub min: Coord<f64>,
    /// North-east.
    pub max: Coord<f64>,
}

impl Bounds {
    /// Edges included.
    #[inline]
    #[must_use]
    pub fn hold(&self, place: Coord<f64>) -> bool {
        place.x >= self.min.x && place.x <= self.max.x && place.y >= self.min.y && place.y <= self.max.y
    }
}

/// A closed ring; its last corner is its first.
pub struct Ring {
    corners: Box<[Coord<f64>]>,
    bounds: Bounds,
    bands_per_degree: f64,
    /// Where each band's edges start in `edges`, and at the end where the last one's stop. Empty: there are no bands.
    starts: Box<[u32]>,
    /// Edges by band; edge `n` goes from corner `n` to the next.
    edges: Box<[u32]>,
}

impl Ring {
    /// Makes a ring.
    ///
    /// # Errors
    /// When it is not closed or has fewer than four corners (the last repeats the first).
    pub fn new(corners: &[Coord<f64>]) -> Result<Self, String> {
        if corners.len() < 4 {
            return Err(format!("a ring has at least four corners, this one has {}", corners.len()));
        }
        if corners.first() != corners.last() {
            return Err("the ring is not closed: its last corner is not its first".to_owned());
        }
        let mut bounds = Bounds { min: corners[0], max: corners[0] };
        for corner in corners {
            bounds.min = Coord { x: bounds.min.x.min(corner.x), y: bounds.min.y.min(corner.y) };
            bounds.max = Coord { x: bounds.max.x.max(corner.x), y: bounds.max.y.max(corner.y) };
        }
        let mut ring = Self {
            corners: corners.into(),
            bounds,
            bands_per_degree: 0.0,
            starts: Box::default(),
            edges: Box::default(),
        };
        ring.cut_into_bands();
        Ok(ring)
    }

    /// The box around it.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn cut_into_bands(&mut self) {
        let height = self.bounds.max.y - self.bounds.min.y;
        let edges = self.corners.len() - 1;
        if edges <= EDGES_WITHOUT_BANDS || height <= 0.0 {
            return;
        }
        let climbed: f64 = self.corners.windows(2).map(|edge| (edge[1].y - edge[0].y).abs()).sum();
        // An edge stands in one band and one more for every band that it climbs.
        let bands = ((ENTRIES_PER_EDGE - 1) as f64 * edges as f64 * height / climbed) as usize;
        let bands = bands.clamp(1, edges);
        if bands < 2 {
            return;
        }
        self.bands_per_degree = bands as f64 / height;
        let mut starts = vec![0_u32; bands + 1];
        for edge in 0..edges {
            let (low, high) = self.bands_of(edge, bands);
            for band in low..=high {
                starts[band + 1] += 1;
            }
        }
        for band in 0..bands {
            starts[band + 1] += starts[band];
        }
        let mut filled = starts.clone();
        let mut by_band = vec![0_u32; starts[bands] as usize];
        for edge in 0..edges {
            let (low, high) = self.bands_of(edge, bands);
            for slot in &mut filled[low..=high] {
                by_band[*slot as usize] = edge as u32;
                *slot += 1;
            }
        }
        self.starts = starts.into();
        self.edges = by_band.into();
    }

    fn bands_of(&self, edge: usize, bands: usize) -> (usize, usize) {
        let (from, to) = (self.corners[edge].y, self.corners[edge + 1].y);
        (self.band(from.min(to), bands), self.band(from.max(to), bands))
    }

    /// Never falls when the latitude rises, so a latitude between those of an edge's ends is in a band between theirs.
    #[inline]
    fn band(&self, latitude: f64, bands: usize) -> usize {
        (((latitude - self.bounds.min.y) * self.bands_per_degree) as usize).min(bands - 1)
    }

    /// On which side of the ring a position is: exact for the corners as they are.
    #[inline]
    #[must_use]
    pub fn side(&self, place: Coord<f64>) -> Side {
        if !self.bounds.hold(place) {
            return Side::Outside;
        }
        let mut crossings = Crossings { place, odd: false };
        if self.starts.is_empty() {
            for edge in self.corners.windows(2) {
                if crossings.count(edge[0], edge[1]) {
                    return Side::Boundary;
                }
            }
        } else {
            let band = self.band(place.y, self.starts.len() - 1);
            for &edge in &self.edges[self.starts[band] as usize..self.starts[band + 1] as usize] {
                let edge = edge as usize;
                if crossings.count(self.corners[edge], self.corners[edge + 1]) {
                    return Side::Boundary;
                }
            }
        }
        if crossings.odd { Side::Inside } else { Side::Outside }
    }

    /// True when an edge is not farther than this. Distances are taken on a plane that touches the sphere at the
    /// position: good to a part in a thousand for some kilometres.
    #[must_use]
    pub fn is_near(&self, place: Coord<f64>, metres: f64) -> bool {
        let scale = Coord { x: METRES_PER_DEGREE * place.y.to_radians().cos(), y: METRES_PER_DEGREE };
        let reach = metres / METRES_PER_DEGREE;
        let (south, north) = (place.y - reach, place.y + reach);
        let aside = (self.bounds.min.x - place.x).max(place.x - self.bounds.max.x) * scale.x;
        if north < self.bounds.min.y || south > self.bounds.max.y || aside > metres {
            return false;
        }
        let near = |edge: usize| {
            let from =
                Coord { x: (self.corners[edge].x - place.x) * scale.x, y: (self.corners[edge].y - place.y) * scale.y };
            let next = self.corners[edge + 1];
            let to = Coord { x: (next.x - place.x) * scale.x, y: (next.y - place.y) * scale.y };
            squared_distance_to_origin(from, to) <= metres * metres
        };
        if self.starts.is_empty() {
            return (0..self.corners.len() - 1).any(near);
        }
        let bands = self.starts.len() - 1;
        let (low, high) = (self.band(south, bands), self.band(north, bands));
        self.edges[self.starts[low] as usize..self.starts[high + 1] as usize].iter().any(|&edge| near(edge as usize))
    }

    /// True when the straight way between two positions touches an edge or a corner; exact for the corners as they are.
    #[must_use]
    pub fn meets(&self, way: [Coord<f64>; 2]) -> bool {
        let Bounds { min, max } = segment::bounds(way[0], way[1]);
        if max.x < self.bounds.min.x
            || min.x > self.bounds.max.x
            || max.y < self.bounds.min.y
            || min.y > self.bounds.max.y
        {
            return false;
        }
        let meets = |edge: usize| segment::meet(way, [self.corners[edge], self.corners[edge + 1]]);
        if self.starts.is_empty() {
            return (0..self.corners.len() - 1).any(meets);
        }
        let bands = self.starts.len() - 1;
        let (low, high) = (self.band(min.y, bands), self.band(max.y, bands));
        self.edges[self.starts[low] as usize..self.starts[high + 1] as usize].iter().any(|&edge| meets(edge as usize))
    }
}

/// Counts the edges that a ray to the east crosses.
struct Crossings {
    place: Coord<f64>,
    odd: bool,
}

impl Crossings {
    /// True when the position is on the edge.
    #[inline]
    fn count(&mut self, from: Coord<f64>, to: Coord<f64>) -> bool {
        let place = self.place;
        if from.x < place.x && to.x < place.x {
            return false;
        }
        if from.y == place.y && to.y == place.y {
            return from.x.min(to.x) <= place.x && place.x <= from.x.max(to.x);
        }
        // An end on the ray belongs to the edge below it, so a corner counts once and a peak twice or not at all.
        if (from.y > place.y) == (to.y > place.y) {
            return to == place || from == place;
        }
        if from.x > place.x && to.x > place.x {
            self.odd = !self.odd;
            return false;
        }
        match RobustKernel::orient2d(from, to, place) {
            Orientation::Collinear => return true,
            side => {
                if (side == Orientation::CounterClockwise) == (to.y > from.y) {
                    self.odd = !self.odd;
                }
            }
        }
        false
    }
}
