//! Long stays, by example.

use plugin_sdk::kind;

use crate::{config_of, new_rows, reading, square, square_with, tell};

const INSIDE: f64 = 0.005;
const OUTSIDE: f64 = 0.5;

/// Kind, seconds and value of what one vehicle leads to in a square on its way through (seconds, longitude).
fn drive(properties: &str, rest: &str, fixes: &[(i64, f64)]) -> Vec<(u32, i64, Option<f64>)> {
    let readings: Vec<_> = fixes.iter().map(|&(s, lon)| reading(0, s * 1_000, lon, 0.005)).collect();
    let config = config_of(&[square_with("a", properties, 0.0, 0.0, 0.01)], rest);
    tell(&config, &mut new_rows(1), &readings, 1)
        .into_iter()
        .map(|it| (it.kind, it.time_ms / 1_000, it.value))
        .collect()
}

#[test]
fn a_long_stay_is_told_once_with_its_seconds() {
    let fixes = [(0, INSIDE), (59, INSIDE), (61, INSIDE), (200, INSIDE), (210, OUTSIDE), (220, INSIDE), (280, INSIDE)];
    let expected = [
        (kind::ENTERED, 0, None),
        (kind::DWELL, 61, Some(61.0)),
        (kind::EXITED, 210, None),
        (kind::ENTERED, 220, None),
        (kind::DWELL, 280, Some(60.0)),
    ];
    assert_eq!(drive("", r#","dwell_s":60"#, &fixes), expected);
    assert_eq!(drive(r#""dwell_s":60"#, r#","dwell_s":10"#, &fixes), expected, "the zone's own stands first");
    assert_eq!(drive(r#""dwell_s":null"#, r#","dwell_s":60"#, &fixes), expected);
    assert_eq!(drive(r#""dwell_s":60"#, "", &fixes), expected);
}

#[test]
fn a_stay_begins_with_the_first_fix_inside_and_survives_a_short_way_out() {
    let waits = r#","dwell_s":60,"min_inside_s":90,"min_outside_s":30"#;
    let got =
        drive("", waits, &[(0, INSIDE), (61, INSIDE), (91, INSIDE), (100, OUTSIDE), (110, INSIDE), (300, INSIDE)]);
    assert_eq!(got, [(kind::ENTERED, 0, None), (kind::DWELL, 91, Some(91.0))]);
    let got =
        drive("", r#","dwell_s":60,"min_outside_s":30"#, &[(0, INSIDE), (50, OUTSIDE), (70, OUTSIDE), (75, INSIDE)]);
    assert_eq!(got, [(kind::ENTERED, 0, None), (kind::DWELL, 75, Some(75.0))], "not while it is outside");
}

#[test]
fn a_silent_start_counts_from_the_first_fix() {
    let got = drive("", r#","dwell_s":60,"initial_state":"silent""#, &[(0, INSIDE), (60, INSIDE)]);
    assert_eq!(got, [(kind::DWELL, 60, Some(60.0))]);
}

#[test]
fn zones_without_it_tell_nothing() {
    let config = config_of(&[square_with("a", r#""dwell_s":5"#, 0.0, 0.0, 1.0), square("b", 0.0, 0.0, 1.0)], "");
    let readings = [0, 10].map(|s| reading(0, s * 1_000, 0.5, 0.5));
    let told = tell(&config, &mut new_rows(1), &readings, 64);
    assert_eq!(
        told.iter().map(|it| (it.kind, it.zone.as_str())).collect::<Vec<_>>(),
        [(kind::ENTERED, "a"), (kind::ENTERED, "b"), (kind::DWELL, "a")]
    );
}
