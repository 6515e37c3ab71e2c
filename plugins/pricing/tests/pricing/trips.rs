//! From readings to charges.

use plugin_sdk::Reading;
use pricing::rule::kind::{CHARGE_ADJUSTED, CHARGE_LINE, POLICY_VIOLATION};
use pricing::rule::{NO_TARIFF, TOO_MANY_ZONES, TOTAL};

use crate::{Event, new_rows, rule, run};

const IGNITION_OFF: u32 = 1;
const IGNITION_ON: u32 = 3;
/// Metres of a degree of the equator.
const DEGREE_M: f64 = 111_319.49;

/// A reading on the equator, `metres` east of the meridian of Greenwich.
pub(crate) fn reading(second: i64, metres: f64, status: u32) -> Reading {
    Reading { vehicle: 7, status, ..Reading::fix(second * 1_000, 0.0, metres / DEGREE_M) }
}

/// A zone on the equator from one metre to another.
fn zone(id: &str, from: f64, to: f64, properties: &str) -> String {
    let (west, east) = (from / DEGREE_M, to / DEGREE_M);
    format!(
        r#"{{"type":"Feature","id":"{id}","properties":{properties},"geometry":{{"type":"Polygon","coordinates":
            [[[{west},-1],[{east},-1],[{east},1],[{west},1],[{west},-1]]]}}}}"#
    )
}

fn config(trip: &str, zones: &[String], tariff: &str) -> String {
    let zones = zones.join(",");
    format!(
        r#"{{"trip":{trip},"zones":{{"type":"FeatureCollection","features":[{zones}]}},
            "tariffs":[{{"id":"t","currency":"EUR",{tariff}}}]}}"#
    )
}

const BY_KM: &str = r#""components":[
    {"id":"base","price":"1"},
    {"id":"distance","measure":"distance","segments":[{"rate":"2","interval":"1"}]},
    {"id":"waiting","measure":"waiting_time","segments":[{"rate":"0.1","interval":"1","due":"prorated"}]}]"#;

fn events(config: &str, readings: &[Reading]) -> Vec<Event> {
    run(&mut rule(config), &mut new_rows(1), readings, &[])
}

/// Kind, subject, amount and second of each.
fn brief(events: &[Event]) -> Vec<(u32, &str, &str, i64)> {
    events.iter().map(|it| (it.kind, it.subject.as_str(), it.text("amount"), it.time_ms / 1_000)).collect()
}

#[test]
fn a_trip_by_ignition_is_charged_when_it_closes() {
    let readings = [
        reading(0, 0.0, IGNITION_OFF),
        reading(10, 0.0, IGNITION_ON),
        reading(70, 1_000.0, IGNITION_ON),
        reading(80, 1_000.0, 0),
        reading(130, 2_600.0, IGNITION_OFF),
        reading(140, 2_600.0, IGNITION_OFF),
    ];
    let events = events(&config("{}", &[], BY_KM), &readings);
    let expected = [
        (CHARGE_LINE, "base", "1.00", 130),
        (CHARGE_LINE, "distance", "6.00", 130),
        (CHARGE_LINE, "waiting", "0.02", 130),
    ];
    assert_eq!(brief(&events), expected);
    let details = &events[1].details;
    let expected = r#"{"amount":"6.00","currency":"EUR","component":"distance","tariff":"t","trip":"7-10000","quantity":"2.6","unit":"km"}"#;
    let text: serde_json::Value = serde_json::from_str(expected).unwrap();
    assert_eq!((details["quantity"].as_str().unwrap().starts_with("2.6"), &details["trip"]), (true, &text["trip"]));
    assert_eq!(
        (&details["unit"], &details["currency"], &details["tariff"]),
        (&text["unit"], &text["currency"], &text["tariff"])
    );
}

