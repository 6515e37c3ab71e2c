//! Admission of a node: decides about each reading at the door and gives it its sequence.
//!
//! Owned by the one task that builds blocks; no locks. What was admitted is remembered at once, so a commit that is
//! refused leaves it ahead of the log: throw it away then and [`Admission::recover`] it.

use crate::config::Logs;
use crate::keys;
use crate::record_format::{self, AdmissionOffsetRecord, AdmissionRecord, RecordError};
use crate::repeat_archive::RepeatArchive;
use event_log::{Offset, ReadError, Snapshot, Stream};
use fleet_model::{AdmissionPolicy, AdmissionState, Reading, Refusal, VehicleKey, VehicleName, Verdict};
use fleet_wire::Frame;
use hashbrown::HashMap;
use std::sync::Arc;

/// Bytes asked of the log at once while it is read again.
const READ_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// What a node admits.
pub struct Admission {
    policy: AdmissionPolicy,
    archive: RepeatArchive,
    vehicles: HashMap<VehicleKey, Entry>,
    dirty: Vec<VehicleKey>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<VehicleName>,
    state: AdmissionState,
    dirty: bool,
}

/// Why admission cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The telemetry log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A stored state cannot be read.
    #[error("stored state of admission: {0}")]
    Record(#[from] RecordError),
    /// A block of the telemetry log cannot be read.
    #[error("the telemetry log's block at offset {at} cannot be read: {reason}")]
    Frame {
        /// Where.
        at: Offset,
        /// How it shows.
        reason: String,
    },
}

