//! What lies between two fixes, by example.

use plugin_sdk::{Reading, kind};

use crate::{config_of, feature, new_rows, reading, square, square_with, tell};

const CROSSING: &str = r#","crossing":true"#;

/// Kind, zone, seconds and value of what a way through (seconds, longitude, latitude) leads to.
fn drive(features: &[String], rest: &str, fixes: &[(i64, f64, f64)]) -> Vec<(u32, String, i64, Option<f64>)> {
    let readings: Vec<_> = fixes.iter().map(|&(s, lon, lat)| reading(0, s * 1_000, lon, lat)).collect();
    let told = tell(&config_of(features, rest), &mut new_rows(1), &readings, 1);
    told.into_iter().map(|it| (it.kind, it.zone, it.time_ms / 1_000, it.value)).collect()
}

fn crossed(zone: &str, seconds: i64, value: Option<f64>) -> (u32, String, i64, Option<f64>) {
    (kind::CROSSED, zone.to_owned(), seconds, value)
}

#[test]
fn zones_of_all_forms_are_passed_through() {
    let hole = "[[[0,0],[0.01,0],[0.01,0.01],[0,0.01],[0,0]],[[0.002,0.002],[0.008,0.002],[0.008,0.008],[0.002,0.008],[0.002,0.002]]]";
    for zone in [
        square("a", 0.004, 0.0, 0.002),
        feature("a", r#""radius_m":150"#, "Point", "[0.005,0.001]"),
        feature("a", r#""width_m":20"#, "LineString", "[[0.005,-1],[0.005,1]]"),
        feature("a", "", "Polygon", hole),
    ] {
        let zones = [zone];
        // Past it, through it, and back along the other side.
        let fixes = [(0, -0.01, 0.3), (10, -0.01, 0.001), (20, 0.02, 0.001)];
        assert_eq!(drive(&zones, CROSSING, &fixes), [crossed("a", 20, None)], "{zones:?}");
        assert_eq!(drive(&zones, "", &fixes), [], "only when it is asked for");
    }
    // From hole to outside: through the wall.
    let walls = [feature("a", "", "Polygon", hole)];
    assert_eq!(drive(&walls, CROSSING, &[(0, 0.005, 0.005), (10, 0.02, 0.005)]), [crossed("a", 10, None)]);
    assert_eq!(drive(&walls, CROSSING, &[(0, 0.004, 0.005), (10, 0.006, 0.005)]), []);
}

#[test]
fn fixes_that_are_inside_or_far_apart_tell_nothing() {
    let zone = [square("a", 0.0, 0.0, 0.01)];
    let enters = drive(&zone, CROSSING, &[(0, -0.01, 0.005), (10, 0.005, 0.005), (20, 0.02, 0.005)]);
    assert_eq!(enters.iter().map(|it| it.0).collect::<Vec<_>>(), [kind::ENTERED, kind::EXITED]);
    let through = |rest: &str, seconds| drive(&zone, rest, &[(0, -0.01, 0.005), (seconds, 0.02, 0.005)]).len();
    assert_eq!((through(CROSSING, 120), through(CROSSING, 121)), (1, 0));
    // 0.03 degrees are 3,336 m.
    let metres = |most| through(&format!(r#"{CROSSING},"crossing_max_gap_m":{most}"#), 10);
    assert_eq!((metres(3_340), metres(3_330)), (1, 0));
    assert_eq!(through(r#","crossing":true,"crossing_max_gap_s":9"#, 10), 0);
}

#[test]
fn a_gate_tells_the_direction() {
    // To the north: from west to east is left to right.
    let gate = [feature("gate", r#""width_m":0"#, "LineString", "[[0,-0.001],[0,0.001]]")];
    let fixes =
        [(0, -0.001, 0.0), (1, 0.001, 0.0), (2, 0.002, 0.0), (3, -0.001, 0.0), (4, -0.001, 0.01), (5, 0.001, 0.01)];
    assert_eq!(drive(&gate, CROSSING, &fixes), [crossed("gate", 1, Some(1.0)), crossed("gate", 3, Some(-1.0))]);
    // A stop on it is told once and nobody enters it.
    let stop = [(0, -0.001, 0.0), (1, 0.0, 0.0), (2, 0.0, 0.0), (3, 0.001, 0.0)];
    assert_eq!(drive(&gate, CROSSING, &stop), [crossed("gate", 1, Some(1.0))]);
    // Over both legs of a gate that bends back: out and in again.
    let bent = [feature("gate", r#""width_m":0"#, "LineString", "[[0,-1],[0,0],[0.001,0],[0.001,-1]]")];
    assert_eq!(drive(&bent, CROSSING, &[(0, -0.001, -0.01), (1, 0.002, -0.01)]), []);
    assert_eq!(drive(&bent, CROSSING, &[(0, -0.001, -0.01), (1, 0.000_5, -0.01)]), [crossed("gate", 1, Some(1.0))]);
}

#[test]
fn the_way_over_the_180th_meridian_is_the_short_one() {
    let fixes = [(0, 179.99, 0.0), (10, -179.98, 0.0)];
    let west = feature("west", r#""width_m":0"#, "LineString", "[[179.995,-1],[179.995,1]]");
    let east = feature("east", r#""width_m":0"#, "LineString", "[[-179.99,-1],[-179.99,1]]");
    let far = feature("far", r#""width_m":0"#, "LineString", "[[0,-1],[0,1]]");
    let circle = feature("circle", r#""radius_m":100"#, "Point", "[180,0]");
    let expected = [crossed("circle", 10, None), crossed("east", 10, Some(-1.0)), crossed("west", 10, Some(-1.0))];
    assert_eq!(
        drive(&[west.clone(), east.clone(), far.clone(), circle.clone()], CROSSING, &fixes),
        expected.clone().map(|mut it| {
            it.3 = it.3.map(|_| 1.0);
            it
        })
    );
    let back = [(0, -179.98, 0.0), (10, 179.99, 0.0)];
    assert_eq!(drive(&[west, east, far, circle], CROSSING, &back), expected);
}

#[test]
fn a_zone_must_exist_for_both_fixes() {
    let zone = [square_with("a", r#""altitude_max_m":100"#, 0.0, 0.0, 0.01)];
    let way = |from: f32, to: f32, rest: &str| {
        let fix = |s: i64, lon: f64, altitude| Reading { altitude, ..reading(0, s * 1_000, lon, 0.005) };
        let config = config_of(&zone, &format!("{CROSSING}{rest}"));
        tell(&config, &mut new_rows(1), &[fix(0, -0.01, from), fix(10, 0.02, to)], 64).len()
    };
    assert_eq!([way(50.0, 50.0, ""), way(50.0, 150.0, ""), way(150.0, 50.0, "")], [1, 0, 0]);
    let outside = r#","without_altitude":"outside""#;
    assert_eq!([way(f32::NAN, 50.0, ""), way(f32::NAN, 50.0, outside)], [1, 0]);
}

/// It counts as inside until the exit is told.
#[test]
fn a_vehicle_that_is_leaving_crosses_nothing() {
    let zone = [square("a", 0.0, 0.0, 0.01)];
    let rest = r#","crossing":true,"min_outside_s":60"#;
    let got = drive(&zone, rest, &[(0, 0.005, 0.005), (10, 0.02, 0.005), (20, -0.01, 0.005), (80, -0.01, 0.005)]);
    assert_eq!(got.iter().map(|it| (it.0, it.2)).collect::<Vec<_>>(), [(kind::ENTERED, 0), (kind::EXITED, 10)]);
}
