//! The rule from the outside, natively: the same code that runs in the component.
#![allow(clippy::unwrap_used)]

mod config;
mod corridors;
mod crossing;
mod dwell;
mod everything;
mod migration;
mod overspeed;
mod properties;
mod reference;
mod schedules;
#[path = "../../../../system-tests/src/skipped.rs"]
mod skipped;
mod transitions;
mod zone_change;

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

/// An event of any kind.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    /// Index of the reading over all batches.
    reading: usize,
    kind: u32,
    time_ms: i64,
    zone: String,
    /// None where it is not a number.
    value: Option<f64>,
}

/// Runs readings in batches of a size, each by a rule of its own; rows are carried along.
fn tell(config: &str, rows: &mut Rows, readings: &[Reading], batch: usize) -> Vec<Told> {
    let mut told = Vec::new();
    for (number, chunk) in readings.chunks(batch).enumerate() {
        let mut proposals = Proposals::new();
        rule(config).evaluate(chunk, rows, &mut proposals).unwrap();
        told.extend(proposals.into_vec().into_iter().map(|it| Told {
            reading: number * batch + it.reading as usize,
            kind: it.kind,
            time_ms: it.event_time_ms,
            zone: it.subject,
            value: (!it.value.is_nan()).then_some(it.value),
        }));
    }
    told
}

/// Kind, zone and seconds of what a new vehicle leads to.
fn told(config: &str, readings: &[Reading]) -> Vec<(u32, String, i64)> {
    let told = tell(config, &mut new_rows(1), readings, 64);
    told.into_iter().map(|it| (it.kind, it.zone, it.time_ms / 1_000)).collect()
}

/// What [`told`] answers, written shorter.
fn expected(list: &[(u32, &str, i64)]) -> Vec<(u32, String, i64)> {
    list.iter().map(|&(kind, zone, seconds)| (kind, zone.to_owned(), seconds)).collect()
}

/// A GeoJSON feature; `properties` are the members of an object.
fn feature(id: &str, properties: &str, kind: &str, coordinates: &str) -> String {
    format!(
        r#"{{"type":"Feature","id":"{id}","properties":{{{properties}}},"geometry":{{"type":"{kind}","coordinates":{coordinates}}}}}"#
    )
}

/// A square zone with properties.
fn square_with(id: &str, properties: &str, west: f64, south: f64, side: f64) -> String {
    let (east, north) = (west + side, south + side);
    let ring = format!("[[[{west},{south}],[{east},{south}],[{east},{north}],[{west},{north}],[{west},{south}]]]");
    feature(id, properties, "Polygon", &ring)
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
