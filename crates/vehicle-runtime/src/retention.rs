//! What of a node's logs a restart no longer needs, and what was shed because the disk is short.

use crate::config::Logs;
use crate::error::RuntimeError;
use crate::event_writer::ToWriter;
use crate::keys;
use crate::record_format::{self, AdmissionOffsetRecord, CheckpointRecord, RecordError, ShedRecord};
use crate::runtime::Runtime;
use event_log::{Offset, ReadError, Snapshot};
use fleet_model::Event;
use tokio::sync::oneshot;

/// Below these a restart reads nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrimLimits {
    /// Of readings.
    pub telemetry: Offset,
    /// Of events of class alerts.
    pub alerts: Offset,
    /// Of events of class billing.
    pub billing: Offset,
    /// Of dead letters.
    pub dead_letters: Offset,
}

/// Why that is not known.
#[derive(Debug, thiserror::Error)]
pub enum TrimLimitsError {
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A stored record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl TrimLimits {
    /// By the last checkpoints of the actors and of admission.
    ///
    /// # Errors
    /// See [`TrimLimitsError`].
    pub fn read(logs: &Logs) -> Result<Self, TrimLimitsError> {
        let Some(checkpoint) = logs.events.snapshot(keys::CHECKPOINT)? else { return Ok(Self::default()) };
        let checkpoint: CheckpointRecord = record_format::decode(&checkpoint)?;
        let admission = match logs.telemetry.snapshot(keys::ADMISSION_OFFSET)? {
            Some(admission) => record_format::decode::<AdmissionOffsetRecord>(&admission)?.next,
            None => 0,
        };
        Ok(Self {
            telemetry: checkpoint.telemetry_next.min(admission),
            alerts: checkpoint.alerts_next,
            billing: checkpoint.billing_next,
            dead_letters: checkpoint.dead_letters_next,
        })
    }
}

/// The offset below which readings were shed: their gap events are durable, they themselves may still be there.
///
/// # Errors
/// See [`TrimLimitsError`].
pub fn shed_to(logs: &Logs) -> Result<Option<Offset>, TrimLimitsError> {
    let Some(record) = logs.events.snapshot(keys::SHED)? else { return Ok(None) };
    let record: ShedRecord = record_format::decode(&record)?;
    Ok((record.telemetry_epoch == logs.telemetry.epoch()).then_some(record.telemetry_to))
}

impl Runtime {
    /// Makes the events that tell of shed readings durable, together with the offset up to which they tell: trim the
    /// telemetry log to it afterwards. Whoever trims does so at every start, too: it may not have come to it.
    ///
    /// # Errors
    /// See [`RuntimeError`]; nothing may be trimmed then.
    pub async fn record_shed(&self, events: Vec<Event>, telemetry_to: Offset) -> Result<(), RuntimeError> {
        let record = ShedRecord { telemetry_epoch: self.core.logs.telemetry.epoch(), telemetry_to };
        let snapshot = Snapshot { key: keys::SHED.to_vec(), value: Some(record_format::encode(&record)) };
        let (done, written) = oneshot::channel();
        self.core.tell_writer(ToWriter::Shed { events, snapshot, done });
        written.await.map_err(|_| self.core.gone())
    }
}
