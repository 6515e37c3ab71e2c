//! Admits readings and gathers them into blocks. One task; owns [`Admission`].

use super::block::{BLOCK_READINGS_MAX, Draft};
use super::completer::{Answer, Batch, Failures, Message, Stored};
use super::{Fatal, IngestError, Outcome, Parts, Request, letters};
use crate::device_link::elements::ElementBytes;
use crate::device_link::explain;
use crate::device_link::payload::{Element, Refused};
use crate::metrics::{Counts, INSTRUMENTS};
use event_log::{Append, Commit, Offset, Source, SourcePosition, Stream};
use fleet_model::{AdmissionPolicy, EventClass, Refusal, Verdict};
use fleet_wire::frame::{Placement, ReadingFrame};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use vehicle_runtime::admission::Admission;
use vehicle_runtime::dead_letter::{self, DeadLetter};
use vehicle_runtime::{Clock, Logs};

/// A block waits this long for more readings while the log is busy anyway.
const LINGER: Duration = Duration::from_millis(2);
/// A block with this many readings does not wait.
const LINGER_BELOW: usize = 512;
/// After a commit failed, nothing is tried for this long.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Who the builder is to the log: a block whose predecessor was refused is refused as well.
const SOURCE: &str = "ingest";

pub(super) struct Builder {
    requests: mpsc::Receiver<Request>,
    completer: mpsc::Sender<Message>,
    admission: Admission,
    policy: AdmissionPolicy,
    logs: Logs,
    clock: Clock,
    counts: Arc<Counts>,
    /// Where the next block goes.
    next: Offset,
    /// Lives of admission in which a commit failed.
    failures: Failures,
    /// Which life this is, from 1. It ends with a failed commit.
    life: u64,
    /// Requests before this instant are refused: a commit failed, for this reason.
    pause: Option<(Instant, IngestError)>,
    since_checkpoint: u64,
    /// [`Parts::checkpoint_readings`]
    checkpoint_readings: u64,
    draft: Draft,
    letters: Vec<DeadLetter>,
    answers: Vec<Answer>,
    credits: Vec<tokio::sync::OwnedSemaphorePermit>,
}

impl Builder {
    pub(super) async fn recover(
        parts: &Parts,
        requests: mpsc::Receiver<Request>,
        completer: mpsc::Sender<Message>,
        failures: Failures,
    ) -> Result<Self, Fatal> {
        let admission = recover_admission(parts.policy, parts.logs.clone()).await?;
        parts.counts.set_vehicles(admission.vehicles());
        Ok(Self {
            requests,
            completer,
            admission,
            policy: parts.policy,
            next: parts.logs.telemetry.bounds(Stream::TELEMETRY).next,
            logs: parts.logs.clone(),
            clock: Arc::clone(&parts.clock),
            counts: Arc::clone(&parts.counts),
            failures,
            life: 1,
            pause: None,
            since_checkpoint: 0,
            checkpoint_readings: parts.checkpoint_readings,
            draft: Draft::default(),
            letters: Vec::new(),
            answers: Vec::new(),
            credits: Vec::new(),
        })
    }

    /// Runs until all doors are gone, or the completer is.
    pub(super) async fn run(mut self) -> Result<(), Fatal> {
        loop {
            let request = tokio::select! {
                request = self.requests.recv() => request,
                // It failed, and says why.
                () = self.completer.closed() => return Ok(()),
            };
            let Some(request) = request else { break };
            if let Some(why) = self.failures.of(self.life) {
                self.heal(why).await?;
            }
            self.pause.take_if(|(until, _)| *until <= Instant::now());
            if let Some((_, why)) = &self.pause {
                request.asker.refuse(why.clone());
                continue;
            }
            let connected = self.take(request).await && self.gather().await && self.flush().await;
            if !connected {
                return Ok(());
            }
            self.counts.set_vehicles(self.admission.vehicles());
        }
        self.last_checkpoint().await;
        Ok(())
    }

    /// A commit of this life of admission failed: waits until all of its commits are decided, and begins again with
    /// what the log holds.
    async fn heal(&mut self, why: IngestError) -> Result<(), Fatal> {
        let (settled, all_decided) = oneshot::channel();
        if self.completer.send(Message::Settle(settled)).await.is_err() || all_decided.await.is_err() {
            return Ok(());
        }
        self.admission = recover_admission(self.policy, self.logs.clone()).await?;
        self.next = self.logs.telemetry.bounds(Stream::TELEMETRY).next;
        self.life += 1;
        tracing::warn!(next = self.next, reason = %why, "devices are refused for a while and will send again");
        self.pause = Some((Instant::now() + FAILED_PAUSE, why));
        Ok(())
    }

    /// Takes what waits, and lingers while little is there and commits are in flight: alone, a device waits for
    /// nothing; among many, their readings share a block.
    async fn gather(&mut self) -> bool {
        let until = Instant::now() + LINGER;
        while self.draft.len() < BLOCK_READINGS_MAX && self.letters.len() < BLOCK_READINGS_MAX {
            let request = match self.requests.try_recv() {
                Ok(request) => request,
                Err(_) => {
                    let busy = self.completer.capacity() < self.completer.max_capacity();
                    let left = until.saturating_duration_since(Instant::now());
                    if !busy || self.draft.len() >= LINGER_BELOW || left.is_zero() {
                        break;
                    }
                    match tokio::time::timeout(left, self.requests.recv()).await {
                        Ok(Some(request)) => request,
                        Ok(None) | Err(_) => break,
                    }
                }
            };
            if !self.take(request).await {
                return false;
            }
        }
        true
    }

