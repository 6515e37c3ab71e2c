//! What rules make of the readings that were applied: proposals become events, rows are taken over.

use super::batch::Batch;
use super::hold_up::Purpose;
use super::job::RowsChange;
use super::rows::{RowStore, ShapedRows};
use super::trial::OnTrial;
use super::{Produced, Shared, Trouble, TroubleKind};
use crate::dead_letter::STAGE_PLUGIN;
use crate::deployment::{Activation, RowsShape};
use crate::leash::Leash;
use crate::metering::{EVENT_BYTES, Ledger, Meter, Proposed};
use crate::metrics::Metrics;
use crate::plugin::{Rule, RuleError};
use crate::poison_letter::poison_letter;
use crate::trace::TracedReading;
use fleet_model::event::TraceContext;
use fleet_model::{Applied, Event, EventId, PluginRef, Share, VehicleName};
use hashbrown::HashSet;
use opentelemetry::KeyValue;
use plugin_host::{Outcome, Position, thread_cpu_time};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Most positions in one call. Larger batches win nothing (DESIGN §6) and cost more when one of them is poison.
pub(crate) const POSITIONS_PER_CALL_MAX: usize = 256;

/// A deployment on one worker: its instance and its rows.
pub(crate) struct Deployed {
    pub activation: Arc<Activation>,
    pub store: ShapedRows,
    /// Rows that a rollback takes up again, when they are others.
    behind: Option<ShapedRows>,
    /// What `Migrate` made, until the swap takes it.
    pub migrated: Option<(Box<dyn Rule>, RowStore)>,
    /// `None` after it died: the next call makes another.
    rule: Option<Box<dyn Rule>>,
    /// No instance could be made: nothing is shown to the rule until the next swap.
    stopped: bool,
    plugin: PluginRef,
    labels: [KeyValue; 2],
    pub(super) ledger: Ledger,
    meter: Arc<Meter>,
    pub(super) leash: Leash,
    /// What is tried beside it.
    pub(super) trial: Option<Box<OnTrial>>,
    /// For which vehicles of its scope it does not decide, or alone does.
    share: Option<(Share, Side)>,
}

/// Which side of a share of the vehicles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Inside,
    Outside,
}

/// Why a call has no answer.
enum CallError {
    /// The rule failed on what it was shown.
    Rule(RuleError),
    /// There is no instance to call, which is no reading's fault.
    NoInstance(String),
    /// It failed on what it was shown, and is shown nothing more.
    Exhausted(TroubleKind),
}

/// The search for poison ended early: positions from this index on were not decided.
struct Stopped {
    undecided_from: usize,
    trouble: TroubleKind,
}

/// A batch whose readings are applied, as the rules see it.
pub(crate) struct AppliedBatch<'a> {
    pub batch: &'a Batch,
    /// By slice: the worker's number of the vehicle and its name; `None` when the slice was refused.
    pub vehicles: &'a [Option<(u32, Arc<VehicleName>)>],
    pub traced: &'a [TracedReading],
}

/// Positions gathered for one call.
#[derive(Default)]
struct Chunk {
    positions: Vec<Position>,
    /// Their places in the batch's order.
    places: Vec<u32>,
    /// Rows of `vehicles`, one after the other.
    rows: Vec<u8>,
    vehicles: Vec<u32>,
    /// By row: its slice.
    slices: Vec<usize>,
}

impl Deployed {
    /// With rows that begin at zero.
    pub(crate) fn new(
        activation: Arc<Activation>,
        rule: Option<Box<dyn Rule>>,
        behind: Option<RowsShape>,
        ledger: Ledger,
        on_trial: bool,
    ) -> Self {
        let meter = ledger.meters.of(&activation.key, &activation.rule.facts().name, on_trial);
        let store = ShapedRows::new(activation.rows_shape());
        let plugin = activation.plugin_ref();
        let labels = Metrics::deployment(&activation.key);
        let behind = behind.map(ShapedRows::new);
        let rule = attached(rule, &activation, &meter);
        Self {
            ledger,
            meter,
            leash: Leash::default(),
            activation,
            store,
            behind,
            migrated: None,
            rule,
            stopped: false,
            plugin,
            labels,
            trial: None,
            share: None,
        }
    }

    /// All rows that are kept.
    pub(crate) fn stores(&mut self) -> impl Iterator<Item = &mut ShapedRows> {
        let tried = self.trial.as_mut().map(|trial| &mut trial.deployed.store);
        [Some(&mut self.store), self.behind.as_mut(), tried].into_iter().flatten()
    }

