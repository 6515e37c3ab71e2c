//! Against reference answers made with other software (pandas) from recorded drives, and against engines whose end is
//! known.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use maintenance::model::Model;
use plugin_sdk::Reading;
use serde_json::{Value, json};

use crate::{Event, new_rows, reading, rule, run, skipped};

/// None, and a word about it, when the data are not there.
fn data(name: &str) -> Option<PathBuf> {
    let directory = match std::env::var_os("DROVER_REFERENCE_DATA") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    let path = directory.join(name);
    if !path.is_file() {
        skipped::note(skipped::REFERENCE_DATA, "set DROVER_REFERENCE_DATA to their directory");
        return None;
    }
    Some(path)
}

fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let mut text = String::new();
    let mut file = std::fs::File::open(path).unwrap();
    if path.extension().is_some_and(|it| it == "gz") {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        file.read_to_string(&mut text).unwrap();
    }
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.unwrap()).collect()
}

/// The four rules of the reference as a customer would write them.
fn obd_rules() -> Value {
    json!({
        "trip_gap_s": 60,
        "thresholds": [
            {
                "id": "low_voltage_running",
                "when": [
                    {"signal": "battery_voltage", "is": "<", "value": 12.0},
                    {"signal": "engine_speed", "is": ">=", "value": 500}
                ],
                "report": "end"
            },
            {
                "id": "coolant_ge_95",
                "when": [{"signal": "engine_coolant_temperature", "is": ">=", "value": 95}],
                "report": "end"
            },
            {
                "id": "idle_ge_120s",
                "when": [
                    {"signal": "speed", "is": "==", "value": 0},
                    {"signal": "engine_speed", "is": ">=", "value": 500}
                ],
                "duration_s": 120,
                "extreme": {"signal": "engine_speed", "of": "max"},
                "report": "end"
            },
            {
                "id": "warmup_to_80c",
                "at_trip_start": true,
                "when": [{"signal": "engine_coolant_temperature", "is": "<", "value": 60}],
                "until": [{"signal": "engine_coolant_temperature", "is": ">=", "value": 80}],
                "extreme": {"signal": "engine_coolant_temperature", "of": "max"},
                "report": "end",
                "report_cut_short": false
            }
        ]
    })
}

/// All trips as drives of one vehicle with an hour between them, and one last reading that lets the last trip end. The
/// sequence of a reading is its row in the trip's file.
fn drives(rows: &[HashMap<String, String>]) -> (Vec<Reading>, Vec<String>) {
    let mut readings: Vec<Reading> = Vec::new();
    let mut trips: Vec<String> = Vec::new();
    let mut start_ms = 0;
    for row in rows {
        // An empty cell is a signal that was not reported.
        let cell = |name: &str| row[name].parse().unwrap_or(f32::NAN);
        if trips.last() != Some(&row["trip"]) {
            start_ms = readings.last().map_or(0, |it| it.event_time_ms) + 3_600_000;
        }
        let run_time_ms = (row["run_time_s"].parse::<f64>().unwrap() * 1_000.0) as i64;
        trips.push(row["trip"].clone());
        readings.push(Reading {
            sequence: row["row"].parse().unwrap(),
            speed: cell("speed_kmh") / 3.6,
            engine_speed: cell("rpm"),
            engine_coolant_temperature: cell("coolant_c"),
            battery_voltage: cell("module_voltage_v"),
            fuel_level: cell("fuel_level_pct"),
            ..reading(0, start_ms + run_time_ms)
        });
    }
    let end_ms = readings.last().map_or(0, |it| it.event_time_ms) + 3_600_000;
    readings.push(reading(0, end_ms));
    trips.push("the end".to_owned());
    (readings, trips)
}

/// The event as a line of the reference's table.
fn line(event: &Event, readings: &[Reading], trips: &[String]) -> String {
    let number = |name: &str| event.detail(name).as_f64().unwrap();
    // The run ended before the reading that told it, at most at the end of the trip before.
    let last = (0..=event.reading)
        .rev()
        .find(|at| {
            readings[*at].event_time_ms == event.time_ms && readings[*at].sequence as f64 == number("last_sequence")
        })
        .unwrap();
    format!(
        "{},{},{},{},{},{:?},{:?}",
        trips[last],
        event.subject,
        number("first_sequence"),
        number("last_sequence"),
        number("readings"),
        number("duration_s"),
        f64::from_bits(event.value)
    )
}

