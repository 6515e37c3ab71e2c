//! The one thread that writes a file. Collects what waits, writes it in one transaction, then tells each.

use std::sync::Arc;

use redb::WriteTransaction;

use super::keys::{BLOCKS, BOUNDS, META, META_TRANSACTIONS, SNAPSHOTS, WATERMARKS, block_key};
use super::queue::{Job, Trim, Waiting, Work};
use super::record_format::{HEADER_LEN, seal, seal_bounds, seal_into, seal_number, seal_pair};
use super::store::{StoreError, survive};
use super::{Shared, read_transactions};
use crate::contract::{Appended, Bounds, Commit, CommitError, Committed, Offset};
use crate::ledger::{Ledger, Touched};
use crate::memory::commit_bytes;
use crate::metrics::Counters;

/// Blocks that one transaction forgets: bounds how long commits wait behind a trim.
const TRIM_BLOCKS_MAX: usize = 1_024;

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    /// Ahead of what is published while a transaction is under way.
    pub(super) ledger: Ledger,
    /// Transactions in the file.
    pub(super) transactions: u64,
    /// The disk was full since the last trim.
    pub(super) full: bool,
}

/// A commit that goes into the transaction, or why it does not.
struct Decided {
    waiting: Waiting,
    outcome: Result<Vec<Appended>, CommitError>,
}

impl Writer {
    /// Works until the queue is closed and empty, or the log is broken.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let ended = survive(|| {
            while let Some(work) = self.shared.queue.take() {
                match work {
                    Work::Commits(group) => self.commit(group),
                    Work::Trim(trim) => {
                        let answer = self.trim(&trim);
                        // Whoever asked may be gone.
                        let _ = trim.answer.send(answer);
                    }
                }
                if self.shared.broken.get().is_some() {
                    break;
                }
            }
        });
        if let Err(panic) = ended {
            let _ = shared.broken.set(panic);
        }
        if let Some(what) = shared.broken.get() {
            tracing::error!(%what, "the log failed and accepts nothing more");
            for job in shared.queue.close_and_clear() {
                let error = CommitError::Broken(what.clone());
                match job {
                    Job::Commit(waiting) => drop(waiting.resolve.send(Err(error))),
                    Job::Trim(trim) => drop(trim.answer.send(Err(error))),
                }
            }
        }
    }

    fn commit(&mut self, group: Vec<Waiting>) {
        let mut decided = Vec::with_capacity(group.len());
        for waiting in group {
            let outcome = self.ledger.admit(&waiting.commit);
            decided.push(Decided { waiting, outcome });
        }
        let changes_something = decided.iter().any(|d| match &d.outcome {
            Ok(appended) => {
                let Commit { skips, snapshots, .. } = &d.waiting.commit;
                let appends = appended.iter().any(|a| matches!(a, Appended::At(_)));
                appends || !snapshots.is_empty() || !skips.is_empty()
            }
            Err(_) => false,
        });
        let stored =
            if changes_something { self.store(|transaction, _| write_group(transaction, &decided)) } else { Ok(()) };
        let counters = &self.shared.counters;
        for Decided { waiting, outcome } in decided {
            let outcome = match (&stored, outcome) {
                (Ok(()), Ok(appended)) => {
                    Counters::add(&counters.commits, 1);
                    Counters::add(&counters.bytes, commit_bytes(&waiting.commit));
                    Ok(Committed { appended })
                }
                (Err(error), Ok(_)) => Err(error.clone().into()),
                (_, Err(error)) => Err(error),
            };
            if outcome.is_err() {
                Counters::add(&counters.refused, 1);
            }
            // Whoever dropped the ticket does not want to know.
            let _ = waiting.resolve.send(outcome);
        }
    }

    /// One durable transaction: the ledger and what is published move with it or not at all.
    /// `write` may say more exactly what is touched.
    fn store(
        &mut self,
        write: impl FnOnce(&WriteTransaction, &mut Touched) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let mut touched = self.ledger.touched();
        let number = self.transactions + 1;
        let stored = self.ready().and_then(|()| {
            self.shared.store.write(|transaction| {
                write(transaction, &mut touched)?;
                write_standing(transaction, &touched, number)
            })
        });
        match stored {
            Ok(()) => {
                self.transactions = number;
                Counters::add(&self.shared.counters.transactions, 1);
                self.shared.published.publish(touched);
                self.ledger.settle();
                Ok(())
            }
            Err(error) => {
                self.ledger.take_back();
                Err(self.after_failure(error, number))
            }
        }
    }

    /// Opens the file again when a full disk had closed it.
    fn ready(&self) -> Result<(), StoreError> {
        if !self.shared.store.is_closed() {
            return Ok(());
        }
        self.shared.store.reopen().inspect_err(|error| {
            if let StoreError::Broken(what) = error {
                let _ = self.shared.broken.set(what.clone());
            }
        })
    }

    fn after_failure(&mut self, error: StoreError, number: u64) -> StoreError {
        let error = match error {
            StoreError::Full(what) => match self.shared.store.reopen() {
                // Whoever hears "full" will try again: it must be certain that nothing of it is there.
                Ok(()) => match self.shared.store.read(read_transactions) {
                    Ok(found) if found < number => StoreError::Full(what),
                    Ok(_) => StoreError::Broken(format!("the disk was full, but the commit is stored: {what}")),
                    Err(error) => StoreError::Broken(error.to_string()),
                },
                Err(StoreError::Full(_)) => StoreError::Full(what),
                Err(broken) => broken,
            },
            broken => broken,
        };
        match &error {
            StoreError::Full(what) => {
                self.full = true;
                tracing::warn!(%what, "the log refused commits: the disk is full");
            }
            StoreError::Broken(what) => drop(self.shared.broken.set(what.clone())),
        }
        error
    }

    fn trim(&mut self, trim: &Trim) -> Result<Offset, CommitError> {
        self.ready()?;
        loop {
            let bounds = self.ledger.bounds(trim.stream);
            let (first, more) = self.next_cut(trim, bounds).map_err(|what| {
                let _ = self.shared.broken.set(what.clone());
                CommitError::Broken(what)
            })?;
            if first <= bounds.first {
                return Ok(bounds.first);
            }
            let stream = trim.stream;
            let mut left = Bounds { first, ..bounds };
            self.ledger.set_bounds(stream, left);
            self.store(|transaction, touched| {
                let mut blocks = transaction.open_table(BLOCKS)?;
                blocks.retain_in((stream.0, 0)..(stream.0, first), |_, block| {
                    left.bytes = left.bytes.saturating_sub(block.len().saturating_sub(HEADER_LEN) as u64);
                    false
                })?;
                touched.bounds.insert(stream, left);
                Ok(())
            })?;
            self.ledger.set_bounds(stream, left);
            self.ledger.settle();
            if !more {
                self.give_back_space();
                return Ok(first);
            }
        }
    }

    /// After a trim on a full disk: redb would go on to choose pages of its file that the disk never had to back,
    /// and fail on them although the trim made room. Compacted, the file is no longer than what is in it.
    fn give_back_space(&mut self) {
        if std::mem::take(&mut self.full)
            && let Err(error) = self.shared.store.compact()
        {
            tracing::warn!(?error, "the disk is full, and a trim could not give space back");
            let _ = self.after_failure(error, self.transactions + 1);
        }
    }

    /// Where the stream may begin after one transaction, and whether there is more to forget.
    fn next_cut(&self, trim: &Trim, bounds: Bounds) -> Result<(Offset, bool), String> {
        if trim.before <= bounds.first {
            return Ok((bounds.first, false));
        }
        let stream = trim.stream.0;
        let cut = self.shared.store.read(|transaction| {
            let blocks = transaction.open_table(BLOCKS)?;
            let end = if trim.before >= bounds.next {
                bounds.next
            } else {
                let holder = blocks.range((stream, 0)..=(stream, trim.before))?.next_back().transpose()?;
                holder.map_or(bounds.first, |(key, _)| key.value().1)
            };
            let over = blocks.range((stream, 0)..(stream, end))?.nth(TRIM_BLOCKS_MAX).transpose()?;
            Ok(over.map_or((end, false), |(key, _)| (key.value().1, true)))
        });
        cut.map_err(|error| error.to_string())
    }
}

