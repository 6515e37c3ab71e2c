//! The rule from the outside, natively: the same code that runs in the component.
#![allow(clippy::unwrap_used)]

mod config;
mod properties;
mod reference;
#[path = "../../../../system-tests/src/skipped.rs"]
mod skipped;
mod transitions;

use geofence::Geofence;
use plugin_sdk::{Proposals, Reading, Rows, Rule, kind};

/// A reading of the vehicle in row `slot`.
fn reading(slot: u32, event_time_ms: i64, longitude: f64, latitude: f64) -> Reading {
    Reading { vehicle: u64::from(slot), slot, ..Reading::fix(event_time_ms, latitude, longitude) }
}

fn rule(config: &str) -> Geofence {
    Geofence::configure(config).unwrap()
}

/// One enter or exit.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    /// Index of the reading over all batches.
    reading: usize,
    slot: u32,
    entered: bool,
    time_ms: i64,
    zone: String,
}

/// Runs readings in batches of a size; rows are carried along.
fn run(rule: &mut Geofence, rows: &mut Rows, readings: &[Reading], batch: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for (number, chunk) in readings.chunks(batch).enumerate() {
        let mut proposals = Proposals::new();
        rule.evaluate(chunk, rows, &mut proposals).unwrap();
        events.extend(proposals.into_vec().into_iter().map(|it| Event {
            reading: number * batch + it.reading as usize,
            slot: chunk[it.reading as usize].slot,
            entered: match it.kind {
                kind::ENTERED => true,
                kind::EXITED => false,
                other => panic!("kind {other}"),
            },
            time_ms: it.event_time_ms,
            zone: it.subject,
        }));
    }
    events
}

fn new_rows(vehicles: usize) -> Rows {
    Rows::zeroed(vehicles, Geofence::describe().row_bytes)
}

/// A square zone as a GeoJSON feature.
fn square(id: &str, west: f64, south: f64, side: f64) -> String {
    let (east, north) = (west + side, south + side);
    format!(
        r#"{{"type":"Feature","id":"{id}","geometry":{{"type":"Polygon","coordinates":[[[{west},{south}],[{east},{south}],[{east},{north}],[{west},{north}],[{west},{south}]]]}}}}"#
    )
}

/// A config of these features; `rest` is more fields, each with a comma before it.
fn config_of(features: &[String], rest: &str) -> String {
    format!(r#"{{"zones":{{"type":"FeatureCollection","features":[{}]}}{rest}}}"#, features.join(","))
}
