//! A worker: one thread with one current-thread runtime, one shard supervisor on it, and the actors of its vehicles.

mod batch;
mod between_blocks;
mod hold_up;
mod job;
mod migration;
mod plugin_stage;
mod rows;
mod supervisor;
mod trial;
mod vehicle;

pub(crate) use batch::Fault;
pub(crate) use job::{Collected, Job, PartOfBlock, RowsChange, Swap, ToWorker, TrialChange, TrialRows};

use crate::config::Clock;
use crate::dead_letter::DeadLetter;
use crate::event_writer::ToWriter;
use crate::keys::DeploymentKey;
use crate::metering::Meters;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::runtime::StateSink;
use fleet_model::Timestamp;
use ractor::{Actor, ActorRef};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Blocks a worker may hold: one it works on, one that waits so that it never starves.
pub(crate) const BLOCKS_PER_WORKER_MAX: usize = 2;

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub clock: Clock,
    pub metrics: Metrics,
    pub meters: Arc<Meters>,
    pub sink: Arc<dyn StateSink>,
    pub writer: mpsc::UnboundedSender<ToWriter>,
    pub trouble: mpsc::UnboundedSender<Trouble>,
    pub fault: Fault,
    pub workers: usize,
    pub passivate_after_ms: i64,
}

/// A rule that does not do its work.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub key: DeploymentKey,
    pub generation: u64,
    pub at: Timestamp,
    pub kind: TroubleKind,
}

/// What the trouble is.
#[derive(Debug, Clone)]
pub(crate) enum TroubleKind {
    /// It failed on a batch, twice.
    Poison,
    /// No instance of it could be made, twice, which is no reading's fault: this worker shows it no more.
    NoInstance(String),
    /// It failed for longer than it may hold up others: this worker shows it no more.
    Exhausted(String),
}

/// The way to a worker.
pub(crate) struct Worker {
    pub actor: ActorRef<ToWorker>,
    /// Credit: [`BLOCKS_PER_WORKER_MAX`] permits. Closed when the worker is gone.
    pub permits: Arc<Semaphore>,
    pub thread: std::thread::JoinHandle<()>,
}

/// What a worker made of a part of a block.
#[derive(Default)]
pub(crate) struct Produced {
    pub events: Vec<fleet_model::Event>,
    pub letters: Vec<DeadLetter>,
}

/// Starts a worker and waits until its supervisor lives.
pub(crate) async fn start(index: usize, shared: Shared, progress: Arc<Progress>) -> Result<Worker, String> {
    let permits = Arc::new(Semaphore::new(BLOCKS_PER_WORKER_MAX));
    let (started, ready) = oneshot::channel();
    let credit = permits.clone();
    let thread = std::thread::Builder::new()
        .name(format!("drover-worker-{index}"))
        .spawn(move || run(index, shared, started, &credit, &progress))
        .map_err(|error| error.to_string())?;
    match ready.await {
        Ok(Ok(actor)) => Ok(Worker { actor, permits, thread }),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err("it ended at once".into()),
    }
}

type Started = oneshot::Sender<Result<ActorRef<ToWorker>, String>>;

fn run(index: usize, shared: Shared, started: Started, credit: &Semaphore, progress: &Progress) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error.to_string()));
            return;
        }
    };
    runtime.block_on(async {
        match Actor::spawn(None, supervisor::Supervisor, supervisor::Arguments { index, shared }).await {
            Ok((actor, ended)) => {
                let _ = started.send(Ok(actor));
                let _ = ended.await;
            }
            Err(error) => {
                let _ = started.send(Err(error.to_string()));
            }
        }
    });
    // When the runtime closes, the credit is closed first.
    if !credit.is_closed() {
        tracing::error!(worker = index, "a worker ended by itself: the node must be restarted");
    }
    // Whoever waits must not wait for ever.
    credit.close();
    progress.break_down(&format!("worker {index} ended"));
}
