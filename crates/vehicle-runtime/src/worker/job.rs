//! What a worker is asked to do. Jobs are done one after the other, in the order in which they were cast: what stands
//! between two blocks is a barrier.

use crate::deployment::Activation;
use crate::keys::DeploymentKey;
use crate::plugin::Rule;
use crate::progress::OpenPart;
use crate::work_block::WorkBlock;
use event_log::Snapshot;
use fleet_model::{Timestamp, VehicleKey, VehicleName, VehicleState};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Messages of the shard supervisor.
pub(crate) enum ToWorker {
    /// Next in the row.
    Job(Job),
    /// The last vehicle is through with its slice, or gave it up.
    BatchDone,
}

/// One entry of a worker's row.
pub(crate) enum Job {
    /// Readings.
    Block(PartOfBlock),
    /// States from the last checkpoint.
    Load(Vec<(Arc<VehicleName>, VehicleState)>),
    /// Rows from the last checkpoint, for the running activation.
    LoadRows { key: DeploymentKey, rows: Vec<(VehicleKey, Vec<u8>)>, done: oneshot::Sender<()> },
    /// What changed since the last time.
    Collect(oneshot::Sender<Collected>),
    /// Shows all states to the sink.
    ShowAll(oneshot::Sender<()>),
    /// How many actors live.
    #[cfg(test)]
    CountActors(oneshot::Sender<usize>),
    /// Stops the actors of idle vehicles.
    Passivate { now: Timestamp },
    /// Reads the rows of the running activation with a new version, beside it.
    Migrate { key: DeploymentKey, rule: Box<dyn Rule>, row_bytes: u32, done: oneshot::Sender<Result<(), String>> },
    /// Forgets what `Migrate` made.
    DropMigrated { key: DeploymentKey },
    /// Changes to another activation.
    Swap(Box<Swap>),
    /// Ends a deployment.
    Retire { key: DeploymentKey, done: oneshot::Sender<()> },
}

/// A worker's share of a block.
pub(crate) struct PartOfBlock {
    pub work: Arc<WorkBlock>,
    pub part: OpenPart,
    pub permit: OwnedSemaphorePermit,
}

/// A change of activation.
pub(crate) struct Swap {
    pub activation: Arc<Activation>,
    pub rows: RowsChange,
    pub done: oneshot::Sender<()>,
}

/// What becomes of the rows in a swap.
pub(crate) enum RowsChange {
    /// The new version reads them as they are. With the instance that was made before the barrier.
    Keep(Box<dyn Rule>),
    /// They begin at zero.
    Zero(Box<dyn Rule>),
    /// Those that `Migrate` made.
    Migrated,
}

/// What changed in a worker since the last checkpoint. Encoded elsewhere.
#[derive(Default)]
pub(crate) struct Collected {
    pub vehicles: Vec<(Arc<VehicleName>, VehicleState)>,
    pub rows: Vec<CollectedRows>,
}

/// Changed rows of one deployment.
pub(crate) struct CollectedRows {
    pub key: DeploymentKey,
    pub rows_since: u64,
    pub state_version: u32,
    pub rows: Vec<(VehicleKey, Vec<u8>)>,
}

impl Collected {
    /// As they are stored.
    pub(crate) fn snapshots(self) -> impl Iterator<Item = Snapshot> {
        use crate::record_format::{RowRecord, VehicleRecord, encode};
        let vehicles = self.vehicles.into_iter().map(|(name, state)| Snapshot {
            key: crate::keys::vehicle(name.key),
            value: Some(encode(&VehicleRecord::of(&name, &state))),
        });
        let rows = self.rows.into_iter().flat_map(|store| {
            let CollectedRows { key, rows_since, state_version, rows } = store;
            rows.into_iter().map(move |(vehicle, row)| Snapshot {
                key: crate::keys::row(&key, rows_since, vehicle),
                value: Some(encode(&RowRecord { state_version, row })),
            })
        });
        vehicles.chain(rows)
    }
}