    /// Changes to another activation of the same deployment. The instance that ran is dropped here.
    pub(crate) fn swap(&mut self, activation: Arc<Activation>, rows: RowsChange, behind: Option<RowsShape>) {
        let shape = activation.rows_shape();
        let mut kept = self.behind.take();
        let (rule, store) = match rows {
            RowsChange::Same => {
                self.activation = activation;
                self.behind = kept;
                return;
            }
            RowsChange::Keep(rule) => (rule, None),
            RowsChange::Restore(rule) => (rule, Some(kept.take().unwrap_or_else(|| ShapedRows::new(shape)))),
            RowsChange::Zero(rule) => (rule, Some(ShapedRows::new(shape))),
            RowsChange::Migrated => match self.migrated.take() {
                Some((rule, rows)) => (Some(rule), Some(ShapedRows { shape, rows })),
                None => (None, None),
            },
        };
        let replaced = store.map(|store| std::mem::replace(&mut self.store, store));
        self.behind = behind.map(|behind| {
            let mut known = [replaced, kept].into_iter().flatten();
            known.find(|rows| rows.shape.since == behind.since).unwrap_or_else(|| ShapedRows::new(behind))
        });
        if activation.rule.facts().hash != self.activation.rule.facts().hash {
            // The version before is not stopped by its first failure because this one failed.
            self.leash = Leash::default();
        }
        self.meter = self.ledger.meters.of(&activation.key, &activation.rule.facts().name, false);
        self.rule = attached(rule, &activation, &self.meter);
        self.stopped = false;
        self.plugin = activation.plugin_ref();
        self.activation = activation;
    }

    /// Whether it decides for a vehicle.
    pub(super) fn decides_for(&self, name: &VehicleName) -> bool {
        let on_its_side = |(share, side): (Share, Side)| share.has(name.key) == (side == Side::Inside);
        name.tenant == self.activation.key.0
            && self.activation.scope.has(&name.vehicle)
            && self.share.is_none_or(on_its_side)
    }

    pub(super) fn limit_to(&mut self, share: Option<(Share, Side)>) {
        self.share = share;
    }

    /// Whether nothing is shown to the rule.
    fn is_idle(&self) -> bool {
        self.stopped || self.activation.suspended.is_some()
    }

    fn count_missed(&self, readings: usize, shared: &Shared) {
        shared.metrics.missed.add(readings as u64, &self.labels);
    }

    /// Live readings in a batch that are its.
    pub(super) fn live(&self, applied: &AppliedBatch<'_>) -> usize {
        let slices = applied.batch.slices().iter().zip(applied.vehicles);
        let own = slices
            .filter_map(|(slice, vehicle)| vehicle.as_ref().filter(|(_, name)| self.decides_for(name)).map(|_| slice));
        own.flat_map(|slice| slice.from..slice.to).filter(|at| applied.batch.verdict(*at) == Applied::Live).count()
    }

    /// Shows the batch's live readings to the rule, and to the one that is tried beside it.
    pub(crate) fn run(&mut self, applied: &AppliedBatch<'_>, shared: &Shared, produced: &mut Produced) {
        let before = produced.events.len();
        self.run_alone(applied, shared, produced);
        if let Some(mut trial) = self.trial.take() {
            trial.run(applied, shared, produced, before);
            self.trial = Some(trial);
        }
    }

    pub(super) fn run_alone(&mut self, applied: &AppliedBatch<'_>, shared: &Shared, produced: &mut Produced) {
        if self.is_idle() {
            self.count_missed(self.live(applied), shared);
            return;
        }
        let mut chunk = Chunk::default();
        for (index, slice) in applied.batch.slices().iter().enumerate() {
            let Some((number, name)) = &applied.vehicles[index] else { continue };
            if !self.decides_for(name) {
                continue;
            }
            let mut row = None;
            for at in slice.from..slice.to {
                if applied.batch.verdict(at) != Applied::Live {
                    continue;
                }
                if chunk.positions.len() == POSITIONS_PER_CALL_MAX {
                    self.evaluate(&mut chunk, applied, shared, produced);
                    row = None;
                }
                let slot = *row.get_or_insert_with(|| {
                    self.store.rows.copy_to(*number, &mut chunk.rows);
                    chunk.vehicles.push(*number);
                    chunk.slices.push(index);
                    chunk.vehicles.len() as u32 - 1
                });
                let (_, record) = applied.batch.work.record(at);
                chunk.positions.push(Position::of(name.key, record.sequence(), &record.reading(), slot));
                chunk.places.push(at);
            }
        }
        if !chunk.positions.is_empty() {
            self.evaluate(&mut chunk, applied, shared, produced);
        }
    }

