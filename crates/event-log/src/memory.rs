//! A log in memory, for tests and for trying rules out: the contract without the disk.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::contract::{
    Append, Appended, Block, Bounds, Commit, CommitError, Committed, EventLog, Offset, ReadError, Source, Stream,
    Ticket,
};
use crate::ledger::Ledger;
use crate::metrics::{Counters, LogStats};
use crate::published::Published;

/// A log in memory. Clones share it, so a clone stands for the log opened again.
#[derive(Debug, Clone)]
pub struct MemoryLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    published: Published,
    counters: Counters,
    epoch: u64,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    blocks: BTreeMap<(Stream, Offset), (u32, Bytes)>,
    snapshots: BTreeMap<Vec<u8>, Bytes>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            published: Published::default(),
            counters: Counters::default(),
            epoch: random_epoch(),
        }))
    }

    /// What was counted so far; `syncs` stays 0.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.0.counters.stats(0)
    }
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

/// The standard library's hasher is seeded by the system's random source, which is all the chance an epoch needs.
pub(crate) fn random_epoch() -> u64 {
    RandomState::new().hash_one(std::time::SystemTime::now())
}

impl State {
    fn apply(&mut self, commit: Commit) -> Result<Committed, CommitError> {
        let appended = self.ledger.admit(&commit)?;
        for (Append { stream, count, bytes, .. }, at) in commit.appends.into_iter().zip(&appended) {
            if let Appended::At(first) = at {
                self.blocks.insert((stream, *first), (count, bytes));
            }
        }
        for snapshot in commit.snapshots {
            match snapshot.value {
                Some(value) => drop(self.snapshots.insert(snapshot.key, value)),
                None => drop(self.snapshots.remove(&snapshot.key)),
            }
        }
        Ok(Committed { appended })
    }
}

impl EventLog for MemoryLog {
    fn submit(&self, commit: Commit) -> Ticket {
        let (resolve, ticket) = oneshot::channel();
        let counters = &self.0.counters;
        let bytes = commit_bytes(&commit);
        let mut state = self.0.state.lock();
        let outcome = state.apply(commit);
        if outcome.is_ok() {
            Counters::add(&counters.commits, 1);
            Counters::add(&counters.transactions, 1);
            Counters::add(&counters.bytes, bytes);
            // Under the lock: standings are published in the order they came about.
            self.0.published.publish(state.ledger.touched());
            state.ledger.settle();
        } else {
            Counters::add(&counters.refused, 1);
        }
        drop(state);
        // Whoever dropped the ticket does not want to know.
        let _ = resolve.send(outcome);
        Ticket(ticket)
    }

    fn read(&self, stream: Stream, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError> {
        let state = self.0.state.lock();
        let bounds = state.ledger.bounds(stream);
        if from < bounds.first {
            return Err(ReadError::Trimmed { wanted: from, first: bounds.first });
        }
        if from >= bounds.next {
            return Ok(Vec::new());
        }
        let start = state.blocks.range((stream, 0)..=(stream, from)).next_back().map_or(from, |((_, first), _)| *first);
        let (mut blocks, mut len) = (Vec::new(), 0);
        for ((_, first), (count, bytes)) in state.blocks.range((stream, start)..=(stream, Offset::MAX)) {
            len += bytes.len();
            if len > bytes_max && !blocks.is_empty() {
                break;
            }
            blocks.push(Block { first: *first, count: *count, bytes: bytes.clone() });
        }
        Ok(blocks)
    }

    fn bounds(&self, stream: Stream) -> Bounds {
        self.0.published.bounds(stream)
    }

    fn subscribe(&self, stream: Stream) -> watch::Receiver<Offset> {
        self.0.published.subscribe(stream)
    }

    fn watermark(&self, source: &Source) -> Result<Option<(u64, Offset)>, ReadError> {
        Ok(self.0.published.watermark(source))
    }

    fn snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.state.lock().snapshots.get(key).cloned())
    }

    fn snapshots(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        let state = self.0.state.lock();
        let from_prefix = state.snapshots.range(prefix.to_vec()..);
        Ok(from_prefix.take_while(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn trim(&self, stream: Stream, before: Offset) -> Result<Offset, CommitError> {
        let mut state = self.0.state.lock();
        let bounds = state.ledger.bounds(stream);
        let first = if before >= bounds.next {
            bounds.next
        } else {
            let holder = state.blocks.range((stream, 0)..=(stream, before)).next_back();
            holder.map_or(bounds.first, |((_, first), _)| *first)
        };
        if first > bounds.first {
            let mut kept = state.blocks.split_off(&(stream, bounds.first));
            let mut rest = kept.split_off(&(stream, first));
            let forgotten: usize = kept.values().map(|(_, bytes)| bytes.len()).sum();
            state.blocks.append(&mut rest);
            let bytes = bounds.bytes - forgotten as u64;
            state.ledger.set_bounds(stream, Bounds { first, next: bounds.next, bytes });
            self.0.published.publish(state.ledger.touched());
            state.ledger.settle();
        }
        Ok(first)
    }

    fn epoch(&self) -> u64 {
        self.0.epoch
    }
}

/// Bytes that a commit brings.
pub(crate) fn commit_bytes(commit: &Commit) -> u64 {
    let appends = commit.appends.iter().map(|append| append.bytes.len()).sum::<usize>();
    let snapshots = commit.snapshots.iter().filter_map(|s| s.value.as_ref()).map(Bytes::len).sum::<usize>();
    (appends + snapshots) as u64
}
