//! What a worker is asked to do. Jobs are done one after the other, in the order in which they were cast: what stands
//! between two blocks is a barrier.

use crate::deployment::{Activation, RowsShape};
use crate::keys::DeploymentKey;
use crate::plugin::Rule;
use crate::progress::OpenPart;
use crate::trial::TrialPart;
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
    /// Rows from the last checkpoint, those that began with activation `since`.
    LoadRows { key: DeploymentKey, since: u64, rows: Vec<(VehicleKey, Vec<u8>)>, done: oneshot::Sender<()> },
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
    pub trial: TrialChange,
    /// The rows that a rollback from here takes up again, when they are others than these.
    pub behind: Option<RowsShape>,
    pub done: oneshot::Sender<()>,
}

/// What becomes of the rows in a swap, with the instance that was made before the barrier; none is made for a
/// suspended activation.
pub(crate) enum RowsChange {
    /// They go on as they are, and so does the instance: the rule that is live stays.
    Same,
    /// They go on as they are.
    Keep(Option<Box<dyn Rule>>),
    /// Those that were replaced are taken up again.
    Restore(Option<Box<dyn Rule>>),
    /// They begin at zero.
    Zero(Option<Box<dyn Rule>>),
    /// Those that `Migrate` made, with its instance.
    Migrated,
}

/// What becomes of what is tried beside the live rule.
pub(crate) struct TrialChange {
    /// The live rule reads the rows of the trial that ran so far: a vehicle that is its again goes on with them.
    pub rows_go_back: bool,
    /// What is tried from here on, its instance, and where rows of vehicles come from that it has not decided for.
    pub runs: Option<TrialRun>,
}

/// A trial on one worker.
pub(crate) type TrialRun = (TrialPart, Option<Box<dyn Rule>>, TrialRows);

/// How a rule on trial begins with a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrialRows {
    /// With its own: the trial goes on as it was, for vehicles that it knows.
    Kept,
    /// With the row of the live rule.
    Copied,
    /// With what `Migrate` made of it.
    Migrated,
    /// At zero: it is another plugin's.
    Zero,
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
    pub shape: RowsShape,
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
            let CollectedRows { key, shape, rows } = store;
            rows.into_iter().map(move |(vehicle, row)| Snapshot {
                key: crate::keys::row(&key, shape.since, vehicle),
                value: Some(encode(&RowRecord { state_version: shape.state_version, row })),
            })
        });
        vehicles.chain(rows)
    }
}
