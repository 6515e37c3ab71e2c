//! A log in memory that does, at a chosen moment, what real ones do at a bad one.

use bytes::Bytes;
use event_log::{Block, Bounds, Commit, CommitError, EventLog, MemoryLog, Offset, ReadError, Source, Stream, Ticket};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{oneshot, watch};

/// What happens just before the next subscription.
type Before = Box<dyn FnOnce(&MemoryLog) + Send>;

#[derive(Default)]
pub struct OddLog {
    inner: MemoryLog,
    before_subscribe: Mutex<Option<Before>>,
    broken: AtomicBool,
}

impl OddLog {
    pub fn before_subscribe(act: impl FnOnce(&MemoryLog) + Send + 'static) -> Self {
        Self { before_subscribe: Mutex::new(Some(Box::new(act))), ..Self::default() }
    }

    /// From now on it accepts nothing.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }
}

impl EventLog for OddLog {
    fn submit(&self, commit: Commit) -> Ticket {
        if !self.broken.load(Ordering::SeqCst) {
            return self.inner.submit(commit);
        }
        let (say, outcome) = oneshot::channel();
        let _ = say.send(Err(CommitError::Broken("fsync: input/output error".into())));
        Ticket::new(outcome)
    }

    fn read(&self, stream: Stream, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError> {
        self.inner.read(stream, from, bytes_max)
    }

    fn bounds(&self, stream: Stream) -> Bounds {
        self.inner.bounds(stream)
    }

    fn subscribe(&self, stream: Stream) -> watch::Receiver<Offset> {
        if let Some(act) = self.before_subscribe.lock().take() {
            act(&self.inner);
        }
        self.inner.subscribe(stream)
    }

    fn watermark(&self, source: &Source) -> Result<Option<(u64, Offset)>, ReadError> {
        self.inner.watermark(source)
    }

    fn snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.inner.snapshot(key)
    }

    fn snapshots(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        self.inner.snapshots(prefix)
    }

    fn trim(&self, stream: Stream, before: Offset) -> Result<Offset, CommitError> {
        self.inner.trim(stream, before)
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
