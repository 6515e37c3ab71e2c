//! What every log does, whatever it is made of. An implementation calls [`run`] in its tests.
//!
//! Each check opens a log of its own. The checks panic with what they found, as tests do.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::contract::{
    Append, Appended, BLOCK_LEN_MAX, Block, Commit, CommitError, Committed, EventLog, Offset, ReadError,
    SNAPSHOT_KEY_LEN_MAX, Snapshot, Source, SourcePosition, Stream, Ticket,
};

/// More than any read here returns.
const ALL: usize = usize::MAX;
/// How long a check waits for what must come at once.
const WAIT: Duration = Duration::from_secs(10);

/// Makes logs to check.
pub trait Subject {
    /// Keeps what a log is made of between two openings, such as its folder.
    type Place;
    /// A place without a log.
    fn place(&self) -> Self::Place;
    /// Opens the log of a place, or makes it.
    fn open(&self, place: &Self::Place) -> Arc<dyn EventLog>;
}

/// One check.
type Check<S> = fn(&Opened<'_, S>);

/// Runs every check.
pub fn run<S: Subject>(subject: &S) {
    let checks: &[(&str, Check<S>)] = &[
        ("offsets are dense", offsets_are_dense),
        ("a read never cuts a block", a_read_never_cuts_a_block),
        ("a read is bounded", a_read_is_bounded),
        ("streams are apart", streams_are_apart),
        ("a source is heard once", a_source_is_heard_once),
        ("a hole is refused", a_hole_is_refused),
        ("an overlap is refused", an_overlap_is_refused),
        ("another epoch starts anew", another_epoch_starts_anew),
        ("a commit is whole or not at all", a_commit_is_whole_or_not_at_all),
        ("a refused commit leaves the others", a_refused_commit_leaves_the_others),
        ("malformed is refused", malformed_is_refused),
        ("snapshots are put and removed", snapshots_are_put_and_removed),
        ("snapshots come in order of their names", snapshots_come_in_order),
        ("an empty commit is one", an_empty_commit_is_one),
        ("trim forgets whole blocks", trim_forgets_whole_blocks),
        ("bounds say how many bytes there are", bounds_say_how_many_bytes_there_are),
        ("a source skips what it lost", a_source_skips_what_it_lost),
        ("an empty stream goes on", an_empty_stream_goes_on),
        ("a subscriber hears of what is durable", a_subscriber_hears),
        ("commits take effect in order", commits_take_effect_in_order),
        ("many threads may commit", many_threads_may_commit),
        ("reads go on beside commits and trims", reads_go_on_beside_commits_and_trims),
        ("tickets may be dropped", tickets_may_be_dropped),
        ("everything is there after reopening", everything_is_there_after_reopening),
    ];
    for (name, check) in checks {
        println!("conformance: {name}");
        let place = subject.place();
        check(&Opened { subject, place: &place, log: std::cell::RefCell::new(Some(subject.open(&place))) });
    }
}

/// A log with the way to open it again.
pub struct Opened<'a, S: Subject> {
    subject: &'a S,
    place: &'a S::Place,
    log: std::cell::RefCell<Option<Arc<dyn EventLog>>>,
}

impl<S: Subject> Opened<'_, S> {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(self.log.borrow().as_ref().unwrap())
    }

    /// Closes first: a log is open once.
    fn reopen(&self) {
        drop(self.log.borrow_mut().take());
        *self.log.borrow_mut() = Some(self.subject.open(self.place));
    }
}

/// A block of `count` records whose bytes say where it belongs.
#[must_use]
pub fn block(stream: Stream, count: u32, text: &str) -> Append {
    Append { stream, count, bytes: Bytes::copy_from_slice(text.as_bytes()), source: None }
}

/// The same, sent by `source`.
#[must_use]
pub fn sent(source: &str, epoch: u64, first: Offset, append: Append) -> Append {
    Append { source: Some(SourcePosition { source: Source(source.into()), epoch, first }), ..append }
}

fn commit(log: &dyn EventLog, appends: &[Append]) -> Result<Committed, CommitError> {
    log.submit(Commit { appends: appends.to_vec(), ..Commit::default() }).wait()
}

fn range(log: &dyn EventLog, stream: Stream) -> (Offset, Offset) {
    let bounds = log.bounds(stream);
    (bounds.first, bounds.next)
}