fn write_group(transaction: &WriteTransaction, decided: &[Decided]) -> Result<(), redb::Error> {
    let mut blocks = transaction.open_table(BLOCKS)?;
    let mut snapshots = transaction.open_table(SNAPSHOTS)?;
    for Decided { waiting: Waiting { commit, .. }, outcome } in decided {
        let Ok(appended) = outcome else { continue };
        let Commit { appends, snapshots: changes, .. } = commit;
        for (append, at) in appends.iter().zip(appended) {
            if let Appended::At(first) = at {
                let len = HEADER_LEN + append.bytes.len();
                let mut place = blocks.insert_reserve((append.stream.0, *first), len)?;
                seal_into(place.as_mut(), &block_key(append.stream, *first), append.count, &append.bytes);
            }
        }
        for change in changes {
            let key = change.key.as_slice();
            match &change.value {
                Some(value) => drop(snapshots.insert(key, seal(key, value).as_slice())?),
                None => drop(snapshots.remove(key)?),
            }
        }
    }
    Ok(())
}

fn write_standing(transaction: &WriteTransaction, touched: &Touched, number: u64) -> Result<(), redb::Error> {
    let mut bounds = transaction.open_table(BOUNDS)?;
    for (stream, b) in &touched.bounds {
        bounds.insert(stream.0, seal_bounds(&[stream.0], *b).as_slice())?;
    }
    let mut watermarks = transaction.open_table(WATERMARKS)?;
    for (source, (epoch, next)) in &touched.watermarks {
        watermarks.insert(source.0.as_str(), seal_pair(source.0.as_bytes(), *epoch, *next).as_slice())?;
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_TRANSACTIONS, seal_number(META_TRANSACTIONS.as_bytes(), number).as_slice())?;
    Ok(())
}
