//! Random operations on both logs, held against a model that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::redb_log::simulated_disk::Disk;
use crate::{
    Append, Appended, Bounds, Commit, CommitError, Committed, EventLog, MemoryLog, Offset, ReadError, Snapshot, Source,
    SourcePosition, Stream,
};

/// Operations in one run.
const STEPS_MAX: usize = 40;
const STREAMS: [Stream; 3] = [Stream(0), Stream::TELEMETRY, Stream(255)];

#[derive(Debug, Clone)]
enum Step {
    /// Handed in together, then waited for.
    Commits(Vec<Commit>),
    Trim(Stream, Offset),
    Read(Stream, Offset, usize),
    Prefix(Vec<u8>),
    Reopen,
}

/// A log without a file, a thread, or a thought for speed.
#[derive(Debug, Default, Clone, PartialEq)]
struct Model {
    blocks: BTreeMap<Stream, Vec<(Offset, u32, Bytes)>>,
    trimmed: BTreeMap<Stream, Offset>,
    /// By source: its epoch, and every offset that was taken in it.
    taken: BTreeMap<String, (u64, BTreeSet<Offset>)>,
    snapshots: BTreeMap<Vec<u8>, Bytes>,
}

impl Model {
    fn bounds(&self, stream: Stream) -> Bounds {
        let first = self.trimmed.get(&stream).copied().unwrap_or(0);
        let last = self.blocks.get(&stream).and_then(|blocks| blocks.last());
        let next = last.map_or(first, |(at, count, _)| at + u64::from(*count));
        let blocks = self.blocks.get(&stream).into_iter().flatten();
        Bounds { first, next, bytes: blocks.map(|(_, _, bytes)| bytes.len() as u64).sum() }
    }

    fn watermark(&self, source: &str) -> Option<(u64, Offset)> {
        self.taken.get(source).map(|(epoch, offsets)| (*epoch, offsets.last().unwrap() + 1))
    }

    /// What the contract says, record by record; `None` is a refusal.
    fn commit(&mut self, commit: &Commit) -> Option<Vec<Appended>> {
        let mut next = self.clone();
        let mut appended = Vec::new();
        for SourcePosition { source, epoch, first } in &commit.skips {
            let taken = next.taken.entry(source.0.clone()).or_insert((*epoch, BTreeSet::new()));
            if taken.0 != *epoch {
                *taken = (*epoch, BTreeSet::new());
            }
            taken.1.extend(0..*first);
        }
        for append in &commit.appends {
            if append.count == 0 || append.bytes.is_empty() {
                return None;
            }
            if let Some(SourcePosition { source, epoch, first }) = &append.source {
                let offsets = *first..first + u64::from(append.count);
                let taken = next.taken.entry(source.0.clone()).or_default();
                if taken.0 != *epoch || taken.1.is_empty() {
                    *taken = (*epoch, BTreeSet::new());
                } else {
                    let expected = taken.1.last().unwrap() + 1;
                    if offsets.clone().all(|offset| offset < expected) {
                        appended.push(Appended::Repeat);
                        continue;
                    }
                    if *first != expected {
                        return None;
                    }
                }
                taken.1.extend(offsets);
            }
            let at = next.bounds(append.stream).next;
            next.blocks.entry(append.stream).or_default().push((at, append.count, append.bytes.clone()));
            appended.push(Appended::At(at));
        }
        for Snapshot { key, value } in &commit.snapshots {
            match value {
                Some(value) => drop(next.snapshots.insert(key.clone(), value.clone())),
                None => drop(next.snapshots.remove(key)),
            }
        }
        *self = next;
        Some(appended)
    }

    fn trim(&mut self, stream: Stream, before: Offset) -> Offset {
        let next = self.bounds(stream).next;
        let blocks = self.blocks.entry(stream).or_default();
        blocks.retain(|(at, count, _)| at + u64::from(*count) > before);
        let first = blocks.first().map_or(next, |(at, _, _)| *at);
        self.trimmed.insert(stream, first);
        first
    }

    fn read(&self, stream: Stream, from: Offset, bytes_max: usize) -> Vec<(Offset, u32, Bytes)> {
        let blocks = self.blocks.get(&stream).map_or(&[][..], Vec::as_slice);
        let from_there = blocks.iter().filter(|(at, count, _)| at + u64::from(*count) > from);
        let mut len = 0;
        let within = from_there.enumerate().take_while(|(n, (_, _, bytes))| {
            len += bytes.len();
            *n == 0 || len <= bytes_max
        });
        within.map(|(_, block)| block.clone()).collect()
    }
}

fn check_read(log: &dyn EventLog, model: &Model, stream: Stream, from: Offset, bytes_max: usize) {
    let bounds = model.bounds(stream);
    match log.read(stream, from, bytes_max) {
        Err(ReadError::Trimmed { wanted, first }) => assert!(wanted == from && first == bounds.first && from < first),
        Err(error) => panic!("{error}"),
        Ok(read) => {
            assert!(from >= bounds.first);
            let read: Vec<_> = read.into_iter().map(|block| (block.first, block.count, block.bytes)).collect();
            assert_eq!(read, model.read(stream, from, bytes_max));
        }
    }
}

