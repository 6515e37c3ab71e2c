//! From payloads to durable blocks.
//!
//! ```text
//!            credits, bounded queue      commits in flight, bounded         blocks, bounded by credits
//!  doors --------> builder --------------------> completer ---------------------> applier --> Runtime
//!                  admission, block,             waits for "durable",             waits while the
//!                  submit to the log             in order; answers                actors are behind
//! ```
//!
//! The builder alone decides what is admitted, so admission needs no locks. A block carries its place in the log; the
//! log itself refuses a block whose predecessor it refused ([`SourcePosition`](event_log::SourcePosition)), so commits
//! may be in flight together and a failure never leaves a hole.
//!
//! When a commit fails, every request in flight fails with it (no PUBACK, no 202), and admission is read back from the
//! log: sequences that were given to lost readings are given again, and a device that sends them again is no repeat.
//! So that it can send them again in their order, a connection's [`Lane`] is closed with its first refused request.

mod block;
mod builder;
mod completer;
mod letters;

use crate::device_link::payload::{Parsed, Refused};
use crate::metrics::{Counts, INSTRUMENTS};
use crate::trace::PublishTrace;
use bytes::Bytes;
use event_log::CommitError;
use fleet_model::{AdmissionPolicy, TenantId, VehicleId};
use std::sync::{Arc, OnceLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use vehicle_runtime::admission::RecoverError;
use vehicle_runtime::{Clock, Logs, Runtime, RuntimeError};

/// Readings between the door and the actors at most.
pub const CREDITS: usize = 65_536;
/// A credit pays for one reading, or for this many bytes of payload: that bounds the memory of odd payloads too.
pub const CREDIT_BYTES: usize = 512;
/// Requests that wait for the builder.
const QUEUE_LEN_MAX: usize = 1_024;
/// Commits in flight.
const COMMITS_MAX: usize = 8;
/// Blocks on their way to the actors; credits bound them more tightly unless they are tiny.
const HANDOVER_LEN_MAX: usize = 1_024;

/// One payload, as the door leaves it.
#[derive(Debug)]
pub struct Payload {
    /// Whose it is, where the door knows.
    pub tenant: Option<TenantId>,
    /// Which vehicle's, where the door knows for the payload as a whole.
    pub vehicle: Option<VehicleId>,
    /// As received, for dead letters.
    pub raw: Bytes,
    /// Readings and refusals.
    pub parsed: Parsed,
    /// When it is sampled.
    pub trace: Option<PublishTrace>,
}

/// What became of a payload. Everything it tells of is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Readings admitted.
    pub admitted: u32,
    /// Admitted readings that were late.
    pub late: u32,
    /// Readings said before.
    pub repeats: u32,
    /// What was refused, in the order of the payload.
    pub refused: Vec<Refused>,
}

/// Why a request was not taken. Nothing of it was acknowledged; it may be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The log has no space: what it said. Worth a retry later.
    #[error("{0}")]
    Full(String),
    /// The log refused for another reason. Worth a retry later.
    #[error("not stored: {0}")]
    NotStored(String),
    /// The log failed; the edge node stops.
    #[error("the log failed")]
    Broken,
    /// The edge node is ending.
    #[error("the edge node is shutting down")]
    Closed,
}

/// Why ingest cannot go on: the edge node stops and says so.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A log accepts nothing more.
    #[error("the {log} log failed: {error}")]
    Log {
        /// Which.
        log: &'static str,
        /// Why.
        error: CommitError,
    },
    /// The log stored a block elsewhere than the block says: somebody else writes to it.
    #[error("the telemetry log stored a block at offset {found} that was built for {expected}: another writer?")]
    Misplaced {
        /// Where it was built for.
        expected: u64,
        /// Where it went.
        found: String,
    },
    /// Admission cannot be read back.
    #[error("admission: {0}")]
    Admission(#[from] RecoverError),
    /// The actors stopped.
    #[error("actors: {0}")]
    Runtime(#[from] RuntimeError),
}

/// The answer to a request, one outcome per payload.
pub type Reply = oneshot::Receiver<Result<Vec<Outcome>, IngestError>>;

/// Payloads on their way to the builder.
struct Request {
    payloads: Vec<Payload>,
    asker: Asker,
    credits: OwnedSemaphorePermit,
}

/// Who waits for an answer; they may be gone.
struct Asker {
    reply: oneshot::Sender<Result<Vec<Outcome>, IngestError>>,
    lane: LaneEnd,
}

/// Set with the first request of a lane that is refused.
type LaneEnd = Arc<OnceLock<IngestError>>;

/// The way in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ingest {
    requests: mpsc::Sender<Request>,
    credits: Arc<Semaphore>,
}

/// The way in of one connection. Its requests are admitted in their order; once one is refused, those behind it are
/// refused as well, whatever became of the reason meanwhile: the client sends them again, and they would stand before
/// what it sends again.
#[derive(Debug, Clone)]
pub struct Lane {
    ingest: Ingest,
    end: LaneEnd,
}

/// The tasks behind [`Ingest`].
pub struct Running {
    tasks: JoinHandle<Result<(), Fatal>>,
}