#[test]
fn the_odometer_stands_before_the_fixes_where_it_can_be_believed() {
    let with = |odometers: [f64; 3]| {
        let mut readings =
            [reading(0, 0.0, IGNITION_ON), reading(100, 1_000.0, IGNITION_ON), reading(200, 2_000.0, IGNITION_OFF)];
        for (reading, odometer) in readings.iter_mut().zip(odometers) {
            reading.odometer = odometer;
        }
        let events = events(&config("{}", &[], BY_KM), &readings);
        events[1].text("quantity").parse::<f64>().unwrap()
    };
    assert_eq!(with([500_000.0, 501_300.0, 502_700.0]), 2.7);
    assert!((with([500_000.0, 501_300.0, 7.0]) - 2.3).abs() < 0.001, "it went back");
    assert!((with([500_000.0, 501_300.0, 900_000.0]) - 2.3).abs() < 0.001, "it went ahead");
    assert!((with([500_000.0, f64::NAN, 502_700.0]) - 2.0).abs() < 0.001, "it was not there");
}

#[test]
fn a_trip_by_motion_ends_where_the_vehicle_became_idle() {
    let motion = r#"{"opens_by":"motion","idle_s":120}"#;
    let moving = |second, metres| Reading { speed: 10.0, ..reading(second, metres, 0) };
    let standing = |second, metres| Reading { speed: 0.0, ..reading(second, metres, 0) };
    let readings = [
        standing(0, 0.0),
        moving(60, 100.0),
        moving(120, 700.0),
        standing(180, 1_200.0),
        standing(240, 1_201.0),
        moving(290, 1_300.0),
        standing(300, 1_400.0),
        standing(360, 1_500.0),
        standing(420, 1_600.0),
        standing(9_999, 1_600.0),
    ];
    let events = events(&config(motion, &[], BY_KM), &readings);
    assert_eq!(events[0].reading, 8);
    let expected = [
        (CHARGE_LINE, "base", "1.00", 300),
        (CHARGE_LINE, "distance", "4.00", 300),
        // Slow were the stretches to 180, to 240 and to 300.
        (CHARGE_LINE, "waiting", "0.22", 300),
    ];
    assert_eq!(brief(&events), expected);
    assert_eq!(events[0].text("trip"), "7-60000");
}

#[test]
fn a_trip_by_zone_goes_from_depot_to_depot() {
    let depot = zone("depot", -100.0, 100.0, "{}");
    let trip = r#"{"opens_by":"zone","zones":["depot"],"while":"outside"}"#;
    let readings = [
        reading(0, 0.0, 0),
        reading(60, 500.0, 0),
        reading(120, 900.0, 0),
        reading(200, 50.0, 0),
        reading(260, 0.0, 0),
    ];
    let made = events(&config(trip, std::slice::from_ref(&depot), BY_KM), &readings);
    assert_eq!(brief(&made)[..2], [(CHARGE_LINE, "base", "1.00", 200), (CHARGE_LINE, "distance", "4.00", 200)]);
    let parking = r#"{"opens_by":"zone","zones":["depot"],"while":"inside"}"#;
    let made = events(&config(parking, &[depot], BY_KM), &readings[..2]);
    assert_eq!(brief(&made)[..1], [(CHARGE_LINE, "base", "1.00", 60)]);
}

