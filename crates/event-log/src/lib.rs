//! The log under everything that is promised: what was acknowledged is in it.
//!
//! [`EventLog`] is the contract, [`conformance`] the suite that every implementation passes: [`memory`] for tests,
//! [`redb_log`] for edge nodes and single-node clouds.

pub mod contract;

pub use contract::{
    Append, Appended, Block, Bounds, Commit, CommitError, Committed, EventLog, Offset, ReadError, Snapshot, Source,
    SourcePosition, Stream, Ticket,
};
