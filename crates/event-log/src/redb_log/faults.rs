//! Files that are not what they should be, disks that are full, and syncs that fail.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::keys::{BOUNDS, META, META_LOG};
use super::record_format::{LogHeader, seal_pair};
use super::simulated_disk::Disk;
use super::{RedbLog, RedbOptions};
use crate::contract::{Append, Appended, Commit, CommitError, EventLog, ReadError, Snapshot, Stream};
use crate::error::OpenError;

fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.redb");
    (folder, path)
}

fn open(path: &std::path::Path) -> Result<RedbLog, OpenError> {
    RedbLog::open(path, RedbOptions::default())
}

fn block(len: usize) -> Commit {
    let append = Append { stream: Stream::TELEMETRY, count: 1, bytes: vec![7; len].into(), source: None };
    Commit { appends: vec![append], ..Commit::default() }
}

#[test]
fn a_log_is_open_once() {
    let (_folder, path) = place();
    let log = open(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::Locked(_))));
    drop(log);
    open(&path).unwrap();
}

#[test]
fn something_else_is_left_alone() {
    let (_folder, path) = place();
    for content in [b"".as_slice(), b"hello", &[0; 100_000], &[0xff; 100_000]] {
        fs::write(&path, content).unwrap();
        let opened = open(&path);
        assert!(matches!(opened, Err(OpenError::Foreign { .. })), "{opened:?}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    drop(redb::Database::create(&path).unwrap());
    let opened = open(&path);
    assert!(matches!(opened, Err(OpenError::Foreign { .. })), "{opened:?}");
}

#[test]
fn a_missing_folder_is_said() {
    let (folder, _) = place();
    let opened = open(&folder.path().join("nowhere/log.redb"));
    assert!(matches!(&opened, Err(OpenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn a_newer_format_is_refused() {
    let (_folder, path) = place();
    drop(open(&path).unwrap());
    let db = redb::Database::create(&path).unwrap();
    let transaction = db.begin_write().unwrap();
    let header = LogHeader { format: 9, epoch: 1 }.seal(META_LOG.as_bytes());
    transaction.open_table(META).unwrap().insert(META_LOG, header.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let opened = open(&path);
    assert!(matches!(opened, Err(OpenError::Newer { found: 9, known: 2, .. })), "{opened:?}");
}

#[test]
fn a_log_of_the_first_format_is_read_and_its_bytes_are_counted() {
    let (_folder, path) = place();
    let log = open(&path).unwrap();
    for len in [300, 500] {
        log.submit(block(len)).wait().unwrap();
    }
    let bounds = log.bounds(Stream::TELEMETRY);
    assert_eq!(bounds.bytes, 800);
    drop(log);
    let db = redb::Database::create(&path).unwrap();
    let transaction = db.begin_write().unwrap();
    let header = LogHeader { format: 1, epoch: 1 }.seal(META_LOG.as_bytes());
    transaction.open_table(META).unwrap().insert(META_LOG, header.as_slice()).unwrap();
    let stream = Stream::TELEMETRY.0;
    let pair = seal_pair(&[stream], bounds.first, bounds.next);
    transaction.open_table(BOUNDS).unwrap().insert(stream, pair.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let log = open(&path).unwrap();
    assert_eq!(log.bounds(Stream::TELEMETRY), bounds);
    log.submit(block(200)).wait().unwrap();
    drop(log);
    assert_eq!(open(&path).unwrap().bounds(Stream::TELEMETRY).bytes, 1_000);
}

#[test]
fn a_cut_file_is_corrupt() {
    let (_folder, path) = place();
    let log = open(&path).unwrap();
    for _ in 0..20 {
        log.submit(block(100_000)).wait().unwrap();
    }
    drop(log);
    let whole = fs::read(&path).unwrap();
    for len in [whole.len() / 2, 8_192, 512] {
        fs::write(&path, &whole[..len]).unwrap();
        match open(&path) {
            Err(OpenError::Corrupt { .. } | OpenError::Io { .. } | OpenError::Foreign { .. }) => {}
            other => panic!("{len} bytes: {other:?}"),
        }
    }
}

#[test]
fn a_power_cut_while_the_file_was_made_is_forgotten() {
    let (folder, path) = place();
    fs::write(folder.path().join("log.redb.creating"), [1; 5_000]).unwrap();
    let log = open(&path).unwrap();
    log.submit(block(1)).wait().unwrap();
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["log.redb"]);
}

#[test]
fn who_creates_at_the_same_time_shares_one_file() {
    let (_folder, path) = place();
    let opened: Vec<Result<RedbLog, OpenError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let logs: Vec<RedbLog> = opened.into_iter().filter_map(Result::ok).collect();
    assert_eq!(logs.len(), 1, "the others found it locked");
    logs[0].submit(block(1)).wait().unwrap();
    let epoch = logs[0].epoch();
    drop(logs);
    let log = open(&path).unwrap();
    assert_eq!((log.epoch(), log.bounds(Stream::TELEMETRY).next), (epoch, 1));
}

#[test]
fn two_logs_are_two_lives() {
    let ((_a, a), (_b, b)) = (place(), place());
    assert_ne!(open(&a).unwrap().epoch(), open(&b).unwrap().epoch());
}

#[test]
fn pages_can_be_verified_on_opening() {
    let (_folder, path) = place();
    let log = open(&path).unwrap();
    log.submit(block(10_000)).wait().unwrap();
    drop(log);
    let verified = || RedbLog::open(&path, RedbOptions { verify_on_open: true, ..RedbOptions::default() });
    drop(verified().unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5_000).position(|window| window == [7; 5_000]).unwrap();
    bytes[at + 100] ^= 1;
    fs::write(&path, &bytes).unwrap();
    drop(open(&path).unwrap());
    let opened = verified();
    assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{opened:?}");
}

#[test]
fn a_full_disk_is_survived() {
    let disk = Disk::with_empty_log(5);
    let log = disk.open_log().unwrap();
    let mut stored = 0;
    for round in 0..6 {
        disk.set_free_pages(20 + round * 37);
        let refused = loop {
            match log.submit(block(9_000)).wait() {
                Ok(committed) => {
                    assert_eq!(committed.appended, [Appended::At(stored)]);
                    stored += 1;
                }
                Err(error) => break error,
            }
            assert!(stored < 10_000, "the disk never filled");
        };
        assert!(matches!(refused, CommitError::Full(_)), "{refused}");
        // Still full, still honest, and what is there can be read.
        let again = log.submit(block(200_000)).wait();
        assert!(matches!(again, Err(CommitError::Full(_))), "{again:?}");
        assert_eq!(log.bounds(Stream::TELEMETRY).next, stored);
        assert_eq!(log.read(Stream::TELEMETRY, 0, usize::MAX).unwrap().len() as u64, stored);
    }
    disk.set_free_pages(1_000);
    assert_eq!(log.submit(block(9_000)).wait().unwrap().appended, [Appended::At(stored)]);
    drop(log);
    let log = Disk::with_image(disk.durable(), 1).open_log().unwrap();
    assert_eq!(log.bounds(Stream::TELEMETRY).next, stored + 1);
    assert_eq!(log.read(Stream::TELEMETRY, 0, usize::MAX).unwrap().len() as u64, stored + 1);
}

// redb preferred pages that the disk had not backed yet to those the trim had freed: full for ever.
#[test]
fn a_trim_makes_room_on_a_full_disk() {
    let disk = Disk::with_empty_log(6);
    let log = disk.open_log().unwrap();
    disk.set_free_pages(300);
    let mut stored = 0;
    while log.submit(block(9_000)).wait().is_ok() {
        stored += 1;
    }
    assert_eq!(log.trim(Stream::TELEMETRY, stored - 2).unwrap(), stored - 2);
    for _ in 0..20 {
        log.submit(block(9_000)).wait().unwrap();
    }
}

#[test]
fn after_a_failed_sync_nothing_is_accepted() {
    for n in 0..6 {
        let disk = Disk::with_empty_log(n);
        let log = disk.open_log().unwrap();
        log.submit(block(10)).wait().unwrap();
        disk.fail_sync_after(n);
        let mut acknowledged = 1;
        let failed = loop {
            match log.submit(block(10)).wait() {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(failed, CommitError::Broken(_)), "{failed}");
        disk.fail_sync_after(u64::MAX);
        let after = log.submit(block(10)).wait();
        assert!(matches!(after, Err(CommitError::Broken(_))), "{after:?}");
        assert!(matches!(log.trim(Stream::TELEMETRY, 1), Err(CommitError::Broken(_))));
        assert_eq!(log.bounds(Stream::TELEMETRY).next, acknowledged);
        drop(log);
        let log = disk.after_cut(n).open_log().unwrap();
        let found = log.bounds(Stream::TELEMETRY).next;
        assert!(found == acknowledged || found == acknowledged + 1, "{found} of {acknowledged}");
    }
}

#[test]
fn what_waits_for_a_broken_log_is_told() {
    let disk = Disk::with_empty_log(1);
    let log = disk.open_log().unwrap();
    disk.cut();
    let tickets: Vec<_> = (0..100).map(|_| log.submit(block(1_000))).collect();
    for ticket in tickets {
        assert!(matches!(ticket.wait(), Err(CommitError::Broken(_))));
    }
    assert!(matches!(log.snapshot(b"k"), Err(ReadError::Broken(_)) | Ok(None)));
}

#[test]
fn what_waits_shares_a_sync() {
    let (_folder, path) = place();
    let log = open(&path).unwrap();
    let tickets: Vec<_> = (0..500).map(|_| log.submit(block(100))).collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let stats = log.stats();
    assert_eq!((stats.commits, stats.refused, stats.bytes), (500, 0, 50_000));
    assert!(stats.transactions < 500 && stats.syncs < 1_000, "{stats:?}");
    let repeats = log.stats().transactions;
    log.submit(Commit::default()).wait().unwrap();
    assert_eq!(log.stats().transactions, repeats, "an empty commit needs no sync");
}

#[test]
fn a_large_trim_takes_several_transactions() {
    let disk = Disk::with_empty_log(1);
    let log = disk.open_log().unwrap();
    for _ in 0..5 {
        let one = block(1).appends.remove(0);
        log.submit(Commit { appends: vec![one; 700], ..Commit::default() }).wait().unwrap();
    }
    let before = log.stats().transactions;
    assert_eq!(log.trim(Stream::TELEMETRY, 3_400).unwrap(), 3_400);
    assert_eq!(log.stats().transactions - before, 4);
    assert_eq!(log.read(Stream::TELEMETRY, 3_400, usize::MAX).unwrap().len(), 100);
    let snapshots = vec![Snapshot { key: b"k".to_vec(), value: Some(Bytes::from_static(b"v")) }];
    log.submit(Commit { snapshots, ..Commit::default() }).wait().unwrap();
}
