//! Zones that come and go by the clock, by example. The readings are of Monday, 1970-01-05; the zone opens at 08:00 and
//! closes at 10:00 UTC.

use plugin_sdk::{Reading, kind};

use crate::{config_of, reading, square_with, told};

const SCHEDULES: &str = r#","schedules":{"day":{"time_zone":"UTC","days":["mon"],"from":"08:00","to":"10:00"}}"#;
const MONDAY_S: i64 = 4 * 86_400;
const INSIDE: f64 = 0.5;
const OUTSIDE: f64 = 2.0;

/// Kind and minutes since 08:00 of what is told of a way of (minutes since 08:00, longitude).
fn drive(rest: &str, fixes: &[(i64, f64)]) -> Vec<(u32, i64)> {
    let eight_s = MONDAY_S + 8 * 3_600;
    let fix = |&(minute, lon): &(i64, f64)| -> Reading { reading(0, (eight_s + minute * 60) * 1_000, lon, 0.5) };
    let readings: Vec<_> = fixes.iter().map(fix).collect();
    let config = config_of(&[square_with("a", r#""schedule":"day""#, 0.0, 0.0, 1.0)], &format!("{SCHEDULES}{rest}"));
    told(&config, &readings).into_iter().map(|(kind, _, s)| (kind, (s - eight_s) / 60)).collect()
}

#[test]
fn a_zone_exists_in_its_hours_only() {
    let fixes = [(-10, INSIDE), (0, INSIDE), (60, OUTSIDE), (90, INSIDE), (120, INSIDE), (130, OUTSIDE)];
    let expected = [(kind::ENTERED, 0), (kind::EXITED, 60), (kind::ENTERED, 90), (kind::EXITED, 120)];
    assert_eq!(drive("", &fixes), expected);
    let silent_start = r#","on_schedule_start":"silent""#;
    assert_eq!(drive(silent_start, &fixes), expected[1..]);
    assert_eq!(drive(r#","on_schedule_end":"silent""#, &fixes), expected[..3]);
    // One that comes in later is none that stood there.
    assert_eq!(drive(silent_start, &[(-10, OUTSIDE), (1, INSIDE)]), [(kind::ENTERED, 1)]);
    // The first reading of all is by initial_state.
    assert_eq!(drive(silent_start, &[(1, INSIDE)]), [(kind::ENTERED, 1)]);
}

#[test]
fn the_end_of_hours_does_not_wait() {
    let waits = r#","min_outside_s":3600,"exit_buffer_m":100"#;
    assert_eq!(drive(waits, &[(100, INSIDE), (120, INSIDE)]), [(kind::ENTERED, 100), (kind::EXITED, 120)]);
    let leaving = [(100, INSIDE), (110, OUTSIDE), (125, OUTSIDE)];
    assert_eq!(drive(waits, &leaving), [(kind::ENTERED, 100), (kind::EXITED, 110)]);
    let silent = format!(r#"{waits},"on_schedule_end":"silent""#);
    assert_eq!(drive(&silent, &leaving), [(kind::ENTERED, 100), (kind::EXITED, 110)], "it had left before");
    assert_eq!(drive(r#","min_inside_s":1800"#, &[(110, INSIDE), (125, INSIDE)]), []);
}

#[test]
fn a_start_waits_as_any_enter() {
    let got = drive(r#","min_inside_s":600"#, &[(-60, INSIDE), (5, INSIDE), (15, INSIDE)]);
    assert_eq!(got, [(kind::ENTERED, 5)]);
}

#[test]
fn nothing_is_crossed_where_no_zone_is() {
    let rest = r#","crossing":true,"crossing_max_gap_s":600,"crossing_max_gap_m":50000"#;
    let corner = |minute| {
        let fix = |minute: i64, lon, lat| reading(0, (MONDAY_S + 8 * 3_600 + minute * 60) * 1_000, lon, lat);
        let zone = [square_with("a", r#""schedule":"day""#, 0.0, 0.0, 1.0)];
        told(&config_of(&zone, &format!("{SCHEDULES}{rest}")), &[fix(minute, -0.05, 0.1), fix(minute + 1, 0.1, -0.05)])
            .len()
    };
    assert_eq!((corner(-10), corner(-1), corner(10), corner(119)), (0, 0, 1, 0));
}
