//! The runtime: workers, writer and keeper of one node, and the door for blocks.

use crate::audit::AuditTrail;
use crate::checkpoint::Checkpoints;
use crate::config::{Clock, Logs, RuntimeConfig};
use crate::deployment::{DeploymentState, Deployments};
use crate::error::{RuntimeError, StartError};
use crate::event_writer::{EventWriter, ToWriter};
use crate::metering::Meters;
use crate::metrics::Metrics;
use crate::plugin::{PluginFinder, PluginSource, RuleFinder};
use crate::progress::Progress;
use crate::work_block::WorkBlock;
use crate::worker::{Fault, Job, PartOfBlock, Shared, ToWorker, Trouble, Worker};
use crate::{event_writer, keeper, recovery, worker};
use event_log::Offset;
use fleet_model::{VehicleName, VehicleState};
use fleet_wire::ReadingFrame;
use parking_lot::Mutex;
use plugin_host::PluginHash;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

/// Blocks whose events may be on their way to the disk, over all workers.
pub(crate) const OPEN_BLOCKS_MAX: usize = 64;

/// Is told the states of vehicles. Called on the workers' threads: take note and return.
pub trait StateSink: Send + Sync + 'static {
    /// States that may have changed, each vehicle once; after a start, all of them.
    fn changed(&self, states: &[(Arc<VehicleName>, VehicleState)]);
}

/// For nodes that show no states.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSink;

impl StateSink for NoSink {
    fn changed(&self, _states: &[(Arc<VehicleName>, VehicleState)]) {}
}

/// The vehicles of a node. Dropped without [`Runtime::shutdown`] it stops at once, like after a crash: the next start
/// takes up from the last checkpoint. Dropping waits for its threads, a few milliseconds.
pub struct Runtime {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Option<Threads>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("applied", &self.applied()).finish_non_exhaustive()
    }
}

struct Threads {
    workers: Vec<std::thread::JoinHandle<()>>,
    writer: std::thread::JoinHandle<()>,
    writer_stop: Arc<std::sync::atomic::AtomicBool>,
    keeper: Option<Keeper>,
}

/// The keeper's task. It ends when `stop` is dropped, after what it is at.
struct Keeper {
    task: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// What the parts of a runtime share.
pub(crate) struct Core {
    pub config: RuntimeConfig,
    pub logs: Logs,
    pub clock: Clock,
    pub audit: AuditTrail,
    pub metrics: Metrics,
    pub meters: Arc<Meters>,
    pub workers: Vec<WorkerGate>,
    pub progress: Arc<Progress>,
    pub writer: Mutex<Option<mpsc::UnboundedSender<ToWriter>>>,
    /// Blocks and barriers enter here, one after the other.
    pub front: tokio::sync::Mutex<Front>,
    pub deployments: Mutex<Deployments>,
    /// Told whenever `deployments` shows something else.
    pub changed: watch::Sender<()>,
    /// One change of deployments at a time.
    pub deploying: tokio::sync::Mutex<()>,
    /// While a swap goes on: where blocks that wait for it report how long they took.
    pub swapping: Mutex<Option<mpsc::UnboundedSender<f64>>>,
    pub checkpoints: tokio::sync::Mutex<Checkpoints>,
    pub checkpoint_due: Arc<Notify>,
    /// Offset of the last checkpoint.
    pub checkpointed: AtomicU64,
    readings_since_checkpoint: AtomicU64,
    open_blocks: Arc<Semaphore>,
}

/// The way to a worker.
pub(crate) struct WorkerGate {
    actor: ractor::ActorRef<ToWorker>,
    permits: Arc<Semaphore>,
}

/// Where the next block begins.
pub(crate) struct Front {
    pub next: Offset,
    /// The last change of a deployment that the workers were told.
    pub generation: u64,
    pub closed: bool,
}

/// What a start needs besides the public arguments; tests bring fakes.
pub(crate) struct Parts {
    pub sink: Arc<dyn StateSink>,
    pub finder: Arc<dyn RuleFinder>,
    pub clock: Clock,
    pub audit: AuditTrail,
    pub fault: Fault,
}

impl Runtime {
    /// Loads the last checkpoint, applies the readings that were logged after it, and is ready. Events that were
    /// written already are recognised by their id and not written again. `plugins` finds the plugins of the stored
    /// deployments; one whose plugin cannot be had is suspended, and the runtime starts without it. `audit` is the trail
    /// of the events log.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: RuntimeConfig,
        logs: Logs,
        sink: Arc<dyn StateSink>,
        plugins: Arc<dyn PluginSource>,
        clock: Clock,
        audit: AuditTrail,
    ) -> Result<Arc<Self>, StartError> {
        let finder = Arc::new(PluginFinder(plugins));
        Self::start_with(config, logs, Parts { sink, finder, clock, audit, fault: None }).await
    }

