//! Bits flip on the disk: what is read is right, or it is an error. redb alone gave wrong data for most single flips.

use bytes::Bytes;

use super::simulated_disk::{Disk, Random};
use crate::contract::{Append, Commit, EventLog, ReadError, Snapshot, Stream};
use crate::error::OpenError;

/// Flips tried across the whole file.
const FLIPS: u64 = 600;
/// A page of redb.
const PAGE: usize = 4_096;
/// Blocks in the file.
const BLOCKS: u64 = 60;

fn bytes_of(n: u64) -> Bytes {
    let mut random = Random::new(n);
    (0..1 + random.below(9_000)).map(|_| random.below(256) as u8).collect()
}

fn image() -> Vec<u8> {
    let disk = Disk::with_empty_log(1);
    let log = disk.open_log().unwrap();
    for n in 0..BLOCKS {
        let append = Append { stream: Stream::TELEMETRY, count: 3, bytes: bytes_of(n), source: None };
        let key = format!("vehicle/{n:03}").into_bytes();
        let snapshots = vec![Snapshot { key, value: Some(Bytes::from(format!("state of {n}"))) }];
        log.submit(Commit { appends: vec![append], snapshots, ..Commit::default() }).wait().unwrap();
    }
    drop(log);
    disk.durable()
}

/// What a flip led to.
#[derive(Default, Debug)]
struct Seen {
    harmless: u64,
    not_opened: u64,
    damaged: u64,
    broken: u64,
}

impl Seen {
    fn note<T>(&mut self, read: Result<T, ReadError>, context: &str) -> Option<T> {
        match read {
            Ok(value) => return Some(value),
            Err(ReadError::Damaged { .. }) => self.damaged += 1,
            Err(ReadError::Broken(_)) => self.broken += 1,
            Err(error) => panic!("{context}: {error}"),
        }
        None
    }
}

fn open_and_read_all(disk: &Disk, seen: &mut Seen, context: &str) {
    match disk.open_log() {
        Ok(log) => read_all(&log, seen, context),
        Err(OpenError::Corrupt { .. } | OpenError::Foreign { .. } | OpenError::Newer { .. } | OpenError::Io { .. }) => {
            seen.not_opened += 1;
        }
        Err(error) => panic!("{context}: {error}"),
    }
}

fn read_all(log: &dyn EventLog, seen: &mut Seen, context: &str) {
    assert_eq!(log.bounds(Stream::TELEMETRY).next, BLOCKS * 3, "{context}");
    let mut whole = true;
    for n in 0..BLOCKS {
        match seen.note(log.read(Stream::TELEMETRY, n * 3, 1), context) {
            Some(read) => {
                assert_eq!((read.len(), read[0].first, read[0].count), (1, n * 3, 3), "{context}");
                assert_eq!(read[0].bytes, bytes_of(n), "{context}");
            }
            None => whole = false,
        }
        match seen.note(log.snapshot(format!("vehicle/{n:03}").as_bytes()), context) {
            Some(value) => assert_eq!(value.expect(context), format!("state of {n}"), "{context}"),
            None => whole = false,
        }
    }
    match seen.note(log.snapshots(b"vehicle/"), context) {
        Some(found) => assert_eq!(found.len() as u64, BLOCKS, "{context}"),
        None => whole = false,
    }
    seen.harmless += u64::from(whole);
}

#[test]
fn a_flipped_bit_never_becomes_data() {
    let image = image();
    let mut random = Random::new(7);
    let mut seen = Seen::default();
    for _ in 0..FLIPS {
        let mut flipped = image.clone();
        let (at, bit) = (random.below(image.len() as u64) as usize, random.below(8));
        flipped[at] ^= 1 << bit;
        open_and_read_all(&Disk::with_image(flipped, 1), &mut seen, &format!("bit {bit} of byte {at}"));
    }
    println!("{FLIPS} flips in {} bytes: {seen:?}", image.len());
    assert!(seen.harmless > 0 && seen.damaged > 0);
}

#[test]
fn a_lost_page_never_becomes_data() {
    let image = image();
    let mut random = Random::new(8);
    let mut seen = Seen::default();
    for page in 0..image.len() / PAGE {
        for fill in [0, 0xff, random.below(256) as u8] {
            let mut garbled = image.clone();
            garbled[page * PAGE..(page + 1) * PAGE].fill(fill);
            open_and_read_all(&Disk::with_image(garbled, 1), &mut seen, &format!("page {page} of {fill}"));
        }
    }
    println!("lost before opening: {seen:?}");
    assert!(seen.harmless > 0 && seen.damaged > 0 && seen.not_opened > 0, "{seen:?}");
    // redb panics over some of these: that it comes out as Broken shows that the panic stayed inside.
    let mut seen = Seen::default();
    for page in 0..image.len() / PAGE {
        let disk = Disk::with_image(image.clone(), 1);
        let log = disk.open_log_with_cache(0).unwrap();
        redb::StorageBackend::write(&disk, (page * PAGE) as u64, &[0; PAGE]).unwrap();
        read_all(&log, &mut seen, &format!("page {page} while open"));
    }
    println!("lost while open: {seen:?}");
    assert!(seen.harmless > 0 && seen.damaged > 0 && seen.broken > 0, "{seen:?}");
}

#[test]
fn a_flipped_bit_in_a_block_is_said_to_be_there() {
    let image = image();
    for n in [0, 7, BLOCKS - 1] {
        let bytes = bytes_of(n);
        let mut flipped = image.clone();
        // redb copies pages when it writes, so a block may be there more than once.
        let copies: Vec<_> = image.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes).collect();
        assert!(!copies.is_empty(), "a block is stored as it came");
        for (at, _) in copies {
            flipped[at + bytes.len() / 2] ^= 0x10;
        }
        let log = Disk::with_image(flipped, 1).open_log().unwrap();
        let read = log.read(Stream::TELEMETRY, n * 3, 1);
        assert!(matches!(read, Err(ReadError::Damaged { at, .. }) if at == n * 3), "block {n}: {:?}", read.err());
        let beside = (n + 1) % BLOCKS;
        assert_eq!(log.read(Stream::TELEMETRY, beside * 3, 1).unwrap()[0].bytes, bytes_of(beside));
        let after = log.submit(Commit {
            appends: vec![Append { stream: Stream::TELEMETRY, count: 1, bytes: bytes_of(1), source: None }],
            ..Commit::default()
        });
        after.wait().expect("a damaged block does not stop the log");
    }
}
