//! Values as they are stored in snapshots.
//!
//! `DRVS`, kind (u8), version (u8), the body as postcard writes it, crc32c (u32, little-endian) over all before it.
//! A released body is never edited: a change is a new version and an arm in the reader.

use crate::deployment::{RevisionId, Suspension};
use crate::trial::TrialPart;
use bytes::Bytes;
use fleet_model::repeats::Known;
use fleet_model::vehicle::LatestReading;
use fleet_model::{
    AdmissionState, Reading, Scope, Sequence, Share, TenantId, Timestamp, TrialMode, TroubleCodes, VehicleId,
    VehicleName, VehicleState,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 4] = *b"DRVS";
const HEAD_LEN: usize = 6;
const TAIL_LEN: usize = 4;

/// Why a stored value cannot be read. Not worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Something else.
    #[error("no record of ours starts here")]
    Magic,
    /// A record of another kind.
    #[error("a record of kind {found} stands where one of kind {expected} should")]
    Kind {
        /// Wanted.
        expected: u8,
        /// Found.
        found: u8,
    },
    /// Written by a newer build.
    #[error("record version {found} is unknown: this build knows up to {known}; start the newer build that wrote it")]
    Version {
        /// The newest that this build knows.
        known: u8,
        /// Found.
        found: u8,
    },
    /// The bytes changed since they were written.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

/// A value with a place in the format.
pub(crate) trait Record: Serialize + DeserializeOwned {
    const KIND: u8;
    const VERSION: u8;
}

/// Lays out a record.
pub(crate) fn encode<R: Record>(record: &R) -> Bytes {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[R::KIND, R::VERSION]);
    // Records hold numbers, texts and lists of known length: postcard has no way to fail on them.
    let mut bytes = postcard::to_extend(record, bytes).unwrap_or_default();
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.into()
}

/// Reads a record back.
pub(crate) fn decode<R: Record>(bytes: &[u8]) -> Result<R, RecordError> {
    if bytes.len() < HEAD_LEN + TAIL_LEN || bytes[..4] != MAGIC {
        return Err(RecordError::Magic);
    }
    let (whole, sum) = bytes.split_at(bytes.len() - TAIL_LEN);
    if crc32c::crc32c(whole).to_le_bytes() != sum {
        return Err(RecordError::Damaged("its checksum does not match".into()));
    }
    if whole[4] != R::KIND {
        return Err(RecordError::Kind { expected: R::KIND, found: whole[4] });
    }
    if whole[5] != R::VERSION {
        return Err(RecordError::Version { known: R::VERSION, found: whole[5] });
    }
    postcard::from_bytes(&whole[HEAD_LEN..]).map_err(|e| RecordError::Damaged(e.to_string()))
}

/// What a restart begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointRecord {
    /// Which telemetry log.
    pub telemetry_epoch: u64,
    /// Readings below are in the snapshots.
    pub telemetry_next: u64,
    /// Alerts caused by later readings stand from here on.
    pub alerts_next: u64,
    /// Billing events caused by later readings stand from here on.
    pub billing_next: u64,
    /// Dead letters about later readings stand from here on.
    pub dead_letters_next: u64,
    /// The last change of a deployment that the snapshots know. One at the same offset may have come after them.
    pub generation: u64,
}

impl Record for CheckpointRecord {
    const KIND: u8 = 1;
    const VERSION: u8 = 1;
}

/// A vehicle's actor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VehicleRecord {
    tenant: TenantId,
    vehicle: VehicleId,
    counted_by: u64,
    applied: u64,
    readings: u64,
    late: u64,
    latest: Option<(u64, ReadingRecord)>,
}

impl Record for VehicleRecord {
    const KIND: u8 = 2;
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ReadingRecord {
    event_time: i64,
    received_time: i64,
    doubles: [f64; 3],
    signals: [f32; 10],
    ignition: u8,
    trouble_codes: [u16; 8],
}

impl VehicleRecord {
    pub(crate) fn of(name: &VehicleName, state: &VehicleState) -> Self {
        Self {
            tenant: name.tenant.clone(),
            vehicle: name.vehicle.clone(),
            counted_by: state.counted_by,
            applied: state.applied.0,
            readings: state.readings,
            late: state.late,
            latest: state.latest.map(|latest| (latest.sequence.0, ReadingRecord::of(&latest.reading))),
        }
    }

