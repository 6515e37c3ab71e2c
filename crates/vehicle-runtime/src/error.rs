//! Why an operation failed, and whether it is worth trying again.

use crate::record_format::RecordError;
use event_log::{CommitError, Offset, ReadError};

/// Why a block was not taken, or the runtime did not end well.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// The block is not the next one. Not worth a retry: hand in the block at `expected`.
    #[error("the block at offset {found} came when {expected} was due: readings in between are missing")]
    Hole {
        /// The offset that was due.
        expected: Offset,
        /// The offset that came.
        found: Offset,
    },
    /// The runtime was shut down.
    #[error("the runtime was shut down")]
    Closed,
    /// A worker or the events log failed. Not worth a retry: restart the node; nothing durable is lost.
    #[error("the runtime stopped working: {0}")]
    Broken(String),
}

/// Why a runtime did not start. None of these goes away by itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A stored value cannot be read.
    #[error("stored {key}: {error}")]
    Record {
        /// Under which name it is stored.
        key: String,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A block of the telemetry log is no frame of readings.
    #[error("the telemetry log's block at offset {at} cannot be read: {reason}")]
    Frame {
        /// Where.
        at: Offset,
        /// How it shows.
        reason: String,
    },
    /// The telemetry log is not the one that the checkpoint belongs to.
    #[error(
        "the checkpoint in the events log belongs to another telemetry log (epoch {expected:016x}, found {found:016x}): \
         put the right telemetry log back, or start with an empty events log"
    )]
    OtherLog {
        /// In the checkpoint.
        expected: u64,
        /// Of the log.
        found: u64,
    },
    /// A thread could not be started.
    #[error("a worker thread could not be started: {0}")]
    Thread(String),
    /// The replay failed.
    #[error(transparent)]
    Replay(#[from] RuntimeError),
}

/// Why a deployment was not changed. What ran before still runs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeployError {
    /// No instance of the plugin could be made: it took this config before, so a limit of this machine was met.
    #[error("the plugin cannot be started: {0}")]
    Instantiate(String),
    /// The new version does not read the old version's state.
    #[error(
        "{plugin} cannot take over the state of version {from_version} (state version {from_state}): {reason}. \
         The running version stays; export `migrate`, or deploy it under another name to start afresh"
    )]
    Migrate {
        /// Name and version of the new plugin.
        plugin: String,
        /// The running version.
        from_version: String,
        /// The state version of its rows.
        from_state: u32,
        /// What the plugin says.
        reason: String,
    },
    /// Its instances would have more memory than the tenant may. Not worth a retry: a smaller rule or a larger budget is.
    #[error(
        "its {instances} instances may have {needed_mib} MiB of memory, the tenant's other rules {others_mib} MiB, and \
         tenant_memory_mib allows {allowed_mib}: end another deployment, or {how}"
    )]
    OverMemory {
        /// What it may have.
        needed_mib: u64,
        /// One for each worker.
        instances: u64,
        /// What the tenant's others may have.
        others_mib: u64,
        /// All together.
        allowed_mib: u64,
        /// Where the budget is raised.
        how: String,
    },
    /// There is no such deployment.
    #[error("tenant {tenant} has no deployment {name}")]
    Unknown {
        /// Whose.
        tenant: String,
        /// Which.
        name: String,
    },
    /// A trial needs something that decides meanwhile.
    #[error("nothing is live under the name {name}: deploy a version before you try another one beside it")]
    NothingLive {
        /// Which.
        name: String,
    },
    /// Another change of the deployment came first.
    #[error("the deployment was changed meanwhile")]
    Superseded,
    /// The change could not be made durable. [`CommitError::Full`] is worth a retry when there is space.
    #[error("the deployment cannot be stored: {0}")]
    Commit(#[from] CommitError),
    /// The runtime does not work any more.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl DeployError {
    /// Whether the same deployment may go better another time.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Instantiate(_) | Self::Superseded | Self::Commit(_) | Self::Runtime(_) => true,
            Self::OverMemory { .. } | Self::Migrate { .. } | Self::Unknown { .. } | Self::NothingLive { .. } => false,
        }
    }
}
