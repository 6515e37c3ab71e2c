//! A log in one redb file.
//!
//! One thread writes, and everything that waits for it shares a transaction and its syncs. Reads run on the caller's
//! thread against the last durable state, and verify a checksum of ours on every record. Bytes of blocks are stored as
//! they came. redb rounds large values up to powers of two: blocks that stay 1 KiB under one waste no space.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod faults;
mod keys;
mod opening;
#[cfg(test)]
mod power_cuts;
mod queue;
mod record_format;
#[cfg(test)]
pub(crate) mod simulated_disk;
mod storage;
mod store;
mod writer;

use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::ReadTransaction;
use tokio::sync::{oneshot, watch};

use self::keys::{BLOCKS, BOUNDS, META, META_TRANSACTIONS, SNAPSHOTS, block_key};
use self::queue::{Job, Queue, QueueLimits, Trim, Waiting};
use self::store::{Fault, Store};
use crate::contract::{Block, Bounds, Commit, CommitError, EventLog, Offset, ReadError, Source, Stream, Ticket};
use crate::error::OpenError;
use crate::metrics::{Counters, LogStats};
use crate::published::Published;

/// Default of [`RedbOptions::cache_bytes`].
const CACHE_BYTES: usize = 64 * 1_024 * 1_024;
/// Default of [`RedbOptions::queue_commits_max`].
const QUEUE_COMMITS_MAX: usize = 1_024;
/// Default of [`RedbOptions::queue_bytes_max`].
const QUEUE_BYTES_MAX: u64 = 32 * 1_024 * 1_024;

/// How a log uses its machine. The file does not depend on it.
#[derive(Debug, Clone)]
pub struct RedbOptions {
    /// Memory for pages, in bytes. Default 64 MiB.
    pub cache_bytes: usize,
    /// Most commits that wait for the writer. Default 1,024.
    pub queue_commits_max: usize,
    /// Most bytes that wait for the writer. Default 32 MiB.
    pub queue_bytes_max: u64,
    /// Check every page before the log is used: reads the whole file. Default false.
    pub verify_on_open: bool,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
            queue_commits_max: QUEUE_COMMITS_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            verify_on_open: false,
        }
    }
}

/// A log in one redb file. Dropping it works off what waits, then closes the file.
#[derive(Debug)]
pub struct RedbLog {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    epoch: u64,
}

struct Shared {
    store: Store,
    queue: Queue,
    published: Published,
    counters: Counters,
    /// Why nothing is accepted any more.
    broken: OnceLock<String>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("published", &self.published).field("broken", &self.broken).finish()
    }
}

impl RedbLog {
    /// Opens a log, or creates it when there is no file. The folder must be there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: RedbOptions) -> Result<RedbLog, OpenError> {
        opening::create_if_absent(path)?;
        Self::open_storage(path, storage::file_opener(path), &options)
    }

    fn open_storage(name: &Path, opener: storage::Opener, options: &RedbOptions) -> Result<RedbLog, OpenError> {
        let opened = opening::open(name, opener, options)?;
        let limits = QueueLimits { commits_max: options.queue_commits_max.max(1), bytes_max: options.queue_bytes_max };
        let shared = Arc::new(Shared {
            store: opened.store,
            queue: Queue::new(limits),
            published: Published::new(opened.bounds.clone(), opened.watermarks.clone()),
            counters: Counters::default(),
            broken: OnceLock::new(),
        });
        let writer = writer::Writer {
            shared: Arc::clone(&shared),
            ledger: crate::ledger::Ledger::new(opened.bounds, opened.watermarks),
            transactions: opened.transactions,
            full: false,
        };
        let writer = std::thread::Builder::new()
            .name("event-log".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: name.to_owned(), source })?;
        Ok(RedbLog { shared, writer: Some(writer), epoch: opened.epoch })
    }

    /// What was counted since the log was opened.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.shared.counters.stats(self.shared.store.watch.syncs())
    }

    fn broken(&self) -> Option<CommitError> {
        self.shared.broken.get().map(|what| CommitError::Broken(what.clone()))
    }
}

impl Drop for RedbLog {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take() {
            // It catches its panics; there is nothing to learn from joining.
            let _ = writer.join();
        }
    }
}

impl EventLog for RedbLog {
    fn submit(&self, commit: Commit) -> Ticket {
        let (resolve, ticket) = oneshot::channel();
        match self.broken() {
            Some(error) => drop(resolve.send(Err(error))),
            None => self.shared.queue.put(Job::Commit(Waiting { commit, resolve })),
        }
        Ticket(ticket)
    }