#[test]
fn obd_rules_of_recorded_drives() {
    let (Some(recording), Some(expected)) = (data("obd_carobd.csv.gz"), data("expected_obd_rules.csv")) else { return };
    let (readings, trips) = drives(&table(&recording));
    let mut rows = new_rows(1);
    let events = run(&mut rule(&obd_rules()), &mut rows, &readings, 256);
    let mut got: Vec<String> = events.iter().map(|it| line(it, &readings, &trips)).collect();
    let mut expected: Vec<String> = table(&expected)
        .into_iter()
        .map(|row| {
            let number = |name: &str| row[name].parse::<f64>().unwrap();
            format!(
                "{},{},{},{},{},{:?},{:?}",
                row["trip"],
                row["rule"],
                row["start_row"],
                row["end_row"],
                row["n_rows"],
                number("duration_s"),
                number("extreme")
            )
        })
        .collect();
    for rule in ["low_voltage_running", "coolant_ge_95", "idle_ge_120s", "warmup_to_80c"] {
        let count = |lines: &[String]| lines.iter().filter(|it| it.contains(rule)).count();
        println!("{rule}: {} runs, {} expected", count(&got), count(&expected));
    }
    println!("{} readings", readings.len());
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
}

/// The model as shipped; how it was made stands in `fit_remaining_life.py`.
const MODEL: &str = include_str!("../../models/cmapss_fd001.json");

#[test]
fn remaining_life_of_engines_it_was_not_fitted_on() {
    let (Some(test), Some(truth)) = (data("pdm_cmapss_fd001_test.csv.gz"), data("pdm_cmapss_fd001_rul.csv")) else {
        return;
    };
    let model = Model::parse(MODEL).unwrap();
    let mut units: Vec<(String, maintenance::model::Life)> = Vec::new();
    for row in table(&test) {
        if units.last().is_none_or(|unit| unit.0 != row["unit"]) {
            units.push((row["unit"].clone(), model.new_life()));
        }
        let sample: Vec<f64> = model.inputs().iter().map(|name| row[name].parse().unwrap()).collect();
        model.add(&mut units.last_mut().unwrap().1, &sample);
    }
    let truth: HashMap<String, f64> =
        table(&truth).into_iter().map(|row| (row["unit"].clone(), row["rul_at_last_cycle"].parse().unwrap())).collect();
    let squares = units.iter().map(|(unit, life)| {
        let error = model.remaining(life).unwrap() - truth[unit].min(125.0);
        error * error
    });
    let rmse = (squares.sum::<f64>() / units.len() as f64).sqrt();
    println!("C-MAPSS FD001: RMSE {rmse:.2} cycles over {} units, remaining life capped at 125", units.len());
    assert_eq!(units.len(), truth.len());
    assert!(rmse < 20.0, "{rmse}");
}

/// The model as a customer uses it: in a config, fed by readings. Signals lend themselves to the turbofan's sensors.
#[test]
fn the_shipped_model_runs_in_the_rule() {
    let Some(train) = data("pdm_cmapss_fd001_train.csv.gz") else { return };
    let sensors = ["s03", "s04", "s09", "s11", "s12", "s14", "s15", "s21"].map(str::to_owned);
    let signals = [
        "speed",
        "odometer",
        "altitude",
        "engine_hours",
        "engine_speed",
        "fuel_level",
        "state_of_charge",
        "engine_coolant_temperature",
    ];
    let inputs: HashMap<_, _> = sensors.iter().zip(signals).collect();
    let model: Value = serde_json::from_str(MODEL).unwrap();
    let config = json!({"remaining_life": [
        {"id": "fan", "model": model, "inputs": inputs, "sample_every_s": 60, "min_samples": 30, "warn_at": 40}
    ]});
    let readings: Vec<Reading> = table(&train)
        .into_iter()
        .filter(|row| row["unit"] == "1")
        .enumerate()
        .map(|(at, row)| {
            let of = |at: usize| row[&sensors[at]].parse::<f64>().unwrap();
            Reading {
                sequence: row["rul"].parse().unwrap(),
                speed: of(0) as f32,
                odometer: of(1),
                altitude: of(2) as f32,
                engine_hours: of(3) as f32,
                engine_speed: of(4) as f32,
                fuel_level: of(5) as f32,
                state_of_charge: of(6) as f32,
                engine_coolant_temperature: of(7) as f32,
                ..reading(0, at as i64 * 60_000)
            }
        })
        .collect();
    let events = run(&mut rule(&config), &mut new_rows(1), &readings, 64);
    let [event] = &events[..] else { panic!("{events:?}") };
    let left = readings[event.reading].sequence;
    println!("told {} cycles before the end: {}", left, event.details);
    assert!((20..60).contains(&left), "{left}");
    assert!(f64::from_bits(event.value) <= 40.0);
}
