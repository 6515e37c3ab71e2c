//! What shed readings leave behind: an event per vehicle that says from when to when, how many, and why.

use event_log::Block;
use fleet_model::{Event, EventId, EventKind, PluginRef, Sequence, Timestamp, VehicleName};
use fleet_wire::Frame;
use serde_json::json;
use std::collections::BTreeMap;

/// The reason in the event's details.
const REASON: &str = "disk_budget";
/// What stands where other events name a deployment and its plugin.
const BY: &str = "drover-edge";

/// Readings of vehicles that go together.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<(String, String), Gap>);

#[derive(Debug)]
struct Gap {
    name: VehicleName,
    sequences: (Sequence, Sequence),
    times: (Timestamp, Timestamp),
    received_time: Timestamp,
    count: u64,
}

impl Gaps {
    /// Adds the readings of a block.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub(super) fn add(&mut self, block: &Block) -> Result<(), String> {
        let frame = Frame::parse(block.bytes.clone()).map_err(|error| error.to_string())?;
        let frame = frame.into_readings().map_err(|_| "it holds no readings".to_owned())?;
        let block = frame.block();
        let names = block.vehicles.iter().map(|name| name.to_name().map_err(|error| error.to_string()));
        let names: Vec<VehicleName> = names.collect::<Result<_, _>>()?;
        for archived in block.readings.iter() {
            let name = &names[archived.vehicle_index()];
            let (sequence, reading) = (archived.sequence(), archived.reading());
            let key = (name.tenant.to_string(), name.vehicle.to_string());
            let gap = self.0.entry(key).or_insert_with(|| Gap {
                name: name.clone(),
                sequences: (sequence, sequence),
                times: (reading.event_time, reading.event_time),
                received_time: reading.received_time,
                count: 0,
            });
            gap.sequences = (gap.sequences.0.min(sequence), gap.sequences.1.max(sequence));
            gap.times = (gap.times.0.min(reading.event_time), gap.times.1.max(reading.event_time));
            gap.received_time = gap.received_time.max(reading.received_time);
            gap.count += 1;
        }
        Ok(())
    }

    /// Readings in all of them.
    pub(super) fn readings(&self) -> u64 {
        self.0.values().map(|gap| gap.count).sum()
    }

    /// The events, sorted by tenant and vehicle. The same readings give the same ids.
    pub(super) fn into_events(self) -> Vec<Event> {
        self.0.into_values().map(Gap::into_event).collect()
    }
}

impl Gap {
    fn into_event(self) -> Event {
        let Self { name, sequences, times, received_time, count } = self;
        let details = json!({
            "from": times.0.to_rfc3339(),
            "to": times.1.to_rfc3339(),
            "count": count,
            "first_sequence": sequences.0.0,
            "last_sequence": sequences.1.0,
            "reason": REASON,
        });
        let subject = format!("{}-{}", sequences.0.0, sequences.1.0);
        Event {
            id: EventId::of(name.key, times.0, EventKind::TelemetryGap, BY, &subject),
            kind: EventKind::TelemetryGap,
            vehicle: name,
            sequence: sequences.1,
            event_time: times.1,
            received_time,
            subject,
            value: count as f64,
            details: Some(details.to_string()),
            plugin: PluginRef {
                deployment: BY.to_owned(),
                name: BY.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                hash: [0; 32],
            },
            trace: None,
        }
    }
}
