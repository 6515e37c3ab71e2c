//! Waits until commits are durable, in their order, and answers; hands durable blocks to the actors.

use super::{Asker, Fatal, IngestError, Outcome, Parts};
use crate::metrics::{Counts, INSTRUMENTS};
use crate::trace::PublishTrace;
use event_log::{Appended, CommitError, Offset, Ticket};
use fleet_wire::frame::ReadingFrame;
use opentelemetry::KeyValue;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use vehicle_runtime::{Clock, Runtime};

/// What the builder sends, in order.
pub(super) enum Message {
    /// A block with what waits for it.
    Batch(Box<Batch>),
    /// Answered when everything before it is decided.
    Settle(oneshot::Sender<()>),
}

/// What becomes durable and is answered together.
pub(super) struct Batch {
    /// Which life of admission it is from.
    pub(super) life: u64,
    /// The block; none when nothing was admitted. What is answered may still stand in an earlier block (repeats).
    pub(super) stored: Option<Stored>,
    /// The dead letters of the answers.
    pub(super) letters: Option<Ticket>,
    /// Who waits.
    pub(super) answers: Vec<Answer>,
    /// Held until the actors have the block.
    pub(super) credits: Vec<OwnedSemaphorePermit>,
}

/// One request's outcome, to be told when it is true.
pub(super) struct Answer {
    pub(super) asker: Asker,
    pub(super) outcomes: Vec<Outcome>,
    /// They end with the answer.
    pub(super) _traces: Vec<PublishTrace>,
}

/// A block on its way into the log.
pub(super) struct Stored {
    commit: Result<(Ticket, Offset, ReadingFrame), String>,
    submitted: Instant,
}

/// A durable block for the actors.
pub(super) struct Handover {
    first: Offset,
    frame: ReadingFrame,
    /// Free again when the actors have taken the block.
    _credits: Vec<OwnedSemaphorePermit>,
}

/// The newest life of admission in which a commit failed, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures(Arc<Mutex<Option<(u64, IngestError)>>>);

impl Failures {
    /// Why a life of admission ended, if it did.
    pub(super) fn of(&self, life: u64) -> Option<IngestError> {
        self.0.lock().as_ref().filter(|(newest, _)| *newest >= life).map(|(_, why)| why.clone())
    }

    /// The first reason in a life stands: the others follow from it.
    fn note(&self, life: u64, why: IngestError) {
        let mut newest = self.0.lock();
        if newest.as_ref().is_none_or(|(noted, _)| *noted < life) {
            *newest = Some((life, why));
        }
    }
}

impl Answer {
    fn has_letters(&self) -> bool {
        self.outcomes.iter().any(|outcome| !outcome.refused.is_empty())
    }
}

impl Stored {
    pub(super) fn new(ticket: Ticket, first: Offset, frame: ReadingFrame) -> Self {
        Self { commit: Ok((ticket, first, frame)), submitted: Instant::now() }
    }

    /// A block that could not be laid out.
    pub(super) fn unbuilt(reason: String) -> Self {
        Self { commit: Err(reason), submitted: Instant::now() }
    }
}

pub(super) struct Completer {
    messages: mpsc::Receiver<Message>,
    applier: mpsc::Sender<Handover>,
    failures: Failures,
    counts: Arc<Counts>,
    clock: Clock,
}

impl Completer {
    pub(super) fn new(
        parts: &Parts,
        messages: mpsc::Receiver<Message>,
        applier: mpsc::Sender<Handover>,
        failures: Failures,
    ) -> Self {
        Self { messages, applier, failures, counts: Arc::clone(&parts.counts), clock: Arc::clone(&parts.clock) }
    }

    pub(super) async fn run(mut self) -> Result<(), Fatal> {
        loop {
            let message = tokio::select! {
                message = self.messages.recv() => message,
                // The actors failed, and say why.
                () = self.applier.closed() => return Ok(()),
            };
            let Some(message) = message else { return Ok(()) };
            match message {
                Message::Batch(batch) => {
                    if !self.complete(*batch).await? {
                        return Ok(());
                    }
                }
                Message::Settle(settled) => {
                    let _ = settled.send(());
                }
            }
        }
    }

