//! The power goes while the log works, and comes back: nothing acknowledged is lost, nothing is there in part, and
//! the log opens. The disk forgets and tears what was not synced, which killing a process never shows.

use std::time::Instant;

use bytes::Bytes;

use super::simulated_disk::{Disk, Random};
use crate::contract::{Append, Bounds, Commit, EventLog, Offset, Snapshot, Source, SourcePosition, Stream};

/// Lives of a log, each with several cuts.
const LIVES: u64 = 25;
/// Cuts in a life.
const CUTS: u64 = 16;
/// Commits between two cuts at most.
const COMMITS_MAX: u64 = 24;
/// A cut comes within this many changes of the disk,
const CHANGES_MAX: u64 = 160;
/// or within this many syncs, of which a commit has two.
const SYNCS_MAX: u64 = 8;

/// The `n`th commit of a life: everything in it follows from `n`, so what is there can be checked.
fn commit_of(n: u64, seed: u64) -> Commit {
    let mut random = Random::new(n ^ seed << 20);
    let len = if random.chance(10) { 20_000 + random.below(200_000) } else { 1 + random.below(6_000) };
    let fill = n as u8;
    let source = SourcePosition { source: Source("depot-1/telemetry".into()), epoch: 7, first: n * 10 };
    let telemetry =
        Append { stream: Stream::TELEMETRY, count: 10, bytes: vec![fill; len as usize].into(), source: Some(source) };
    let alerts = Append { stream: Stream::ALERTS, count: 1, bytes: Bytes::from(format!("alert of {n}")), source: None };
    let put = |key: String, value: u64| Snapshot { key: key.into(), value: Some(Bytes::from(value.to_string())) };
    let snapshots = vec![put("commits".into(), n + 1), put(format!("vehicle/{}", n % 40), n)];
    Commit { appends: vec![telemetry, alerts], snapshots, ..Commit::default() }
}

/// Everything that `commits` commits leave behind, and nothing else.
fn check(log: &dyn EventLog, commits: u64, seed: u64, first: Offset) {
    let len = |commit: u64| commit_of(commit, seed).appends.into_iter().map(|append| append.bytes.len() as u64);
    let bytes = (first / 10..commits).filter_map(|commit| len(commit).next()).sum();
    assert_eq!(log.bounds(Stream::TELEMETRY), Bounds { first, next: commits * 10, bytes });
    let bytes = (0..commits).filter_map(|commit| len(commit).nth(1)).sum();
    assert_eq!(log.bounds(Stream::ALERTS), Bounds { first: 0, next: commits, bytes });
    let watermark = log.watermark(&Source("depot-1/telemetry".into())).unwrap();
    assert_eq!(watermark, (commits > 0).then_some((7, commits * 10)));
    let telemetry = log.read(Stream::TELEMETRY, first, usize::MAX).unwrap();
    assert_eq!(telemetry.len() as u64, commits - first / 10);
    for block in telemetry {
        assert_eq!(block.bytes, commit_of(block.first / 10, seed).appends[0].bytes, "block at {}", block.first);
    }
    for block in log.read(Stream::ALERTS, 0, usize::MAX).unwrap() {
        assert_eq!(block.bytes, format!("alert of {}", block.first));
    }
    let vehicles = log.snapshots(b"vehicle/").unwrap();
    assert_eq!(vehicles.len() as u64, commits.min(40));
    for (key, value) in vehicles {
        let vehicle: u64 = std::str::from_utf8(&key[b"vehicle/".len()..]).unwrap().parse().unwrap();
        let last = (0..commits).rev().find(|n| n % 40 == vehicle).unwrap();
        assert_eq!(value, last.to_string());
    }
}

