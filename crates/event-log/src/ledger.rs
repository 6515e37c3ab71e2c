//! Where each stream and each source stands: decides what becomes of a commit before anything is written.
//!
//! Pure. A commit is admitted whole or refused whole; what was admitted can be taken back until it is settled, which
//! is how a failed transaction leaves no trace.

use std::collections::{BTreeMap, HashMap};

use crate::contract::{
    Append, Appended, BLOCK_LEN_MAX, Bounds, Commit, CommitError, Offset, SNAPSHOT_KEY_LEN_MAX, SNAPSHOT_LEN_MAX,
    Source, SourcePosition, Stream,
};

/// The epoch of a source and the next offset expected from it.
pub(crate) type Watermark = (u64, Offset);

/// What changed since the last settlement, with its present value.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) bounds: BTreeMap<Stream, Bounds>,
    pub(crate) watermarks: BTreeMap<Source, Watermark>,
}

#[derive(Debug)]
enum Undo {
    Bounds(Stream, Option<Bounds>),
    /// With what was there before, and where the append began.
    Watermark(Source, Option<Watermark>, Watermark),
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    bounds: BTreeMap<Stream, Bounds>,
    watermarks: HashMap<Source, Watermark>,
    journal: Vec<Undo>,
}

impl Ledger {
    pub(crate) fn new(bounds: BTreeMap<Stream, Bounds>, watermarks: HashMap<Source, Watermark>) -> Self {
        Self { bounds, watermarks, journal: Vec::new() }
    }

    pub(crate) fn bounds(&self, stream: Stream) -> Bounds {
        self.bounds.get(&stream).copied().unwrap_or_default()
    }

    /// Says where each append goes, and counts it as there. A refused commit leaves no trace.
    pub(crate) fn admit(&mut self, commit: &Commit) -> Result<Vec<Appended>, CommitError> {
        for snapshot in &commit.snapshots {
            let len = snapshot.value.as_ref().map_or(0, bytes::Bytes::len);
            if len > SNAPSHOT_LEN_MAX {
                return Err(CommitError::Malformed { len, count: 0 });
            }
            if snapshot.key.len() > SNAPSHOT_KEY_LEN_MAX {
                return Err(CommitError::Malformed { len: snapshot.key.len(), count: 0 });
            }
        }
        let mark = self.journal.len();
        for skip in &commit.skips {
            let before = self.watermarks.get(&skip.source).copied();
            if before.is_none_or(|(epoch, next)| epoch != skip.epoch || next < skip.first) {
                self.set_watermark(skip, skip.first);
            }
        }
        let appended = commit.appends.iter().map(|append| self.admit_append(append)).collect::<Result<Vec<_>, _>>();
        if appended.is_err() {
            self.undo_to(mark);
        }
        appended
    }

    fn admit_append(&mut self, append: &Append) -> Result<Appended, CommitError> {
        let (len, count) = (append.bytes.len(), append.count);
        let malformed = CommitError::Malformed { len, count };
        if len == 0 || len > BLOCK_LEN_MAX || count == 0 {
            return Err(malformed);
        }
        let bounds = self.bounds(append.stream);
        let Some(next) = bounds.next.checked_add(u64::from(count)) else { return Err(malformed) };
        if let Some(position) = &append.source {
            let Some(end) = position.first.checked_add(u64::from(count)) else { return Err(malformed) };
            if self.is_repeat(position, end)? {
                return Ok(Appended::Repeat);
            }
            self.set_watermark(position, end);
        }
        self.set_bounds(append.stream, Bounds { next, bytes: bounds.bytes + len as u64, ..bounds });
        Ok(Appended::At(bounds.next))
    }

    fn set_watermark(&mut self, position: &SourcePosition, next: Offset) {
        let before = self.watermarks.insert(position.source.clone(), (position.epoch, next));
        let began = (position.epoch, position.first);
        self.journal.push(Undo::Watermark(position.source.clone(), before, began));
    }

    fn is_repeat(&self, position: &SourcePosition, end: Offset) -> Result<bool, CommitError> {
        match self.watermarks.get(&position.source) {
            Some(&(epoch, expected)) if epoch == position.epoch => {
                if end <= expected {
                    return Ok(true);
                }
                if position.first != expected {
                    let (source_name, found) = (position.source.clone(), position.first);
                    return Err(CommitError::Hole { source_name, expected, found });
                }
                Ok(false)
            }
            // A new source, or a new life of one.
            _ => Ok(false),
        }
    }

