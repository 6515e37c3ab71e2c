//! How far one class is on its way to the cloud.

use event_log::{EventLog, Stream};
use fleet_model::EventClass;
use fleet_wire::FrameHeader;
use fleet_wire::control::StreamStatus;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_util::task::TaskTracker;

/// One class's log and what the cloud has of it.
pub(super) struct Progress {
    pub(super) class: EventClass,
    pub(super) stream: Stream,
    pub(super) log: Arc<dyn EventLog>,
    /// Reads of the log under way on blocking threads: they outlive the task that asked.
    pub(super) reads: TaskTracker,
    acked: AtomicU64,
    /// The cloud has said what it has, since the start of the process.
    known: AtomicBool,
    /// When the frame at an offset was built: read from the log once per offset.
    oldest: Mutex<Option<(u64, i64)>>,
}

impl Progress {
    /// Until the cloud has said what it has, it counts as having what the log no longer holds.
    pub(super) fn new(class: EventClass, stream: Stream, log: Arc<dyn EventLog>) -> Self {
        let acked = AtomicU64::new(log.bounds(stream).first);
        let known = AtomicBool::new(false);
        Self { class, stream, log, reads: TaskTracker::new(), acked, known, oldest: Mutex::new(None) }
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    pub(super) fn set_acked(&self, next: u64) {
        self.acked.store(next, Ordering::Relaxed);
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether the cloud has said what it has. Until then the lag is unknown: the whole log would be a false alarm.
    pub(super) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// As the cloud and the status page are told.
    pub(super) fn status(&self) -> StreamStatus {
        let acked = self.acked();
        let bounds = self.log.bounds(self.stream);
        let waiting = acked < bounds.next;
        let created = if waiting { self.created_ms(acked.max(bounds.first)) } else { None };
        StreamStatus {
            class: self.class,
            first: bounds.first,
            next: bounds.next,
            acked,
            oldest_unacked_ms: created.map(|created| (now_ms() - created).max(0)),
        }
    }

    fn created_ms(&self, offset: u64) -> Option<i64> {
        let mut oldest = self.oldest.lock();
        if let Some((at, created)) = *oldest
            && at == offset
        {
            return Some(created);
        }
        let blocks = self.log.read(self.stream, offset, 1).ok()?;
        let created = FrameHeader::parse(&blocks.first()?.bytes).ok()?.created_ms;
        *oldest = Some((offset, created));
        Some(created)
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::MemoryLog;

    #[test]
    fn the_lag_is_unknown_until_the_cloud_has_spoken() {
        let progress = Progress::new(EventClass::Telemetry, Stream::TELEMETRY, Arc::new(MemoryLog::new()));
        assert!(!progress.is_known());
        progress.set_acked(0);
        assert!(progress.is_known(), "nothing is something that it can have");
    }
}