    /// Admits a request's readings into the block, beginning new blocks as needed. `false`: the completer is gone.
    async fn take(&mut self, request: Request) -> bool {
        if let Some(why) = request.asker.refused_before() {
            request.asker.refuse(why);
            return true;
        }
        let now = (self.clock)();
        let mut outcomes = Vec::with_capacity(request.payloads.len());
        // They go with the answer, not with a block that is full before: so a batch decides about its answers alone.
        let mut letters = Vec::new();
        for payload in &request.payloads {
            let mut outcome = Outcome { refused: payload.parsed.refused.clone(), ..Default::default() };
            let mut bytes = ElementBytes::of(&payload.raw);
            for refused in &payload.parsed.refused {
                letters.push(letters::of_door(now, payload, refused, &mut bytes));
            }
            let mut trace = payload.trace.as_ref().map(|trace| trace.context);
            for element in &payload.parsed.elements {
                if !self.draft.has_room_for(&element.vehicle) && !self.flush().await {
                    return false;
                }
                let reason = match self.admission.admit(&element.vehicle, &element.reading) {
                    Ok(Verdict::Admitted { sequence, late }) => {
                        outcome.admitted += 1;
                        outcome.late += u32::from(late);
                        self.draft.push(&element.vehicle, sequence, &element.reading, trace.take());
                        continue;
                    }
                    Ok(Verdict::Repeat) => {
                        outcome.repeats += 1;
                        continue;
                    }
                    Ok(Verdict::Conflict) => Refusal::ConflictingRepeat,
                    Err(reason) => reason,
                };
                let bytes = bytes.get(element.index);
                let refused = self.refused(element, reason, bytes);
                letters.push(letters::of_admission(now, element, &refused, bytes));
                outcome.refused.push(refused);
            }
            outcome.refused.sort_by_key(|refused| refused.index);
            outcomes.push(outcome);
        }
        self.letters.append(&mut letters);
        let traces = request.payloads.into_iter().filter_map(|payload| payload.trace).collect();
        self.answers.push(Answer { asker: request.asker, outcomes, _traces: traces });
        self.credits.push(request.credits);
        true
    }

    fn refused(&self, element: &Element, reason: Refusal, bytes: &[u8]) -> Refused {
        let detail = explain::refusal(reason, &element.reading, bytes, self.policy);
        Refused { index: element.index, reason, detail }
    }

    /// Hands the block, its dead letters and the answers that wait for them on. `false`: the completer is gone.
    async fn flush(&mut self) -> bool {
        if self.draft.is_empty() && self.letters.is_empty() && self.answers.is_empty() {
            return true;
        }
        let Ok(place) = self.completer.clone().reserve_owned().await else { return false };
        let stored = (!self.draft.is_empty()).then(|| self.submit_block());
        let letters = (!self.letters.is_empty()).then(|| {
            let appends = dead_letter::append_of(&self.letters);
            self.letters.clear();
            self.logs.events.submit(Commit { appends, ..Default::default() })
        });
        place.send(Message::Batch(Box::new(Batch {
            life: self.life,
            stored,
            letters,
            answers: std::mem::take(&mut self.answers),
            credits: std::mem::take(&mut self.credits),
        })));
        true
    }

    fn submit_block(&mut self) -> Stored {
        let count = self.draft.len() as u64;
        let (first, epoch) = (self.next, self.logs.telemetry.epoch());
        let at = Placement { class: EventClass::Telemetry, first_offset: first, epoch, created_ms: (self.clock)().0 };
        let built = ReadingFrame::build(self.draft.block(), at);
        self.draft.clear();
        let frame = match built {
            Ok(frame) => frame,
            // A draft that has room is a frame (a property test holds that): this is a defect, and the completer
            // treats it as a failed commit, so nobody is acknowledged.
            Err(error) => return Stored::unbuilt(error.to_string()),
        };
        INSTRUMENTS.block_readings.record(count, &[]);
        self.next += count;
        self.since_checkpoint += count;
        let append = Append {
            stream: Stream::TELEMETRY,
            count: count as u32,
            bytes: frame.bytes().clone(),
            source: Some(SourcePosition { source: Source(SOURCE.into()), epoch, first }),
        };
        let snapshots = if self.since_checkpoint >= self.checkpoint_readings {
            self.since_checkpoint = 0;
            self.admission.checkpoint(self.next)
        } else {
            Vec::new()
        };
        let ticket = self.logs.telemetry.submit(Commit { appends: vec![append], snapshots, ..Commit::default() });
        Stored::new(ticket, first, frame)
    }

    /// So that the next start has little to read. Nobody waits for it, and its failure costs nothing but that.
    async fn last_checkpoint(&mut self) {
        if self.since_checkpoint == 0 {
            return;
        }
        let (settled, all_decided) = oneshot::channel();
        if self.completer.send(Message::Settle(settled)).await.is_err() || all_decided.await.is_err() {
            return;
        }
        // After a failure admission is ahead of the log.
        if self.failures.of(self.life).is_none() {
            let snapshots = self.admission.checkpoint(self.next);
            if let Err(error) = self.logs.telemetry.submit(Commit { snapshots, ..Default::default() }).durable().await {
                tracing::warn!(%error, "admission's last snapshot was not stored; the next start takes longer");
            }
        }
    }
}

async fn recover_admission(policy: AdmissionPolicy, logs: Logs) -> Result<Admission, Fatal> {
    let read = tokio::task::spawn_blocking(move || Admission::recover(policy, &logs));
    Ok(read.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}
