//! The shard supervisor: owns the vehicles of its worker, their actors, and the rows and instances of plugins.
//!
//! It takes one block at a time: cast every vehicle its slice, wait for the last one, show what is live to the rules,
//! hand the events to the writer, next. While one block is worked on the next one waits in the row, so a vehicle whose
//! actor failed can be brought back and take its readings again before anything later reaches it.

use super::batch::{Batch, SliceTask};
use super::job::{Job, PartOfBlock, ToWorker};
use super::plugin_stage::{AppliedBatch, Deployed};
use super::vehicle::VehicleActor;
use super::{Produced, Shared};
use crate::dead_letter::{DeadLetter, STAGE_ACTOR};
use crate::event_writer::ToWriter;
use crate::keys::DeploymentKey;
use crate::leash::Leash;
use crate::metering::Ledger;
use crate::metrics::Metrics;
use crate::poison_letter::poison_letter;
use crate::trace::{self, TracedReading};
use crate::work_block::{Slice, worker_of};
use fleet_model::{Applied, Refusal, TenantId, Timestamp, VehicleKey, VehicleName, VehicleState};
use fleet_wire::block::ArchivedVehicleNameV1;
use hashbrown::HashMap;
use parking_lot::Mutex;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorStatus, SupervisionEvent};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What an actor says when it fails, as far as it is kept.
const UNKNOWN_FAILURE: &str = "its actor stopped before it was through";

pub(super) struct Supervisor;

pub(super) struct Arguments {
    pub index: usize,
    pub shared: Shared,
}

/// What a supervisor knows.
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) shared: Shared,
    /// By key: the number of the vehicle in `table`.
    pub(super) numbers: HashMap<VehicleKey, u32>,
    /// Every vehicle this worker ever saw, with or without an actor.
    pub(super) table: Vec<Entry>,
    /// Vehicle numbers of the actors that live.
    pub(super) actors: HashMap<ActorId, u32>,
    pub(super) deployed: BTreeMap<DeploymentKey, Deployed>,
    /// What failing rules of each tenant cost here. It outlives deployments.
    leashes: BTreeMap<TenantId, Arc<Mutex<Leash>>>,
    row: VecDeque<Job>,
    current: Option<Current>,
}

/// A vehicle. Its last good state stays here: an actor is started from it, and stopped without asking it.
pub(super) struct Entry {
    pub(super) name: Arc<VehicleName>,
    pub(super) state: VehicleState,
    pub(super) actor: Option<ActorRef<SliceTask>>,
    pub(super) last_active: Timestamp,
    pub(super) dirty: bool,
    /// Why its actor failed last.
    failure: Option<String>,
}

/// The block that is worked on.
struct Current {
    part: PartOfBlock,
    batch: Arc<Batch>,
    vehicles: Vec<Option<(u32, Arc<VehicleName>)>>,
    traced: Vec<TracedReading>,
    letters: Vec<DeadLetter>,
    phase: Phase,
}

enum Phase {
    /// Every vehicle has its slice.
    Slices,
    /// One slice after the other, reading by reading: (slice, place of the reading that is out).
    Retry { failed: VecDeque<usize>, at: u32 },
}