    /// Moves the bounds of a stream, as a trim does.
    pub(crate) fn set_bounds(&mut self, stream: Stream, bounds: Bounds) {
        let before = self.bounds.insert(stream, bounds);
        self.journal.push(Undo::Bounds(stream, before));
    }

    /// What was admitted since the last settlement, as it stands now.
    pub(crate) fn touched(&self) -> Touched {
        let mut touched = Touched::default();
        for undo in &self.journal {
            match undo {
                Undo::Bounds(stream, _) => {
                    touched.bounds.insert(*stream, self.bounds(*stream));
                }
                Undo::Watermark(source, ..) => {
                    if let Some(watermark) = self.watermarks.get(source) {
                        touched.watermarks.insert(source.clone(), *watermark);
                    }
                }
            }
        }
        touched
    }

    /// It is durable: nothing is taken back any more.
    pub(crate) fn settle(&mut self) {
        self.journal.clear();
    }

    /// It failed: as if nothing had been admitted since the last settlement.
    ///
    /// Except that a new source, or a new life of one, is held to the offset it began with: what it sent right behind
    /// would otherwise be taken for its beginning, and what failed would be missing for ever.
    pub(crate) fn take_back(&mut self) {
        let mut begun = Vec::new();
        for undo in self.journal.iter().rev() {
            if let Undo::Watermark(source, before, (epoch, first)) = undo
                && before.is_none_or(|(epoch_before, _)| epoch_before != *epoch)
            {
                begun.push((source.clone(), (*epoch, *first)));
            }
        }
        self.undo_to(0);
        // In reverse: the earliest beginning stays.
        self.watermarks.extend(begun);
    }

    fn undo_to(&mut self, mark: usize) {
        for undo in self.journal.drain(mark..).rev() {
            match undo {
                Undo::Bounds(stream, Some(bounds)) => drop(self.bounds.insert(stream, bounds)),
                Undo::Bounds(stream, None) => drop(self.bounds.remove(&stream)),
                Undo::Watermark(source, Some(watermark), _) => drop(self.watermarks.insert(source, watermark)),
                Undo::Watermark(source, None, _) => drop(self.watermarks.remove(&source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_skips_forward_only() {
        let mut ledger = Ledger::default();
        ledger.admit(&sent(1, 0)).unwrap();
        let skip = |epoch, first| Commit {
            skips: vec![SourcePosition { source: Source("d".into()), epoch, first }],
            ..Commit::default()
        };
        ledger.admit(&skip(1, 5)).unwrap();
        assert!(matches!(ledger.admit(&sent(1, 30)), Err(CommitError::Hole { expected: 10, .. })));
        ledger.admit(&skip(1, 30)).unwrap();
        ledger.admit(&sent(1, 30)).unwrap();
        ledger.admit(&skip(2, 7)).unwrap();
        assert!(matches!(ledger.admit(&sent(2, 6)), Err(CommitError::Hole { expected: 7, .. })));
        ledger.take_back();
        assert!(ledger.touched().watermarks.is_empty());
    }

    fn sent(epoch: u64, first: Offset) -> Commit {
        let source = Some(SourcePosition { source: Source("d".into()), epoch, first });
        let append = Append { stream: Stream::TELEMETRY, count: 10, bytes: bytes::Bytes::from_static(b"x"), source };
        Commit { appends: vec![append], ..Commit::default() }
    }

    // The first commit of a source met a full disk, the second did not: the records of the first were lost, since
    // sending them again was taken for a repeat.
    #[test]
    fn a_source_that_failed_to_begin_is_held_to_its_beginning() {
        for epoch in [1, 2] {
            let mut ledger = Ledger::default();
            ledger.admit(&sent(1, 500)).unwrap();
            if epoch == 1 {
                ledger = Ledger::default();
            }
            ledger.settle();
            ledger.admit(&sent(epoch, 0)).unwrap();
            ledger.admit(&sent(epoch, 10)).unwrap();
            ledger.take_back();
            let behind = ledger.admit(&sent(epoch, 20));
            assert!(matches!(behind, Err(CommitError::Hole { expected: 0, found: 20, .. })), "{behind:?}");
            ledger.admit(&sent(epoch, 0)).unwrap();
            assert_eq!(ledger.touched().watermarks[&Source("d".into())], (epoch, 10));
        }
    }
}