impl Admission {
    /// Rebuilds what was known, from the snapshots in the telemetry log and the readings logged after them.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub fn recover(policy: AdmissionPolicy, logs: &Logs) -> Result<Self, RecoverError> {
        let archive = RepeatArchive::new(logs.telemetry.clone());
        let mut admission = Self { policy, archive, vehicles: HashMap::new(), dirty: Vec::new() };
        for (_, value) in logs.telemetry.snapshots(keys::ADMISSION_VEHICLES)? {
            let record: AdmissionRecord = record_format::decode(&value)?;
            let name = Arc::new(VehicleName::new(record.tenant, record.vehicle));
            admission.vehicles.insert(name.key, Entry { name, state: record.state, dirty: false });
        }
        let bounds = logs.telemetry.bounds(Stream::TELEMETRY);
        let stored = logs.telemetry.snapshot(keys::ADMISSION_OFFSET)?;
        let next = match stored {
            Some(value) => record_format::decode::<AdmissionOffsetRecord>(&value)?.next,
            None => 0,
        };
        let mut at = next.max(bounds.first);
        while at < bounds.next {
            let blocks = logs.telemetry.read(Stream::TELEMETRY, at, READ_BYTES_MAX)?;
            let Some(last) = blocks.last() else { break };
            at = last.first + u64::from(last.count);
            for block in blocks {
                let first = block.first;
                admission.recall(block.bytes).map_err(|reason| RecoverError::Frame { at: first, reason })?;
            }
        }
        Ok(admission)
    }

    /// Decides about one reading. Only [`Verdict::Admitted`] goes into the log. A reading that is older than what is
    /// remembered of its vehicle costs a short read of the log, once for all readings of its quarter of an hour.
    ///
    /// # Errors
    /// The reason why it is impossible.
    pub fn admit(&mut self, name: &Arc<VehicleName>, reading: &Reading) -> Result<Verdict, Refusal> {
        self.policy.check(reading)?;
        let entry = self.vehicles.entry(name.key).or_insert_with(|| Entry {
            name: name.clone(),
            state: AdmissionState::default(),
            dirty: false,
        });
        if !Arc::ptr_eq(&entry.name, name) && entry.name != *name {
            return Err(Refusal::KeyCollision);
        }
        let verdict = entry.state.admit(reading, &mut self.archive.of(name.key));
        if matches!(verdict, Verdict::Admitted { .. }) && !entry.dirty {
            entry.dirty = true;
            self.dirty.push(name.key);
        }
        Ok(verdict)
    }

    /// What changed since the last call, to be committed to the telemetry log together with the readings below `next`
    /// or after them: every reading admitted so far must stand below `next`.
    #[must_use]
    pub fn checkpoint(&mut self, next: Offset) -> Vec<Snapshot> {
        let mut snapshots = self.archive.checkpoint(next);
        snapshots.reserve(self.dirty.len() + 1);
        for key in self.dirty.drain(..) {
            let Some(entry) = self.vehicles.get_mut(&key) else { continue };
            entry.dirty = false;
            let record = AdmissionRecord {
                tenant: entry.name.tenant.clone(),
                vehicle: entry.name.vehicle.clone(),
                state: entry.state.clone(),
            };
            let value = Some(record_format::encode(&record));
            snapshots.push(Snapshot { key: keys::admission_vehicle(key), value });
        }
        let value = Some(record_format::encode(&AdmissionOffsetRecord { next }));
        snapshots.push(Snapshot { key: keys::ADMISSION_OFFSET.to_vec(), value });
        snapshots
    }

    /// Vehicles known.
    #[must_use]
    pub fn vehicles(&self) -> usize {
        self.vehicles.len()
    }

    fn recall(&mut self, bytes: bytes::Bytes) -> Result<(), String> {
        let frame = Frame::parse(bytes).map_err(|e| e.to_string())?;
        let frame = frame.into_readings().map_err(|_| "it holds events".to_owned())?;
        let block = frame.block();
        let mut keys = Vec::with_capacity(block.vehicles.len());
        for vehicle in block.vehicles.iter() {
            let name = vehicle.to_name().map_err(|e| e.to_string())?;
            keys.push(name.key);
            self.vehicles.entry(name.key).or_insert_with(|| Entry {
                name: Arc::new(name),
                state: AdmissionState::default(),
                dirty: false,
            });
        }
        for record in block.readings.iter() {
            let key = keys[record.vehicle_index()];
            if let Some(entry) = self.vehicles.get_mut(&key) {
                entry.state.recall(record.sequence(), &record.reading(), &mut self.archive.of(key));
                if !entry.dirty {
                    entry.dirty = true;
                    self.dirty.push(key);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fleet;
    use event_log::{Append, Commit, MemoryLog};
    use fleet_model::{Sequence, Timestamp};
    use fleet_wire::block::{ReadingBlockV1, ReadingV1, VehicleNameV1};
    use proptest::prelude::*;

    fn logs() -> Logs {
        Logs { telemetry: Arc::new(MemoryLog::new()), events: Arc::new(MemoryLog::new()) }
    }

    fn reading(event_time: i64, latitude: f64) -> Reading {
        Reading::fix(Timestamp(event_time), Timestamp(event_time), latitude, 21.0)
    }

    /// Admits one reading and commits it, with a checkpoint when asked for.
    fn admit(admission: &mut Admission, logs: &Logs, number: u32, reading: &Reading, checkpoint: bool) -> Verdict {
        let name = Arc::new(fleet::vehicle(number));
        let verdict = admission.admit(&name, reading).unwrap();
        let Verdict::Admitted { sequence, .. } = verdict else { return verdict };
        let block = ReadingBlockV1 {
            vehicles: vec![VehicleNameV1::of(&name)],
            readings: vec![ReadingV1::of(0, sequence, reading)],
            traces: Vec::new(),
        };
        let bytes = fleet::frame(&block).bytes().clone();
        let next = logs.telemetry.bounds(Stream::TELEMETRY).next + 1;
        let snapshots = if checkpoint { admission.checkpoint(next) } else { Vec::new() };
        let appends = vec![Append { stream: Stream::TELEMETRY, count: 1, bytes, source: None }];
        logs.telemetry.submit(Commit { appends, snapshots, ..Commit::default() }).wait().unwrap();
        verdict
    }

    #[test]
    fn two_names_with_one_key_are_told_apart() {
        let mut admission = Admission::recover(AdmissionPolicy::default(), &logs()).unwrap();
        let name = Arc::new(fleet::vehicle(0));
        let impostor = Arc::new(VehicleName { key: name.key, ..fleet::vehicle(1) });
        assert!(admission.admit(&name, &reading(1_000, 52.0)).is_ok());
        assert_eq!(admission.admit(&impostor, &reading(2_000, 52.0)), Err(Refusal::KeyCollision));
        assert_eq!(admission.admit(&name, &reading(2_000, f64::NAN)), Err(Refusal::NotFinite));
        assert_eq!(admission.vehicles(), 1);
    }

    proptest! {
        /// However often the node restarts, and however old a repeat is, it decides as if it remembered everything.
        #[test]
        fn each_reading_is_admitted_once_whenever_it_comes_again(
            turns in proptest::collection::vec((0..2_u32, 0..400_i64, 0..2_u8, 0..10_u8, 0..20_u8), 1..600),
        ) {
            let logs = logs();
            let mut admission = Admission::recover(AdmissionPolicy::default(), &logs).unwrap();
            let mut first_content: HashMap<(u32, i64), u8> = HashMap::new();
            let mut newest = [None, None];
            let mut last = [0, 0];
            for (number, minute, content, checkpoint, restart) in turns {
                if restart == 0 {
                    admission = Admission::recover(AdmissionPolicy::default(), &logs).unwrap();
                }
                let vehicle = number as usize;
                let expected = match first_content.get(&(number, minute)) {
                    Some(first) if *first == content => Verdict::Repeat,
                    Some(_) => Verdict::Conflict,
                    None => {
                        first_content.insert((number, minute), content);
                        last[vehicle] += 1;
                        Verdict::Admitted { sequence: Sequence(last[vehicle]), late: newest[vehicle] > Some(minute) }
                    }
                };
                newest[vehicle] = newest[vehicle].max(Some(minute));
                let reading = reading(60_000 * minute, 52.0 + f64::from(content));
                let found = admit(&mut admission, &logs, number, &reading, checkpoint == 0);
                prop_assert_eq!(found, expected);
            }
        }
    }
}
