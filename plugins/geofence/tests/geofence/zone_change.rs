//! What another config leads to, by example.

use plugin_sdk::{Rows, kind};

use crate::{config_of, new_rows, reading, square, tell};

const KEEP: &str = r#","on_zone_change":"keep""#;

/// Kind and zone of what a vehicle leads to at a second and a longitude.
fn go(features: &[String], rest: &str, rows: &mut Rows, seconds: i64, lon: f64) -> Vec<(u32, String)> {
    let told = tell(&config_of(features, rest), rows, &[reading(0, seconds * 1_000, lon, 0.5)], 1);
    told.into_iter().map(|it| (it.kind, it.zone)).collect()
}

fn entered(zone: &str) -> (u32, String) {
    (kind::ENTERED, zone.to_owned())
}

fn exited(zone: &str) -> (u32, String) {
    (kind::EXITED, zone.to_owned())
}

fn before() -> [String; 3] {
    [square("gone", 0.0, 0.0, 1.0), square("moved", 0.0, 0.0, 1.0), square("stays", 0.0, 0.0, 1.0)]
}

fn after() -> [String; 3] {
    [square("moved", 5.0, 0.0, 1.0), square("new", 0.0, 0.0, 1.0), square("stays", 0.0, 0.0, 1.0)]
}

#[test]
fn reevaluate_tells_what_the_change_of_zones_does() {
    let mut rows = new_rows(1);
    assert_eq!(go(&before(), "", &mut rows, 0, 0.5), [entered("gone"), entered("moved"), entered("stays")]);
    // Of the zone that is gone there is no name.
    assert_eq!(go(&after(), "", &mut rows, 1, 0.5), [exited("moved"), entered("new")]);
}

#[test]
fn keep_tells_only_what_the_vehicle_does() {
    let start = |rows: &mut Rows| assert_eq!(go(&before(), KEEP, rows, 0, 0.5).len(), 3);
    let mut rows = new_rows(1);
    start(&mut rows);
    assert_eq!(go(&after(), KEEP, &mut rows, 1, 0.5), []);
    assert_eq!(go(&after(), KEEP, &mut rows, 2, 5.5), [exited("new"), exited("stays"), entered("moved")]);
    // It drives on while the zones change: that is told.
    let mut rows = new_rows(1);
    start(&mut rows);
    assert_eq!(go(&after(), KEEP, &mut rows, 1, 5.5), [exited("new"), exited("stays"), entered("moved")]);
}

#[test]
fn keep_leaves_what_is_waiting() {
    let rest = format!(r#"{KEEP},"min_outside_s":60"#);
    let mut rows = new_rows(1);
    assert_eq!(go(&before(), &rest, &mut rows, 0, 0.5).len(), 3);
    assert_eq!(go(&before(), &rest, &mut rows, 10, 2.0), []);
    // Another config with the same zone.
    let stays = [square("stays", 0.0, 0.0, 1.0)];
    assert_eq!(go(&stays, &rest, &mut rows, 20, 2.0), []);
    assert_eq!(go(&stays, &rest, &mut rows, 70, 2.0), [exited("stays")]);
}

#[test]
fn keep_without_a_last_fix_takes_the_one_at_hand() {
    let mut rows = new_rows(1);
    assert_eq!(go(&before(), "", &mut rows, 0, 0.5).len(), 3);
    assert_eq!(go(&after(), KEEP, &mut rows, 1, 0.5), []);
    // A vehicle that was never seen is no matter of it.
    assert_eq!(go(&after(), KEEP, &mut new_rows(1), 1, 0.5), [entered("new"), entered("stays")]);
}