impl Actor for Supervisor {
    type Msg = ToWorker;
    type State = Shard;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<ToWorker>,
        Arguments { index, shared }: Arguments,
    ) -> Result<Shard, ActorProcessingErr> {
        Ok(Shard {
            index,
            shared,
            numbers: HashMap::new(),
            table: Vec::new(),
            actors: HashMap::new(),
            deployed: BTreeMap::new(),
            leashes: BTreeMap::new(),
            row: VecDeque::new(),
            current: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ToWorker>,
        message: ToWorker,
        shard: &mut Shard,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToWorker::Job(job) => shard.row.push_back(job),
            ToWorker::BatchDone => shard.batch_done(&myself).await,
        }
        shard.work(&myself).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ToWorker>,
        event: SupervisionEvent,
        shard: &mut Shard,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, error) => {
                shard.actor_ended(&myself, who.get_id(), error.to_string()).await;
            }
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                // A passivated actor is not in the list any more.
                shard.actor_ended(&myself, who.get_id(), reason.unwrap_or_default()).await;
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl Shard {
    /// Takes jobs until a block waits for its vehicles.
    async fn work(&mut self, myself: &ActorRef<ToWorker>) {
        while self.current.is_none()
            && let Some(job) = self.row.pop_front()
        {
            match job {
                Job::Block(part) => self.start(myself, part).await,
                job => self.between_blocks(job),
            }
        }
    }

    async fn start(&mut self, myself: &ActorRef<ToWorker>, part: PartOfBlock) {
        let batch = Arc::new(Batch::new(part.work.clone(), self.index, myself.clone()));
        let mut letters = Vec::new();
        let dictionary = &part.work.frame.block().vehicles;
        let now = (self.shared.clock)();
        let mut vehicles = Vec::with_capacity(batch.slices().len());
        for slice in batch.slices() {
            match self.number_of(&dictionary[slice.vehicle as usize], now) {
                Ok(number) => vehicles.push(Some((number, self.table[number as usize].name.clone()))),
                Err((reason, detail)) => {
                    letters.push(refused_slice(now, reason, &detail, slice, &dictionary[slice.vehicle as usize]));
                    vehicles.push(None);
                }
            }
        }
        let traced = self.traces(&part);
        let known = vehicles.iter().filter(|vehicle| vehicle.is_some()).count();
        self.current = Some(Current { part, batch: batch.clone(), vehicles, traced, letters, phase: Phase::Slices });
        if known == 0 {
            self.finish();
            return;
        }
        batch.expect(known);
        for (index, slice) in batch.slices().iter().enumerate() {
            let number = self.current.as_ref().and_then(|current| current.vehicles[index].as_ref()).map(|v| v.0);
            if let Some(number) = number {
                self.cast(myself, number, batch.task(index, slice.from, slice.to)).await;
            }
        }
    }

    /// The number of the vehicle that a dictionary entry names. The sender's key is checked, not believed.
    fn number_of(&mut self, entry: &ArchivedVehicleNameV1, now: Timestamp) -> Result<u32, (Refusal, String)> {
        let collision = |with: &str| (Refusal::KeyCollision, format!("its key is that of {with}"));
        if let Some(number) = self.numbers.get(&entry.key()) {
            let known = &self.table[*number as usize].name;
            if known.tenant.as_str() != entry.tenant.as_str() || known.vehicle.as_str() != entry.vehicle.as_str() {
                return Err(collision(&format!("vehicle {} of tenant {}", known.vehicle, known.tenant)));
            }
            return Ok(*number);
        }
        let name = entry.to_name().map_err(|error| (Refusal::MissingVehicle, error.to_string()))?;
        if name.key != entry.key() {
            return Err(collision("another name: the sender computed it wrongly"));
        }
        Ok(self.insert(Arc::new(name), VehicleState::default(), now))
    }

    pub(super) fn ledger(&mut self, tenant: &TenantId) -> Ledger {
        let tenant_leash = self.leashes.entry(tenant.clone()).or_default().clone();
        Ledger { meters: self.shared.meters.clone(), tenant_leash }
    }

    pub(super) fn insert(&mut self, name: Arc<VehicleName>, state: VehicleState, now: Timestamp) -> u32 {
        let number = self.table.len() as u32;
        self.numbers.insert(name.key, number);
        self.table.push(Entry { name, state, actor: None, last_active: now, dirty: false, failure: None });
        number
    }

    fn traces(&self, part: &PartOfBlock) -> Vec<TracedReading> {
        let block = part.work.frame.block();
        let mut traced = Vec::new();
        for found in block.traces.iter() {
            let record = found.record.to_native();
            let name = &block.vehicles[block.readings[record as usize].vehicle_index()];
            if worker_of(name.key(), self.shared.workers) == self.index {
                traced.push(trace::open(record, found.context(), &name.tenant, &name.vehicle));
            }
        }
        traced
    }

    /// Sends a task to a vehicle's actor, which is started when there is none.
    async fn cast(&mut self, myself: &ActorRef<ToWorker>, number: u32, task: SliceTask) {
        let alive = |actor: &ActorRef<SliceTask>| actor.get_status() < ActorStatus::Draining;
        if !self.table[number as usize].actor.as_ref().is_some_and(alive) {
            self.spawn(myself, number).await;
        }
        if let Some(actor) = &self.table[number as usize].actor {
            // An undeliverable task reports itself when it is dropped, and is tried again.
            let _ = actor.send_message(task);
        }
    }

    async fn spawn(&mut self, myself: &ActorRef<ToWorker>, number: u32) {
        self.forget_actor(number);
        let handler = VehicleActor { fault: self.shared.fault.clone() };
        let entry = &mut self.table[number as usize];
        match Actor::spawn_linked(None, handler, entry.state, myself.get_cell()).await {
            Ok((actor, _)) => {
                self.actors.insert(actor.get_id(), number);
                entry.actor = Some(actor);
                self.shared.metrics.live.add(1, &[]);
            }
            Err(error) => {
                tracing::error!(%error, tenant = %entry.name.tenant, vehicle = %entry.name.vehicle,
                    "a vehicle's actor could not be started");
            }
        }
    }

    pub(super) fn forget_actor(&mut self, number: u32) {
        if let Some(actor) = self.table[number as usize].actor.take() {
            self.actors.remove(&actor.get_id());
            self.shared.metrics.live.add(-1, &[]);
        }
    }

    /// An actor ended that was not told to: back to its last good state. What it was working on comes back as failed.
    async fn actor_ended(&mut self, myself: &ActorRef<ToWorker>, id: ActorId, reason: String) {
        let Some(number) = self.actors.get(&id).copied() else { return };
        let name = &self.table[number as usize].name;
        tracing::error!(%reason, tenant = %name.tenant, vehicle = %name.vehicle,
            "a vehicle's actor failed and is restarted from its last good state");
        self.shared.metrics.restarts.add(1, &[]);
        self.table[number as usize].failure = Some(reason);
        self.spawn(myself, number).await;
    }

    /// Every task that was out has come back.
    async fn batch_done(&mut self, myself: &ActorRef<ToWorker>) {
        let Some(mut current) = self.current.take() else { return };
        let mut failed = match std::mem::replace(&mut current.phase, Phase::Slices) {
            Phase::Slices => {
                let mut failed = VecDeque::new();
                for index in 0..current.batch.slices().len() {
                    if current.vehicles[index].is_some() && !self.keep_state(&current, index) {
                        failed.push_back(index);
                    }
                }
                let first = failed.front().map(|index| current.batch.slices()[*index].from);
                first.map(|at| (failed, at))
            }
            Phase::Retry { mut failed, at } => {
                let index = failed[0];
                if !self.keep_state(&current, index) {
                    self.give_up(&mut current, index, at);
                }
                if at + 1 < current.batch.slices()[index].to {
                    Some((failed, at + 1))
                } else {
                    failed.pop_front();
                    let first = failed.front().map(|index| current.batch.slices()[*index].from);
                    first.map(|at| (failed, at))
                }
            }
        };
        let Some((failed, at)) = failed.take() else {
            self.current = Some(current);
            self.finish();
            return;
        };
        let index = failed[0];
        let batch = current.batch.clone();
        let number = current.vehicles[index].as_ref().map(|vehicle| vehicle.0);
        current.phase = Phase::Retry { failed, at };
        self.current = Some(current);
        batch.clear(index);
        batch.expect(1);
        let task = batch.task(index, at, at + 1);
        if let Some(number) = number {
            self.cast(myself, number, task).await;
        }
    }

    /// Takes over the state after a slice. Whether there is one.
    fn keep_state(&mut self, current: &Current, index: usize) -> bool {
        let Some(state) = current.batch.state_after(index) else { return false };
        if let Some((number, _)) = &current.vehicles[index] {
            let entry = &mut self.table[*number as usize];
            entry.dirty |= entry.state != state;
            entry.state = state;
        }
        true
    }

    /// The actor failed on this reading alone: it is set aside, and the vehicle goes on with the next.
    fn give_up(&mut self, current: &mut Current, index: usize, at: u32) {
        current.batch.give_up(at);
        let Some((number, name)) = &current.vehicles[index] else { return };
        let failure = self.table[*number as usize].failure.take();
        let detail = failure.as_deref().unwrap_or(UNKNOWN_FAILURE);
        let (_, record) = current.batch.work.record(at);
        let now = (self.shared.clock)();
        let letter = poison_letter(now, STAGE_ACTOR, detail, name, record);
        current.letters.push(letter);
        self.shared.metrics.poison.add(1, &Metrics::stage(STAGE_ACTOR));
    }

    /// All vehicles are through: rules, sink, writer.
    fn finish(&mut self) {
        let Some(current) = self.current.take() else { return };
        let Current { part, batch, vehicles, traced, letters, .. } = current;
        let mut produced = Produced { events: Vec::new(), letters };
        let applied = AppliedBatch { batch: &batch, vehicles: &vehicles, traced: &traced };
        for deployed in self.deployed.values_mut() {
            deployed.run(&applied, &self.shared, &mut produced);
        }
        let now = (self.shared.clock)();
        let mut changed = Vec::with_capacity(vehicles.len());
        for (number, name) in vehicles.iter().flatten() {
            let entry = &mut self.table[*number as usize];
            entry.last_active = now;
            changed.push((name.clone(), entry.state));
        }
        self.shared.sink.changed(&changed);
        self.count(&batch);
        let PartOfBlock { work, part, permit } = part;
        if produced.events.is_empty() && produced.letters.is_empty() {
            part.done();
        } else {
            let Produced { events, letters } = produced;
            // The writer is gone only when the runtime ends.
            let _ = self.shared.writer.send(ToWriter::Write { events, letters, part });
        }
        let ms = work.entered.elapsed().as_secs_f64() * 1_000.0;
        self.shared.metrics.batch_ms.record(ms, &[]);
        self.shared.metrics.in_flight.add(-1, &[]);
        drop(permit);
    }

    fn count(&self, batch: &Batch) {
        let (mut live, mut late) = (0, 0);
        for slice in batch.slices() {
            for at in slice.from..slice.to {
                match batch.verdict(at) {
                    Applied::Live => live += 1,
                    Applied::Late => late += 1,
                    Applied::Already => {}
                }
            }
        }
        self.shared.metrics.applied.add(live + late, &[]);
        if late > 0 {
            self.shared.metrics.late.add(late, &[]);
        }
    }
}

fn refused_slice(
    now: Timestamp,
    reason: Refusal,
    detail: &str,
    slice: &Slice,
    entry: &ArchivedVehicleNameV1,
) -> DeadLetter {
    let payload = serde_json::json!({
        "tenant": entry.tenant.as_str(),
        "vehicle": entry.vehicle.as_str(),
        "readings": slice.to - slice.from,
    });
    DeadLetter::of_payload(now, STAGE_ACTOR, reason, detail, payload.to_string().as_bytes())
}