    pub(crate) fn into_parts(self) -> (VehicleName, VehicleState) {
        let latest = self
            .latest
            .map(|(sequence, reading)| LatestReading { sequence: Sequence(sequence), reading: reading.into_reading() });
        let state = VehicleState {
            counted_by: self.counted_by,
            applied: Sequence(self.applied),
            latest,
            readings: self.readings,
            late: self.late,
        };
        (VehicleName::new(self.tenant, self.vehicle), state)
    }
}

impl ReadingRecord {
    fn of(reading: &Reading) -> Self {
        Self {
            event_time: reading.event_time.0,
            received_time: reading.received_time.0,
            doubles: [reading.latitude, reading.longitude, reading.odometer],
            signals: [
                reading.altitude,
                reading.heading,
                reading.speed,
                reading.horizontal_accuracy,
                reading.engine_hours,
                reading.engine_speed,
                reading.fuel_level,
                reading.state_of_charge,
                reading.engine_coolant_temperature,
                reading.battery_voltage,
            ],
            ignition: reading.ignition,
            trouble_codes: reading.trouble_codes.words(),
        }
    }

    fn into_reading(self) -> Reading {
        let [latitude, longitude, odometer] = self.doubles;
        let [
            altitude,
            heading,
            speed,
            horizontal_accuracy,
            engine_hours,
            engine_speed,
            fuel_level,
            state_of_charge,
            engine_coolant_temperature,
            battery_voltage,
        ] = self.signals;
        Reading {
            event_time: Timestamp(self.event_time),
            received_time: Timestamp(self.received_time),
            latitude,
            longitude,
            odometer,
            altitude,
            heading,
            speed,
            horizontal_accuracy,
            engine_hours,
            engine_speed,
            fuel_level,
            state_of_charge,
            engine_coolant_temperature,
            battery_voltage,
            ignition: self.ignition,
            trouble_codes: TroubleCodes::from_words(self.trouble_codes),
        }
    }
}

/// A plugin's state for one vehicle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowRecord {
    /// Which meaning the bytes have.
    pub state_version: u32,
    /// The plugin's bytes.
    pub row: Vec<u8>,
}

impl Record for RowRecord {
    const KIND: u8 = 3;
    const VERSION: u8 = 1;
}

/// One activation of a deployment, or its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeploymentRecord {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub name: String,
    /// Counts all activations of the node.
    pub generation: u64,
    /// The activation that a rollback goes back to.
    pub previous: Option<u64>,
    /// The tenant's count.
    pub revision: u64,
    /// Readings from this offset on see it.
    pub active_from: u64,
    /// The activation with which its rows began, at zero or by a migration.
    pub rows_since: u64,
    /// SHA-256 of the component.
    pub plugin_hash: [u8; 32],
    /// What the component said of itself, for a start at which it cannot be had.
    pub plugin_name: String,
    pub plugin_version: String,
    pub state_version: u32,
    pub row_bytes: u32,
    /// The config as JSON.
    pub config: String,
    /// SHA-256 of it.
    pub config_hash: [u8; 32],
    /// It ends here.
    pub retired: bool,
    /// The breaker brought it back after that revision failed.
    pub failed: Option<RevisionId>,
    /// The vehicles it decides for.
    pub scope: Scope,
    /// What is tried beside it.
    pub trial: Option<TrialRecord>,
    /// It decides nothing from here on.
    pub suspended: Option<Suspension>,
}

/// What is tried beside a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrialRecord {
    /// The activation with which it and its rows began.
    pub since: u64,
    pub revision: u64,
    pub plugin_hash: [u8; 32],
    pub plugin_name: String,
    pub plugin_version: String,
    pub state_version: u32,
    pub row_bytes: u32,
    pub config: String,
    pub config_hash: [u8; 32],
    /// The share that it decides for as a canary; `None` in the shadow.
    pub canary: Option<Share>,
}

