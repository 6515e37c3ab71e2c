//! What readings lead to, through the whole rule.

use plugin_sdk::Rule;
use plugin_sdk::{Proposals, Reading, Rows};
use serde_json::{Value, json};

use crate::{Event, new_rows, reading, rule, run};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Kind, subject and hour of the reading, of each event.
fn short(events: &[Event], readings: &[Reading]) -> Vec<(u32, String, i64)> {
    events.iter().map(|it| (it.kind, it.subject.clone(), readings[it.reading].event_time_ms / HOUR_MS)).collect()
}

/// A reading an hour, at 50 km/h, of vehicle 7.
fn driving(hours: std::ops::Range<i64>, start_km: f64) -> Vec<Reading> {
    hours
        .clone()
        .map(|hour| Reading {
            vehicle: 7,
            odometer: (start_km + 50.0 * (hour - hours.start) as f64) * 1_000.0,
            ..reading(0, hour * HOUR_MS)
        })
        .collect()
}

fn oil(services: Value) -> Value {
    json!({
        "schedules": [{
            "id": "oil", "every": {"odometer_km": 1000}, "warn_before": {"odometer_km": 100},
            "overdue_after": {"odometer_km": 100}
        }],
        "services": services
    })
}

#[test]
fn a_schedule_is_told_and_a_service_resets_it() {
    let readings = driving(0..60, 500.0);
    let oil_at = |kind, hour| (kind, "oil".to_owned(), hour);
    let events = run(&mut rule(&oil(json!([]))), &mut new_rows(1), &readings, 7);
    assert_eq!(short(&events, &readings), [oil_at(1, 18), oil_at(2, 20), oil_at(3, 22)]);
    assert_eq!(events[1].detail("counter"), "odometer_km");
    assert_eq!((events[2].value, events[2].detail("used")), ((-100.0_f64).to_bits(), json!(1100.0)));

    let services = json!([
        {"schedule": "oil", "vehicle": "0x0000000000000007", "time": "1970-01-01T20:30:00Z", "odometer_km": 1525},
        {"schedule": "oil", "vehicle": "0x0000000000000008", "time": "1970-01-02T12:00:00Z"}
    ]);
    let events = run(&mut rule(&oil(services)), &mut new_rows(1), &readings, 7);
    assert_eq!(
        short(&events, &readings),
        [oil_at(1, 18), oil_at(2, 20), oil_at(1, 39), oil_at(2, 41), oil_at(3, 43)],
        "from 1,525 km on, and not by another vehicle's service"
    );
}

#[test]
fn a_new_instrument_cluster_makes_nothing_overdue() {
    // 500 km, then a cluster that begins at 0, then one from a scrapyard.
    let mut readings = driving(0..11, 100_000.0);
    readings.extend(driving(11..16, 0.0));
    readings.extend(driving(16..30, 350_000.0));
    let events = run(&mut rule(&oil(json!([]))), &mut new_rows(1), &readings, 4);
    let hours: Vec<_> = short(&events, &readings).into_iter().map(|it| (it.0, it.2)).collect();
    // An hour's 50 km is lost with each cluster.
    assert_eq!(hours, [(1, 20), (2, 22), (3, 24)]);
}

#[test]
fn a_state_of_the_vehicle_may_be_the_reset() {
    let mut config = oil(json!([]));
    config["schedules"][0]["reset_when"] = json!([{"signal": "altitude", "is": ">", "value": 8000}]);
    let mut readings = driving(0..40, 0.0);
    readings[19].altitude = 9_000.0;
    let events = run(&mut rule(&config), &mut new_rows(1), &readings, 40);
    let hours: Vec<_> = short(&events, &readings).into_iter().map(|it| (it.0, it.2)).collect();
    assert_eq!(hours, [(1, 18), (1, 37), (2, 39)]);
}

#[test]
fn the_day_a_schedule_is_due_is_predicted_from_use() {
    let config = json!({
        "schedules": [{"id": "oil", "every": {"odometer_km": 15000}}],
        "trends": [{"id": "oil-ahead", "schedule": "oil", "horizon_days": 7}]
    });
    // 500 km a day, in 10 hours: 15,000 km on day 29.
    let readings: Vec<_> = (0..40 * 24)
        .map(|hour| {
            let km = (hour / 24) * 500 + (hour % 24).min(10) * 50;
            Reading { odometer: km as f64 * 1_000.0, ..reading(0, hour * HOUR_MS) }
        })
        .collect();
    let events = run(&mut rule(&config), &mut new_rows(1), &readings, 100);
    let [predicted, due] = &events[..] else { panic!("{events:?}") };
    assert_eq!((predicted.kind, predicted.subject.as_str(), due.kind), (4, "oil-ahead", 2));
    let expected_ms = predicted.detail("expected_ms").as_i64().unwrap();
    assert!((expected_ms - due.time_ms).abs() < DAY_MS, "{} {}", expected_ms, due.time_ms);
    assert!((6 * DAY_MS..8 * DAY_MS).contains(&(due.time_ms - predicted.time_ms)));
    assert!(predicted.detail("confidence").as_f64().unwrap() >= 0.8);
}