    /// One call for the whole chunk; when that fails twice, in halves, until the poison is alone.
    fn evaluate(&mut self, chunk: &mut Chunk, applied: &AppliedBatch<'_>, shared: &Shared, produced: &mut Produced) {
        let all = 0..chunk.positions.len();
        if self.is_idle() {
            self.count_missed(all.len(), shared);
            chunk.clear();
            return;
        }
        let mut answered = self.attempt(chunk, all.clone(), Purpose::Answer, applied, shared, produced);
        if matches!(answered, Err(CallError::Rule(_) | CallError::NoInstance(_))) && !self.is_out(shared) {
            answered = self.attempt(chunk, all.clone(), Purpose::Search, applied, shared, produced);
        }
        let decided = match answered {
            Ok(()) => Ok(()),
            Err(CallError::NoInstance(reason)) => {
                Err(Stopped { undecided_from: 0, trouble: TroubleKind::NoInstance(reason) })
            }
            Err(CallError::Exhausted(trouble)) => Err(Stopped { undecided_from: 0, trouble }),
            Err(CallError::Rule(error)) => {
                let (tenant, deployment) = &self.activation.key;
                tracing::warn!(%tenant, %deployment, plugin = %self.plugin.name, version = %self.plugin.version,
                    error = %error.message, positions = all.len(),
                    "a plugin failed on a batch twice; looking for the poison");
                self.report(TroubleKind::Poison, shared);
                self.bisect(chunk, all.clone(), &error, applied, shared, produced)
            }
        };
        if let Err(Stopped { undecided_from, trouble }) = decided {
            // What it was not asked about is not its poison: it stops, and the keeper decides what follows.
            self.stopped = true;
            self.count_missed(all.end - undecided_from, shared);
            self.report(trouble, shared);
        }
        let row_bytes = self.store.rows.row_bytes();
        for (index, vehicle) in chunk.vehicles.iter().enumerate() {
            self.store.rows.put(*vehicle, &chunk.rows[index * row_bytes..(index + 1) * row_bytes]);
        }
        chunk.clear();
    }

    fn report(&self, kind: TroubleKind, shared: &Shared) {
        let (key, generation) = (self.activation.key.clone(), self.activation.generation);
        let _ = shared.trouble.send(Trouble { key, generation, at: (shared.clock)(), kind });
    }

    /// From left to right, so that what is undecided when it stops is a rest.
    fn bisect(
        &mut self,
        chunk: &mut Chunk,
        range: Range<usize>,
        error: &RuleError,
        applied: &AppliedBatch<'_>,
        shared: &Shared,
        produced: &mut Produced,
    ) -> Result<(), Stopped> {
        if range.len() == 1 {
            self.give_up(chunk, range.start, error, applied, shared, produced);
            return Ok(());
        }
        let middle = range.start + range.len() / 2;
        for half in [range.start..middle, middle..range.end] {
            let trouble = match self.attempt(chunk, half.clone(), Purpose::Search, applied, shared, produced) {
                Ok(()) => continue,
                Err(CallError::Rule(error)) => {
                    self.bisect(chunk, half, &error, applied, shared, produced)?;
                    continue;
                }
                Err(CallError::NoInstance(reason)) => TroubleKind::NoInstance(reason),
                Err(CallError::Exhausted(trouble)) => trouble,
            };
            return Err(Stopped { undecided_from: half.start, trouble });
        }
        Ok(())
    }

