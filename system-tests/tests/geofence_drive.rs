//! A made-up day that uses everything the geofence can be told, through real processes: readings over HTTP to the edge,
//! alerts as a partner reads them from the cloud, compared to the last one.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use system_tests::alerts::{Alert, Class};
use system_tests::fleet::{Fleet, Setup};
use system_tests::{Programs, Semantics};

const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
/// A Monday.
const DAY: &str = "2026-05-04";

fn rectangle(id: &str, [west, south, east, north]: [f64; 4], properties: &Value) -> Value {
    let ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
    feature(id, "Polygon", &json!([ring]), properties)
}

fn feature(id: &str, kind: &str, coordinates: &Value, properties: &Value) -> Value {
    json!({"type": "Feature", "id": id, "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}})
}

/// Every zone is some kilometres from the next.
fn config(yard: [f64; 2], more: &[Value]) -> Value {
    let cut = json!([
        [[[179.9, 10.0], [180.0, 10.0], [180.0, 11.0], [179.9, 11.0], [179.9, 10.0]]],
        [[[-180.0, 10.0], [-179.9, 10.0], [-179.9, 11.0], [-180.0, 11.0], [-180.0, 10.0]]]
    ]);
    let mut zones = vec![
        feature("road", "LineString", &json!([[21.0, 52.0], [21.02, 52.0]]), &json!({"width_m": 100})),
        rectangle("sky", [21.10, 52.0, 21.12, 52.02], &json!({"altitude_min_m": 100, "altitude_max_m": 200})),
        rectangle("office", [21.20, 52.0, 21.22, 52.02], &json!({"schedule": "hours"})),
        feature("yard", "Point", &json!(yard), &json!({"radius_m": 500, "dwell_s": 60})),
        rectangle("strip", [21.400, 52.0, 21.401, 52.02], &json!({})),
        feature("gate", "LineString", &json!([[21.45, 52.0], [21.45, 52.02]]), &json!({"width_m": 0})),
        rectangle("town", [21.50, 52.0, 21.54, 52.02], &json!({"speed_limit_kph": 50})),
        rectangle("school", [21.51, 52.0, 21.53, 52.02], &json!({"speed_limit_kph": 30, "overspeed_min_s": 10})),
        feature("dateline", "MultiPolygon", &cut, &json!({})),
    ];
    zones.extend_from_slice(more);
    json!({
        "zones": {"type": "FeatureCollection", "features": zones},
        "schedules": {"hours": {"time_zone": "Europe/Warsaw", "days": ["mon", "tue"], "from": "09:00", "to": "10:00"}},
        "crossing": true, "prefer": "lowest", "on_zone_change": "reevaluate", "without_altitude": "outside",
    })
}

/// A vehicle at a time (UTC) and place, with what else it says.
fn reading(vehicle: &str, time: &str, longitude: f64, latitude: f64, more: &Value) -> Value {
    let mut reading = json!({"vehicle": vehicle, "event_time": format!("{DAY}T{time}Z"), "latitude": latitude,
        "longitude": longitude});
    for (signal, value) in more.as_object().into_iter().flatten() {
        reading[signal] = value.clone();
    }
    reading
}

fn drive() -> Vec<Value> {
    let plain = json!({});
    let mut readings = Vec::new();
    let mut say = |vehicle, time, longitude, latitude, more: &Value| {
        readings.push(reading(vehicle, time, longitude, latitude, more));
    };
    // 111 m north of the road, 22 m, 222 m.
    say("along", "06:00:00", 21.005, 52.001, &plain);
    say("along", "06:00:10", 21.010, 52.0002, &plain);
    say("along", "06:00:20", 21.010, 52.002, &plain);
    // Below, between, unknown, between, above.
    say("glider", "06:00:00", 21.11, 52.01, &json!({"altitude": 50}));
    say("glider", "06:00:10", 21.11, 52.01, &json!({"altitude": 150}));
    say("glider", "06:00:20", 21.11, 52.01, &plain);
    say("glider", "06:00:30", 21.11, 52.01, &json!({"altitude": 160}));
    say("glider", "06:00:40", 21.11, 52.01, &json!({"altitude": 250}));
    // In Warsaw it is 08:30, 09:30 and 10:30.
    for time in ["06:30:00", "07:30:00", "08:30:00"] {
        say("clerk", time, 21.21, 52.01, &plain);
    }
    for time in ["06:00:00", "06:00:30", "06:01:00", "06:01:30"] {
        say("stayer", time, 21.30, 52.01, &plain);
    }
    // Over the strip without a reading in it; too long on the way for the same back.
    say("fast", "06:00:00", 21.398, 52.01, &plain);
    say("fast", "06:00:20", 21.403, 52.01, &plain);
    say("fast", "06:10:00", 21.398, 52.01, &plain);
    // The gate goes north: eastwards is from its left to its right.
    say("guest", "06:00:00", 21.449, 52.01, &plain);
    say("guest", "06:00:20", 21.451, 52.01, &plain);
    say("guest", "06:00:40", 21.449, 52.01, &plain);
    // 43 km/h: too fast by the school for 10 s; 72 km/h: by the town's limit too, but the lowest tells.
    say("racer", "06:00:00", 21.52, 52.01, &json!({"speed": 12}));
    say("racer", "06:00:10", 21.52, 52.01, &json!({"speed": 12}));
    say("racer", "06:00:20", 21.52, 52.01, &json!({"speed": 20}));
    // Inside on both sides of the antimeridian, and then east of it.
    say("ship", "06:00:00", 179.95, 10.5, &plain);
    say("ship", "06:00:10", -179.95, 10.5, &plain);
    say("ship", "06:00:20", -179.80, 10.5, &plain);
    readings
}

/// After the yard has moved away and an annex has been built where it was.
fn afterwards() -> Vec<Value> {
    vec![reading("stayer", "06:02:00", 21.30, 52.01, &json!({}))]
}

fn post(fleet: &Fleet, readings: &[Value]) -> Result<()> {
    let answer = fleet.post_readings(&readings.into())?;
    ensure!(answer["admitted"] == readings.len(), "{answer}");
    Ok(())
}

fn deploy(fleet: &Fleet, programs: &Programs, config: &Value, path: &Path) -> Result<()> {
    std::fs::write(path, config.to_string())?;
    fleet.deploy(&programs.geofence(), path)?;
    Ok(())
}

/// As a person would note it: vehicle, time, what, and the figure where there is one.
fn noted(alerts: &[Alert]) -> Vec<String> {
    let note = |alert: &Alert| {
        let time =
            jiff::Timestamp::from_millisecond(alert.event_time_ms).map(|time| time.strftime("%H:%M:%S").to_string());
        let value = alert.value.map(|value| format!(" {value:.2}")).unwrap_or_default();
        let kind = alert.kind.trim_start_matches("geofence.");
        format!("{} {} {kind} {}{value}", alert.vehicle, time.unwrap_or_default(), alert.zone)
    };
    let mut noted: Vec<String> = alerts.iter().map(note).collect();
    noted.sort();
    noted
}

#[test]
fn everything_that_the_geofence_can_be_told_reaches_the_partner() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::beside_this_test()?;
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Normal))?;
    deploy(&fleet, &programs, &config([21.30, 52.01], &[]), &scratch.path().join("first.json"))?;
    post(&fleet, &drive())?;
    fleet.wait_until_delivered(DELIVERED_WITHIN)?;
    let expected = [
        "along 06:00:10 entered road",
        "along 06:00:20 exited road",
        "clerk 07:30:00 entered office",
        "clerk 08:30:00 exited office",
        "fast 06:00:20 crossed strip",
        "glider 06:00:10 entered sky",
        "glider 06:00:20 exited sky",
        "glider 06:00:30 entered sky",
        "glider 06:00:40 exited sky",
        "guest 06:00:20 crossed gate 1.00",
        "guest 06:00:40 crossed gate -1.00",
        "racer 06:00:00 entered school",
        "racer 06:00:00 entered town",
        "racer 06:00:10 overspeed school 12.00",
        "ship 06:00:00 entered dateline",
        "ship 06:00:20 exited dateline",
        "stayer 06:00:00 entered yard",
        "stayer 06:01:00 dwell yard 60.00",
    ];
    assert_eq!(noted(&fleet.events(Class::Alerts)?), expected);

    let annex = rectangle("annex", [21.29, 52.0, 21.31, 52.02], &json!({}));
    deploy(&fleet, &programs, &config([21.35, 52.01], &[annex]), &scratch.path().join("second.json"))?;
    post(&fleet, &afterwards())?;
    fleet.wait_until_delivered(DELIVERED_WITHIN)?;
    let mut expected = expected.map(str::to_owned).to_vec();
    expected.extend(["stayer 06:02:00 entered annex".to_owned(), "stayer 06:02:00 exited yard".to_owned()]);
    assert_eq!(noted(&fleet.events(Class::Alerts)?), expected);
    fleet.stop()
}