/// A run at 96 degrees for these seconds, and readings around it.
fn heating() -> Value {
    json!({"trip_gap_s": 100, "thresholds": [
        {"id": "hot", "when": [{"signal": "engine_coolant_temperature", "is": ">=", "value": 95}], "duration_s": 60}
    ]})
}

fn hot(second: i64) -> Reading {
    Reading { engine_coolant_temperature: 96.5, ..reading(0, second * 1_000) }
}

#[test]
fn a_run_that_is_open_at_the_trips_end_is_told_at_the_next_trip() {
    let readings = [hot(0), hot(50), hot(100), hot(5_000), hot(5_010)];
    let events = run(&mut rule(&heating()), &mut new_rows(1), &readings, 2);
    let [started, ended] = &events[..] else { panic!("{events:?}") };
    assert_eq!((started.reading, started.time_ms, started.detail("phase")), (2, 100_000, json!("started")));
    assert_eq!((ended.reading, ended.time_ms, ended.detail("phase")), (3, 100_000, json!("ended")));
    assert_eq!(
        (ended.value, ended.detail("duration_s"), ended.detail("max")),
        (96.5_f64.to_bits(), json!(100.0), json!(96.5))
    );
}

#[test]
fn the_ignition_begins_a_trip() {
    let with = |second, status| Reading { status, ..hot(second) };
    let readings = [with(0, 3), with(70, 3), with(80, 1), with(90, 3), with(160, 3)];
    let phases = |config: &Value| -> Vec<_> {
        let events = run(&mut rule(config), &mut new_rows(1), &readings, 1);
        events.iter().map(|it| (it.reading, it.detail("phase"), it.detail("start_ms"))).collect()
    };
    assert_eq!(
        phases(&heating()),
        [(1, json!("started"), json!(0)), (3, json!("ended"), json!(0)), (4, json!("started"), json!(90_000))]
    );
    let mut config = heating();
    config["trip_starts_with_ignition"] = json!(false);
    assert_eq!(phases(&config), [(1, json!("started"), json!(0))]);
}

#[test]
fn trouble_codes_are_raised_and_cleared() {
    let config = json!({"trouble_codes": {"slots": 1}});
    let with = |second: i64, status, trouble_codes0| Reading { status, trouble_codes0, ..reading(0, second * 1_000) };
    let readings = [
        with(0, 4, 0x0301),
        with(1, 0, 0),
        with(2, 4, 0x0420_0301),
        with(3, 4, 0x0420_0301),
        with(4, 4, 0x0420),
        with(5, 4, 0x0420),
        with(6, 4, 0x0420),
    ];
    let mut rule = rule(&config);
    let events = run(&mut rule, &mut new_rows(1), &readings, 3);
    let told: Vec<_> = events.iter().map(|it| (it.reading, it.kind, it.subject.as_str())).collect();
    assert_eq!(told, [(2, 5, "P0301"), (6, 6, "P0301")], "of P0420 nothing: there is one slot");
    assert_eq!(events[0].detail("first_seen_ms"), json!(0));
    assert!(f64::from_bits(events[0].value).is_nan());
    assert_eq!(rule.overflows(), 4);
}

#[test]
fn another_config_keeps_what_it_shares_with_the_old_one() {
    let readings = driving(0..60, 500.0);
    let (before, after) = readings.split_at(19);
    let mut rows = new_rows(1);
    let events = run(&mut rule(&oil(json!([]))), &mut rows, before, 50);
    assert_eq!(events.len(), 1);
    let mut config = oil(json!([]));
    config["thresholds"] = heating()["thresholds"].clone();
    config["schedules"].as_array_mut().unwrap().insert(0, json!({"id": "tyres", "every": {"odometer_km": 200}}));
    let mut rows = Rows::new(rows.into_bytes(), maintenance::state::ROW_BYTES as u32).unwrap();
    let events = run(&mut rule(&config), &mut rows, after, 50);
    let told: Vec<_> = short(&events, after).into_iter().map(|it| (it.0, it.1, it.2)).collect();
    assert_eq!(
        told,
        [(2, "oil".to_owned(), 20), (3, "oil".to_owned(), 22), (2, "tyres".to_owned(), 23)],
        "the oil goes on, the tyres begin"
    );
}

#[test]
fn a_damaged_row_is_refused() {
    let mut rows = Rows::new(vec![0xff; maintenance::state::ROW_BYTES], maintenance::state::ROW_BYTES as u32).unwrap();
    let error = rule(&oil(json!([]))).evaluate(&[reading(0, 0)], &mut rows, &mut Proposals::new()).unwrap_err();
    assert_eq!(error, "a row is damaged");
}
