//! From a path to a log that may be used: created whole, recognised, and its standings checked against its blocks.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use redb::{Database, DatabaseError, ReadTransaction, ReadableTable, StorageError, TableError};

use super::keys::{BLOCKS, BOUNDS, META, META_LOG, SNAPSHOTS, WATERMARKS};
use super::record_format::{self, LogHeader};
use super::storage::{self, Opener};
use super::store::{Fault, Store};
use super::{RedbOptions, damaged, read_transactions};
use crate::contract::{Bounds, ReadError, Source, Stream};
use crate::error::OpenError;
use crate::ledger::Watermark;
use crate::memory::random_epoch;

/// The format of the file that is written, and the latest that is read. In the first, bounds had no bytes.
const FORMAT: u32 = 2;
/// Memory while a file is created.
const CREATE_CACHE_BYTES: usize = 1_024 * 1_024;

pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) epoch: u64,
    pub(super) bounds: BTreeMap<Stream, Bounds>,
    pub(super) watermarks: HashMap<Source, Watermark>,
    pub(super) transactions: u64,
}

/// Creates the file when there is none.
pub(super) fn create_if_absent(path: &Path) -> Result<(), OpenError> {
    let io_error = |source| OpenError::Io { path: path.to_owned(), source };
    if path.try_exists().map_err(io_error)? {
        return Ok(());
    }
    storage::create_whole(path, |creating| {
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CREATE_CACHE_BYTES);
        let db = builder.create(creating).map_err(io::Error::other)?;
        write_empty_log(&db).map_err(io::Error::other)?;
        db.close().map_err(io::Error::other)
    })
    .map_err(io_error)
}

/// Makes an empty log of an empty database.
pub(super) fn write_empty_log(db: &Database) -> Result<(), redb::Error> {
    let mut transaction = db.begin_write()?;
    transaction.set_quick_repair(true);
    {
        transaction.open_table(BLOCKS)?;
        transaction.open_table(SNAPSHOTS)?;
        transaction.open_table(WATERMARKS)?;
        transaction.open_table(BOUNDS)?;
        let header = LogHeader { format: FORMAT, epoch: random_epoch() };
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_LOG, header.seal(META_LOG.as_bytes()).as_slice())?;
    }
    Ok(transaction.commit()?)
}

/// Opens a log that is there.
pub(super) fn open(name: &Path, opener: Opener, options: &RedbOptions) -> Result<Opened, OpenError> {
    let path = || name.to_owned();
    let store = Store::open(opener, options.cache_bytes, options.verify_on_open).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => OpenError::Locked(path()),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            OpenError::Foreign { path: path(), what: error.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(source)) => OpenError::Io { path: path(), source },
        DatabaseError::UpgradeRequired(_) => OpenError::Foreign { path: path(), what: error.to_string() },
        error => OpenError::Corrupt { path: path(), what: error.to_string() },
    })?;
    let corrupt = |error: ReadError| OpenError::Corrupt { path: path(), what: error.to_string() };
    let header = store.read(read_header).map_err(corrupt)?;
    let header =
        header.ok_or_else(|| OpenError::Foreign { path: path(), what: "a redb file of another kind".into() })?;
    if header.format > FORMAT {
        return Err(OpenError::Newer { path: path(), found: header.format, known: FORMAT });
    }
    let bounds = store.read(read_bounds).map_err(corrupt)?;
    let watermarks = store.read(read_watermarks).map_err(corrupt)?;
    let transactions = store.read(read_transactions).map_err(corrupt)?;
    Ok(Opened { store, epoch: header.epoch, bounds, watermarks, transactions })
}

/// `None` when it is a redb file, but not of ours.
fn read_header(transaction: &ReadTransaction) -> Result<Option<LogHeader>, Fault> {
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(None),
    };
    let Some(record) = meta.get(META_LOG)? else { return Ok(None) };
    LogHeader::open(META_LOG.as_bytes(), record.value()).map(Some).map_err(|what| damaged(0, what))
}

/// The bounds of all streams, held against their first and last blocks.
fn read_bounds(transaction: &ReadTransaction) -> Result<BTreeMap<Stream, Bounds>, Fault> {
    let blocks = transaction.open_table(BLOCKS)?;
    let mut all = BTreeMap::new();
    for entry in transaction.open_table(BOUNDS)?.iter()? {
        let (key, record) = entry?;
        let stream = key.value();
        let opened = record_format::open_bounds(&[stream], record.value());
        let (mut bounds, bytes_known) = opened.map_err(|what| damaged(0, what))?;
        let mut range = blocks.range((stream, 0)..=(stream, u64::MAX))?;
        let first = range.next().transpose()?.map_or(bounds.next, |(key, _)| key.value().1);
        if first != bounds.first {
            let what = format!("stream {stream} should begin at {} and begins at {first}", bounds.first);
            return Err(damaged(bounds.first, what));
        }
        if !bytes_known {
            // Once: the next commit of the stream stores them.
            for block in blocks.range((stream, 0)..=(stream, u64::MAX))? {
                bounds.bytes += block?.1.value().len().saturating_sub(record_format::HEADER_LEN) as u64;
            }
        }
        all.insert(Stream(stream), bounds);
    }
    Ok(all)
}

fn read_watermarks(transaction: &ReadTransaction) -> Result<HashMap<Source, Watermark>, Fault> {
    let mut all = HashMap::new();
    for entry in transaction.open_table(WATERMARKS)?.iter()? {
        let (key, record) = entry?;
        let source = key.value();
        let watermark = record_format::open_watermark(source.as_bytes(), record.value());
        all.insert(Source(source.to_owned()), watermark.map_err(|what| damaged(0, what))?);
    }
    Ok(all)
}