    fn read(&self, stream: Stream, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError> {
        let bounds = self.bounds(stream);
        check_trimmed(bounds, from)?;
        if from >= bounds.next {
            // Whoever follows the tail asks this most, so it costs no transaction.
            return Ok(Vec::new());
        }
        self.shared.store.read(|transaction| read_blocks(transaction, stream, from, bytes_max))
    }

    fn bounds(&self, stream: Stream) -> Bounds {
        self.shared.published.bounds(stream)
    }

    fn subscribe(&self, stream: Stream) -> watch::Receiver<Offset> {
        self.shared.published.subscribe(stream)
    }

    fn watermark(&self, source: &Source) -> Result<Option<(u64, Offset)>, ReadError> {
        Ok(self.shared.published.watermark(source))
    }

    fn snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.shared.store.read(|transaction| {
            let table = transaction.open_table(SNAPSHOTS)?;
            if let Some(record) = table.get(key)? {
                return open_snapshot(key, record.value()).map(Some);
            }
            // A name with a flipped bit is not found under its own: then one of the neighbours is damaged.
            let below = table.range(..key)?.next_back();
            for neighbour in below.into_iter().chain(table.range(key..)?.next()) {
                let (key, record) = neighbour?;
                open_snapshot(key.value(), record.value())?;
            }
            Ok(None)
        })
    }

    fn snapshots(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        self.shared.store.read(|transaction| {
            let mut found = Vec::new();
            for entry in transaction.open_table(SNAPSHOTS)?.range(prefix..)? {
                let (key, record) = entry?;
                // Verified first: a flipped bit in a name must not look like the end.
                let value = open_snapshot(key.value(), record.value())?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), value));
            }
            Ok(found)
        })
    }

    fn trim(&self, stream: Stream, before: Offset) -> Result<Offset, CommitError> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        self.shared.queue.put(Job::Trim(Trim { stream, before, answer }));
        answered.recv().unwrap_or_else(|_| Err(CommitError::Broken("its writer ended".into())))
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

fn check_trimmed(bounds: Bounds, from: Offset) -> Result<(), ReadError> {
    if from < bounds.first { Err(ReadError::Trimmed { wanted: from, first: bounds.first }) } else { Ok(()) }
}

fn damaged(at: Offset, what: String) -> Fault {
    Fault::Read(ReadError::Damaged { at, what })
}

fn open_snapshot(key: &[u8], record: &[u8]) -> Result<Bytes, Fault> {
    let name = || String::from_utf8_lossy(key).into_owned();
    let (_, value) =
        record_format::open(key, record).map_err(|what| damaged(0, format!("snapshot {:?}: {what}", name())))?;
    Ok(Bytes::copy_from_slice(value))
}

fn read_transactions(transaction: &ReadTransaction) -> Result<u64, Fault> {
    match transaction.open_table(META)?.get(META_TRANSACTIONS)? {
        Some(record) => record_format::open_number(META_TRANSACTIONS.as_bytes(), record.value())
            .map_err(|what| damaged(0, format!("the number of transactions: {what}"))),
        None => Ok(0),
    }
}

fn read_blocks(
    transaction: &ReadTransaction,
    stream: Stream,
    from: Offset,
    bytes_max: usize,
) -> Result<Vec<Block>, Fault> {
    // A trim may have come in between: the bounds of this transaction belong to its blocks.
    let bounds = match transaction.open_table(BOUNDS)?.get(stream.0)? {
        Some(record) => record_format::open_bounds(&[stream.0], record.value()).map_err(|what| damaged(from, what))?.0,
        None => return Err(damaged(from, "the bounds of its stream are gone".into())),
    };
    check_trimmed(bounds, from).map_err(Fault::Read)?;
    let table = transaction.open_table(BLOCKS)?;
    let holder = table.range((stream.0, 0)..=(stream.0, from))?.next_back().transpose()?;
    let Some((holder, _)) = holder else { return Err(damaged(from, "it is gone".into())) };
    let mut expected = holder.value().1;
    let (mut blocks, mut len) = (Vec::new(), 0);
    for entry in table.range((stream.0, expected)..=(stream.0, Offset::MAX))? {
        let (key, record) = entry?;
        let first = key.value().1;
        if first != expected {
            return Err(damaged(expected, format!("the next block stands at {first}")));
        }
        len += record.value().len().saturating_sub(record_format::HEADER_LEN);
        if len > bytes_max && !blocks.is_empty() {
            return Ok(blocks);
        }
        let (count, bytes) =
            record_format::open(&block_key(stream, first), record.value()).map_err(|what| damaged(first, what))?;
        expected = first + u64::from(count);
        if blocks.is_empty() && expected <= from {
            return Err(damaged(from, format!("the block before ends at {expected}")));
        }
        blocks.push(Block { first, count, bytes: Bytes::copy_from_slice(bytes) });
    }
    if expected != bounds.next {
        return Err(damaged(expected, format!("the stream should go on to {}", bounds.next)));
    }
    Ok(blocks)
}
