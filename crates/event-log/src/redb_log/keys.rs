//! The tables, and the bytes of each key that go into its record's checksum.

use redb::TableDefinition;

use crate::contract::{Offset, Stream};

/// (stream, first offset) -> block.
pub(super) const BLOCKS: TableDefinition<'static, (u8, u64), &[u8]> = TableDefinition::new("blocks");
/// Name -> value.
pub(super) const SNAPSHOTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("snapshots");
/// Source -> epoch, next offset.
pub(super) const WATERMARKS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("watermarks");
/// Stream -> first offset, next offset.
pub(super) const BOUNDS: TableDefinition<'static, u8, &[u8]> = TableDefinition::new("bounds");
/// Name -> what the file says of itself.
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// In [`META`]: magic, format, epoch.
pub(super) const META_LOG: &str = "log";
/// In [`META`]: how many transactions there were, so that the outcome of one that failed can be told.
pub(super) const META_TRANSACTIONS: &str = "transactions";

/// A block's key as bytes: a block that is found under another key than its own is damaged.
pub(super) fn block_key(stream: Stream, first: Offset) -> [u8; 9] {
    let mut key = [stream.0; 9];
    key[1..].copy_from_slice(&first.to_le_bytes());
    key
}
