//! A disk for tests: it forgets and tears what was not synced, fills up, fails to sync, and shows its bytes.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use super::{RedbLog, RedbOptions, opening};
use crate::error::OpenError;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// What a file system allocates.
const PAGE: u64 = 4_096;

/// Small, fast, seeded: a test that fails prints its seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The disk; clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    /// As the running process sees it.
    live: Vec<u8>,
    /// As it is certain to be after a power cut.
    durable: Vec<u8>,
    /// What is on the way from the one to the other.
    unsynced: Vec<Change>,
    allocated: HashSet<u64>,
    pages_max: usize,
    changes_until_cut: Option<u64>,
    syncs_until_cut: Option<u64>,
    syncs_until_failure: Option<u64>,
    random: Random,
    off: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("len", &self.live.len()).field("off", &self.off).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            let end = offset + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*offset..end].copy_from_slice(bytes);
        }
        Change::Resize(len) => image.resize(*len, 0),
    }
}

impl Disk {
    /// A disk that holds these bytes.
    pub(crate) fn with_image(image: Vec<u8>, seed: u64) -> Self {
        let allocated = (0..image.len() as u64 / PAGE).collect();
        Self(Arc::new(Mutex::new(State {
            live: image.clone(),
            durable: image,
            unsynced: Vec::new(),
            allocated,
            pages_max: usize::MAX,
            changes_until_cut: None,
            syncs_until_cut: None,
            syncs_until_failure: None,
            random: Random::new(seed),
            off: false,
        })))
    }

    /// A disk with an empty log.
    pub(crate) fn with_empty_log(seed: u64) -> Self {
        let disk = Self::with_image(Vec::new(), seed);
        let db = redb::Builder::new().set_cache_size(1 << 20).create_with_backend(disk.clone()).unwrap();
        opening::write_empty_log(&db).unwrap();
        db.close().unwrap();
        Self::with_image(disk.durable(), seed)
    }

    pub(crate) fn open_log(&self) -> Result<RedbLog, OpenError> {
        self.open_log_with_cache(1 << 20)
    }

    pub(crate) fn open_log_with_cache(&self, cache_bytes: usize) -> Result<RedbLog, OpenError> {
        let disk = self.clone();
        let opener = Box::new(move || Ok(Box::new(disk.clone()) as Box<dyn StorageBackend>));
        let options = RedbOptions { cache_bytes, ..RedbOptions::default() };
        RedbLog::open_storage(Path::new("simulated"), opener, &options)
    }

    /// The bytes that are certain to be there.
    pub(crate) fn durable(&self) -> Vec<u8> {
        self.0.lock().durable.clone()
    }

    /// Cuts the power at the `n`th change from here.
    pub(crate) fn cut_after(&self, n: u64) {
        self.0.lock().changes_until_cut = Some(n);
    }

    /// Cuts the power during the `n`th sync from here: the moment at which most is at stake.
    pub(crate) fn cut_at_sync(&self, n: u64) {
        self.0.lock().syncs_until_cut = Some(n);
    }

    /// Cuts the power now, if it is not.
    pub(crate) fn cut(&self) {
        self.0.lock().cut();
    }

    /// The disk with its power back.
    pub(crate) fn after_cut(&self, seed: u64) -> Self {
        self.cut();
        Self::with_image(self.durable(), seed)
    }

    /// Fails the `n`th sync from here and all after it.
    pub(crate) fn fail_sync_after(&self, n: u64) {
        self.0.lock().syncs_until_failure = Some(n);
    }

    /// Leaves `free` pages to be allocated.
    pub(crate) fn set_free_pages(&self, free: usize) {
        let mut state = self.0.lock();
        state.pages_max = state.allocated.len().saturating_add(free);
    }
}

impl State {
    /// What is not synced is written in part, in whole sectors: the disk and the kernel keep no order.
    fn cut(&mut self) {
        if std::mem::replace(&mut self.off, true) {
            return;
        }
        // A cut may lose all, keep all, or anything between.
        let percent = [0, 20, 50, 80, 100][self.random.below(5) as usize];
        for change in std::mem::take(&mut self.unsynced) {
            match &change {
                Change::Resize(_) if self.random.chance(percent) => apply(&mut self.durable, &change),
                Change::Resize(_) => {}
                Change::Write(offset, bytes) => {
                    let mut at = *offset;
                    let end = offset + bytes.len();
                    while at < end {
                        let sector_end = ((at / SECTOR + 1) * SECTOR).min(end);
                        if self.random.chance(percent) && sector_end <= self.durable.len() {
                            let part = bytes[at - offset..sector_end - offset].to_vec();
                            apply(&mut self.durable, &Change::Write(at, part));
                        }
                        at = sector_end;
                    }
                }
            }
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn step(&mut self) -> io::Result<()> {
        self.alive()?;
        match &mut self.changes_until_cut {
            Some(0) => self.cut(),
            Some(left) => *left -= 1,
            None => {}
        }
        self.alive()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.0.lock();
        state.alive()?;
        Ok(state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        state.alive()?;
        let bytes = state.live.get(offset as usize..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let change = Change::Resize(len as usize);
        apply(&mut state.live, &change);
        state.allocated.retain(|page| page * PAGE < len);
        state.unsynced.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        match &mut state.syncs_until_cut {
            Some(0) => state.cut(),
            Some(left) => *left -= 1,
            None => {}
        }
        state.alive()?;
        match &mut state.syncs_until_failure {
            Some(0) => return Err(io::Error::other("the sync failed")),
            Some(left) => *left -= 1,
            None => {}
        }
        for change in std::mem::take(&mut state.unsynced) {
            apply(&mut state.durable, &change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        for page in offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE) {
            if !state.allocated.contains(&page) {
                if state.allocated.len() >= state.pages_max {
                    println!(
                        "FULL at page {page} len {} pages {} alloc {}",
                        data.len(),
                        state.live.len() as u64 / PAGE,
                        state.allocated.len()
                    );
                    return Err(io::ErrorKind::StorageFull.into());
                }
                state.allocated.insert(page);
            }
        }
        let change = Change::Write(offset as usize, data.to_vec());
        apply(&mut state.live, &change);
        state.unsynced.push(change);
        Ok(())
    }
}
