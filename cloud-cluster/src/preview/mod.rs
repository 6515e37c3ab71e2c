//! What a rule would have done: it is shown the readings that the log holds, by vehicle in parallel, apart from every
//! actor, and beside the rule that is live.
//!
//! Each worker has the vehicles whose key falls to it, a candidate and perhaps a live rule, both beginning with rows of
//! zeros, so that they stand on the same footing. Nothing is written anywhere.

mod difference;
mod money;
mod readings;

pub use difference::{Difference, Found, Side};
pub use money::{Money, Sums};
pub use readings::Selection;

use crate::preview::readings::{Piece, read};
use event_log::{EventLog, ReadError};
use fleet_model::{EventClass, EventId, VehicleKey, VehicleName};
use plugin_host::{ConfiguredPlugin, InstantiateError, Rehearsal, RehearsalFigures, RehearseError, RehearsedAnswer};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pieces that wait for a worker.
const PIECES_WAITING_MAX: usize = 4;
/// Events that one rule may bring forth before a preview gives up: they are compared in memory.
const EVENTS_MAX: u64 = 2_000_000;
/// Failures that are told with their reasons, per rule.
const FAILURES_TOLD: usize = 20;
/// Workers at most; fewer on smaller machines.
const WORKERS_MAX: usize = 8;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The log.
    #[error("reading the log: {0}")]
    Log(#[from] ReadError),
    /// A block of the log that cannot be read.
    #[error("the block at offset {at}: {what}")]
    Block {
        /// Where.
        at: u64,
        /// Why.
        what: String,
    },
    /// A rule could not be started.
    #[error("the rule cannot be started: {0}")]
    Start(#[from] InstantiateError),
    /// A rule keeps failing, or could not be started again.
    #[error("the rule cannot be tried further: {0}")]
    Rule(#[from] RehearseError),
    /// It proposes more than can be compared.
    #[error("a rule proposed more than {EVENTS_MAX} events: choose a shorter time or fewer vehicles")]
    TooManyEvents,
    /// Nobody waits for the result any more.
    #[error("cancelled")]
    Cancelled,
    /// A worker ended by a panic.
    #[error("a worker failed")]
    Worker,
}

/// How far a preview is. Shared with who shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Readings shown to the candidate.
    pub readings: AtomicU64,
    /// Records of the log that were looked at.
    pub records: AtomicU64,
    /// Records of the log in all.
    pub records_in_all: AtomicU64,
    /// Set by who does not want the result any more.
    pub cancelled: AtomicBool,
}

/// What the candidate and the live rule did.
#[derive(Debug)]
pub struct Outcome {
    /// Readings shown.
    pub readings: u64,
    /// Readings that came after later ones of their vehicle, which rules are not shown.
    pub late: u64,
    /// Vehicles they are of.
    pub vehicles: u64,
    /// Time from the first block to the last answer.
    pub elapsed: Duration,
    /// Threads at work.
    pub workers: usize,
    /// The candidate.
    pub candidate: RuleOutcome,
    /// The live rule, when there is one.
    pub live: Option<RuleOutcome>,
    /// What the candidate changes; everything is added when there is no live rule.
    pub difference: Difference,
    /// Money by tenant and vehicle, of both.
    pub money: Vec<Sums>,
}

/// What one rule did.
#[derive(Debug, Default)]
pub struct RuleOutcome {
    /// Events by type.
    pub events: std::collections::BTreeMap<&'static str, u64>,
    /// What it cost, over all workers.
    pub figures: RehearsalFigures,
    /// The first readings that it failed on.
    pub failures: Vec<Failure>,
}

/// A reading that a rule failed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Failure {
    /// The vehicle.
    pub vehicle: String,
    /// Its place among the vehicle's readings.
    pub sequence: u64,
    /// Why.
    pub error: String,
}

