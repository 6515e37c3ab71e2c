//! What a log counts. Instruments are made where the log is used: this crate stays free of telemetry libraries.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Commits that became durable.
    pub commits: u64,
    /// Commits that were refused.
    pub refused: u64,
    /// Transactions; commits by transactions is how well group commit works.
    pub transactions: u64,
    /// Syncs of the file.
    pub syncs: u64,
    /// Bytes of blocks and snapshots that became durable.
    pub bytes: u64,
}

/// The counters behind [`LogStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, syncs: u64) -> LogStats {
        LogStats {
            commits: self.commits.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            syncs,
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