fn check_all(log: &dyn EventLog, model: &Model) {
    for stream in STREAMS {
        assert_eq!(log.bounds(stream), model.bounds(stream));
        assert_eq!(*log.subscribe(stream).borrow(), model.bounds(stream).next);
        check_read(log, model, stream, model.bounds(stream).first, usize::MAX);
    }
    for source in ["a", "b"] {
        assert_eq!(log.watermark(&Source(source.into())).unwrap(), model.watermark(source));
    }
    let snapshots: BTreeMap<_, _> = log.snapshots(b"").unwrap().into_iter().collect();
    assert_eq!(snapshots, model.snapshots);
}

fn run(steps: Vec<Step>, mut open: impl FnMut() -> Box<dyn EventLog>) {
    let (mut log, mut model) = (Some(open()), Model::default());
    for step in steps {
        let current = log.as_deref().unwrap();
        match step {
            Step::Commits(commits) => {
                let tickets: Vec<_> = commits.iter().map(|commit| current.submit(commit.clone())).collect();
                for (commit, ticket) in commits.iter().zip(tickets) {
                    match (ticket.wait(), model.commit(commit)) {
                        (Ok(Committed { appended }), Some(expected)) => assert_eq!(appended, expected),
                        (Err(CommitError::Hole { .. } | CommitError::Malformed { .. }), None) => {}
                        (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
                    }
                }
            }
            Step::Trim(stream, before) => {
                assert_eq!(current.trim(stream, before).unwrap(), model.trim(stream, before));
            }
            Step::Read(stream, from, bytes_max) => check_read(current, &model, stream, from, bytes_max),
            Step::Prefix(prefix) => {
                let expected: Vec<_> = model.snapshots.clone().into_iter().collect();
                let expected: Vec<_> = expected.into_iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
                assert_eq!(current.snapshots(&prefix).unwrap(), expected);
                assert_eq!(current.snapshot(&prefix).unwrap(), model.snapshots.get(&prefix).cloned());
            }
            Step::Reopen => {
                // A log is open once: closed before it is opened.
                drop(log.take());
                log = Some(open());
                check_all(log.as_deref().unwrap(), &model);
            }
        }
    }
    check_all(log.as_deref().unwrap(), &model);
}

fn stream() -> impl Strategy<Value = Stream> {
    prop::sample::select(&STREAMS[..])
}

fn append() -> impl Strategy<Value = Append> {
    let source = (prop::sample::select(&["a", "b"][..]), 1..3u64, 0..30u64)
        .prop_map(|(name, epoch, first)| SourcePosition { source: Source(name.into()), epoch, first });
    // Few sizes are 0: a refusal takes the rest of its commit with it.
    let count = prop_oneof![1 => Just(0u32), 30 => 1..6u32];
    let len = prop_oneof![1 => Just(0usize), 25 => 1..60usize, 5 => 3_000..9_000usize];
    (stream(), count, len, any::<u8>(), prop::option::weighted(0.5, source))
        .prop_map(|(stream, count, len, fill, source)| Append { stream, count, bytes: vec![fill; len].into(), source })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(&[0u8, b'a', b'b', 0xff][..]), 0..4)
}

fn commit() -> impl Strategy<Value = Commit> {
    let value = prop::option::weighted(0.7, vec(any::<u8>(), 0..20).prop_map(Bytes::from));
    let snapshot = (key(), value).prop_map(|(key, value)| Snapshot { key, value });
    let skip = (prop::sample::select(&["a", "b"][..]), 1..3u64, 1..40u64)
        .prop_map(|(source, epoch, first)| SourcePosition { source: Source(source.into()), epoch, first });
    let skips = prop_oneof![9 => Just(Vec::new()), 1 => vec(skip, 1..3)];
    (skips, vec(append(), 0..3), vec(snapshot, 0..3)).prop_map(|(skips, appends, snapshots)| Commit {
        skips,
        appends,
        snapshots,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec(commit(), 1..5).prop_map(Step::Commits),
        1 => (stream(), 0..80u64).prop_map(|(stream, before)| Step::Trim(stream, before)),
        4 => (stream(), 0..80u64, 0..4_000usize).prop_map(|(stream, from, bytes)| Step::Read(stream, from, bytes)),
        2 => key().prop_map(Step::Prefix),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_does_as_the_model(steps in vec(step(), 1..STEPS_MAX)) {
        let log = MemoryLog::new();
        run(steps, || Box::new(log.clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn redb_does_as_the_model(steps in vec(step(), 1..STEPS_MAX)) {
        let disk = Disk::with_empty_log(1);
        run(steps, || Box::new(disk.open_log().unwrap()));
    }
}
