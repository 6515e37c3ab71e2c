//! redb behind a wall: its panics become errors, its errors become ours, and it is opened again after a full disk.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::storage::{Opener, Watch, Watched};
use crate::contract::{CommitError, ReadError};

/// Why a transaction failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreError {
    /// The disk is full; nothing of the transaction is stored.
    Full(String),
    /// Anything else; what is stored is not known.
    Broken(String),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(what) => CommitError::Full(what),
            StoreError::Broken(what) => CommitError::Broken(what),
        }
    }
}

/// Why a read inside of a transaction failed: ours, or the store's.
#[derive(Debug)]
pub(super) enum Fault {
    Read(ReadError),
    Store(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Store(error.into())
    }
}

pub(super) struct Store {
    open: Opener,
    cache_bytes: usize,
    verify: bool,
    pub(super) watch: Arc<Watch>,
    /// `None` between a full disk and the next successful opening.
    db: RwLock<Option<Database>>,
}

impl Store {
    /// Opens the storage; `verify` has redb check all its pages first.
    pub(super) fn open(open: Opener, cache_bytes: usize, verify: bool) -> Result<Self, DatabaseError> {
        let watch = Arc::default();
        let db = open_database(&open, &watch, cache_bytes, verify)?;
        Ok(Self { open, cache_bytes, verify, watch, db: RwLock::new(Some(db)) })
    }

    /// Runs a read on the caller's thread.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, ReadError> {
        let db = self.db.read();
        let Some(db) = &*db else {
            return Err(ReadError::Broken("it is closed until the disk has space".into()));
        };
        match survive(|| read(&db.begin_read()?)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Fault::Read(error))) => Err(error),
            Ok(Err(Fault::Store(error))) => Err(ReadError::Broken(error.to_string())),
            Err(panic) => Err(ReadError::Broken(panic)),
        }
    }

    /// Runs a transaction; when this returns `Ok` it is durable.
    pub(super) fn write<T>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let db = self.db.read();
        let Some(db) = &*db else { return Err(StoreError::Full("it is closed until the disk has space".into())) };
        let transaction = || -> Result<T, redb::Error> {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(redb::Durability::Immediate)?;
            // Opens in milliseconds after a crash instead of reading everything, and brings two-phase commit.
            transaction.set_quick_repair(true);
            let value = write(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        self.judge(survive(transaction))
    }

    /// Shortens the file to what is in it. Takes time in proportion to that, and reads wait.
    pub(super) fn compact(&self) -> Result<(), StoreError> {
        let mut db = self.db.write();
        let Some(db) = &mut *db else { return Err(StoreError::Full("it is closed until the disk has space".into())) };
        self.judge(survive(|| db.compact().map(drop).map_err(redb::Error::from)))
    }

    fn judge<T>(&self, outcome: Result<Result<T, redb::Error>, String>) -> Result<T, StoreError> {
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if self.watch.sync_failed() => Err(StoreError::Broken(format!("a sync failed: {error}"))),
            Ok(Err(redb::Error::Io(error))) if is_full(&error) => Err(StoreError::Full(error.to_string())),
            Ok(Err(error)) => Err(StoreError::Broken(error.to_string())),
            Err(panic) => Err(StoreError::Broken(panic)),
        }
    }

    /// Closes and opens again: redb accepts nothing more after the first failed write, even when there is space.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut db = self.db.write();
        if let Some(old) = db.take() {
            close_database(old);
        }
        match open_database(&self.open, &self.watch, self.cache_bytes, self.verify) {
            Ok(new) => {
                *db = Some(new);
                Ok(())
            }
            Err(error) if self.watch.sync_failed() => Err(StoreError::Broken(format!("a sync failed: {error}"))),
            Err(DatabaseError::Storage(redb::StorageError::Io(error))) if is_full(&error) => {
                Err(StoreError::Full(error.to_string()))
            }
            Err(error) => Err(StoreError::Broken(format!("it could not be opened again: {error}"))),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.db.read().is_none()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(db) = self.db.get_mut().take() {
            close_database(db);
        }
    }
}

fn close_database(db: Database) {
    match survive(|| db.close()) {
        Ok(Ok(())) => {}
        // Everything acknowledged was synced before: a failed close loses a quick opening at worst.
        Ok(Err(error)) => tracing::warn!(%error, "the log was not closed cleanly"),
        Err(panic) => tracing::warn!(%panic, "the log was not closed cleanly"),
    }
}

fn open_database(
    open: &Opener,
    watch: &Arc<Watch>,
    cache_bytes: usize,
    verify: bool,
) -> Result<Database, DatabaseError> {
    let inner = open().map_err(redb::StorageError::Io)?;
    let storage = Watched { inner, watch: Arc::clone(watch) };
    let opened = survive(|| {
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(verify);
        builder.create_with_backend(storage)
    });
    opened.unwrap_or_else(|panic| Err(DatabaseError::Storage(redb::StorageError::Corrupted(panic))))
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Runs `f`; a panic becomes its message. redb panics on pages that are damaged in ways it did not expect.
pub(super) fn survive<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| format!("the store panicked: {}", panic_text(&*panic)))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
