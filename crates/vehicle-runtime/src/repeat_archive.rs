//! Which readings were admitted, beyond what each vehicle remembers at hand: in the telemetry log, by vehicle and span of
//! event time.
//!
//! What left vehicles' memory since the last checkpoint waits here and goes into its commit; after a crash it leaves
//! their memory again while the log is read. So this grows by some 12 bytes a reading in the log, and by nothing in
//! memory.

use crate::keys;
use crate::record_format::{self, KnownRecord};
use event_log::{EventLog, Offset, Snapshot};
use fleet_model::repeats::{Known, RepeatStore};
use fleet_model::{Timestamp, VehicleKey};
use hashbrown::HashMap;
use std::sync::Arc;

/// Event time in one span: a quarter of an hour. What a look-up reads at once.
const SPAN_MS: i64 = 15 * 60_000;
/// Spans that were looked up and are kept for the next look-up.
const LOOKED_UP_MAX: usize = 1_024;

type Place = (VehicleKey, i64);

/// The archive of one telemetry log.
pub(crate) struct RepeatArchive {
    log: Arc<dyn EventLog>,
    /// Since the last checkpoint.
    waiting: HashMap<Place, Vec<Known>>,
    /// Handed out by the last checkpoint: its commit may still be on its way.
    handed_out: HashMap<Place, Vec<Known>>,
    /// What the log holds of some places.
    looked_up: HashMap<Place, HashMap<Timestamp, u32>>,
}

/// The part of one vehicle.
pub(crate) struct VehicleArchive<'a> {
    archive: &'a mut RepeatArchive,
    vehicle: VehicleKey,
}

impl RepeatArchive {
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, waiting: HashMap::new(), handed_out: HashMap::new(), looked_up: HashMap::new() }
    }

    pub(crate) fn of(&mut self, vehicle: VehicleKey) -> VehicleArchive<'_> {
        VehicleArchive { archive: self, vehicle }
    }

    /// What waits, to be committed with admission's states up to offset `next`. The commit before must be durable.
    pub(crate) fn checkpoint(&mut self, next: Offset) -> Vec<Snapshot> {
        // Looked up before the last checkpoint's were in the log.
        self.looked_up.clear();
        self.handed_out = std::mem::take(&mut self.waiting);
        let page = |(&(vehicle, span), known): (&Place, &Vec<Known>)| Snapshot {
            key: keys::admission_known_page(vehicle, span, next),
            value: Some(record_format::encode(&KnownRecord { known: known.clone() })),
        };
        self.handed_out.iter().map(page).collect()
    }

    /// What the log holds of a place. Damage there must not stop a vehicle: what cannot be read is taken for unknown,
    /// so at worst a repeat is stored again, as late.
    fn read(&self, place: Place) -> HashMap<Timestamp, u32> {
        let (vehicle, span) = place;
        let pages = self.log.snapshots(&keys::admission_known(vehicle, span)).unwrap_or_else(|error| {
            tracing::error!(%error, ?vehicle, "old readings cannot be told from their repeats");
            Vec::new()
        });
        let records = pages.iter().filter_map(|(_, page)| {
            let record = record_format::decode::<KnownRecord>(page);
            record.inspect_err(|error| tracing::error!(%error, ?vehicle, "repeats of some old readings go unseen")).ok()
        });
        records.flat_map(|record| record.known).map(|known| (known.event_time, known.content_hash)).collect()
    }
}

impl RepeatStore for VehicleArchive<'_> {
    fn keep(&mut self, known: Known) {
        let place = (self.vehicle, span(known.event_time));
        self.archive.waiting.entry(place).or_default().push(known);
    }

    fn content_at(&mut self, event_time: Timestamp) -> Option<u32> {
        let place = (self.vehicle, span(event_time));
        let in_memory = [&self.archive.waiting, &self.archive.handed_out];
        let mut in_memory = in_memory.into_iter().filter_map(|spans| spans.get(&place)).flatten();
        if let Some(known) = in_memory.find(|known| known.event_time == event_time) {
            return Some(known.content_hash);
        }
        if !self.archive.looked_up.contains_key(&place) {
            if self.archive.looked_up.len() >= LOOKED_UP_MAX {
                self.archive.looked_up.clear();
            }
            let read = self.archive.read(place);
            self.archive.looked_up.insert(place, read);
        }
        self.archive.looked_up.get(&place)?.get(&event_time).copied()
    }
}

fn span(event_time: Timestamp) -> i64 {
    event_time.0.div_euclid(SPAN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::{Commit, MemoryLog};

    const VEHICLE: VehicleKey = VehicleKey(7);

    fn known(event_time: i64) -> Known {
        Known { event_time: Timestamp(event_time), content_hash: 1 }
    }

    #[test]
    fn a_reading_is_known_while_its_checkpoint_is_on_its_way_and_afterwards() {
        let log = MemoryLog::new();
        let mut archive = RepeatArchive::new(Arc::new(log.clone()));
        archive.of(VEHICLE).keep(known(1_000));
        let first = archive.checkpoint(1);
        assert_eq!(archive.of(VEHICLE).content_at(Timestamp(1_000)), Some(1), "handed out, not durable");
        archive.of(VEHICLE).keep(known(2_000));
        log.submit(Commit { snapshots: first, ..Default::default() }).wait().unwrap();
        let second = archive.checkpoint(2);
        assert_eq!(archive.of(VEHICLE).content_at(Timestamp(1_000)), Some(1), "durable, beside one on its way");
        log.submit(Commit { snapshots: second, ..Default::default() }).wait().unwrap();
        let mut again = RepeatArchive::new(Arc::new(log));
        for (time, expected) in [(1_000, Some(1)), (2_000, Some(1)), (3_000, None)] {
            assert_eq!(again.of(VEHICLE).content_at(Timestamp(time)), expected);
        }
        assert_eq!(again.of(VehicleKey(8)).content_at(Timestamp(1_000)), None, "another vehicle's");
    }

    #[test]
    fn a_damaged_page_makes_its_readings_unknown_and_nothing_worse() {
        let log = MemoryLog::new();
        let key = keys::admission_known_page(VEHICLE, 0, 1);
        let snapshots = vec![Snapshot { key, value: Some(bytes::Bytes::from_static(b"damaged")) }];
        log.submit(Commit { snapshots, ..Default::default() }).wait().unwrap();
        let mut archive = RepeatArchive::new(Arc::new(log));
        assert_eq!(archive.of(VEHICLE).content_at(Timestamp(1_000)), None);
        archive.of(VEHICLE).keep(known(1_000));
        assert_eq!(archive.of(VEHICLE).content_at(Timestamp(1_000)), Some(1));
    }
}