fn put(log: &dyn EventLog, key: &str, value: Option<&str>) {
    let value = value.map(|v| Bytes::copy_from_slice(v.as_bytes()));
    let snapshots = vec![Snapshot { key: key.into(), value }];
    log.submit(Commit { snapshots, ..Commit::default() }).wait().unwrap();
}

fn at(outcome: Result<Committed, CommitError>) -> Vec<Appended> {
    outcome.unwrap().appended
}

fn texts(blocks: &[Block]) -> Vec<(Offset, u32, String)> {
    blocks.iter().map(|b| (b.first, b.count, String::from_utf8_lossy(&b.bytes).into_owned())).collect()
}

fn row(first: Offset, count: u32, text: &str) -> (Offset, u32, String) {
    (first, count, text.into())
}

fn offsets_are_dense<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    assert_eq!(range(&*log, Stream::TELEMETRY), (0, 0));
    assert!(log.read(Stream::TELEMETRY, 0, ALL).unwrap().is_empty());
    assert_eq!(at(commit(&*log, &[block(Stream::TELEMETRY, 40, "a")])), [Appended::At(0)]);
    let two = [block(Stream::TELEMETRY, 8, "b"), block(Stream::TELEMETRY, 1, "c")];
    assert_eq!(at(commit(&*log, &two)), [Appended::At(40), Appended::At(48)]);
    assert_eq!(range(&*log, Stream::TELEMETRY), (0, 49));
    let read = log.read(Stream::TELEMETRY, 0, ALL).unwrap();
    assert_eq!(texts(&read), [row(0, 40, "a"), row(40, 8, "b"), row(48, 1, "c")]);
}

fn a_read_never_cuts_a_block<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    commit(&*log, &[block(Stream::TELEMETRY, 40, "a"), block(Stream::TELEMETRY, 8, "b")]).unwrap();
    for (from, expected) in [(0, 2), (39, 2), (40, 1), (47, 1), (48, 0), (1_000, 0)] {
        let read = log.read(Stream::TELEMETRY, from, ALL).unwrap();
        assert_eq!(read.len(), expected, "from {from}");
        if let Some(first) = read.first() {
            assert!(first.first <= from && from < first.first + u64::from(first.count), "from {from}");
        }
    }
}

fn a_read_is_bounded<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    let blocks: Vec<Append> = (0..10).map(|n| block(Stream::ALERTS, 1, &format!("block {n:4}"))).collect();
    commit(&*log, &blocks).unwrap();
    for (bytes_max, expected) in [(0, 1), (1, 1), (10, 1), (19, 1), (20, 2), (35, 3), (100, 10), (ALL, 10)] {
        assert_eq!(log.read(Stream::ALERTS, 0, bytes_max).unwrap().len(), expected, "{bytes_max} bytes");
    }
    // Following the tail in small reads meets every block once.
    let (mut next, mut seen) = (0, 0);
    while next < log.bounds(Stream::ALERTS).next {
        for block in log.read(Stream::ALERTS, next, 25).unwrap() {
            assert_eq!(block.first, next);
            next += u64::from(block.count);
            seen += 1;
        }
    }
    assert_eq!(seen, 10);
}

fn streams_are_apart<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    let appends = [block(Stream(0), 2, "low"), block(Stream(255), 3, "high"), block(Stream(0), 1, "low again")];
    assert_eq!(at(commit(&*log, &appends)), [Appended::At(0), Appended::At(0), Appended::At(2)]);
    assert_eq!(texts(&log.read(Stream(0), 0, ALL).unwrap()), [row(0, 2, "low"), row(2, 1, "low again")]);
    assert_eq!(texts(&log.read(Stream(255), 0, ALL).unwrap()), [row(0, 3, "high")]);
    assert!(log.read(Stream(7), 0, ALL).unwrap().is_empty());
}

fn a_source_is_heard_once<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    let (depot, other) = (Source("depot-1/telemetry".into()), Source("depot-2/telemetry".into()));
    assert_eq!(log.watermark(&depot).unwrap(), None);
    let first = sent("depot-1/telemetry", 9, 100, block(Stream::TELEMETRY, 10, "a"));
    assert_eq!(at(commit(&*log, std::slice::from_ref(&first))), [Appended::At(0)]);
    assert_eq!(log.watermark(&depot).unwrap(), Some((9, 110)));
    assert_eq!(log.watermark(&other).unwrap(), None);
    let second = sent("depot-1/telemetry", 9, 110, block(Stream::TELEMETRY, 5, "b"));
    let both = [first.clone(), second.clone(), second];
    assert_eq!(at(commit(&*log, &both)), [Appended::Repeat, Appended::At(10), Appended::Repeat]);
    assert_eq!(at(commit(&*log, &[first])), [Appended::Repeat]);
    assert_eq!(log.watermark(&depot).unwrap(), Some((9, 115)));
    assert_eq!(log.bounds(Stream::TELEMETRY).next, 15);
}

