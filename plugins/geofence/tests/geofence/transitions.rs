//! What happens when, by example. The zone is a square of a hundredth of a degree (1.1 km) unless said otherwise.

use geofence::state::SLOTS;
use plugin_sdk::{Proposals, Rule};

use crate::{Event, config_of, new_rows, reading, rule, run, square};

const INSIDE: f64 = 0.005;
const OUTSIDE: f64 = 0.5;

/// Runs one vehicle through (seconds, longitude) on the latitude of the square's middle; answers (enter?, seconds, at
/// which reading).
fn drive(rest: &str, fixes: &[(i64, f64)]) -> Vec<(bool, i64, usize)> {
    let readings: Vec<_> = fixes.iter().map(|&(s, lon)| reading(0, s * 1_000, lon, 0.005)).collect();
    let mut rule = rule(&config_of(&[square("a", 0.0, 0.0, 0.01)], rest));
    let events = run(&mut rule, &mut new_rows(1), &readings, 64);
    events.into_iter().map(|it| (it.entered, it.time_ms / 1_000, it.reading)).collect()
}

#[test]
fn plain_enters_and_exits_at_the_first_fix_on_the_other_side() {
    let got = drive("", &[(0, INSIDE), (10, INSIDE), (20, OUTSIDE), (30, OUTSIDE), (40, INSIDE)]);
    assert_eq!(got, [(true, 0, 0), (false, 20, 2), (true, 40, 4)]);
}

#[test]
fn the_boundary_is_inside() {
    assert_eq!(drive("", &[(0, 0.01), (10, 0.010_000_1)]), [(true, 0, 0), (false, 10, 1)]);
}

#[test]
fn a_silent_start_still_tells_of_the_exit_and_of_later_enters() {
    let silent = r#","initial_state":"silent""#;
    let got = drive(silent, &[(0, INSIDE), (10, INSIDE), (20, OUTSIDE), (30, INSIDE)]);
    assert_eq!(got, [(false, 20, 2), (true, 30, 3)]);
    assert_eq!(drive(silent, &[(0, OUTSIDE), (10, INSIDE)]), [(true, 10, 1)]);
}

#[test]
fn an_enter_waits_and_carries_the_time_of_the_first_fix_inside() {
    let waits = r#","min_inside_s":30"#;
    let got = drive(waits, &[(0, INSIDE), (10, OUTSIDE), (20, INSIDE), (40, INSIDE), (50, INSIDE), (60, OUTSIDE)]);
    assert_eq!(got, [(true, 20, 4), (false, 60, 5)]);
}

#[test]
fn an_exit_waits_and_is_forgotten_when_the_vehicle_comes_back() {
    let waits = r#","min_outside_s":30"#;
    let got = drive(waits, &[(0, INSIDE), (10, OUTSIDE), (20, INSIDE), (30, OUTSIDE), (59, OUTSIDE), (60, OUTSIDE)]);
    assert_eq!(got, [(true, 0, 0), (false, 30, 5)]);
}

#[test]
fn the_buffer_holds_who_is_in_but_lets_nobody_in() {
    // 50 m at the equator are 0.00045 degrees.
    let buffer = r#","exit_buffer_m":50"#;
    let got = drive(buffer, &[(0, 0.0104), (10, INSIDE), (20, 0.0104), (30, 0.0105), (40, 0.0104)]);
    assert_eq!(got, [(true, 10, 1), (false, 30, 3)]);
}

