//! What holds with all features at once, for any way and any row.

use std::collections::HashMap;

use geofence::Geofence;
use geofence::state::{ROW_BYTES, Row};
use plugin_sdk::{Proposals, Reading, Rows, Rule, kind};
use proptest::prelude::*;

use crate::{config_of, feature, new_rows, reading, rule, square, square_with, tell};

const VEHICLES: u32 = 3;

fn config(rest: &str) -> String {
    let zones = [
        square_with("a", r#""speed_limit_kph":50,"dwell_s":30,"schedule":"night""#, 0.0, 0.0, 0.02),
        square_with("b", r#""altitude_min_m":10,"altitude_max_m":20,"speed_limit_kph":30"#, 0.01, 0.0, 0.02),
        square("c", 0.012, 0.005, 0.005),
        feature("gate", r#""width_m":0"#, "LineString", "[[0.015,-1],[0.015,0.01],[0.018,0.02]]"),
        feature("road", r#""width_m":300,"schedule":"even""#, "LineString", "[[-0.1,0.01],[0.02,0.012],[0.03,0.1]]"),
        feature("circle", r#""radius_m":700,"overspeed_min_s":0"#, "Point", "[0.03,0.01]"),
    ];
    let common = r#","speed_limit_kph":70,"overspeed_min_s":10,"overspeed_hysteresis_kph":5,"crossing":true,"dwell_s":60,
        "schedules":{"night":{"time_zone":"UTC","from":"23:50","to":"00:10"},
                     "even":{"time_zone":"CET-1CEST,M3.5.0,M10.5.0/3","from":"01:05","to":"01:20"}}"#;
    config_of(&zones, &format!("{common}{rest}"))
}

/// More fields of the config.
fn settings() -> impl Strategy<Value = String> {
    let choices = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (choices, 0_u32..400, 0_u32..40, 0_u32..40).prop_map(
        |((initial, start, end, altitude, prefer, zone_change), buffer, inside, outside)| {
            let loud = |silent| if silent { "silent" } else { "emit" };
            format!(
                r#","initial_state":"{}","on_schedule_start":"{}","on_schedule_end":"{}","without_altitude":"{}","prefer":"{}","on_zone_change":"{}","exit_buffer_m":{buffer},"min_inside_s":{inside},"min_outside_s":{outside}"#,
                loud(initial),
                loud(start),
                loud(end),
                if altitude { "inside" } else { "outside" },
                if prefer { "lowest" } else { "each" },
                if zone_change { "keep" } else { "reevaluate" },
            )
        },
    )
}

/// From a quarter to midnight on.
fn ways() -> impl Strategy<Value = Vec<Reading>> {
    let signals = (prop::option::of(5.0_f32..25.0), prop::option::of(0.0_f32..30.0));
    prop::collection::vec((0..VEHICLES, 0_i64..25, -9_i32..10, -9_i32..10, signals), 1..200).prop_map(|steps| {
        let mut time_ms = 86_400_000 - 15 * 60_000;
        let mut places = [(0.0_f64, 0.01_f64); VEHICLES as usize];
        let next =
            |(vehicle, seconds, east, north, (altitude, speed)): (u32, i64, i32, i32, (Option<f32>, Option<f32>))| {
                time_ms += seconds * 1_000;
                let place = &mut places[vehicle as usize];
                place.0 = (place.0 + f64::from(east) * 0.002).clamp(-0.02, 0.05);
                place.1 = (place.1 + f64::from(north) * 0.002).clamp(-0.02, 0.04);
                Reading {
                    altitude: altitude.unwrap_or(f32::NAN),
                    speed: speed.unwrap_or(f32::NAN),
                    ..reading(vehicle, time_ms, place.0, place.1)
                }
            };
        steps.into_iter().map(next).collect()
    })
}

/// Any number that a float can be.
fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), -0.02_f64..0.05, Just(f64::NAN), -180.0_f64..180.0]
}

proptest! {
    #[test]
    fn batches_cut_anywhere_tell_the_same(rest in settings(), readings in ways(), cuts in prop::collection::vec(1_usize..30, 1..9)) {
        let config = config(&rest);
        let mut rows = new_rows(VEHICLES as usize);
        let whole = tell(&config, &mut rows, &readings, readings.len());
        let mut split_rows = new_rows(VEHICLES as usize);
        let (mut split, mut start) = (Vec::new(), 0);
        for size in cuts.into_iter().cycle() {
            if start == readings.len() {
                break;
            }
            let end = (start + size).min(readings.len());
            for mut it in tell(&config, &mut split_rows, &readings[start..end], size) {
                it.reading += start;
                split.push(it);
            }
            start = end;
        }
        prop_assert_eq!(&split, &whole);
        prop_assert_eq!(split_rows.as_bytes(), rows.as_bytes());
    }

    /// Whatever is configured, the events of a vehicle and a zone make sense one after the other.
    #[test]
    fn stays_are_told_in_order(rest in settings(), readings in ways()) {
        let mut inside: HashMap<(u32, String), Option<bool>> = HashMap::new();
        let mut dwelt: HashMap<(u32, String), bool> = HashMap::new();
        for it in tell(&config(&rest), &mut new_rows(VEHICLES as usize), &readings, 64) {
            let cause = &readings[it.reading];
            prop_assert!(it.time_ms <= cause.event_time_ms);
            let stay = (cause.slot, it.zone.clone());
            let was = inside.get(&stay).copied().flatten();
            match it.kind {
                kind::ENTERED | kind::EXITED => {
                    let enters = it.kind == kind::ENTERED;
                    // A silent beginning or end leaves out one of the two.
                    prop_assert!(was != Some(enters) || rest.contains("silent"), "{:?}", it);
                    inside.insert(stay.clone(), Some(enters));
                    dwelt.insert(stay, false);
                }
                kind::CROSSED => {
                    prop_assert!(was != Some(true) || rest.contains("silent"), "{:?}", it);
                    prop_assert_eq!(it.value.is_some(), it.zone == "gate");
                }
                kind::DWELL => {
                    prop_assert!(dwelt.insert(stay, true) != Some(true) || rest.contains("silent"), "{:?}", it);
                    let least = if it.zone == "a" { 30.0 } else { 60.0 };
                    prop_assert!(it.value >= Some(least));
                }
                kind::OVERSPEED => {
                    prop_assert!(was != Some(false) || rest.contains("silent"), "{:?}", it);
                    prop_assert_eq!(it.value, Some(f64::from(cause.speed)));
                }
                other => prop_assert!(false, "kind {}", other),
            }
        }
    }

    /// A row of any bytes is refused or used, and what it becomes can be used again; readings may be of any numbers.
    #[test]
    fn no_row_and_no_reading_panics(
        rest in settings(),
        mut row in prop::collection::vec(any::<u8>(), ROW_BYTES),
        (header, known) in (any::<bool>(), any::<bool>()),
        readings in prop::collection::vec((any::<i64>(), any_float(), any_float(), any_float(), any_float()), 1..8),
    ) {
        let config = config(&rest);
        if header {
            row[0] %= 2;
            row[1] %= 13;
            row[2] %= 2;
        }
        if known && row[1] > 0 {
            // A slot of a zone that there is: that of c, which comes back from a first reading.
            let mut rows = new_rows(1);
            tell(&config, &mut rows, &[reading(0, 0, 0.014, 0.006)], 1);
            row[40..48].copy_from_slice(&rows.as_bytes()[40..48]);
        }
        let mut rows = Rows::new(row, ROW_BYTES as u32).unwrap();
        let mut rule = rule(&config);
        for (time_ms, lon, lat, altitude, speed) in readings {
            let reading = Reading {
                altitude: altitude as f32,
                speed: speed as f32,
                horizontal_accuracy: altitude as f32,
                ..reading(0, time_ms, lon, lat)
            };
            let before = rows.as_bytes().to_vec();
            let mut proposals = Proposals::new();
            if rule.evaluate(&[reading], &mut rows, &mut proposals).is_ok() {
                let mut after = rows.as_bytes().to_vec();
                prop_assert!(Row::new(&mut after).is_ok() || after == before);
            }
        }
    }

    #[test]
    fn no_old_row_panics(rows in prop::collection::vec(any::<u8>(), 400), version in 0_u32..4, sane in any::<bool>()) {
        let mut rows = rows;
        if sane {
            (rows[0], rows[1], rows[200], rows[201]) = (rows[0] % 2, rows[1] % 13, 0, 0);
        }
        if let Ok(mut new) = Geofence::migrate(version, 200, &rows) {
            prop_assert!(new.chunks_mut(ROW_BYTES).all(|row| Row::new(row).is_ok()));
        }
    }
}
