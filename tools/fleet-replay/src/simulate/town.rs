//! Streets, depots and zones.

use super::geography::Geography;
use super::zones::{self, Zone};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const COLUMNS: usize = 22;
const ROWS: usize = 16;
/// Every so many streets there is a main one.
const MAIN_STREET_ONE_IN: usize = 4;
/// 50 km/h.
const MAIN_STREET_LIMIT: f64 = 13.9;
/// 30 km/h.
const SIDE_STREET_LIMIT: f64 = 8.3;
/// Streets are not quite straight.
const BEND_M: f64 = 12.0;
/// Narrowest and widest block.
const BLOCK_M: std::ops::Range<f64> = 150.0..240.0;

/// A crossing of two streets.
pub(crate) type Crossing = usize;

/// A grid of streets. Distances are metres from its south-west corner.
#[derive(Debug)]
pub(crate) struct Town {
    crossings: Vec<(f64, f64)>,
    depots: [Crossing; 2],
    zones: Vec<Zone>,
}

impl Town {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut lines = |count: usize| {
            let mut at = 0.0;
            (0..count)
                .map(|_| {
                    at += random.random_range(BLOCK_M);
                    at
                })
                .collect::<Vec<f64>>()
        };
        let (xs, ys) = (lines(COLUMNS), lines(ROWS));
        let size_m = (xs[COLUMNS - 1] + BLOCK_M.start, ys[ROWS - 1] + BLOCK_M.start);
        let mut crossings = Vec::with_capacity(COLUMNS * ROWS);
        for y in &ys {
            for x in &xs {
                let mut bend = || random.random_range(-BEND_M..BEND_M);
                crossings.push((x + bend(), y + bend()));
            }
        }
        let depots = [
            crossing(random.random_range(2..5), random.random_range(ROWS - 4..ROWS - 1)),
            crossing(random.random_range(COLUMNS - 5..COLUMNS - 2), random.random_range(1..4)),
        ];
        let zones = zones::plan(size_m, depots.map(|depot| crossings[depot]), &mut random);
        Self { crossings, depots, zones }
    }

    pub(crate) fn geography(&self) -> Geography {
        Geography::new()
    }

    /// Width and height.
    #[cfg(test)]
    pub(crate) fn size_m(&self) -> (f64, f64) {
        self.crossings.iter().fold((0.0, 0.0), |(width, height), (x, y)| (x.max(width), y.max(height)))
    }

    #[cfg(test)]
    pub(crate) fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// A FeatureCollection, as the geofence's config takes it.
    pub(crate) fn zones_geojson(&self) -> Value {
        let features: Vec<Value> = self.zones.iter().map(|zone| zone.geojson(self.geography())).collect();
        json!({ "type": "FeatureCollection", "features": features })
    }

    pub(crate) fn place(&self, crossing: Crossing) -> (f64, f64) {
        self.crossings[crossing]
    }

    pub(crate) fn any_crossing(&self, random: &mut StdRng) -> Crossing {
        random.random_range(0..self.crossings.len())
    }

    pub(crate) fn any_depot(&self, random: &mut StdRng) -> Crossing {
        self.depots[random.random_range(0..self.depots.len())]
    }

    /// A next crossing on a shortest way, at least one block nearer; `None` when there.
    pub(crate) fn towards(&self, from: Crossing, to: Crossing, random: &mut StdRng) -> Option<Crossing> {
        let ((column, row), (to_column, to_row)) = (column_row(from), column_row(to));
        let along_row = column != to_column;
        let along_column = row != to_row;
        let take_row = match (along_row, along_column) {
            (false, false) => return None,
            (true, false) => true,
            (false, true) => false,
            // Drivers prefer main streets.
            (true, true) => match (row % MAIN_STREET_ONE_IN == 0, column % MAIN_STREET_ONE_IN == 0) {
                (true, false) => random.random_bool(0.85),
                (false, true) => random.random_bool(0.15),
                _ => random.random_bool(0.5),
            },
        };
        let step = |at: usize, goal: usize| if at < goal { at + 1 } else { at - 1 };
        Some(if take_row { crossing(step(column, to_column), row) } else { crossing(column, step(row, to_row)) })
    }

    /// The speed limit between two neighbouring crossings, m/s.
    pub(crate) fn limit(&self, from: Crossing, to: Crossing) -> f64 {
        let ((column, row), (to_column, _)) = (column_row(from), column_row(to));
        let street = if column == to_column { column } else { row };
        if street.is_multiple_of(MAIN_STREET_ONE_IN) { MAIN_STREET_LIMIT } else { SIDE_STREET_LIMIT }
    }

    /// Whether a crossing has traffic lights: where main streets meet.
    pub(crate) fn has_lights(&self, at: Crossing) -> bool {
        let (column, row) = column_row(at);
        column.is_multiple_of(MAIN_STREET_ONE_IN) && row.is_multiple_of(MAIN_STREET_ONE_IN)
    }
}

fn crossing(column: usize, row: usize) -> Crossing {
    row * COLUMNS + column
}

fn column_row(crossing: Crossing) -> (usize, usize) {
    (crossing % COLUMNS, crossing / COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_ends_at_its_goal() {
        let town = Town::new(5);
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..200 {
            let (mut at, to) = (town.any_crossing(&mut random), town.any_crossing(&mut random));
            let mut blocks = 0;
            while let Some(next) = town.towards(at, to, &mut random) {
                let ((x, y), (next_x, next_y)) = (town.place(at), town.place(next));
                assert!((x - next_x).hypot(y - next_y) < BLOCK_M.end + 4.0 * BEND_M);
                at = next;
                blocks += 1;
            }
            assert!(at == to && blocks <= COLUMNS + ROWS);
        }
    }
}