/// Readings between two snapshots of admission, which is what a restart reads again at most, and what retention cannot
/// remove yet.
pub const CHECKPOINT_READINGS: u64 = 200_000;

/// What ingest works with.
pub struct Parts {
    /// Both logs.
    pub logs: Logs,
    /// Where durable blocks go.
    pub runtime: Arc<Runtime>,
    /// What is refused.
    pub policy: AdmissionPolicy,
    /// Readings between two snapshots of admission: [`CHECKPOINT_READINGS`], or fewer where not many may be kept.
    pub checkpoint_readings: u64,
    /// Stamps blocks and dead letters.
    pub clock: Clock,
    /// What happened.
    pub counts: Arc<Counts>,
}

/// Reads admission back from the log and starts the tasks.
///
/// # Errors
/// When the log cannot be read.
pub async fn start(parts: Parts) -> Result<(Ingest, Running), Fatal> {
    let (requests, from_doors) = mpsc::channel(QUEUE_LEN_MAX);
    let (to_completer, batches) = mpsc::channel(COMMITS_MAX);
    let (to_applier, blocks) = mpsc::channel(HANDOVER_LEN_MAX);
    let failures = completer::Failures::default();
    let builder = builder::Builder::recover(&parts, from_doors, to_completer, failures.clone()).await?;
    let completer = completer::Completer::new(&parts, batches, to_applier, failures);
    let builder = tokio::spawn(builder.run());
    let completer = tokio::spawn(completer.run());
    let applier = tokio::spawn(completer::apply(parts.runtime, blocks));
    // Each ends when the one before it has ended and everything was passed on, or at once on its own failure, which
    // ends the others because their channels close.
    let tasks = tokio::spawn(async move {
        let (builder, completer, applier) = tokio::join!(builder, completer, applier);
        outcome(applier).and(outcome(completer)).and(outcome(builder))
    });
    Ok((Ingest { requests, credits: Arc::new(Semaphore::new(CREDITS)) }, Running { tasks }))
}

impl Ingest {
    /// A way in for a new connection.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane { ingest: self.clone(), end: LaneEnd::default() }
    }

    /// Hands in payloads that stand in no order with others; otherwise as [`Lane::submit`].
    ///
    /// # Errors
    /// [`IngestError::Closed`].
    pub async fn submit(&self, payloads: Vec<Payload>) -> Result<Reply, IngestError> {
        self.lane().submit(payloads).await
    }

    /// Credits that are free now.
    #[must_use]
    pub fn credits_free(&self) -> usize {
        self.credits.available_permits()
    }
}

impl Lane {
    /// Hands in payloads: waits for credits and for a place in the queue. The answer comes when all is durable.
    /// Dropping the future before it is ready takes nothing; afterwards the payloads are on their way.
    ///
    /// # Errors
    /// [`IngestError::Closed`].
    pub async fn submit(&self, payloads: Vec<Payload>) -> Result<Reply, IngestError> {
        let Ingest { requests, credits } = &self.ingest;
        let cost = payloads.iter().map(Payload::cost).sum::<usize>().min(CREDITS);
        let paid = Arc::clone(credits).acquire_many_owned(cost as u32).await.map_err(|_| IngestError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let asker = Asker { reply, lane: Arc::clone(&self.end) };
        let request = Request { payloads, asker, credits: paid };
        requests.send(request).await.map_err(|_| IngestError::Closed)?;
        INSTRUMENTS.credits_free.record(credits.available_permits() as u64, &[]);
        Ok(answer)
    }
}

impl Asker {
    /// Why an earlier request of the lane was refused, if one was.
    fn refused_before(&self) -> Option<IngestError> {
        self.lane.get().cloned()
    }

    fn answer(self, outcomes: Vec<Outcome>) {
        let _ = self.reply.send(Ok(outcomes));
    }

    fn refuse(self, why: IngestError) {
        // The first reason stands: the others follow from it.
        let _ = self.lane.set(why.clone());
        let _ = self.reply.send(Err(why));
    }
}

impl IngestError {
    /// Why the log refused a commit.
    fn of(error: &CommitError) -> Self {
        match error {
            CommitError::Full(_) => Self::Full(error.to_string()),
            _ => Self::NotStored(error.to_string()),
        }
    }
}

impl Payload {
    /// Credits it needs.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.parsed.elements.len().max(self.raw.len().div_ceil(CREDIT_BYTES)).max(1)
    }
}

impl Running {
    /// Resolves when ingest has ended: well, once every [`Ingest`] is dropped and everything is handed over, or by a
    /// failure. Safe to drop and call again.
    ///
    /// # Errors
    /// See [`Fatal`].
    pub async fn ended(&mut self) -> Result<(), Fatal> {
        outcome((&mut self.tasks).await)
    }
}

/// A task's own outcome; a defect in it goes on as the panic it was.
fn outcome(ended: Result<Result<(), Fatal>, tokio::task::JoinError>) -> Result<(), Fatal> {
    match ended {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the process is ending.
            Err(_) => Ok(()),
        },
    }
}
