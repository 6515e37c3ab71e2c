//! What holds for all shapes, tracks and settings.

use std::collections::HashMap;

use geo::{Coord, Intersects, LineString, Point};
use geofence::ring::{Ring, Side};
use geofence::shape::Polygon;
use geofence::state::{Phase, ROW_BYTES, Row, SLOTS, Slot, Speeding};
use plugin_sdk::{Reading, Rows};
use proptest::prelude::*;

use crate::{config_of, new_rows, reading, rule, run, square};

/// Even-odd over all edges in whole numbers: slow, and exact.
fn side_in_whole_numbers(ring: &[(i64, i64)], (x, y): (i64, i64)) -> Side {
    let mut odd = false;
    for edge in ring.windows(2) {
        let ((x1, y1), (x2, y2)) = (edge[0], edge[1]);
        let turn = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1);
        let within = x >= x1.min(x2) && x <= x1.max(x2) && y >= y1.min(y2) && y <= y1.max(y2);
        if turn == 0 && within {
            return Side::Boundary;
        }
        if (y1 > y) != (y2 > y) && (turn > 0) == (y2 > y1) {
            odd = !odd;
        }
    }
    if odd { Side::Inside } else { Side::Outside }
}

fn corner((x, y): (i64, i64)) -> Coord<f64> {
    Coord { x: x as f64, y: y as f64 }
}

/// A ring around a middle that does not cross itself: corners by rising angle.
fn star(middle: Coord<f64>, radii: &[f64]) -> Vec<Coord<f64>> {
    let step = std::f64::consts::TAU / radii.len() as f64;
    let mut ring: Vec<Coord<f64>> = radii
        .iter()
        .enumerate()
        .map(|(n, radius)| {
            let (sin, cos) = (step * n as f64).sin_cos();
            Coord { x: middle.x + radius * cos, y: middle.y + radius * sin }
        })
        .collect();
    ring.push(ring[0]);
    ring
}