#[test]
fn silence_closes_a_trip_at_its_last_fix() {
    let readings = [
        reading(0, 0.0, IGNITION_ON),
        reading(60, 1_500.0, IGNITION_ON),
        reading(4_000, 90_000.0, IGNITION_ON),
        reading(4_060, 90_000.0, IGNITION_OFF),
    ];
    let made = events(&config(r#"{"max_gap_s":600}"#, &[], BY_KM), &readings);
    let amounts: Vec<_> = made.iter().map(|it| (it.reading, it.subject.as_str(), it.text("amount"))).collect();
    let expected = [
        (2, "base", "1.00"),
        (2, "distance", "4.00"),
        (3, "base", "1.00"),
        (3, "distance", "2.00"),
        (3, "waiting", "0.10"),
    ];
    assert_eq!(amounts, expected);
}

#[test]
fn sections_are_charged_when_they_are_passed() {
    let sections = [
        zone("a", 1_000.0, 2_000.0, r#"{"section_length_m":"2608"}"#),
        zone("b", 2_500.0, 9_000.0, r#"{"section_length_m":"79"}"#),
    ];
    let toll = r#""components":[{"id":"toll","measure":"section","quantity_rounding":{"increment":"0.1"},
        "rates":[{"id":"all","rows":[{"rate":"0.151"}]}]}]"#;
    let readings = [
        reading(0, 0.0, IGNITION_ON),
        reading(60, 1_500.0, IGNITION_ON),
        reading(120, 2_100.0, IGNITION_ON),
        reading(180, 1_500.0, IGNITION_ON),
        reading(240, 2_600.0, IGNITION_ON),
        reading(300, 3_000.0, IGNITION_OFF),
    ];
    let made = events(&config("{}", &sections, toll), &readings);
    let lines: Vec<_> = made.iter().map(|it| (it.time_ms / 1_000, it.text("section"), it.text("amount"))).collect();
    assert_eq!(lines, [(120, "a", "0.39"), (240, "a", "0.39"), (300, "b", "0.02")]);
    assert_eq!((made[0].text("quantity"), made[0].subject.as_str()), ("2.6", "toll/a"));
    // Two at one reading are two events.
    let two = [
        zone("a", 1_000.0, 2_000.0, r#"{"section_length_m":"900"}"#),
        zone("b", 1_200.0, 2_000.0, r#"{"section_length_m":"100"}"#),
    ];
    let made = events(&config("{}", &two, toll), &readings[..3]);
    let lines: Vec<_> = made.iter().map(|it| (it.reading, it.subject.as_str(), it.text("amount"))).collect();
    assert_eq!(lines, [(2, "toll/a", "0.14"), (2, "toll/b", "0.02")]);
}

#[test]
fn zones_are_rated_by_time_distance_and_ends() {
    let zones = [zone("city", 1_000.0, 5_000.0, "{}"), zone("airport", -500.0, 500.0, "{}")];
    let tariff = r#""components":[
        {"id":"pickup","price":"3","when":{"starts_in":["airport"]}},
        {"id":"drop","price":"9","when":{"ends_in":["airport"]}},
        {"id":"city_km","measure":"zone_distance","zones":["city"],"segments":[{"rate":"1","interval":"1"}]},
        {"id":"city_min","measure":"zone_time","zones":["city"],"segments":[{"rate":"0.5","interval":"1","due":"completed"}]}],
        "policies":[{"id":"speed","rules":[{"id":"30","measure":"top_speed","zones":["city"],"maximum":"30",
            "violation":true,"applies":"out_of_bounds","rate":"5"}]}]"#;
    let readings = [
        reading(0, 0.0, IGNITION_ON),
        reading(60, 1_100.0, IGNITION_ON),
        reading(120, 2_350.0, IGNITION_ON),
        reading(180, 5_100.0, IGNITION_OFF),
    ];
    let made = events(&config("{}", &zones, tariff), &readings);
    let expected = [
        (CHARGE_LINE, "pickup", "3.00", 180),
        (CHARGE_LINE, "city_km", "5.00", 180),
        (CHARGE_LINE, "city_min", "1.00", 180),
        (CHARGE_LINE, "speed", "5.00", 180),
        (POLICY_VIOLATION, "speed", "", 180),
    ];
    assert_eq!(brief(&made), expected);
    assert_eq!((made[4].text("rule"), made[4].text("bound")), ("30", "30"));
}

#[test]
fn a_trip_that_goes_on_is_corrected_not_charged_again() {
    let soon = r#"{"reopen_within_s":300}"#;
    let readings = [
        reading(0, 0.0, IGNITION_ON),
        reading(60, 900.0, IGNITION_OFF),
        reading(120, 900.0, IGNITION_ON),
        reading(180, 2_100.0, IGNITION_OFF),
        reading(600, 2_100.0, IGNITION_ON),
        reading(660, 2_100.0, IGNITION_OFF),
    ];
    let made = events(&config(soon, &[], BY_KM), &readings);
    let expected = [
        (CHARGE_LINE, "base", "1.00", 60),
        (CHARGE_LINE, "distance", "2.00", 60),
        (CHARGE_ADJUSTED, "distance", "4.00", 180),
        (CHARGE_ADJUSTED, "waiting", "0.10", 180),
        (CHARGE_LINE, "base", "1.00", 660),
        (CHARGE_LINE, "distance", "2.00", 660),
        (CHARGE_LINE, "waiting", "0.10", 660),
    ];
    assert_eq!(brief(&made), expected);
    assert_eq!((made[2].text("was"), made[2].text("becomes")), ("2.00", "6.00"));
    assert_eq!(made[2].text("trip"), made[0].text("trip"));
}

#[test]
fn a_new_config_neither_charges_twice_nor_forgets() {
    let soon = r#"{"reopen_within_s":300}"#;
    let (old, new) = (config(soon, &[], BY_KM), config(soon, &[], &BY_KM.replace("\"2\"", "\"3\"")));
    let readings = [
        reading(0, 0.0, IGNITION_ON),
        reading(60, 900.0, IGNITION_OFF),
        reading(120, 900.0, IGNITION_ON),
        reading(180, 2_100.0, IGNITION_OFF),
    ];
    let mut rows = new_rows(1);
    run(&mut rule(&old), &mut rows, &readings[..3], &[]);
    let made = run(&mut rule(&new), &mut rows, &readings[3..], &[]);
    assert_eq!(brief(&made), [(CHARGE_ADJUSTED, TOTAL, "7.10", 180)]);
    assert_eq!((made[0].text("was"), made[0].text("becomes")), ("3.00", "10.10"));
    // Between trips the new config starts a new one.
    let mut rows = new_rows(1);
    run(&mut rule(&old), &mut rows, &readings[..2], &[]);
    let made = run(&mut rule(&new), &mut rows, &readings[2..], &[]);
    assert_eq!(brief(&made)[..1], [(CHARGE_LINE, "base", "1.00", 180)]);
}

#[test]
fn what_can_not_be_charged_is_told() {
    let trip = [reading(0, 0.0, IGNITION_ON), reading(60, 100.0, IGNITION_OFF)];
    let made = events(&config("{}", &[], r#""valid_from":"2024-01-01""#), &trip);
    assert_eq!(brief(&made), [(POLICY_VIOLATION, NO_TARIFF, "", 60)]);
    let many: Vec<_> = (0..13).map(|n| zone(&format!("z{n}"), -10.0, 200.0, "{}")).collect();
    let made = events(&config("{}", &many, BY_KM), &trip);
    assert_eq!(brief(&made)[0], (POLICY_VIOLATION, TOO_MANY_ZONES, "", 60));
    assert_eq!(brief(&made)[1], (CHARGE_LINE, "base", "1.00", 60));
}

#[test]
fn fixes_that_are_not_usable_change_nothing() {
    let vague = Reading { horizontal_accuracy: 80.0, ..reading(30, 50_000.0, IGNITION_OFF) };
    let nowhere = Reading { latitude: f64::NAN, ..reading(40, 0.0, IGNITION_OFF) };
    let late = reading(5, 70_000.0, IGNITION_OFF);
    let readings = [reading(10, 0.0, IGNITION_ON), vague, nowhere, late, reading(60, 100.0, IGNITION_OFF)];
    let made = events(&config(r#"{"max_accuracy_m":50}"#, &[], BY_KM), &readings);
    assert_eq!(brief(&made)[..2], [(CHARGE_LINE, "base", "1.00", 60), (CHARGE_LINE, "distance", "2.00", 60)]);
}
