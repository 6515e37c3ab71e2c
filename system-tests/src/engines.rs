//! Engines whose end is known, and how long the maintenance rule gives them: `pdm_cmapss_fd001_test.csv.gz` and
//! `pdm_cmapss_fd001_rul.csv`.

use crate::alerts::Alert;
use crate::data;
use crate::fleet::Semantics;
use crate::programs::Programs;
use crate::scenario::{Drive, Scenario};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// The model as it is shipped.
const MODEL: &str = include_str!("../../plugins/maintenance/models/cmapss_fd001.json");
/// The model's sensors, and the signal that lends itself to each as recordings and rules call it. They hold the values:
/// percentages stay within 0 to 100, and the largest of the 32-bit signals, 8,300, keeps its two decimals.
const SIGNALS: [(&str, &str, &str); 8] = [
    ("s03", "altitude_m", "altitude"),
    ("s04", "engine_hours", "engine_hours"),
    ("s09", "odometer_m", "odometer"),
    ("s11", "fuel_level_pct", "fuel_level"),
    ("s12", "coolant_c", "engine_coolant_temperature"),
    ("s14", "rpm", "engine_speed"),
    ("s15", "module_voltage_v", "battery_voltage"),
    ("s21", "state_of_charge_pct", "state_of_charge"),
];
/// When every engine begins, milliseconds since the Unix epoch.
const BEGINS_MS: i64 = 1_700_000_000_000;
/// A cycle is a reading and a sample, seconds.
const CYCLE_S: i64 = 60;
/// What remains is no more than this for the reference, cycles: a new engine shows no wear.
const REMAINING_MAX: f64 = 125.0;
/// More than any model tells: every prediction is an event.
const WARN_ALWAYS: f64 = 1e9;

/// An engine of the reference.
#[derive(Debug, Deserialize)]
struct Engine {
    unit: String,
    /// Cycles.
    rul_at_last_cycle: f64,
    last_cycle: u64,
}

/// The engines through the maintenance rule; recording and config are written into `scratch`.
///
/// # Errors
/// When the recording cannot be read or written.
pub fn scenario(programs: &Programs, directory: &Path, scratch: &Path) -> Result<Scenario> {
    let (engines, rule) = (scratch.join("engines.csv"), scratch.join("remaining-life.json"));
    std::fs::write(&engines, recording(directory)?).with_context(|| format!("write {}", engines.display()))?;
    std::fs::write(&rule, config()?.to_string()).with_context(|| format!("write {}", rule.display()))?;
    Ok(Scenario {
        plugin: Some(programs.maintenance()),
        config: Some(rule),
        semantics: Semantics::Plain,
        speed: "max".to_owned(),
        ..Scenario::new(Drive::Recording { recording: engines, zones: None })
    })
}

fn config() -> Result<Value> {
    let model: Value = serde_json::from_str(MODEL).context("the shipped model is not JSON")?;
    let inputs: Map<String, Value> =
        SIGNALS.iter().map(|(sensor, _, signal)| ((*sensor).to_owned(), (*signal).into())).collect();
    Ok(json!({"remaining_life": [{
        "id": "fan", "model": model, "inputs": inputs, "sample_every_s": CYCLE_S, "min_samples": 1,
        "warn_at": WARN_ALWAYS, "repeat_every_samples": 1
    }]}))
}

/// A recording for `fleet-replay`: each engine is a vehicle, whose last row, an hour later, completes its last sample.
fn recording(directory: &Path) -> Result<String> {
    let path = directory.join("pdm_cmapss_fd001_test.csv.gz");
    let columns = SIGNALS.map(|(_, column, _)| column).join(",");
    let mut text = format!("vehicle,ts,lat,lon,{columns}\n");
    let mut last: Option<(String, i64)> = None;
    let completed = |(unit, seconds): &(String, i64)| {
        format!("{unit},{},52.2,21.0{}\n", seconds + 3_600, ",".repeat(SIGNALS.len()))
    };
    for row in data::records::<HashMap<String, String>>(&path)? {
        let cell = |name: &str| row.get(name).with_context(|| format!("{} has no column {name}", path.display()));
        let (unit, cycle) = (cell("unit")?, cell("cycle")?);
        let cycle: i64 = cycle.parse().with_context(|| format!("{}: cycle {cycle:?}", path.display()))?;
        if let Some(before) = last.as_ref().filter(|(before, _)| before != unit) {
            text.push_str(&completed(before));
        }
        let seconds = BEGINS_MS / 1_000 + cycle * CYCLE_S;
        let values = SIGNALS.iter().map(|(sensor, ..)| cell(sensor).map(String::as_str)).collect::<Result<Vec<_>>>()?;
        text.push_str(&format!("{unit},{seconds},52.2,21.0,{}\n", values.join(",")));
        last = Some((unit.clone(), seconds));
    }
    text.extend(last.as_ref().map(completed));
    Ok(text)
}

fn engines(directory: &Path) -> Result<Vec<Engine>> {
    data::records(&directory.join("pdm_cmapss_fd001_rul.csv"))
}

/// Each engine and its last cycle, at which its remaining life is to be told: a line each.
///
/// # Errors
/// When the file cannot be read or a row is malformed.
pub fn expected(directory: &Path) -> Result<Vec<String>> {
    Ok(engines(directory)?.iter().map(|engine| line(&engine.unit, engine.last_cycle)).collect())
}

/// The same from what a partner received.
#[must_use]
pub fn found(alerts: &[Alert]) -> Vec<String> {
    let last = last_told(alerts);
    last.values().map(|alert| line(&alert.vehicle, alert.details["samples"].as_u64().unwrap_or(0))).collect()
}

/// By how much the last predictions are wrong, as the root of the mean square, cycles. Engines without one do not count:
/// [`found`] lacks them. NaN when none has one.
///
/// # Errors
/// When the file cannot be read or a row is malformed.
pub fn rmse(directory: &Path, alerts: &[Alert]) -> Result<f64> {
    let last = last_told(alerts);
    let squares: Vec<f64> = engines(directory)?
        .iter()
        .filter_map(|engine| {
            let error = last.get(engine.unit.as_str())?.value? - engine.rul_at_last_cycle.min(REMAINING_MAX);
            Some(error * error)
        })
        .collect();
    Ok((squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
}

/// The last event of each engine.
fn last_told(alerts: &[Alert]) -> HashMap<&str, &Alert> {
    let mut last: HashMap<&str, &Alert> = HashMap::new();
    for alert in alerts.iter().filter(|alert| alert.kind == "maintenance.predicted") {
        let told = last.entry(&alert.vehicle).or_insert(alert);
        if alert.event_time_ms > told.event_time_ms {
            *told = alert;
        }
    }
    last
}

fn line(unit: &str, cycle: u64) -> String {
    format!("engine {unit}: told at cycle {cycle}")
}
