//! A log whose disk does what a test says: waits, is full, refuses, breaks.

use event_log::*;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// What the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Works,
    Waits,
    IsFull,
    /// Refuses commits though there is space.
    Refuses,
    Breaks,
}

type Waiting = (Commit, oneshot::Sender<Result<Committed, CommitError>>);

/// Commits pass the gate one by one, in order.
pub(crate) struct GatedLog {
    inner: Arc<dyn EventLog>,
    queue: mpsc::UnboundedSender<Waiting>,
    disk: watch::Sender<Disk>,
    submitted: watch::Sender<usize>,
}

impl GatedLog {
    pub(crate) fn new(inner: Arc<dyn EventLog>) -> Arc<Self> {
        let (queue, mut waiting) = mpsc::unbounded_channel::<Waiting>();
        let (disk, _) = watch::channel(Disk::Works);
        let mut seen = disk.subscribe();
        let log = inner.clone();
        tokio::spawn(async move {
            while let Some((commit, outcome)) = waiting.recv().await {
                let Ok(disk) = seen.wait_for(|disk| *disk != Disk::Waits).await.map(|disk| *disk) else { return };
                let result = match disk {
                    Disk::IsFull => Err(CommitError::Full("no space in the test".into())),
                    Disk::Refuses => Err(CommitError::Malformed { len: 7, count: 1 }),
                    Disk::Breaks => Err(CommitError::Broken("broken by the test".into())),
                    Disk::Works | Disk::Waits => log.submit(commit).durable().await,
                };
                let _ = outcome.send(result);
            }
        });
        Arc::new(Self { inner, queue, disk, submitted: watch::channel(0).0 })
    }

    pub(crate) fn set(&self, disk: Disk) {
        self.disk.send_replace(disk);
    }

    /// Waits until this many commits have been handed in since the start.
    pub(crate) async fn submitted(&self, count: usize) {
        self.submitted.subscribe().wait_for(|submitted| *submitted >= count).await.unwrap();
    }

    pub(crate) fn submitted_so_far(&self) -> usize {
        *self.submitted.borrow()
    }
}

impl EventLog for GatedLog {
    fn submit(&self, commit: Commit) -> Ticket {
        let (outcome, ticket) = oneshot::channel();
        let _ = self.queue.send((commit, outcome));
        self.submitted.send_modify(|submitted| *submitted += 1);
        Ticket::new(ticket)
    }

    fn read(&self, stream: Stream, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError> {
        self.inner.read(stream, from, bytes_max)
    }

    fn bounds(&self, stream: Stream) -> Bounds {
        self.inner.bounds(stream)
    }

    fn subscribe(&self, stream: Stream) -> watch::Receiver<Offset> {
        self.inner.subscribe(stream)
    }

    fn watermark(&self, source: &Source) -> Result<Option<(u64, Offset)>, ReadError> {
        self.inner.watermark(source)
    }

    fn snapshot(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, ReadError> {
        self.inner.snapshot(key)
    }

    fn snapshots(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, bytes::Bytes)>, ReadError> {
        self.inner.snapshots(prefix)
    }

    fn trim(&self, stream: Stream, before: Offset) -> Result<Offset, CommitError> {
        self.inner.trim(stream, before)
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