proptest! {
    /// Rings of any form, also crossing and touching themselves, with many positions on corners and edges.
    #[test]
    fn bands_and_filters_change_no_side(
        ring in prop::collection::vec((-12_i64..12, -12_i64..12), 3..120),
        places in prop::collection::vec((-13_i64..14, -13_i64..14), 60),
    ) {
        let mut ring = ring;
        ring.push(ring[0]);
        let corners: Vec<_> = ring.iter().copied().map(corner).collect();
        let fast = Ring::new(&corners).unwrap();
        for place in places.into_iter().chain(ring.iter().copied()) {
            prop_assert_eq!(fast.side(corner(place)), side_in_whole_numbers(&ring, place), "{:?}", place);
        }
    }

    /// A polygon with a hole against the geometry crate.
    #[test]
    fn polygons_cover_what_geo_says(
        outer in prop::collection::vec(2.0_f64..8.0, 3..150),
        hole in prop::collection::vec(0.2_f64..0.9, 3..40),
        places in prop::collection::vec((-9.0_f64..9.0, -9.0_f64..9.0), 100),
    ) {
        let middle = Coord { x: 0.25, y: -0.125 };
        let (outer, hole) = (star(middle, &outer), star(middle, &hole));
        let theirs = geo::Polygon::new(LineString(outer.clone()), vec![LineString(hole.clone())]);
        let ours = Polygon::new(vec![Ring::new(&outer).unwrap(), Ring::new(&hole).unwrap()]).unwrap();
        let places = places.into_iter().map(|(x, y)| Coord { x, y });
        for place in places.chain(outer.iter().copied()).chain(hole.iter().copied()) {
            prop_assert_eq!(ours.covers(place), theirs.intersects(&Point(place)), "{:?}", place);
        }
    }

    /// Near an edge by the plane against distances on the sphere.
    #[test]
    fn near_is_near_on_the_sphere(
        radii in prop::collection::vec(0.01_f64..0.03, 3..60),
        (lon, lat) in (-170.0_f64..170.0, -70.0_f64..70.0),
        (east, north) in (-0.05_f64..0.05, -0.05_f64..0.05),
        metres in 1.0_f64..3_000.0,
    ) {
        use geo::{Closest, Distance, Haversine, HaversineClosestPoint};
        let corners = star(Coord { x: lon, y: lat }, &radii);
        let place = Coord { x: lon + east, y: lat + north };
        let closest = LineString(corners.clone()).haversine_closest_point(&Point(place));
        if let Closest::SinglePoint(closest) | Closest::Intersection(closest) = closest {
            let distance = Haversine.distance(Point(place), closest);
            let ring = Ring::new(&corners).unwrap();
            // At these latitudes and distances the plane is off by less than this.
            if distance < metres * 0.99 {
                prop_assert!(ring.is_near(place, metres), "{} of {}", distance, metres);
            } else if distance > metres * 1.01 {
                prop_assert!(!ring.is_near(place, metres), "{} of {}", distance, metres);
            }
        }
    }

    /// Enters and exits of a vehicle and a zone take turns; their times do not fall and are not after their cause.
    #[test]
    fn enters_and_exits_alternate_and_batches_do_not_matter((config, readings, silent) in drives(), batch in 1_usize..20) {
        let mut rows = new_rows(VEHICLES as usize);
        let whole = run(&mut rule(&config), &mut rows, &readings, readings.len());
        let mut last: HashMap<(u32, &str), (bool, i64)> = HashMap::new();
        let mut cause = 0;
        for event in &whole {
            prop_assert!(event.reading >= cause);
            cause = event.reading;
            prop_assert!(event.time_ms <= readings[cause].event_time_ms);
            match last.insert((event.slot, event.zone.as_str()), (event.entered, event.time_ms)) {
                None => prop_assert!(event.entered || silent),
                Some((entered, time_ms)) => prop_assert!(entered != event.entered && time_ms <= event.time_ms),
            }
        }
        // In small batches, each by an instance of its own.
        let mut split_rows = new_rows(VEHICLES as usize);
        let mut split = Vec::new();
        for (number, chunk) in readings.chunks(batch).enumerate() {
            split_rows = Rows::new(split_rows.into_bytes(), ROW_BYTES as u32).unwrap();
            for mut event in run(&mut rule(&config), &mut split_rows, chunk, batch) {
                event.reading += number * batch;
                split.push(event);
            }
        }
        prop_assert_eq!(&split, &whole);
        prop_assert_eq!(split_rows.as_bytes(), rows.as_bytes());
    }

    /// Slots come out of a row as they went in.
    #[test]
    fn rows_keep_slots(
        slots in prop::collection::vec((1_u64.., 0_u8..5, -(1_i64 << 50)..1 << 50, any::<i64>(), any::<bool>()), 0..SLOTS),
        gone in 0..SLOTS,
    ) {
        let mut slots: Vec<Slot> = slots
            .into_iter()
            .map(|(zone, phase, since_ms, of_phase_ms, dwelt)| {
                let phase = match phase {
                    0 => Phase::Entering,
                    1 => Phase::Inside(Speeding::Under),
                    2 => Phase::Inside(Speeding::Over { since_ms: of_phase_ms }),
                    3 => Phase::Inside(Speeding::Told),
                    _ => Phase::Leaving { since_ms: of_phase_ms },
                };
                Slot { zone, since_ms, phase, dwelt }
            })
            .collect();
        let mut bytes = [0; ROW_BYTES];
        let mut row = Row::new(&mut bytes).unwrap();
        for slot in &slots {
            prop_assert!(row.push(*slot));
        }
        if gone < slots.len() {
            slots.remove(gone);
            row.remove(gone);
        }
        let row = Row::new(&mut bytes).unwrap();
        prop_assert_eq!((0..row.len()).map(|slot| row.get(slot)).collect::<Vec<_>>(), slots);
        prop_assert!(!row.is_seen());
    }
}

const VEHICLES: u32 = 3;

/// A config, tracks of some vehicles through overlapping zones, and whether the start is silent.
fn drives() -> impl Strategy<Value = (String, Vec<Reading>, bool)> {
    let settings = (any::<bool>(), 0_u32..400, 0_u32..40, 0_u32..40);
    let steps =
        prop::collection::vec((0..VEHICLES, 0_i64..20, -6_i32..7, -6_i32..7, prop::option::of(0.0_f32..40.0)), 1..200);
    (settings, steps).prop_map(|((silent, buffer, inside, outside), steps)| {
        let zones = [square("a", 0.0, 0.0, 0.02), square("b", 0.01, 0.0, 0.02), square("c", 0.012, 0.005, 0.005)];
        let initial = if silent { "silent" } else { "emit" };
        let rest = format!(
            r#","initial_state":"{initial}","exit_buffer_m":{buffer},"min_inside_s":{inside},"min_outside_s":{outside},"max_accuracy_m":30"#
        );
        let mut time_ms = 0;
        let mut places = [(0.0_f64, 0.01_f64); VEHICLES as usize];
        let mut readings = Vec::new();
        for (vehicle, seconds, east, north, accuracy) in steps {
            time_ms += seconds * 1_000;
            let place = &mut places[vehicle as usize];
            place.0 = (place.0 + f64::from(east) * 0.002).clamp(-0.02, 0.05);
            place.1 = (place.1 + f64::from(north) * 0.002).clamp(-0.02, 0.04);
            let mut reading = reading(vehicle, time_ms, place.0, place.1);
            reading.horizontal_accuracy = accuracy.unwrap_or(f32::NAN);
            readings.push(reading);
        }
        (config_of(&zones, &rest), readings, silent)
    })
}
