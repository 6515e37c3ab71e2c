//! The contract.
//!
//! A log holds a few *streams*. A stream is a row of records with dense offsets from 0; records come in *blocks*, and a
//! block is stored under the offset of its first record, as the bytes it came in.
//!
//! ```text
//!            first                                        next
//!              |                                            |
//!   trimmed    v                                            v
//!  ............[ block @100, 40 records ][ block @140, 8 ]..   offsets 100..148
//!              ^ read(.., 120, ..) starts with this block: a read never cuts a block
//! ```
//!
//! **Commit.** One [`Commit`] may append to several streams, put snapshots and remove some. All of it is durable
//! together or not at all, and a ticket resolves only after it is durable: what was acknowledged survives a power cut.
//! Commits that wait at the same time share one sync (group commit); they take effect in the order of their submission.
//!
//! **Once.** An append may name its [`SourcePosition`]: who sent it, which epoch of the sender's log, and the first
//! offset there. The watermark of the source moves in the same transaction. An append that ends at or below the
//! watermark of its source is [`Appended::Repeat`] and changes nothing; one that starts above it is
//! [`CommitError::Hole`]; so is one that starts below and ends above it, since taking it would double records and
//! leaving it would lose some: both say where to go on. Another epoch, or a new source, starts a count from any offset.
//! What a source has lost for good it skips ([`Commit::skips`]): its watermark moves up, never down.
//!
//! **Refused.** [`CommitError::Hole`], [`CommitError::Malformed`] and [`CommitError::Full`] mean that nothing of this
//! commit is in the log, and say nothing about the commits beside it. After [`CommitError::Broken`] nothing more is
//! ever accepted: whoever holds the log stops and says so. What was on its way then may be in the log or not, whole
//! either way; it shows when the log is opened again, and the watermark keeps a second try from doubling it.

use bytes::Bytes;

/// Position of a record in a stream, from 0.
pub type Offset = u64;

/// Largest block. Fill them to 1 KiB less: the redb log rounds up to a power of two, its own header included.
pub const BLOCK_LEN_MAX: usize = 256 * 1_024;

/// Largest value of a snapshot.
pub const SNAPSHOT_LEN_MAX: usize = 32 * 1_024 * 1_024;

/// Longest name of a snapshot.
pub const SNAPSHOT_KEY_LEN_MAX: usize = 1_024;

/// A row of records with offsets of its own. The number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream(pub u8);

impl Stream {
    /// Readings.
    pub const TELEMETRY: Stream = Stream(1);
    /// Events of class alerts.
    pub const ALERTS: Stream = Stream(2);
    /// Events of class billing.
    pub const BILLING: Stream = Stream(3);
    /// Events of class audit.
    pub const AUDIT: Stream = Stream(4);
    /// What was refused, with its reason.
    pub const DEAD_LETTERS: Stream = Stream(5);
}

/// Who sent an append: an edge's name and which of its streams, such as `depot-1/telemetry`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(pub String);

/// Where an append stands in its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePosition {
    /// Who sent it.
    pub source: Source,
    /// Which life of the sender's log.
    pub epoch: u64,
    /// Offset of its first record in the sender's stream.
    pub first: Offset,
}

/// One block for one stream.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where to.
    pub stream: Stream,
    /// Records in the block, at least 1.
    pub count: u32,
    /// The block, at most [`BLOCK_LEN_MAX`].
    pub bytes: Bytes,
    /// Where it came from, when it came from another log.
    pub source: Option<SourcePosition>,
}

/// A small value under a name; putting again replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The name. Names sort as bytes; keep what belongs together under one prefix, such as `vehicle/`.
    pub key: Vec<u8>,
    /// `None` removes.
    pub value: Option<Bytes>,
}

/// What becomes durable together.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// What sources will never send, in order, before the blocks: nothing below `first` comes any more, and the next
    /// append may begin there.
    pub skips: Vec<SourcePosition>,
    /// Blocks, in order.
    pub appends: Vec<Append>,
    /// Snapshots, in order.
    pub snapshots: Vec<Snapshot>,
}

/// What became of one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Its first record stands here.
    At(Offset),
    /// Everything in it was there before.
    Repeat,
}

/// What became of a commit: one entry per append, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// Where each append went.
    pub appended: Vec<Appended>,
}