#[test]
fn a_vague_fix_is_passed_over() {
    let mut rule = rule(&config_of(&[square("a", 0.0, 0.0, 0.01)], r#","max_accuracy_m":20"#));
    let mut readings = [(0, INSIDE), (1, OUTSIDE), (2, OUTSIDE)].map(|(ms, lon)| reading(0, ms, lon, 0.005));
    readings[1].horizontal_accuracy = 20.5;
    readings[2].horizontal_accuracy = 20.0;
    let events = run(&mut rule, &mut new_rows(1), &readings, 64);
    assert_eq!(events.iter().map(|it| (it.entered, it.reading)).collect::<Vec<_>>(), [(true, 0), (false, 2)]);
}

#[test]
fn exits_stand_before_enters_and_zones_in_the_order_of_their_ids() {
    let zones = [
        square("d", 0.0, 0.0, 1.0),
        square("c", 2.0, 0.0, 1.0),
        square("b", 0.0, 0.0, 1.0),
        square("a", 2.0, 0.0, 1.0),
    ];
    let readings = [reading(0, 0, 0.5, 0.5), reading(0, 1, 2.5, 0.5)];
    let events = run(&mut rule(&config_of(&zones, "")), &mut new_rows(1), &readings, 64);
    let got: Vec<_> = events.iter().map(|it| (it.entered, it.zone.as_str())).collect();
    assert_eq!(got, [(true, "b"), (true, "d"), (false, "b"), (false, "d"), (true, "a"), (true, "c")]);
}

/// What the README says of `min_outside_s` above `min_inside_s`: the order holds within one reading.
#[test]
fn an_exit_that_waits_is_written_after_the_enter_of_the_same_time() {
    let zones = [square("a", 0.0, 0.0, 1.0), square("b", 2.0, 0.0, 1.0)];
    let mut rule = rule(&config_of(&zones, r#","min_outside_s":30"#));
    let readings = [(0, 0.5), (10, 2.5), (40, 2.5)].map(|(s, lon)| reading(0, s * 1_000, lon, 0.5));
    let events = run(&mut rule, &mut new_rows(1), &readings, 64);
    let got: Vec<_> = events.iter().map(|it| (it.entered, it.zone.as_str(), it.time_ms / 1_000, it.reading)).collect();
    assert_eq!(got, [(true, "a", 0, 0), (true, "b", 10, 1), (false, "a", 10, 2)]);
}

#[test]
fn circles_and_holes() {
    let circle = r#"{"type":"Feature","properties":{"id":7,"radius_m":1000},"geometry":{"type":"Point","coordinates":[179.999,0]}}"#;
    let ring = r#"{"type":"Feature","properties":{"id":"ring"},"geometry":{"type":"MultiPolygon","coordinates":[[[[0,0],[4,0],[4,4],[0,4],[0,0]],[[1,1],[3,1],[3,3],[1,3],[1,1]]]]}}"#;
    let config = config_of(&[circle.to_owned(), ring.to_owned()], "");
    let zones_at = |lon: f64, lat: f64| -> Vec<String> {
        let events = run(&mut rule(&config), &mut new_rows(1), &[reading(0, 0, lon, lat)], 1);
        events.into_iter().map(|it| it.zone).collect()
    };
    // 0.008 degrees are 890 m, over the 180th meridian too; 0.0095 are 1,056 m.
    assert_eq!(zones_at(-179.993, 0.0), ["7"]);
    assert_eq!(zones_at(179.9895, 0.0), [""; 0]);
    assert_eq!(zones_at(0.5, 2.0), ["ring"]);
    assert_eq!(zones_at(2.0, 2.0), [""; 0], "in the hole");
    assert_eq!(zones_at(1.0, 2.0), ["ring"], "on the hole's edge");
    assert_eq!(zones_at(1.0, 1.0), ["ring"], "on the hole's corner");
}

#[test]
fn another_config_keeps_what_is_known_of_zones_that_stay() {
    let mut rows = new_rows(1);
    let (a, b) = (square("a", 0.0, 0.0, 1.0), square("b", 0.0, 0.0, 1.0));
    let inside = reading(0, 0, 0.5, 0.5);
    let names = |events: Vec<Event>| events.into_iter().map(|it| (it.entered, it.zone)).collect::<Vec<_>>();
    let enter = |zone: &str| (true, zone.to_owned());
    let first = run(&mut rule(&config_of(&[a.clone(), b.clone()], "")), &mut rows, &[inside], 1);
    assert_eq!(names(first), [enter("a"), enter("b")]);
    // b goes without an exit, c is new: the vehicle was outside it.
    let mut second = rule(&config_of(&[a, square("c", 0.0, 0.0, 1.0)], ""));
    assert_eq!(names(run(&mut second, &mut rows, &[inside], 1)), [enter("c")]);
    // b comes back: it is as new.
    assert_eq!(names(run(&mut rule(&config_of(&[b], "")), &mut rows, &[inside], 1)), [enter("b")]);
}

#[test]
fn more_zones_than_slots_are_counted_and_taken_when_a_slot_is_free() {
    let zones: Vec<String> =
        (0..=SLOTS).map(|n| square(&format!("z{n:02}"), 0.0, 0.0, if n == 0 { 1.0 } else { 2.0 })).collect();
    let mut rule = rule(&config_of(&zones, ""));
    let mut rows = new_rows(1);
    let first = run(&mut rule, &mut rows, &[reading(0, 0, 0.5, 0.5)], 1);
    assert_eq!((first.len(), rule.overflows()), (SLOTS, 1));
    // It leaves z00, which makes room for the last.
    let second = run(&mut rule, &mut rows, &[reading(0, 1, 1.5, 1.5)], 1);
    let got: Vec<_> = second.iter().map(|it| (it.entered, it.zone.clone())).collect();
    assert_eq!(got, [(false, "z00".to_owned()), (true, format!("z{SLOTS}"))]);
    assert_eq!(rule.overflows(), 1);
}

#[test]
fn a_damaged_row_refuses_the_batch() {
    let mut rule = rule(&config_of(&[], ""));
    for (at, byte) in [(0, 2), (1, SLOTS as u8 + 1), (1, 1)] {
        let mut rows = new_rows(1);
        let place = reading(0, 0, 0.0, 0.0);
        rows.of(&place)[at] = byte;
        assert!(rule.evaluate(&[place], &mut rows, &mut Proposals::new()).is_err());
    }
}