impl TrialRecord {
    pub(crate) fn of(trial: &TrialPart) -> Self {
        let facts = trial.activation.rule.facts();
        Self {
            since: trial.activation.generation,
            revision: trial.activation.revision,
            plugin_hash: facts.hash,
            plugin_name: facts.name.clone(),
            plugin_version: facts.version.clone(),
            state_version: facts.state_version,
            row_bytes: facts.row_bytes,
            config: trial.activation.config.to_string(),
            config_hash: trial.activation.config_hash,
            canary: match trial.mode {
                TrialMode::Shadow => None,
                TrialMode::Canary { share } => Some(share),
            },
        }
    }

    pub(crate) fn mode(&self) -> TrialMode {
        self.canary.map_or(TrialMode::Shadow, |share| TrialMode::Canary { share })
    }
}

impl Record for DeploymentRecord {
    const KIND: u8 = 4;
    const VERSION: u8 = 1;
}

/// What admission knows of one vehicle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AdmissionRecord {
    pub tenant: TenantId,
    pub vehicle: VehicleId,
    pub state: AdmissionState,
}

impl Record for AdmissionRecord {
    const KIND: u8 = 5;
    const VERSION: u8 = 1;
}

/// Up to which offset the stored states of admission go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AdmissionOffsetRecord {
    pub next: u64,
}

impl Record for AdmissionOffsetRecord {
    const KIND: u8 = 6;
    const VERSION: u8 = 1;
}

/// Up to where the readings of a telemetry log were shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShedRecord {
    pub telemetry_epoch: u64,
    pub telemetry_to: u64,
}

impl Record for ShedRecord {
    const KIND: u8 = 10;
    const VERSION: u8 = 1;
}

/// Readings that admission knows of, those of one vehicle and one span of event time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownRecord {
    pub known: Vec<Known>,
}

impl Record for KnownRecord {
    const KIND: u8 = 7;
    const VERSION: u8 = 1;
}

/// Where a chain of audit records ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditHeadRecord {
    pub number: u64,
    pub hash: [u8; 32],
}

impl Record for AuditHeadRecord {
    const KIND: u8 = 8;
    const VERSION: u8 = 1;
}

/// A revision that was refused, and whose refusal is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedRecord {
    pub id: RevisionId,
}

impl Record for RefusedRecord {
    const KIND: u8 = 9;
    const VERSION: u8 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vehicle_comes_back_as_it_was() {
        let name = VehicleName::new("demo".parse().unwrap(), "WAW-1000".parse().unwrap());
        let mut state = VehicleState::default();
        let reading = Reading { speed: 12.5, ..Reading::fix(Timestamp(9), Timestamp(10), 52.0, 21.0) };
        state.apply(5, Sequence(7), &reading);
        state.apply(5, Sequence(8), &Reading { event_time: Timestamp(1), ..reading });
        let stored = encode(&VehicleRecord::of(&name, &state));
        assert_eq!(decode::<VehicleRecord>(&stored).unwrap().into_parts(), (name, state));
    }

    #[test]
    fn the_layout_is_stable_across_releases() {
        let record = CheckpointRecord {
            telemetry_epoch: 1,
            telemetry_next: 300,
            alerts_next: 2,
            billing_next: 3,
            dead_letters_next: 0,
            generation: 1,
        };
        assert_eq!(encode(&record)[..], *b"DRVS\x01\x01\x01\xac\x02\x02\x03\x00\x01\x47\x9b\xae\x9e");
    }

    #[test]
    fn other_bytes_are_refused_by_what_is_wrong_with_them() {
        let good = encode(&RowRecord { state_version: 1, row: vec![1, 2, 3] }).to_vec();
        let with = |at: usize, byte: u8| {
            let mut bytes = good[..good.len() - TAIL_LEN].to_vec();
            bytes[at] = byte;
            let sum = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            decode::<RowRecord>(&bytes)
        };
        assert_eq!(with(5, 9), Err(RecordError::Version { known: 1, found: 9 }));
        assert_eq!(with(4, 1), Err(RecordError::Kind { expected: 3, found: 1 }));
        assert_eq!(with(0, 0), Err(RecordError::Magic));
        let mut flipped = good.clone();
        flipped[8] ^= 1;
        assert!(matches!(decode::<RowRecord>(&flipped), Err(RecordError::Damaged(_))));
        assert_eq!(decode::<RowRecord>(&[]), Err(RecordError::Magic));
    }
}
