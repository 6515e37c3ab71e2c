//! Checkpoints: what a restart begins with, so that it need not read the whole log again.
//!
//! A checkpoint stands at one offset C for all workers: an in-band barrier, at which each of them gives what changed
//! since the last one. It is committed after everything below C is applied and its events are durable, so a replay
//! from C misses nothing.

use crate::deployment::Stored;
use crate::error::RuntimeError;
use crate::keys;
use crate::record_format::{CheckpointRecord, encode};
use crate::runtime::Core;
use crate::worker::{Collected, Job};
use bytes::Bytes;
use event_log::{Commit, Offset, ReadError, Snapshot, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::oneshot;

/// What was checkpointed, and what waits because a commit was refused.
pub(crate) struct Checkpoints {
    last: Offset,
    pending: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl Checkpoints {
    /// The last checkpoint stands at `last`.
    pub(crate) fn after(last: Offset) -> Self {
        Self { last, pending: BTreeMap::new() }
    }
}

impl Core {
    /// Writes a checkpoint, unless nothing was applied since the last one.
    pub(crate) async fn checkpoint(&self) -> Result<(), RuntimeError> {
        let mut checkpoints = self.checkpoints.lock().await;
        let begun = Instant::now();
        let mut replies = Vec::with_capacity(self.workers.len());
        let record = {
            let front = self.front.lock().await;
            if front.next == checkpoints.last && checkpoints.pending.is_empty() {
                return Ok(());
            }
            // Later readings are not handed out while the front is held: what they cause stands after these offsets.
            let record = CheckpointRecord {
                telemetry_epoch: self.logs.telemetry.epoch(),
                telemetry_next: front.next,
                alerts_next: self.logs.events.bounds(Stream::ALERTS).next,
                billing_next: self.logs.events.bounds(Stream::BILLING).next,
                dead_letters_next: self.logs.events.bounds(Stream::DEAD_LETTERS).next,
                generation: front.generation,
            };
            self.cast_all(|| {
                let (reply, answer) = oneshot::channel::<Collected>();
                replies.push(answer);
                Job::Collect(reply)
            });
            record
        };
        for reply in replies {
            let collected = reply.await.map_err(|_| self.gone())?;
            checkpoints.pending.extend(collected.snapshots().map(|snapshot| (snapshot.key, snapshot.value)));
        }
        self.progress.settled(record.telemetry_next).await.map_err(RuntimeError::Broken)?;
        checkpoints.pending.insert(keys::CHECKPOINT.to_vec(), Some(encode(&record)));
        let outdated = self.deployments.lock().outdated(record.generation);
        let removed = self.remove(&outdated, &mut checkpoints.pending);
        removed.map_err(|error| RuntimeError::Broken(error.to_string()))?;

        let pending = checkpoints.pending.iter();
        let snapshots: Vec<_> =
            pending.map(|(key, value)| Snapshot { key: key.clone(), value: value.clone() }).collect();
        let count = snapshots.len();
        let ticket = self.logs.events.submit(Commit { snapshots, ..Default::default() });
        // When it is refused, what was collected waits for the next attempt.
        ticket.durable().await.map_err(|error| RuntimeError::Broken(format!("a checkpoint: {error}")))?;
        checkpoints.pending.clear();
        self.deployments.lock().forget(&outdated);
        checkpoints.last = record.telemetry_next;
        self.checkpointed.store(record.telemetry_next, Ordering::Relaxed);
        let ms = begun.elapsed().as_secs_f64() * 1_000.0;
        self.metrics.checkpoint_ms.record(ms, &[]);
        self.metrics.applied_offset.record(record.telemetry_next, &[]);
        tracing::debug!(offset = record.telemetry_next, snapshots = count, ms, "checkpoint");
        Ok(())
    }

    /// Adds the removal of deployment records, and of rows that no other record needs.
    fn remove(&self, outdated: &[Stored], pending: &mut BTreeMap<Vec<u8>, Option<Bytes>>) -> Result<(), ReadError> {
        let kept: BTreeSet<_> = {
            let deployments = self.deployments.lock();
            let kept = deployments.stored.iter().filter(|stored| !outdated.contains(stored));
            kept.flat_map(prefixes).collect()
        };
        for stored in outdated {
            pending.insert(keys::deployment(&stored.key, stored.generation), None);
            for prefix in prefixes(stored).filter(|prefix| !kept.contains(prefix)) {
                let rows = self.logs.events.snapshots(&prefix)?;
                // Also those that waited because an earlier commit was refused.
                let waiting = pending.iter_mut().filter(|(key, _)| key.starts_with(&prefix));
                waiting.for_each(|(_, value)| *value = None);
                pending.extend(rows.into_iter().map(|(key, _)| (key, None)));
            }
        }
        Ok(())
    }
}

/// What the keys of a stored activation's rows begin with.
fn prefixes(stored: &Stored) -> impl Iterator<Item = Vec<u8>> + '_ {
    stored.rows_since.iter().map(|since| keys::rows_since(&stored.key, *since))
}
