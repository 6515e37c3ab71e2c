//! What rules make of the readings that were applied: proposals become events, rows are taken over.

use super::batch::Batch;
use super::job::RowsChange;
use super::rows::RowStore;
use super::{PoisonBatch, Produced, Shared};
use crate::dead_letter::{DeadLetter, STAGE_PLUGIN};
use crate::deployment::Activation;
use crate::metrics::Metrics;
use crate::plugin::{Rule, RuleError};
use crate::trace::TracedReading;
use fleet_model::event::TraceContext;
use fleet_model::{Applied, Event, EventId, PluginRef, VehicleName};
use hashbrown::HashSet;
use opentelemetry::KeyValue;
use plugin_host::{Outcome, Position};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Most positions in one call. Larger batches win nothing (DESIGN §6) and cost more when one of them is poison.
pub(crate) const POSITIONS_PER_CALL_MAX: usize = 256;

/// A deployment on one worker: its instance and its rows.
pub(crate) struct Deployed {
    pub activation: Arc<Activation>,
    pub rows: RowStore,
    /// What `Migrate` made, until the swap takes it.
    pub migrated: Option<(Box<dyn Rule>, RowStore)>,
    /// `None` after it died: the next call makes another.
    rule: Option<Box<dyn Rule>>,
    plugin: PluginRef,
    labels: [KeyValue; 2],
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
    pub(crate) fn new(activation: Arc<Activation>, rule: Box<dyn Rule>) -> Self {
        let rows = RowStore::new(activation.rule.facts().row_bytes);
        let plugin = activation.plugin_ref();
        let labels = Metrics::deployment(&activation.key);
        Self { activation, rows, migrated: None, rule: Some(rule), plugin, labels }
    }

    /// Changes to another activation of the same deployment. The instance that ran is dropped here.
    pub(crate) fn swap(&mut self, activation: Arc<Activation>, rows: RowsChange) {
        match rows {
            RowsChange::Keep(rule) => self.rule = Some(rule),
            RowsChange::Zero(rule) => {
                self.rule = Some(rule);
                self.rows = RowStore::new(activation.rule.facts().row_bytes);
            }
            RowsChange::Migrated => {
                if let Some((rule, rows)) = self.migrated.take() {
                    self.rule = Some(rule);
                    self.rows = rows;
                }
            }
        }
        self.migrated = None;
        self.plugin = activation.plugin_ref();
        self.activation = activation;
    }

    /// Shows the batch's live readings of the tenant to the rule.
    pub(crate) fn run(&mut self, applied: &AppliedBatch<'_>, shared: &Shared, produced: &mut Produced) {
        let mut chunk = Chunk::default();
        for (index, slice) in applied.batch.slices().iter().enumerate() {
            let Some((number, name)) = &applied.vehicles[index] else { continue };
            if name.tenant != self.activation.key.0 {
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
                    self.rows.copy_to(*number, &mut chunk.rows);
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
        let answered = self
            .attempt(chunk, all.clone(), applied, shared, produced)
            .or_else(|_| self.attempt(chunk, all.clone(), applied, shared, produced));
        if let Err(error) = answered {
            let (tenant, deployment) = &self.activation.key;
            tracing::warn!(%tenant, %deployment, plugin = %self.plugin.name, version = %self.plugin.version,
                error = %error.message, positions = all.len(), "a plugin failed on a batch twice; looking for the poison");
            let at = (shared.clock)();
            let generation = self.activation.generation;
            let _ = shared.poison.send(PoisonBatch { key: self.activation.key.clone(), generation, at });
            self.bisect(chunk, all, &error, applied, shared, produced);
        }
        let row_bytes = self.rows.row_bytes();
        for (index, vehicle) in chunk.vehicles.iter().enumerate() {
            self.rows.put(*vehicle, &chunk.rows[index * row_bytes..(index + 1) * row_bytes]);
        }
        chunk.clear();
    }

    fn bisect(
        &mut self,
        chunk: &mut Chunk,
        range: Range<usize>,
        error: &RuleError,
        applied: &AppliedBatch<'_>,
        shared: &Shared,
        produced: &mut Produced,
    ) {
        if range.len() == 1 {
            self.give_up(chunk, range.start, error, applied, shared, produced);
            return;
        }
        let middle = range.start + range.len() / 2;
        for half in [range.start..middle, middle..range.end] {
            if let Err(error) = self.attempt(chunk, half.clone(), applied, shared, produced) {
                self.bisect(chunk, half, &error, applied, shared, produced);
            }
        }
    }

    /// One call. On success the chunk's rows are those that came back; on failure nothing changed but the instance.
    fn attempt(
        &mut self,
        chunk: &mut Chunk,
        range: Range<usize>,
        applied: &AppliedBatch<'_>,
        shared: &Shared,
        produced: &mut Produced,
    ) -> Result<(), RuleError> {
        if self.rule.is_none() {
            let started = self.activation.rule.start();
            self.rule = Some(started.map_err(|message| RuleError { message, instance_is_dead: true })?);
        }
        let Some(rule) = &mut self.rule else { return Ok(()) };
        let begun = Instant::now();
        let answer = rule.evaluate(&chunk.positions[range.clone()], &chunk.rows);
        shared.metrics.plugin_ms.record(begun.elapsed().as_secs_f64() * 1_000.0, &self.labels);
        let answer = answer.and_then(|outcome| check(outcome, range.len(), chunk.rows.len()));
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(error) => {
                if error.instance_is_dead {
                    self.rule = None;
                }
                return Err(error);
            }
        };
        self.take_up(&outcome, chunk, range, applied, produced);
        chunk.rows = outcome.rows;
        Ok(())
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
            let id = EventId::of(name.key, reading.sequence(), proposal.kind, deployment, &proposal.subject);
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
        let now = (shared.clock)();
        let reading = record.reading();
        let letter = DeadLetter::of_reading(now, STAGE_PLUGIN, &detail, name, record.sequence(), &reading);
        produced.letters.push(letter);
        shared.metrics.poison.add(1, &Metrics::stage(STAGE_PLUGIN));
    }
}

impl Chunk {
    fn clear(&mut self) {
        self.positions.clear();
        self.places.clear();
        self.rows.clear();
        self.vehicles.clear();
        self.slices.clear();
    }
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