/// A block as read.
#[derive(Debug, Clone)]
pub struct Block {
    /// Offset of its first record.
    pub first: Offset,
    /// Records in it.
    pub count: u32,
    /// The bytes as appended; their checksum was verified.
    pub bytes: Bytes,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The oldest record that is still there.
    pub first: Offset,
    /// Where the next record will stand.
    pub next: Offset,
    /// Bytes of the blocks between.
    pub bytes: u64,
}

/// Why a commit was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The append skips records of its source, or overlaps what is there. Not worth a retry: send from `expected` on.
    #[error("{} sent records from offset {found}, but {expected} is next", source_name.0)]
    Hole {
        /// Who.
        source_name: Source,
        /// The offset that was due.
        expected: Offset,
        /// The offset that came.
        found: Offset,
    },
    /// An empty block or one over [`BLOCK_LEN_MAX`], a snapshot over [`SNAPSHOT_LEN_MAX`] or a name over
    /// [`SNAPSHOT_KEY_LEN_MAX`] (these with 0 records). Not worth a retry.
    #[error("{len} bytes with {count} records cannot be stored")]
    Malformed {
        /// Bytes.
        len: usize,
        /// Records.
        count: u32,
    },
    /// No space is left. Worth a retry when there is.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The store failed, and accepts nothing more until it is opened again.
    #[error("the log failed and accepts nothing more: {0}")]
    Broken(String),
}

/// Why a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Before the first offset that is still there.
    #[error("offset {wanted} was trimmed; the oldest is {first}")]
    Trimmed {
        /// Asked for.
        wanted: Offset,
        /// Still there.
        first: Offset,
    },
    /// The block does not match its checksum.
    #[error("the block at offset {at} is damaged: {what}")]
    Damaged {
        /// Where.
        at: Offset,
        /// How it shows.
        what: String,
    },
    /// The store failed.
    #[error("the log cannot be read: {0}")]
    Broken(String),
}

/// A commit on its way. Resolves when it is durable or refused; dropping it does not take the commit back.
#[derive(Debug)]
pub struct Ticket(pub(crate) tokio::sync::oneshot::Receiver<Result<Committed, CommitError>>);

impl Ticket {
    /// The ticket of a log that is written outside of this crate: resolves with what `outcome` is sent.
    #[must_use]
    pub fn new(outcome: tokio::sync::oneshot::Receiver<Result<Committed, CommitError>>) -> Self {
        Self(outcome)
    }

    /// Waits without blocking the thread.
    ///
    /// # Errors
    /// Why the commit was refused.
    pub async fn durable(self) -> Result<Committed, CommitError> {
        self.0.await.unwrap_or_else(|_| Err(CommitError::Broken("its writer ended".into())))
    }

    /// Waits on a thread of one's own; not to be called from async code.
    ///
    /// # Errors
    /// Why the commit was refused.
    pub fn wait(self) -> Result<Committed, CommitError> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(CommitError::Broken("its writer ended".into())))
    }
}

/// See the module's documentation: that is the contract.
pub trait EventLog: Send + Sync + 'static {
    /// Hands in a commit. Never blocks for the disk; blocks for a place in the bounded queue of waiting commits.
    fn submit(&self, commit: Commit) -> Ticket;

    /// Blocks from the one that holds `from` on, `bytes_max` in sum at most, but at least one when there is one.
    /// Empty when `from` is the next offset or after it.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(&self, stream: Stream, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError>;

    /// What a stream holds durably.
    fn bounds(&self, stream: Stream) -> Bounds;

    /// Changes to the next durable offset of a stream.
    fn subscribe(&self, stream: Stream) -> tokio::sync::watch::Receiver<Offset>;

    /// The next offset expected from a source, with its epoch.
    ///
    /// # Errors
    /// [`ReadError::Broken`].
    fn watermark(&self, source: &Source) -> Result<Option<(u64, Offset)>, ReadError>;

    /// One snapshot.
    ///
    /// # Errors
    /// [`ReadError::Broken`], [`ReadError::Damaged`].
    fn snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// All snapshots whose key starts with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// [`ReadError::Broken`], [`ReadError::Damaged`].
    fn snapshots(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError>;

    /// Forgets whole blocks below `before`; answers the first offset that is still there.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn trim(&self, stream: Stream, before: Offset) -> Result<Offset, CommitError>;

    /// A number drawn when the log was created: which life of the log this is.
    fn epoch(&self) -> u64;
}
