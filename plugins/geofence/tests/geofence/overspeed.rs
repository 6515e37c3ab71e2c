//! Speeds, by example.

use plugin_sdk::{Reading, kind};

use crate::{config_of, new_rows, reading, square_with, tell};

/// Zone, seconds and value in km/h of what is told of a vehicle with these (seconds, longitude, km/h), but for enters
/// and exits.
fn drive(features: &[String], rest: &str, fixes: &[(i64, f64, f32)]) -> Vec<(String, i64, i64)> {
    let fix = |&(s, lon, kph): &(i64, f64, f32)| Reading { speed: kph / 3.6, ..reading(0, s * 1_000, lon, 0.5) };
    let readings: Vec<_> = fixes.iter().map(fix).collect();
    let told = tell(&config_of(features, rest), &mut new_rows(1), &readings, 1);
    told.into_iter()
        .filter(|it| it.kind == kind::OVERSPEED)
        .map(|it| (it.zone, it.time_ms / 1_000, (it.value.unwrap() * 3.6).round() as i64))
        .collect()
}

fn zone(properties: &str) -> [String; 1] {
    [square_with("a", properties, 0.0, 0.0, 1.0)]
}

fn a(seconds: i64, kph: i64) -> (String, i64, i64) {
    ("a".to_owned(), seconds, kph)
}

#[test]
fn an_episode_is_told_once_and_ends_under_the_limit_or_outside() {
    let fixes = [
        (0, 0.5, 50.0),
        (1, 0.5, 51.0),
        (2, 0.5, 90.0),
        (3, 0.5, 50.0),
        (4, 0.5, 60.0),
        (5, 2.0, 60.0),
        (6, 0.5, 60.0),
    ];
    assert_eq!(drive(&zone(r#""speed_limit_kph":50"#), "", &fixes), [a(1, 51), a(4, 60), a(6, 60)]);
    assert_eq!(drive(&zone(""), r#","speed_limit_kph":50"#, &fixes), [a(1, 51), a(4, 60), a(6, 60)]);
    assert_eq!(drive(&zone(r#""speed_limit_kph":80"#), r#","speed_limit_kph":50"#, &fixes), [a(2, 90)]);
    assert_eq!(drive(&zone(""), "", &fixes), []);
}

#[test]
fn it_must_last() {
    let fixes = [(0, 0.5, 60.0), (9, 0.5, 60.0), (10, 0.5, 70.0), (20, 0.5, 40.0), (21, 0.5, 60.0), (30, 0.5, 60.0)];
    assert_eq!(drive(&zone(r#""speed_limit_kph":50,"overspeed_min_s":10"#), "", &fixes), [a(10, 70)]);
    assert_eq!(drive(&zone(r#""speed_limit_kph":50"#), r#","overspeed_min_s":10"#, &fixes), [a(10, 70)]);
}

#[test]
fn a_tolerance_is_not_too_fast_and_a_hysteresis_joins_episodes() {
    let fixes = [(0, 0.5, 55.0), (1, 0.5, 56.0), (2, 0.5, 54.0), (3, 0.5, 56.0), (4, 0.5, 52.0), (5, 0.5, 56.0)];
    let tolerant = zone(r#""speed_limit_kph":50,"overspeed_tolerance_kph":5"#);
    assert_eq!(drive(&tolerant, "", &fixes), [a(1, 56), a(3, 56), a(5, 56)]);
    assert_eq!(drive(&tolerant, r#","overspeed_hysteresis_kph":3"#, &fixes), [a(1, 56), a(5, 56)]);
}

#[test]
fn a_fix_without_speed_changes_nothing() {
    let fixes = [(0, 0.5, 60.0), (1, 0.5, f32::NAN), (2, 0.5, 60.0), (3, 0.5, f32::INFINITY)];
    assert_eq!(drive(&zone(r#""speed_limit_kph":50"#), "", &fixes), [a(0, 60)]);
    assert_eq!(drive(&zone(r#""speed_limit_kph":50,"overspeed_min_s":1"#), "", &fixes), [a(2, 60)]);
}

#[test]
fn where_zones_overlap_the_lowest_limit_tells_or_each() {
    let zones = [
        square_with("city", r#""speed_limit_kph":50"#, 0.0, 0.0, 3.0),
        square_with("school", r#""speed_limit_kph":30"#, 1.0, 0.0, 1.0),
        square_with("works", r#""speed_limit_kph":30"#, 1.0, 0.0, 1.0),
    ];
    let fixes = [(0, 0.5, 40.0), (1, 1.5, 60.0), (2, 2.5, 60.0), (3, 1.5, 60.0), (4, 2.5, 60.0)];
    let named = |list: &[(&str, i64)]| list.iter().map(|&(zone, s)| (zone.to_owned(), s, 60)).collect::<Vec<_>>();
    assert_eq!(drive(&zones, "", &fixes), named(&[("school", 1), ("city", 2), ("school", 3)]));
    assert_eq!(
        drive(&zones, r#","prefer":"each""#, &fixes),
        named(&[("city", 1), ("school", 1), ("works", 1), ("school", 3), ("works", 3)])
    );
}

#[test]
fn a_limit_holds_from_the_enter_on() {
    let fixes = [(0, 0.5, 60.0), (10, 0.5, 60.0), (20, 0.5, 60.0)];
    assert_eq!(drive(&zone(r#""speed_limit_kph":50"#), r#","min_inside_s":10"#, &fixes), [a(10, 60)]);
}