    /// One call. On success the chunk's rows are those that came back; on failure nothing changed but the instance.
    fn attempt(
        &mut self,
        chunk: &mut Chunk,
        range: Range<usize>,
        purpose: Purpose,
        applied: &AppliedBatch<'_>,
        shared: &Shared,
        produced: &mut Produced,
    ) -> Result<(), CallError> {
        self.restart(shared)?;
        let limit = self.call_limit(purpose, shared);
        let Some(rule) = &mut self.rule else { return Err(CallError::NoInstance("it did not start".into())) };
        rule.allow(limit);
        rule.about(chunk.only_vehicle(applied));
        let begun = Instant::now();
        let answer = rule.evaluate(&chunk.positions[range.clone()], &chunk.rows);
        let elapsed = begun.elapsed();
        let (cpu, memory_bytes) = (rule.cpu_time(elapsed), rule.memory_bytes());
        shared.metrics.plugin_ms.record(elapsed.as_secs_f64() * 1_000.0, &self.labels);
        let answer = answer.and_then(|outcome| check(outcome, range.len(), chunk.rows.len()));
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(error) => {
                if error.instance_is_dead {
                    self.rule = None;
                }
                self.meter.failed(cpu);
                let exhausted = self.lose(cpu, &error.message, shared);
                return Err(exhausted.map_or(CallError::Rule(error), CallError::Exhausted));
            }
        };
        self.meter.answered(range.len(), cpu, proposed(&outcome), memory_bytes);
        self.take_up(&outcome, chunk, range, applied, produced);
        chunk.rows = outcome.rows;
        Ok(())
    }

    /// Another instance when there is none. The worker waits for it: what that takes is lost like a failing call.
    fn restart(&mut self, shared: &Shared) -> Result<(), CallError> {
        if self.rule.is_some() {
            return Ok(());
        }
        let begun = thread_cpu_time();
        let started = self.activation.rule.restart();
        let cpu = thread_cpu_time().saturating_sub(begun);
        let last = started.as_ref().err().map_or("another instance had to be started", String::as_str);
        let exhausted = self.lose(cpu, last, shared);
        self.rule = attached(Some(started.map_err(CallError::NoInstance)?), &self.activation, &self.meter);
        exhausted.map_or(Ok(()), |trouble| Err(CallError::Exhausted(trouble)))
    }

    fn take_up(
        &self,
        outcome: &Outcome,
        chunk: &Chunk,
        range: Range<usize>,
        applied: &AppliedBatch<'_>,
        produced: &mut Produced,
    ) {
        // The same cause twice in one answer is one event.
        let mut ids = HashSet::new();
        for proposal in &outcome.proposals {
            let index = range.start + proposal.position as usize;
            let slice = chunk.slices[chunk.positions[index].slot as usize];
            let Some((_, name)) = &applied.vehicles[slice] else { continue };
            let (record, reading) = applied.batch.work.record(chunk.places[index]);
            let deployment = self.activation.key.1.as_str();
            let cause = reading.reading().event_time;
            let id = EventId::of(name.key, cause, proposal.kind, deployment, &proposal.subject);
            if !ids.insert(id) {
                continue;
            }
            produced.events.push(Event {
                id,
                kind: proposal.kind,
                vehicle: VehicleName::clone(name),
                sequence: reading.sequence(),
                event_time: proposal.event_time,
                received_time: reading.reading().received_time,
                subject: proposal.subject.clone(),
                value: proposal.value,
                details: proposal.details.clone(),
                plugin: self.plugin.clone(),
                trace: context_of(applied.traced, record),
            });
        }
    }

    fn give_up(
        &self,
        chunk: &Chunk,
        index: usize,
        error: &RuleError,
        applied: &AppliedBatch<'_>,
        shared: &Shared,
        produced: &mut Produced,
    ) {
        let slice = chunk.slices[chunk.positions[index].slot as usize];
        let Some((_, name)) = &applied.vehicles[slice] else { return };
        let (_, record) = applied.batch.work.record(chunk.places[index]);
        let detail = format!(
            "{} {} of deployment {} failed: {}",
            self.plugin.name, self.plugin.version, self.plugin.deployment, error.message
        );
        produced.letters.push(poison_letter((shared.clock)(), STAGE_PLUGIN, &detail, name, record));
        shared.metrics.poison.add(1, &Metrics::stage(STAGE_PLUGIN));
    }
}

impl Chunk {
    /// The vehicle that all of it is about, when it is only one.
    fn only_vehicle(&self, applied: &AppliedBatch<'_>) -> Option<Arc<str>> {
        let [slice] = self.slices.as_slice() else { return None };
        applied.vehicles[*slice].as_ref().map(|(_, name)| name.vehicle.as_str().into())
    }

    fn clear(&mut self) {
        self.positions.clear();
        self.places.clear();
        self.rows.clear();
        self.vehicles.clear();
        self.slices.clear();
    }
}

/// An instance that knows for whom it works.
fn attached(rule: Option<Box<dyn Rule>>, activation: &Activation, meter: &Meter) -> Option<Box<dyn Rule>> {
    rule.map(|mut rule| {
        rule.attach(&activation.key, &meter.journal);
        rule
    })
}

fn proposed(outcome: &Outcome) -> Proposed {
    let bytes_of = |details: &Option<String>| details.as_ref().map_or(0, String::len) as u64;
    let bytes = outcome.proposals.iter().map(|it| EVENT_BYTES + it.subject.len() as u64 + bytes_of(&it.details)).sum();
    Proposed { events: outcome.proposals.len() as u64, bytes }
}

/// An answer of the wrong shape is no answer.
fn check(outcome: Outcome, positions: usize, rows_len: usize) -> Result<Outcome, RuleError> {
    let malformed = |message: String| Err(RuleError { message, instance_is_dead: true });
    if outcome.rows.len() != rows_len {
        return malformed(format!("it answered {} bytes of rows to {rows_len}", outcome.rows.len()));
    }
    if let Some(proposal) = outcome.proposals.iter().find(|proposal| proposal.position as usize >= positions) {
        return malformed(format!("it proposed an event for position {} of {positions}", proposal.position));
    }
    Ok(outcome)
}

fn context_of(traced: &[TracedReading], record: u32) -> Option<TraceContext> {
    traced.iter().find(|traced| traced.record == record).map(|traced| traced.context)
}