fn a_hole_is_refused<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    commit(&*log, &[sent("d", 1, 0, block(Stream::TELEMETRY, 10, "a"))]).unwrap();
    match commit(&*log, &[sent("d", 1, 11, block(Stream::TELEMETRY, 10, "b"))]) {
        Err(CommitError::Hole { source_name, expected: 10, found: 11 }) => assert_eq!(source_name.0, "d"),
        other => panic!("{other:?}"),
    }
    assert_eq!(log.bounds(Stream::TELEMETRY).next, 10);
    assert_eq!(log.watermark(&Source("d".into())).unwrap(), Some((1, 10)));
}

fn an_overlap_is_refused<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    commit(&*log, &[sent("d", 1, 0, block(Stream::TELEMETRY, 10, "a"))]).unwrap();
    let overlap = commit(&*log, &[sent("d", 1, 5, block(Stream::TELEMETRY, 10, "b"))]);
    assert!(matches!(overlap, Err(CommitError::Hole { expected: 10, found: 5, .. })), "{overlap:?}");
    assert_eq!(log.bounds(Stream::TELEMETRY).next, 10);
}

fn another_epoch_starts_anew<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    commit(&*log, &[sent("d", 5, 0, block(Stream::TELEMETRY, 10, "a"))]).unwrap();
    assert_eq!(at(commit(&*log, &[sent("d", 3, 70, block(Stream::TELEMETRY, 2, "b"))])), [Appended::At(10)]);
    assert_eq!(log.watermark(&Source("d".into())).unwrap(), Some((3, 72)));
}

fn a_commit_is_whole_or_not_at_all<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    commit(&*log, &[sent("d", 1, 0, block(Stream::TELEMETRY, 1, "a"))]).unwrap();
    let appends = vec![
        block(Stream::ALERTS, 1, "alert"),
        sent("e", 1, 0, block(Stream::TELEMETRY, 1, "of a new source")),
        sent("d", 1, 1, block(Stream::TELEMETRY, 1, "right")),
        sent("d", 1, 7, block(Stream::TELEMETRY, 1, "a hole")),
    ];
    let snapshots = vec![Snapshot { key: b"k".to_vec(), value: Some(Bytes::from_static(b"v")) }];
    let outcome = log.submit(Commit { appends, snapshots, ..Commit::default() }).wait();
    assert!(matches!(outcome, Err(CommitError::Hole { expected: 2, found: 7, .. })), "{outcome:?}");
    assert_eq!(log.bounds(Stream::TELEMETRY).next, 1);
    assert_eq!(log.bounds(Stream::ALERTS).next, 0);
    assert_eq!(log.snapshot(b"k").unwrap(), None);
    assert_eq!(log.watermark(&Source("e".into())).unwrap(), None);
    assert_eq!(log.watermark(&Source("d".into())).unwrap(), Some((1, 1)));
}

fn a_refused_commit_leaves_the_others<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    let submit = |append: Append| log.submit(Commit { appends: vec![append], ..Commit::default() });
    let tickets: Vec<(bool, Ticket)> = (0..50)
        .flat_map(|n| {
            let good = submit(sent("d", 1, n * 2, block(Stream::TELEMETRY, 2, "good")));
            let hole = submit(sent("d", 1, 1_000, block(Stream::TELEMETRY, 1, "hole")));
            [(true, good), (false, hole), (false, submit(block(Stream::TELEMETRY, 0, "malformed")))]
        })
        .collect();
    for (good, ticket) in tickets {
        let outcome = ticket.wait();
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
    }
    assert_eq!(log.bounds(Stream::TELEMETRY).next, 100);
    assert!(log.read(Stream::TELEMETRY, 0, ALL).unwrap().iter().all(|b| &b.bytes[..] == b"good"));
}