    pub(crate) async fn start_with(config: RuntimeConfig, logs: Logs, parts: Parts) -> Result<Arc<Self>, StartError> {
        let Parts { sink, finder, clock, audit, fault } = parts;
        let stored = {
            // Plugins may have to be compiled.
            let logs = logs.clone();
            let read = tokio::task::spawn_blocking(move || recovery::read(&logs, &*finder));
            read.await.map_err(|error| StartError::Thread(error.to_string()))??
        };
        let (metrics, meters) = (Metrics::new(), Meters::new(config.budgets.clone(), clock.clone()));
        let progress = Arc::new(Progress::new(stored.telemetry_next()));
        let (trouble, troubles) = mpsc::unbounded_channel();
        let thread_error = |error: std::io::Error| StartError::Thread(error.to_string());
        let known = recovery::known(&logs, &stored)?;
        let writer = event_writer::start(
            logs.clone(),
            clock.clone(),
            metrics.clone(),
            known,
            progress.clone(),
            config.others_append_events,
        )
        .map_err(thread_error)?;
        let shared = Shared {
            clock: clock.clone(),
            metrics: metrics.clone(),
            meters: meters.clone(),
            sink,
            writer: writer.sender.clone(),
            trouble,
            fault,
            workers: config.worker_count(),
            passivate_after_ms: config.passivate_after_s as i64 * 1_000,
        };
        let mut workers: Vec<Worker> = Vec::new();
        for index in 0..shared.workers {
            match worker::start(index, shared.clone(), progress.clone()).await {
                Ok(worker) => workers.push(worker),
                Err(reason) => {
                    workers.iter().for_each(|worker| worker.actor.get_cell().kill());
                    return Err(StartError::Thread(reason));
                }
            }
        }
        drop(shared);
        let runtime = Self::assemble(config, logs, clock, audit, (metrics, meters), progress, writer, workers, &stored);
        recovery::run(&runtime.core, stored).await?;
        runtime.core.meters.forget_replay();
        let due = runtime.core.checkpoint_due.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keeper::run(Arc::downgrade(&runtime.core), due, troubles, stopped));
        if let Some(threads) = runtime.threads.lock().as_mut() {
            threads.keeper = Some(Keeper { task, stop });
        }
        Ok(runtime)
    }

    #[allow(clippy::too_many_arguments)] // All of it is made by the one caller.
    fn assemble(
        config: RuntimeConfig,
        logs: Logs,
        clock: Clock,
        audit: AuditTrail,
        (metrics, meters): (Metrics, Arc<Meters>),
        progress: Arc<Progress>,
        writer: EventWriter,
        workers: Vec<Worker>,
        stored: &recovery::Stored,
    ) -> Arc<Self> {
        let (mut gates, mut threads) = (Vec::new(), Vec::new());
        for Worker { actor, permits, thread } in workers {
            gates.push(WorkerGate { actor, permits });
            threads.push(thread);
        }
        let EventWriter { sender, thread, stop } = writer;
        let core = Core {
            config,
            logs,
            clock,
            audit,
            metrics,
            meters,
            workers: gates,
            progress,
            writer: Mutex::new(Some(sender)),
            front: tokio::sync::Mutex::new(Front { next: stored.telemetry_next(), generation: 0, closed: false }),
            deployments: Mutex::default(),
            changed: watch::channel(()).0,
            deploying: tokio::sync::Mutex::default(),
            swapping: Mutex::default(),
            checkpoints: tokio::sync::Mutex::new(Checkpoints::after(stored.telemetry_next())),
            checkpoint_due: Arc::new(Notify::new()),
            checkpointed: AtomicU64::new(stored.telemetry_next()),
            readings_since_checkpoint: AtomicU64::new(0),
            open_blocks: Arc::new(Semaphore::new(OPEN_BLOCKS_MAX)),
        };
        let threads = Threads { workers: threads, writer: thread, writer_stop: stop, keeper: None };
        Arc::new(Self { core: Arc::new(core), threads: Mutex::new(Some(threads)) })
    }

    /// Takes the block that stands at `first` in the telemetry log. Blocks come in the log's order without holes; one
    /// that was applied before is passed over. Waits while a worker holds two blocks: that is the back pressure.
    /// Dropping the future before it is ready takes the block back; hand it in again.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    pub async fn apply(&self, first: Offset, frame: ReadingFrame) -> Result<(), RuntimeError> {
        let entered = Instant::now();
        let swap = self.core.swapping.lock().clone();
        let mut front = self.core.front.lock().await;
        if front.closed {
            return Err(RuntimeError::Closed);
        }
        self.core.hand_out(&mut front, first, frame, entered, swap).await
    }

    /// What runs, sorted by tenant and name.
    #[must_use]
    pub fn deployments(&self) -> Vec<DeploymentState> {
        self.core.deployments.lock().running.values().map(|running| running.current.state()).collect()
    }

    /// Changes whenever [`Runtime::deployments`] does, by whomever: an operator, the breaker, a failing plugin.
    #[must_use]
    pub fn deployments_changed(&self) -> watch::Receiver<()> {
        self.core.changed.subscribe()
    }

    /// Plugins that run, that a rollback goes back to, or that a restart needs to get from the last checkpoint to now.
    #[must_use]
    pub fn plugins_needed(&self) -> BTreeSet<PluginHash> {
        let deployments = self.core.deployments.lock();
        let activations =
            deployments.running.values().flat_map(|running| [Some(&running.current), running.previous.as_ref()]);
        let run = activations.flatten().map(|activation| PluginHash(activation.rule.facts().hash));
        let stored =
            deployments.stored.iter().filter(|stored| !stored.retired).flat_map(|stored| stored.plugins.clone());
        run.chain(stored).collect()
    }

    /// Every reading below is applied, and the events it caused are durable.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.core.progress.applied()
    }

    /// Where the next start takes up the telemetry log. Retention must keep what lies above.
    #[must_use]
    pub fn checkpointed(&self) -> Offset {
        self.core.checkpointed.load(Ordering::Relaxed)
    }

    /// Waits until [`Runtime::applied`] reaches `offset`. Returns early, with an error in the log, when the runtime
    /// breaks down, since it never will.
    pub async fn settled(&self, offset: Offset) {
        if let Err(reason) = self.core.progress.settled(offset).await {
            tracing::error!(%reason, offset, "the runtime does not get that far");
        }
    }

    /// Refuses further blocks, waits until what was taken is applied and durable, writes a last checkpoint, and ends
    /// the threads.
    ///
    /// # Errors
    /// When something could not be made durable; the next start takes it up again.
    pub async fn shutdown(&self) -> Result<(), RuntimeError> {
        let next = {
            let mut front = self.core.front.lock().await;
            if std::mem::replace(&mut front.closed, true) {
                return Ok(());
            }
            front.next
        };
        let keeper = self.threads.lock().as_mut().and_then(|threads| threads.keeper.take());
        if let Some(Keeper { task, stop }) = keeper {
            // Not aborted: a checkpoint under way has the workers' changes already, and the last one would lack them.
            drop(stop);
            let _ = task.await;
        }
        let drained = self.core.progress.settled(next).await.map_err(RuntimeError::Broken);
        let checkpointed = match drained {
            Ok(()) => self.core.checkpoint().await,
            Err(error) => Err(error),
        };
        let threads = self.threads.lock().take();
        if let Some(threads) = threads {
            let core = self.core.clone();
            let _ = tokio::task::spawn_blocking(move || threads.end(&core)).await;
        }
        checkpointed
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.get_mut().take() {
            threads.end(&self.core);
        }
    }
}