/// Runs a preview. Blocks until it is done; looks at `progress.cancelled` between pieces.
///
/// # Errors
/// See [`PreviewError`].
pub fn run(
    log: &dyn EventLog,
    selection: &Selection,
    candidate: &ConfiguredPlugin,
    live: Option<&ConfiguredPlugin>,
    progress: &Progress,
) -> Result<Outcome, PreviewError> {
    let begun = Instant::now();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let failed = Mutex::new(None);
    let fail = |error: PreviewError| {
        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    let parts = std::thread::scope(|scope| {
        let mut senders = Vec::with_capacity(workers);
        let mut handles = Vec::with_capacity(workers);
        for number in 0..workers {
            let (sender, pieces) = sync_channel::<Arc<Piece>>(PIECES_WAITING_MAX);
            senders.push(sender);
            let fail = &fail;
            handles.push(scope.spawn(move || {
                let share = Share { number, of: workers, selection };
                Worker::start(share, candidate, live, progress)
                    .and_then(|worker| worker.run(&pieces))
                    .map_err(fail)
                    .ok()
            }));
        }
        let reading = read(log, selection, progress, |piece| {
            let piece = Arc::new(piece);
            // A worker that is gone has said why.
            if senders.iter().all(|sender| sender.send(piece.clone()).is_ok()) {
                Ok(())
            } else {
                Err(PreviewError::Cancelled)
            }
        });
        drop(senders);
        let parts: Option<Vec<Part>> = handles
            .into_iter()
            .map(|handle| {
                handle.join().unwrap_or_else(|_| {
                    fail(PreviewError::Worker);
                    None
                })
            })
            .collect();
        if let Err(error) = reading {
            fail(error);
        }
        parts
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut whole = Part::default();
    parts.into_iter().flatten().for_each(|part| whole.add(part));
    let has_live = live.is_some();
    let money = money::sums(&whole.candidate.found, &whole.live.found);
    Ok(Outcome {
        readings: whole.readings,
        late: whole.late,
        vehicles: whole.vehicles,
        elapsed: begun.elapsed(),
        workers,
        difference: difference::between(whole.live.found, whole.candidate.found),
        candidate: whole.candidate.outcome,
        live: has_live.then_some(whole.live.outcome),
        money,
    })
}

/// Which vehicles a worker has.
struct Share<'s> {
    number: usize,
    of: usize,
    selection: &'s Selection,
}

/// What one worker found.
#[derive(Default)]
struct Part {
    readings: u64,
    late: u64,
    vehicles: u64,
    candidate: RulePart,
    live: RulePart,
}

#[derive(Default)]
struct RulePart {
    outcome: RuleOutcome,
    found: Vec<Found>,
}

struct Worker<'p> {
    share: Share<'p>,
    candidate: Rehearsal,
    live: Option<Rehearsal>,
    progress: &'p Progress,
    /// The vehicles seen, and the newest reading of each.
    vehicles: HashMap<VehicleKey, i64>,
    part: Part,
}

impl<'p> Worker<'p> {
    fn start(
        share: Share<'p>,
        candidate: &ConfiguredPlugin,
        live: Option<&ConfiguredPlugin>,
        progress: &'p Progress,
    ) -> Result<Self, PreviewError> {
        let candidate = Rehearsal::new(candidate.clone())?;
        let live = live.cloned().map(Rehearsal::new).transpose()?;
        Ok(Self { share, candidate, live, progress, vehicles: HashMap::new(), part: Part::default() })
    }

    fn run(mut self, pieces: &Receiver<Arc<Piece>>) -> Result<Part, PreviewError> {
        while let Ok(piece) = pieces.recv() {
            if self.progress.cancelled.load(Ordering::Relaxed) {
                return Err(PreviewError::Cancelled);
            }
            self.show(&piece)?;
        }
        self.part.vehicles = self.vehicles.len() as u64;
        self.part.candidate.outcome.figures = self.candidate.figures();
        self.part.live.outcome.figures = self.live.as_ref().map(Rehearsal::figures).unwrap_or_default();
        Ok(self.part)
    }

    fn show(&mut self, piece: &Piece) -> Result<(), PreviewError> {
        let Share { number, of, selection } = self.share;
        let (mut shown, mut names) = (Vec::new(), Vec::new());
        let block = piece.frame.block();
        for record in block.readings.iter() {
            let Some(name) = &piece.vehicles[record.vehicle_index()] else { continue };
            if name.key.0 as usize % of != number {
                continue;
            }
            let reading = record.reading();
            if !selection.covers(reading.event_time) {
                continue;
            }
            let newest = self.vehicles.entry(name.key).or_insert(i64::MIN);
            if reading.event_time.0 <= *newest {
                self.part.late += 1;
                continue;
            }
            *newest = reading.event_time.0;
            shown.push((name.key, record.sequence(), reading));
            names.push(name);
        }
        self.part.readings += shown.len() as u64;
        self.progress.readings.fetch_add(shown.len() as u64, Ordering::Relaxed);
        let answer = self.candidate.show(&shown)?;
        self.part.candidate.take(answer, &shown, &names)?;
        if let Some(live) = &mut self.live {
            let answer = live.show(&shown)?;
            self.part.live.take(answer, &shown, &names)?;
        }
        Ok(())
    }
}

impl RulePart {
    fn take(
        &mut self,
        answer: RehearsedAnswer,
        shown: &[plugin_host::Rehearsed],
        names: &[&VehicleName],
    ) -> Result<(), PreviewError> {
        for (index, proposal) in answer.proposals {
            let ((key, _, reading), name) = (&shown[index], names[index]);
            *self.outcome.events.entry(proposal.kind.as_str()).or_default() += 1;
            let is_money = proposal.kind.class() == EventClass::Billing;
            self.found.push(Found {
                // The deployment's name is left out: both sides have the same.
                id: EventId::of(*key, reading.event_time, proposal.kind, "", &proposal.subject),
                vehicle: name.clone(),
                kind: proposal.kind,
                event_time: proposal.event_time,
                money: proposal.details.as_deref().filter(|_| is_money).and_then(Money::of),
                subject: proposal.subject,
                value: proposal.value,
                details: proposal.details,
            });
        }
        for failed in answer.failed.into_iter().take(FAILURES_TOLD.saturating_sub(self.outcome.failures.len())) {
            self.outcome.failures.push(Failure {
                vehicle: names[failed.reading].vehicle.to_string(),
                sequence: shown[failed.reading].1.0,
                error: failed.error.to_string(),
            });
        }
        if self.found.len() as u64 > EVENTS_MAX { Err(PreviewError::TooManyEvents) } else { Ok(()) }
    }

    fn add(&mut self, other: RulePart) {
        for (kind, count) in other.outcome.events {
            *self.outcome.events.entry(kind).or_default() += count;
        }
        let figures = &mut self.outcome.figures;
        figures.decided += other.outcome.figures.decided;
        figures.failed += other.outcome.figures.failed;
        figures.time += other.outcome.figures.time;
        self.outcome.failures.extend(other.outcome.failures);
        self.outcome.failures.truncate(FAILURES_TOLD);
        self.found.extend(other.found);
    }
}

impl Part {
    fn add(&mut self, other: Part) {
        self.readings += other.readings;
        self.late += other.late;
        self.vehicles += other.vehicles;
        self.candidate.add(other.candidate);
        self.live.add(other.live);
    }
}