fn malformed_is_refused<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    let largest = Append { bytes: vec![7; BLOCK_LEN_MAX].into(), ..block(Stream::TELEMETRY, 1, "") };
    let too_large = Append { bytes: vec![7; BLOCK_LEN_MAX + 1].into(), ..largest.clone() };
    let endless = sent("d", 1, u64::MAX, block(Stream::TELEMETRY, 1, "x"));
    for bad in [block(Stream::TELEMETRY, 1, ""), block(Stream::TELEMETRY, 0, "x"), too_large, endless] {
        let outcome = commit(&*log, &[bad]);
        assert!(matches!(outcome, Err(CommitError::Malformed { .. })), "{outcome:?}");
    }
    assert_eq!(log.bounds(Stream::TELEMETRY).next, 0);
    commit(&*log, std::slice::from_ref(&largest)).unwrap();
    assert_eq!(log.read(Stream::TELEMETRY, 0, 1).unwrap()[0].bytes, largest.bytes);
    let named = |len: usize| Commit {
        snapshots: vec![Snapshot { key: vec![b'k'; len], value: Some(Bytes::from_static(b"v")) }],
        ..Commit::default()
    };
    assert!(matches!(log.submit(named(SNAPSHOT_KEY_LEN_MAX + 1)).wait(), Err(CommitError::Malformed { .. })));
    log.submit(named(SNAPSHOT_KEY_LEN_MAX)).wait().unwrap();
}

fn snapshots_are_put_and_removed<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    assert_eq!(log.snapshot(b"a").unwrap(), None);
    put(&*log, "a", Some("1"));
    put(&*log, "b", Some(""));
    assert_eq!(log.snapshot(b"a").unwrap().unwrap(), "1");
    assert_eq!(log.snapshot(b"b").unwrap().unwrap(), "");
    put(&*log, "a", Some("2"));
    assert_eq!(log.snapshot(b"a").unwrap().unwrap(), "2");
    put(&*log, "a", None);
    put(&*log, "never there", None);
    assert_eq!(log.snapshot(b"a").unwrap(), None);
    let change = |value: Option<&'static [u8]>| Snapshot { key: b"c".to_vec(), value: value.map(Bytes::from_static) };
    let snapshots = vec![change(Some(b"x")), change(None), change(Some(b"last"))];
    log.submit(Commit { snapshots, ..Commit::default() }).wait().unwrap();
    assert_eq!(log.snapshot(b"c").unwrap().unwrap(), "last");
}

fn snapshots_come_in_order<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    for key in ["vehicle/b", "vehicle/a", "vehiclf", "vehicle", "vehicle/\u{7f}", "admission/z", "vehicle/aa"] {
        put(&*log, key, Some(key));
    }
    let keys = |prefix: &[u8]| {
        let found = log.snapshots(prefix).unwrap();
        assert!(found.iter().all(|(key, value)| &key[..] == value));
        found.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys(b"vehicle/"), ["vehicle/a", "vehicle/aa", "vehicle/b", "vehicle/\u{7f}"]);
    assert_eq!(keys(b"").len(), 7);
    assert!(keys(b"\xff").is_empty());
}

fn an_empty_commit_is_one<S: Subject>(opened: &Opened<'_, S>) {
    assert_eq!(opened.log().submit(Commit::default()).wait().unwrap(), Committed::default());
}

fn trim_forgets_whole_blocks<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    let blocks: Vec<Append> = (0..20).map(|n| block(Stream::TELEMETRY, 10, &format!("{n}"))).collect();
    commit(&*log, &blocks).unwrap();
    commit(&*log, &[block(Stream(0), 1, "below"), block(Stream::ALERTS, 1, "above")]).unwrap();
    assert_eq!(log.trim(Stream::TELEMETRY, 0).unwrap(), 0);
    assert_eq!(log.trim(Stream::TELEMETRY, 9).unwrap(), 0);
    assert_eq!(log.trim(Stream::TELEMETRY, 10).unwrap(), 10);
    assert_eq!(log.trim(Stream::TELEMETRY, 55).unwrap(), 50);
    assert_eq!(log.trim(Stream::TELEMETRY, 20).unwrap(), 50, "a trim takes nothing back");
    assert_eq!(range(&*log, Stream::TELEMETRY), (50, 200));
    let before = log.read(Stream::TELEMETRY, 49, ALL);
    assert!(matches!(before, Err(ReadError::Trimmed { wanted: 49, first: 50 })), "{before:?}");
    assert_eq!(texts(&log.read(Stream::TELEMETRY, 50, 1).unwrap()), [row(50, 10, "5")]);
    assert_eq!(log.read(Stream(0), 0, ALL).unwrap().len() + log.read(Stream::ALERTS, 0, ALL).unwrap().len(), 2);
}