/// What is known of a life while the power goes and comes.
struct Life {
    seed: u64,
    random: Random,
    disk: Disk,
    /// Commits that are certain to be there.
    certain: u64,
    /// Where the stream of telemetry may begin: a trim that was under way is done or not.
    firsts: Vec<Offset>,
    lost_unacknowledged: u64,
    kept_unacknowledged: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            disk: Disk::with_empty_log(seed),
            certain: 0,
            firsts: vec![0],
            lost_unacknowledged: 0,
            kept_unacknowledged: 0,
        }
    }

    /// Works until the power is gone.
    fn work(&mut self) -> u64 {
        let log = self.disk.open_log().expect("a log opens after every cut");
        if self.random.chance(50) {
            self.disk.cut_after(self.random.below(CHANGES_MAX));
        } else {
            self.disk.cut_at_sync(self.random.below(SYNCS_MAX));
        }
        if self.random.chance(20) {
            // Full before long: the file is opened again, and compacted after a trim, under the same cuts.
            self.disk.set_free_pages(self.random.below(60) as usize);
        }
        let mut submitted = self.certain;
        for _ in 0..self.random.below(6) {
            let end = submitted + self.random.below(COMMITS_MAX / 4);
            let tickets: Vec<_> = (submitted..end).map(|n| log.submit(commit_of(n, self.seed))).collect();
            submitted = end;
            for ticket in tickets {
                match ticket.wait() {
                    Ok(_) => self.certain += 1,
                    Err(_) => break,
                }
            }
            if self.random.chance(30) {
                let before = self.random.below(submitted * 10 + 1);
                // A full disk refuses commits: nothing can be trimmed that is not there.
                let target = (before / 10 * 10).min(self.certain * 10);
                let known = *self.firsts.last().unwrap();
                if target > known {
                    match log.trim(Stream::TELEMETRY, before) {
                        Ok(first) => self.firsts = vec![first],
                        Err(_) => self.firsts.push(target),
                    }
                }
            }
        }
        self.disk.cut();
        submitted
    }

    /// The power is back.
    fn check(&mut self, submitted: u64) {
        self.disk = self.disk.after_cut(self.random.below(u64::MAX));
        let log = self.disk.open_log().unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let found = log.bounds(Stream::ALERTS).next;
        assert!(self.certain <= found, "seed {}: {} acknowledged, {found} there", self.seed, self.certain);
        assert!(found <= submitted, "seed {}: {submitted} submitted, {found} there", self.seed);
        let first = log.bounds(Stream::TELEMETRY).first;
        assert!(self.firsts.contains(&first), "seed {}: begins at {first}, not {:?}", self.seed, self.firsts);
        check(&log, found, self.seed, first);
        self.kept_unacknowledged += found - self.certain;
        self.lost_unacknowledged += submitted - found;
        self.certain = found;
        self.firsts = vec![first];
    }
}

fn live(seed: u64) -> Life {
    let mut life = Life::new(seed);
    for _ in 0..CUTS {
        let submitted = life.work();
        life.check(submitted);
    }
    life
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes() {
    let base = std::env::var("DROVER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let (started, first) = (Instant::now(), base.unwrap_or(1));
    let (mut certain, mut lost, mut kept) = (0, 0, 0);
    for seed in first..first + LIVES {
        let life = live(seed);
        certain += life.certain;
        lost += life.lost_unacknowledged;
        kept += life.kept_unacknowledged;
    }
    println!(
        "{} cuts in {:?}: {certain} commits kept, of those not acknowledged {kept} kept and {lost} lost",
        LIVES * CUTS,
        started.elapsed()
    );
    // Otherwise the cuts came where they could do no harm.
    assert!(certain > LIVES && lost > 0 && kept > 0);
}

#[test]
fn a_disk_that_forgets_loses_what_was_not_synced() {
    // The test above would prove nothing on a disk that keeps everything.
    let disk = Disk::with_image(vec![0; 4_096], 3);
    let mut kept = 0;
    for seed in 0..64 {
        let disk = Disk::with_image(disk.durable(), seed);
        redb::StorageBackend::write(&disk, 0, &[1; 4_096]).unwrap();
        disk.cut();
        kept += disk.durable().iter().filter(|byte| **byte == 1).count();
    }
    assert!((64 * 1_024..64 * 3_072).contains(&kept), "{kept}");
}