impl Threads {
    fn end(self, core: &Core) {
        if let Some(keeper) = self.keeper {
            keeper.task.abort();
        }
        self.writer_stop.store(true, std::sync::atomic::Ordering::Release);
        for worker in &core.workers {
            worker.permits.close();
            worker.actor.get_cell().kill();
        }
        // The writer ends when nobody can ask it for anything more.
        core.writer.lock().take();
        for worker in self.workers {
            let _ = worker.join();
        }
        self.writer.thread().unpark();
        let _ = self.writer.join();
    }
}

impl Core {
    /// Gives every worker its part of a block. The caller holds the front.
    pub(crate) async fn hand_out(
        &self,
        front: &mut Front,
        first: Offset,
        frame: ReadingFrame,
        entered: Instant,
        swap: Option<mpsc::UnboundedSender<f64>>,
    ) -> Result<(), RuntimeError> {
        if let Some(reason) = self.progress.broken() {
            return Err(RuntimeError::Broken(reason));
        }
        if first + u64::from(frame.header().count) <= front.next {
            return Ok(());
        }
        if first > front.next {
            return Err(RuntimeError::Hole { expected: front.next, found: first });
        }
        let readings = u64::from(frame.header().count);
        let work = Arc::new(WorkBlock::of(first, frame, self.workers.len(), entered, swap));
        let open = self.progress.permit(&self.open_blocks).await.map_err(RuntimeError::Broken)?;
        let mut permits = Vec::with_capacity(self.workers.len());
        for worker in work.busy_workers() {
            let permit = self.progress.permit(&self.workers[worker].permits).await.map_err(RuntimeError::Broken)?;
            permits.push((worker, permit));
        }
        // From here on nothing waits: the block is handed to all workers or to none.
        let parts = self.progress.open(work.next, permits.len(), open);
        front.next = work.next;
        for ((worker, permit), part) in permits.into_iter().zip(parts) {
            self.metrics.in_flight.add(1, &[]);
            self.cast(worker, Job::Block(PartOfBlock { work: work.clone(), part, permit }));
        }
        let since = self.readings_since_checkpoint.fetch_add(readings, Ordering::Relaxed) + readings;
        if since >= self.config.checkpoint_readings {
            self.readings_since_checkpoint.store(0, Ordering::Relaxed);
            self.checkpoint_due.notify_one();
        }
        Ok(())
    }

    /// Puts a job at the end of a worker's row. Lost when the worker is gone; what it would answer is dropped then.
    pub(crate) fn cast(&self, worker: usize, job: Job) {
        let _ = self.workers[worker].actor.send_message(ToWorker::Job(job));
    }

    /// Puts a job at the end of every worker's row.
    pub(crate) fn cast_all(&self, mut job: impl FnMut() -> Job) {
        for worker in 0..self.workers.len() {
            self.cast(worker, job());
        }
    }

    #[cfg(test)]
    pub(crate) fn kill_worker(&self, worker: usize) {
        self.workers[worker].actor.get_cell().kill();
    }

    pub(crate) fn gone(&self) -> RuntimeError {
        RuntimeError::Broken(self.progress.broken().unwrap_or_else(|| "a worker ended".into()))
    }

    pub(crate) fn tell_writer(&self, message: ToWriter) {
        if let Some(writer) = &*self.writer.lock() {
            let _ = writer.send(message);
        }
    }
}

/// What the keeper hears from the plugin stage.
pub(crate) type Troubles = mpsc::UnboundedReceiver<Trouble>;