fn bounds_say_how_many_bytes_there_are<S: Subject>(opened: &Opened<'_, S>) {
    let blocks: Vec<Append> = (1..=20).map(|n| block(Stream::TELEMETRY, 10, &"x".repeat(n * 500))).collect();
    commit(&*opened.log(), &blocks).unwrap();
    commit(&*opened.log(), &[block(Stream::ALERTS, 1, "alert")]).unwrap();
    let bytes = |stream| opened.log().bounds(stream).bytes;
    assert_eq!((bytes(Stream::TELEMETRY), bytes(Stream::ALERTS), bytes(Stream::AUDIT)), (210 * 500, 5, 0));
    opened.log().trim(Stream::TELEMETRY, 40).unwrap();
    assert_eq!(bytes(Stream::TELEMETRY), 200 * 500);
    opened.reopen();
    let bytes = |stream| opened.log().bounds(stream).bytes;
    assert_eq!((bytes(Stream::TELEMETRY), bytes(Stream::ALERTS)), (200 * 500, 5));
    opened.log().trim(Stream::TELEMETRY, u64::MAX).unwrap();
    assert_eq!(opened.log().bounds(Stream::TELEMETRY).bytes, 0);
}

fn a_source_skips_what_it_lost<S: Subject>(opened: &Opened<'_, S>) {
    let skip = |first| {
        let skips = vec![SourcePosition { source: Source("d".into()), epoch: 1, first }];
        opened.log().submit(Commit { skips, ..Commit::default() }).wait().unwrap();
    };
    let send = |first| commit(&*opened.log(), &[sent("d", 1, first, block(Stream::TELEMETRY, 10, "x"))]);
    send(0).unwrap();
    assert!(matches!(send(50), Err(CommitError::Hole { expected: 10, .. })));
    skip(50);
    assert_eq!(opened.log().watermark(&Source("d".into())).unwrap(), Some((1, 50)));
    opened.reopen();
    let send = |first| commit(&*opened.log(), &[sent("d", 1, first, block(Stream::TELEMETRY, 10, "x"))]);
    assert!(matches!(send(60), Err(CommitError::Hole { expected: 50, .. })));
    assert_eq!(at(send(40)), [Appended::Repeat]);
    assert_eq!(at(send(50)), [Appended::At(10)]);
    let skips = vec![SourcePosition { source: Source("d".into()), epoch: 1, first: 5 }];
    opened.log().submit(Commit { skips, ..Commit::default() }).wait().unwrap();
    assert_eq!(opened.log().watermark(&Source("d".into())).unwrap(), Some((1, 60)), "it takes nothing back");
}

fn an_empty_stream_goes_on<S: Subject>(opened: &Opened<'_, S>) {
    commit(&*opened.log(), &[block(Stream::TELEMETRY, 10, "a")]).unwrap();
    assert_eq!(opened.log().trim(Stream::TELEMETRY, u64::MAX).unwrap(), 10);
    assert_eq!(range(&*opened.log(), Stream::TELEMETRY), (10, 10));
    opened.reopen();
    let log = opened.log();
    assert_eq!(range(&*log, Stream::TELEMETRY), (10, 10));
    assert!(log.read(Stream::TELEMETRY, 10, ALL).unwrap().is_empty());
    assert_eq!(at(commit(&*log, &[block(Stream::TELEMETRY, 1, "b")])), [Appended::At(10)]);
}

fn a_subscriber_hears<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    commit(&*log, &[block(Stream::TELEMETRY, 3, "a")]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut tail = log.subscribe(Stream::TELEMETRY);
        assert_eq!(*tail.borrow_and_update(), 3);
        let ticket = log.submit(Commit { appends: vec![block(Stream::TELEMETRY, 2, "b")], ..Commit::default() });
        tokio::time::timeout(WAIT, tail.changed()).await.unwrap().unwrap();
        assert_eq!(*tail.borrow_and_update(), 5);
        // What a subscriber hears of can be read, also before the ticket was looked at.
        assert_eq!(texts(&log.read(Stream::TELEMETRY, 3, ALL).unwrap()), [row(3, 2, "b")]);
        assert_eq!(tokio::time::timeout(WAIT, ticket.durable()).await.unwrap().unwrap().appended, [Appended::At(3)]);
        let other = log.submit(Commit { appends: vec![block(Stream::ALERTS, 1, "c")], ..Commit::default() });
        other.durable().await.unwrap();
        assert!(!tail.has_changed().unwrap(), "another stream");
    });
}