    /// `false`: the applier is gone.
    async fn complete(&mut self, batch: Batch) -> Result<bool, Fatal> {
        let mut block = None;
        if let Some(stored) = batch.stored {
            match self.stored(stored).await? {
                Ok(placed) => block = Some(placed),
                Err(why) => {
                    self.failures.note(batch.life, why);
                    INSTRUMENTS.commits_failed.add(1, &[]);
                }
            }
        }
        let mut no_letters = None;
        if let Some(letters) = batch.letters {
            match letters.durable().await {
                Ok(_) => {}
                Err(error @ CommitError::Broken(_)) => return Err(Fatal::Log { log: "events", error }),
                Err(error) => {
                    tracing::warn!(%error, "dead letters were not stored: what they are about is not acknowledged");
                    no_letters = Some(IngestError::of(&error));
                }
            }
        }
        // Also without a block of its own: a repeat's first appearance may be in one that failed.
        let no_block = self.failures.of(batch.life);
        for answer in batch.answers {
            let no_letters = no_letters.as_ref().filter(|_| answer.has_letters());
            match no_block.as_ref().or(no_letters) {
                Some(why) => answer.asker.refuse(why.clone()),
                None => {
                    self.count(&answer.outcomes);
                    answer.asker.answer(answer.outcomes);
                }
            }
        }
        match block {
            // A block in the log goes to the actors, whoever was told what.
            Some((first, frame)) => {
                self.observe_age(&frame);
                let handover = Handover { first, frame, _credits: batch.credits };
                Ok(self.applier.send(handover).await.is_ok())
            }
            None => Ok(true),
        }
    }

    /// The block, once it is durable, or why the log refused it.
    async fn stored(&self, stored: Stored) -> Result<Result<(Offset, ReadingFrame), IngestError>, Fatal> {
        let (ticket, first, frame) = match stored.commit {
            Ok(commit) => commit,
            Err(reason) => {
                tracing::error!(reason, "a block could not be built; its devices are not acknowledged");
                return Ok(Err(IngestError::NotStored(reason)));
            }
        };
        match ticket.durable().await {
            Ok(committed) => {
                INSTRUMENTS.commit_ms.record(stored.submitted.elapsed().as_secs_f64() * 1_000.0, &[]);
                match committed.appended.first() {
                    Some(Appended::At(at)) if *at == first => Ok(Ok((first, frame))),
                    other => Err(Fatal::Misplaced { expected: first, found: format!("{other:?}") }),
                }
            }
            Err(error @ CommitError::Broken(_)) => Err(Fatal::Log { log: "telemetry", error }),
            Err(error) => {
                // The one after a refused block: said once, for the refused one.
                if !matches!(error, CommitError::Hole { .. }) {
                    tracing::warn!(%error, "a block was not stored: its devices are not acknowledged");
                }
                Ok(Err(IngestError::of(&error)))
            }
        }
    }

    fn count(&self, outcomes: &[Outcome]) {
        let sum = |of: fn(&Outcome) -> u32| outcomes.iter().map(|outcome| u64::from(of(outcome))).sum();
        self.counts.count(sum(|o| o.admitted), sum(|o| o.late), sum(|o| o.repeats));
        for refused in outcomes.iter().flat_map(|outcome| &outcome.refused) {
            self.counts.count_refused(refused.reason);
        }
    }

    fn observe_age(&self, frame: &ReadingFrame) {
        if let Some(reading) = frame.block().readings.last() {
            let age_ms = (self.clock)().0.saturating_sub(reading.event_time.to_native());
            let attributes = [KeyValue::new("stage", "edge_durable"), KeyValue::new("class", "telemetry")];
            INSTRUMENTS.event_age_ms.record(age_ms as f64, &attributes);
        }
    }
}

/// Hands blocks to the actors, in order; waits while they are behind.
pub(super) async fn apply(runtime: Arc<Runtime>, mut blocks: mpsc::Receiver<Handover>) -> Result<(), Fatal> {
    while let Some(Handover { first, frame, _credits }) = blocks.recv().await {
        runtime.apply(first, frame).await?;
    }
    Ok(())
}
