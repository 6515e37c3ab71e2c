//! The rule from the outside, natively: the same code that runs in the component.
#![allow(clippy::unwrap_used)]

mod config;
mod events;
mod properties;
mod reference;
#[path = "../../../../system-tests/src/skipped.rs"]
mod skipped;

use maintenance::Maintenance;
use plugin_sdk::Rule;
use plugin_sdk::{Proposal, Proposals, Reading, Rows};
use serde_json::Value;

/// A reading of the vehicle in row `slot`.
fn reading(slot: u32, event_time_ms: i64) -> Reading {
    Reading { vehicle: u64::from(slot), slot, ..Reading::fix(event_time_ms, 0.0, 0.0) }
}

fn rule(config: &Value) -> Maintenance {
    Maintenance::configure(&config.to_string()).unwrap()
}

fn new_rows(vehicles: usize) -> Rows {
    Rows::zeroed(vehicles, Maintenance::describe().row_bytes)
}

/// A proposal, in a form that can be compared.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    /// Index of the reading over all batches.
    reading: usize,
    slot: u32,
    kind: u32,
    time_ms: i64,
    subject: String,
    /// The bits, since NaN is a value, too.
    value: u64,
    details: String,
}

impl Event {
    fn detail(&self, name: &str) -> Value {
        serde_json::from_str::<Value>(&self.details).unwrap()[name].clone()
    }
}

/// Runs readings in batches of a size; rows are carried along. Holds every proposal against the contract.
fn run(rule: &mut Maintenance, rows: &mut Rows, readings: &[Reading], batch: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for (number, chunk) in readings.chunks(batch.max(1)).enumerate() {
        let mut proposals = Proposals::new();
        rule.evaluate(chunk, rows, &mut proposals).unwrap();
        for Proposal { reading, kind, event_time_ms, value, subject, details } in proposals.into_vec() {
            let cause = &chunk[reading as usize];
            let details = details.unwrap();
            assert!((1..=6).contains(&kind));
            assert!((0..=cause.event_time_ms).contains(&event_time_ms), "{event_time_ms}");
            assert!((1..=256).contains(&subject.len()));
            assert!(details.len() <= 2_048);
            assert!(serde_json::from_str::<Value>(&details).unwrap().is_object());
            events.push(Event {
                reading: number * batch + reading as usize,
                slot: cause.slot,
                kind,
                time_ms: event_time_ms,
                subject,
                value: value.to_bits(),
                details,
            });
        }
    }
    events
}