fn commits_take_effect_in_order<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    let tickets: Vec<Ticket> = (0..200)
        .map(|n| {
            let value = Some(Bytes::from(n.to_string()));
            let appends = vec![block(Stream::TELEMETRY, 1, &n.to_string())];
            log.submit(Commit {
                appends,
                snapshots: vec![Snapshot { key: b"last".to_vec(), value }],
                ..Commit::default()
            })
        })
        .collect();
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.wait().unwrap().appended, [Appended::At(n as u64)]);
    }
    assert_eq!(log.snapshot(b"last").unwrap().unwrap(), "199");
    for (n, block) in log.read(Stream::TELEMETRY, 0, ALL).unwrap().iter().enumerate() {
        assert_eq!(block.bytes, n.to_string());
    }
}

fn many_threads_may_commit<S: Subject>(opened: &Opened<'_, S>) {
    let log = opened.log();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..25 {
                    let append = block(Stream::TELEMETRY, 2, &format!("{thread} {n}"));
                    let Appended::At(first) = at(commit(&**log, &[append]))[0] else { panic!("no source, no repeat") };
                    let read = log.read(Stream::TELEMETRY, first, 1).unwrap();
                    assert_eq!(texts(&read), [row(first, 2, &format!("{thread} {n}"))]);
                }
            });
        }
    });
    assert_eq!(log.bounds(Stream::TELEMETRY).next, 8 * 25 * 2);
}

fn reads_go_on_beside_commits_and_trims<S: Subject>(opened: &Opened<'_, S>) {
    const COMMITS: u64 = 60;
    let log = opened.log();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut next = 0;
                while next < COMMITS * 3 {
                    match log.read(Stream::TELEMETRY, next, 40) {
                        Ok(read) => {
                            for block in read {
                                assert_eq!((block.first, &block.bytes[..]), (next, next.to_string().as_bytes()));
                                next += u64::from(block.count);
                            }
                        }
                        Err(ReadError::Trimmed { wanted, first }) => {
                            assert!(wanted == next && first > next);
                            next = first;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for n in 0..COMMITS {
            commit(&*log, &[block(Stream::TELEMETRY, 3, &(n * 3).to_string())]).unwrap();
            if n % 10 == 9 {
                log.trim(Stream::TELEMETRY, n * 3 - 6).unwrap();
            }
        }
    });
}

fn tickets_may_be_dropped<S: Subject>(opened: &Opened<'_, S>) {
    for n in 0..20 {
        let append = block(Stream::TELEMETRY, 1, &n.to_string());
        drop(opened.log().submit(Commit { appends: vec![append], ..Commit::default() }));
    }
    // Closing works off what waits.
    opened.reopen();
    assert_eq!(opened.log().bounds(Stream::TELEMETRY).next, 20);
}

fn everything_is_there_after_reopening<S: Subject>(opened: &Opened<'_, S>) {
    let (epoch, log) = (opened.log().epoch(), opened.log());
    let appends = vec![sent("d", 8, 40, block(Stream::TELEMETRY, 10, "a")), block(Stream::TELEMETRY, 10, "b")];
    let snapshots = vec![Snapshot { key: b"k".to_vec(), value: Some(Bytes::from_static(b"v")) }];
    log.submit(Commit { appends, snapshots, ..Commit::default() }).wait().unwrap();
    log.trim(Stream::TELEMETRY, 10).unwrap();
    drop(log);
    for _ in 0..3 {
        opened.reopen();
        let log = opened.log();
        assert_eq!(log.epoch(), epoch);
        assert_eq!(range(&*log, Stream::TELEMETRY), (10, 20));
        assert_eq!(*log.subscribe(Stream::TELEMETRY).borrow(), 20);
        assert_eq!(texts(&log.read(Stream::TELEMETRY, 10, ALL).unwrap()), [row(10, 10, "b")]);
        assert_eq!(log.snapshot(b"k").unwrap().unwrap(), "v");
        assert_eq!(log.watermark(&Source("d".into())).unwrap(), Some((8, 50)));
        let again = commit(&*log, &[sent("d", 8, 40, block(Stream::TELEMETRY, 10, "a"))]);
        assert_eq!(at(again), [Appended::Repeat]);
    }
}
