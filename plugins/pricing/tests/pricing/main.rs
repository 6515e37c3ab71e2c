//! The rule from the outside, natively: the same code that runs in the component.
#![allow(clippy::unwrap_used)]

mod config;
mod properties;
mod reference;
#[path = "../../../../system-tests/src/skipped.rs"]
mod skipped;
mod trips;

use std::collections::HashSet;

use plugin_sdk::{Proposals, Reading, Rows, Rule};
use pricing::Pricing;
use serde_json::Value;

/// A day of NYC fares in the config that is shipped.
const NYC: &str = include_str!("../../configs/nyc_taxi.json");
/// The German truck toll in the config that is shipped.
const LKW_MAUT: &str = include_str!("../../configs/lkw_maut.json");

/// A proposal.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    /// Index of the reading over all batches.
    reading: usize,
    kind: u32,
    time_ms: i64,
    subject: String,
    details: Value,
}

impl Event {
    fn text(&self, member: &str) -> &str {
        self.details[member].as_str().unwrap_or("")
    }
}

fn rule(config: &str) -> Pricing {
    Pricing::configure(config).unwrap()
}

fn new_rows(vehicles: usize) -> Rows {
    Rows::zeroed(vehicles, Pricing::describe().row_bytes)
}

/// Runs readings in batches that end before these indexes; rows are carried along.
fn run(rule: &mut Pricing, rows: &mut Rows, readings: &[Reading], cuts: &[usize]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut causes = HashSet::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([readings.len()]) {
        let mut proposals = Proposals::new();
        rule.evaluate(&readings[start..end], rows, &mut proposals).unwrap();
        for it in proposals.into_vec() {
            let details = it.details.clone().unwrap();
            assert!(details.len() <= 2_048 && (1..=256).contains(&it.subject.len()));
            assert!(it.value.is_nan());
            let reading = start + it.reading as usize;
            assert!(it.event_time_ms <= readings[reading].event_time_ms);
            assert!(causes.insert((reading, it.kind, it.subject.clone())), "the host would take two for one: {it:?}");
            events.push(Event {
                reading,
                kind: it.kind,
                time_ms: it.event_time_ms,
                subject: it.subject,
                details: serde_json::from_str(&details).unwrap(),
            });
        }
        start = end;
    }
    events
}
