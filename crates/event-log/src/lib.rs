//! The log under everything that is promised: what was acknowledged is in it.
//!
//! [`EventLog`] is the contract, `conformance` (feature `conformance`) the suite that every implementation passes:
//! [`MemoryLog`] for tests, [`RedbLog`] for edge nodes and single-node clouds.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod contract;
mod error;
mod ledger;
pub mod memory;
pub mod metrics;
#[cfg(test)]
mod model;
mod published;
pub mod redb_log;
#[cfg(test)]
mod tests;

pub use contract::{
    Append, Appended, BLOCK_LEN_MAX, Block, Bounds, Commit, CommitError, Committed, EventLog, Offset, ReadError,
    Snapshot, Source, SourcePosition, Stream, Ticket,
};
pub use error::OpenError;
pub use memory::MemoryLog;
pub use metrics::LogStats;
pub use redb_log::{RedbLog, RedbOptions};
