//! Drives recorded from a car's OBD port, and the runs that another library found in them: `obd_carobd.csv.gz` and
//! `expected_obd_rules.csv`.

use crate::alerts::Alert;
use crate::data;
use crate::fleet::Semantics;
use crate::programs::Programs;
use crate::scenario::{Drive, Scenario};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// When the first drive begins, milliseconds since the Unix epoch.
const BEGINS_MS: i64 = 1_700_000_000_000;
/// After this silence a drive is over: longer than any within one.
const TRIP_GAP_S: u32 = 60;

/// The drives through the maintenance rule; recording and config are written into `scratch`.
///
/// # Errors
/// When the recording cannot be read or written.
pub fn scenario(programs: &Programs, directory: &Path, scratch: &Path) -> Result<Scenario> {
    let (drives, thresholds) = (scratch.join("drives.csv"), scratch.join("thresholds.json"));
    std::fs::write(&drives, recording(directory)?).with_context(|| format!("write {}", drives.display()))?;
    std::fs::write(&thresholds, config().to_string()).with_context(|| format!("write {}", thresholds.display()))?;
    Ok(Scenario {
        plugin: Some(programs.maintenance()),
        config: Some(thresholds),
        semantics: Semantics::Plain,
        speed: "max".to_owned(),
        ..Scenario::new(Drive::Recording { recording: drives, zones: None })
    })
}

/// The rules of the reference as a customer would write them.
///
/// The recording counts whole seconds and has several rows in each; here each row has an instant of its own, some
/// milliseconds apart. Two minutes by the recording are at least 119.5 s by these, and 119 are less.
fn config() -> Value {
    json!({
        "trip_gap_s": TRIP_GAP_S,
        "thresholds": [
            {"id": "low_voltage_running", "report": "end", "when": [
                {"signal": "battery_voltage", "is": "<", "value": 12.0},
                {"signal": "engine_speed", "is": ">=", "value": 500}]},
            {"id": "coolant_ge_95", "report": "end", "when": [
                {"signal": "engine_coolant_temperature", "is": ">=", "value": 95}]},
            {"id": "idle_ge_120s", "report": "end", "duration_s": 119.5,
                "extreme": {"signal": "engine_speed", "of": "max"}, "when": [
                {"signal": "speed", "is": "==", "value": 0},
                {"signal": "engine_speed", "is": ">=", "value": 500}]},
            {"id": "warmup_to_80c", "report": "end", "at_trip_start": true, "report_cut_short": false,
                "extreme": {"signal": "engine_coolant_temperature", "of": "max"},
                "when": [{"signal": "engine_coolant_temperature", "is": "<", "value": 60}],
                "until": [{"signal": "engine_coolant_temperature", "is": ">=", "value": 80}]}
        ]
    })
}

/// The drives as a recording for `fleet-replay`: each is a vehicle of its own, whose last row, an hour later, ends it.
fn recording(directory: &Path) -> Result<String> {
    const COLUMNS: [&str; 5] = ["speed_kmh", "rpm", "coolant_c", "module_voltage_v", "fuel_level_pct"];
    let path = directory.join("obd_carobd.csv.gz");
    let mut table = data::open_csv(&path)?;
    let header = table.headers().with_context(|| format!("read {}", path.display()))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|column| column == name)
            .with_context(|| format!("{} has no column {name}", path.display()))
    };
    let (trip, run_time) = (column("trip")?, column("run_time_s")?);
    let signals = COLUMNS.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
    let mut text = format!("vehicle,ts_ms,lat,lon,{}\n", COLUMNS.join(","));
    let mut last: Option<(String, i64)> = None;
    let ended = |(trip, ms): &(String, i64)| format!("{trip},{},52.2,21.0,,,,,\n", ms + 3_600_000);
    for row in table.records() {
        let row = row.with_context(|| format!("read {}", path.display()))?;
        let seconds: f64 = row[run_time].parse().with_context(|| format!("{}: run_time_s", path.display()))?;
        let second_ms = BEGINS_MS + seconds as i64 * 1_000;
        let ms = match &last {
            Some((same, ms)) if *same == row[trip] => second_ms.max(ms + 1),
            _ => second_ms,
        };
        if let Some(before) = last.as_ref().filter(|(before, _)| *before != row[trip]) {
            text.push_str(&ended(before));
        }
        let signals: Vec<&str> = signals.iter().map(|at| &row[*at]).collect();
        text.push_str(&format!("{},{ms},52.2,21.0,{}\n", &row[trip], signals.join(",")));
        last = Some((row[trip].to_owned(), ms));
    }
    text.extend(last.as_ref().map(ended));
    Ok(text)
}

/// Trip, rule, first row, last row, rows, seconds, extreme: a line each.
///
/// # Errors
/// When the file cannot be read or a row is malformed.
pub fn expected(directory: &Path) -> Result<Vec<String>> {
    let path = directory.join("expected_obd_rules.csv");
    let mut lines = Vec::new();
    for row in data::open_csv(&path)?.records() {
        let row = row.with_context(|| format!("read {}", path.display()))?;
        let number = |at: usize| row[at].parse::<f64>().with_context(|| format!("{}: column {at}", path.display()));
        lines.push(line([&row[0], &row[1], &row[2], &row[3], &row[4]], number(5)?, number(6)?));
    }
    Ok(lines)
}

/// The same from what a partner received.
#[must_use]
pub fn found(alerts: &[Alert]) -> Vec<String> {
    let lines = alerts.iter().map(|alert| {
        let number = |name: &str| alert.details[name].as_i64().unwrap_or(-1);
        // Rows count from 0, readings from 1.
        let (first, last) = (number("first_sequence") - 1, number("last_sequence") - 1);
        let [first, last, rows] = [first, last, number("readings")].map(|number| number.to_string());
        // The milliseconds within a second are ours, not the recording's.
        let seconds = alert.details["duration_s"].as_f64().unwrap_or(-1.0).round();
        line([&alert.vehicle, &alert.subject, &first, &last, &rows], seconds, alert.value.unwrap_or(f64::NAN))
    });
    lines.collect()
}

fn line(texts: [&str; 5], seconds: f64, extreme: f64) -> String {
    format!("{},{seconds:?},{extreme:?}", texts.join(","))
}
