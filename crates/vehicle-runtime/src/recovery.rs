//! Coming back: the last checkpoint, then the readings after it through the same code as live ones.
//!
//! Each stretch of the log is applied with the deployments that were live there. The events that come out again have
//! the ids that they had, and those that are in the events log already are dropped by the writer. A deployment whose
//! rule cannot be had is suspended, so that the node starts; its rows stay as they were at the checkpoint.

use crate::config::Logs;
use crate::dead_letter;
use crate::deployment::{self, Activation, Running, Stored as StoredActivation, Suspension};
use crate::error::{DeployError, RuntimeError, StartError};
use crate::event_writer::{Known, ToWriter};
use crate::keys::{self, DeploymentKey};
use crate::plugin::{MissingRule, RuleFacts, RuleFinder, RuleSource};
use crate::record_format::{self, CheckpointRecord, DeploymentRecord, RecordError, RowRecord, VehicleRecord};
use crate::rows_plan::Instances;
use crate::runtime::Core;
use crate::swap::start_instances;
use crate::trial::{TrialPart, trial_instances};
use crate::work_block::worker_of;
use crate::worker::{Job, RowsChange, TrialChange, TrialRows};
use event_log::{Block, EventLog, Offset, Stream};
use fleet_model::{EventId, VehicleKey, VehicleName, VehicleState};
use fleet_wire::{Frame, ReadingFrame};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Bytes asked of a log at once.
const READ_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Dead letters asked of the log at once.
const LETTERS_MAX: usize = 10_000;

/// What the events log holds of an earlier life.
pub(crate) struct Stored {
    checkpoint: CheckpointRecord,
    /// The oldest reading that is still there.
    telemetry_first: Offset,
    vehicles: Vec<(Arc<VehicleName>, VehicleState)>,
    /// In the order in which they were made.
    changes: Vec<Change>,
}

/// A stored activation, or the end of a deployment.
struct Change {
    key: DeploymentKey,
    record: DeploymentRecord,
    config: serde_json::Value,
    rule: Found,
    /// Of what is tried beside it.
    tried: Option<(serde_json::Value, Found)>,
}

/// A rule where it is needed, or why it is not there.
type Found = Result<Arc<dyn RuleSource>, String>;

impl Stored {
    /// Where the replay begins.
    pub(crate) fn telemetry_next(&self) -> Offset {
        self.checkpoint.telemetry_next.max(self.telemetry_first)
    }
}

fn record_error(key: &[u8]) -> impl FnOnce(RecordError) -> StartError + '_ {
    |error| StartError::Record { key: key.escape_ascii().to_string(), error }
}

/// Reads what is stored, and finds the plugins that are needed.
pub(crate) fn read(logs: &Logs, finder: &dyn RuleFinder) -> Result<Stored, StartError> {
    let epoch = logs.telemetry.epoch();
    let checkpoint = match logs.events.snapshot(keys::CHECKPOINT)? {
        Some(value) => record_format::decode::<CheckpointRecord>(&value).map_err(record_error(keys::CHECKPOINT))?,
        None => CheckpointRecord {
            telemetry_epoch: epoch,
            telemetry_next: 0,
            alerts_next: 0,
            billing_next: 0,
            dead_letters_next: 0,
            generation: 0,
        },
    };
    if checkpoint.telemetry_epoch != epoch {
        return Err(StartError::OtherLog { expected: checkpoint.telemetry_epoch, found: epoch });
    }
    let telemetry_first = logs.telemetry.bounds(Stream::TELEMETRY).first;
    if telemetry_first > checkpoint.telemetry_next {
        tracing::error!(
            checkpoint = checkpoint.telemetry_next,
            oldest = telemetry_first,
            "readings were trimmed before they were applied"
        );
    }
    let mut vehicles = Vec::new();
    for (key, value) in logs.events.snapshots(keys::VEHICLES)? {
        let record: VehicleRecord = record_format::decode(&value).map_err(record_error(&key))?;
        let (name, state) = record.into_parts();
        vehicles.push((Arc::new(name), state));
    }
    let changes = read_changes(logs, finder, checkpoint.generation)?;
    Ok(Stored { checkpoint, telemetry_first, vehicles, changes })
}

fn read_changes(logs: &Logs, finder: &dyn RuleFinder, known: u64) -> Result<Vec<Change>, StartError> {
    let mut changes = Vec::new();
    for (key, value) in logs.events.snapshots(keys::DEPLOYMENTS)? {
        let record: DeploymentRecord = record_format::decode(&value).map_err(record_error(&key))?;
        let damaged = |what: String| record_error(&key)(RecordError::Damaged(what));
        let tenant = record.tenant.parse().map_err(|error| damaged(format!("{error}")))?;
        let name = record.name.parse().map_err(|error| damaged(format!("{error}")))?;
        let config = serde_json::from_str(&record.config).map_err(|error| damaged(error.to_string()))?;
        let not_needed = || Err("it is not needed".to_owned());
        let tried = match &record.trial {
            Some(trial) => {
                let config = serde_json::from_str(&trial.config);
                let config = config.map_err(|error| record_error(&key)(RecordError::Damaged(error.to_string())))?;
                Some((config, not_needed()))
            }
            None => None,
        };
        changes.push(Change { key: (tenant, name), record, config, rule: not_needed(), tried });
    }
    changes.sort_by_key(|change| change.record.generation);
    let stored: Vec<_> = changes.iter().map(|change| StoredActivation::of(&change.key, &change.record)).collect();
    let needed = deployment::needed(&stored, known);
    for change in &mut changes {
        let record = &change.record;
        if record.retired || record.suspended.is_some() || !needed.contains(&record.generation) {
            continue;
        }
        change.rule = finder.find(record.plugin_hash, &change.config);
        if let (Some(trial), Some((config, rule))) = (&record.trial, &mut change.tried) {
            *rule = finder.find(trial.plugin_hash, config);
        }
        if let Err(reason) = &change.rule {
            tracing::error!(
                reason,
                tenant = record.tenant,
                deployment = record.name,
                revision = record.revision,
                "a stored deployment's plugin cannot be had"
            );
        }
    }
    Ok(changes)
}

/// What readings after the checkpoint caused already.
pub(crate) fn known(logs: &Logs, stored: &Stored) -> Result<Known, StartError> {
    let mut known = Known::default();
    // Without a deployment no event is made, and there is nothing to recognise.
    if !stored.changes.is_empty() {
        let log = logs.events.as_ref();
        let CheckpointRecord { alerts_next, billing_next, .. } = stored.checkpoint;
        for (stream, from) in [(Stream::ALERTS, alerts_next), (Stream::BILLING, billing_next)] {
            each_block(log, stream, from, |block| {
                let at = block.first;
                let unreadable = |reason: String| StartError::Frame { at, reason: format!("events: {reason}") };
                let frame = Frame::parse(block.bytes).map_err(|error| unreadable(error.to_string()))?;
                let frame = frame.into_events().map_err(|_| unreadable("it holds readings".into()))?;
                known.events.extend(frame.block().events.iter().map(|event| EventId(event.id)));
                Ok(())
            })?;
        }
    }
    let mut at = stored.checkpoint.dead_letters_next;
    loop {
        let letters = dead_letter::read(logs.events.as_ref(), at, LETTERS_MAX)?;
        let Some((last, _)) = letters.last() else { return Ok(known) };
        at = last + 1;
        known.letters.extend(letters.iter().map(|(_, letter)| letter.identity()));
    }
}

/// Brings the workers to where the logs end.
pub(crate) async fn run(core: &Core, stored: Stored) -> Result<(), StartError> {
    let begun = Instant::now();
    let from = stored.telemetry_next();
    let Stored { checkpoint, vehicles, changes, .. } = stored;
    let known_vehicles = vehicles.len();
    load_vehicles(core, vehicles);
    core.front.lock().await.generation = checkpoint.generation;
    {
        let mut deployments = core.deployments.lock();
        let trials = changes.iter().filter_map(|change| change.record.trial.as_ref().map(|trial| trial.since));
        let taken = changes.iter().map(|change| change.record.generation).chain(trials);
        deployments.next_generation = taken.max().unwrap_or(0);
        let stored = changes.iter().map(|change| StoredActivation::of(&change.key, &change.record));
        deployments.stored = stored.collect();
    }
    let (before, after): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| change.record.generation <= checkpoint.generation);
    let mut suspended = bring_back_all(core, before).await?;
    let mut changes = after.into_iter().peekable();
    let mut applied = 0;
    let mut at = from;
    loop {
        let blocks = core.logs.telemetry.read(Stream::TELEMETRY, at, READ_BYTES_MAX)?;
        let Some(last) = blocks.last() else { break };
        at = last.first + u64::from(last.count);
        for block in blocks {
            while let Some(change) = changes.next_if(|change| change.record.active_from <= block.first) {
                suspended.extend(replay_change(core, change).await?);
            }
            applied += u64::from(block.count);
            let (first, frame) = readings_of(block)?;
            let mut front = core.front.lock().await;
            core.hand_out(&mut front, first, frame, Instant::now(), None).await?;
        }
    }
    for change in changes {
        suspended.extend(replay_change(core, change).await?);
    }
    core.progress.settled(at).await.map_err(RuntimeError::Broken)?;
    core.tell_writer(ToWriter::ForgetKnown);
    let mut shown = Vec::new();
    core.cast_all(|| {
        let (done, answer) = oneshot::channel();
        shown.push(answer);
        Job::ShowAll(done)
    });
    for shown in shown {
        shown.await.map_err(|_| core.gone())?;
    }
    for Suspended { key, generation, suspension } in suspended {
        // Stored only here: a start that finds the plugin after all replays as if nothing had been amiss.
        core.suspend_or_log(&key, generation, suspension).await;
    }
    tracing::info!(
        checkpoint = checkpoint.telemetry_next,
        vehicles = known_vehicles,
        readings = applied,
        ms = begun.elapsed().as_millis() as u64,
        "came back from the checkpoint and the log"
    );
    Ok(())
}

fn load_vehicles(core: &Core, vehicles: Vec<(Arc<VehicleName>, VehicleState)>) {
    let workers = core.workers.len();
    let mut loads: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (name, state) in vehicles {
        loads[worker_of(name.key, workers)].push((name, state));
    }
    for (worker, load) in loads.into_iter().enumerate() {
        core.cast(worker, Job::Load(load));
    }
}

/// A deployment that could not be brought back, and is suspended for now.
struct Suspended {
    key: DeploymentKey,
    generation: u64,
    suspension: Suspension,
}

impl Suspended {
    fn new(activation: &Activation, suspension: Suspension) -> Self {
        Self { key: activation.key.clone(), generation: activation.generation, suspension }
    }
}

/// What was live at the checkpoint, with the rows it had there.
async fn bring_back_all(core: &Core, changes: Vec<Change>) -> Result<Vec<Suspended>, StartError> {
    let mut stored: BTreeMap<u64, Change> = BTreeMap::new();
    let mut live: BTreeMap<DeploymentKey, u64> = BTreeMap::new();
    for change in changes {
        live.insert(change.key.clone(), change.record.generation);
        stored.insert(change.record.generation, change);
    }
    let mut suspended = Vec::new();
    for generation in live.into_values() {
        let Some(change) = stored.remove(&generation).filter(|change| !change.record.retired) else { continue };
        let previous = change.record.previous.and_then(|previous| stored.remove(&previous));
        suspended.extend(bring_back(core, activation_of(change), previous.map(activation_of)).await?);
    }
    Ok(suspended)
}

/// An activation as it was at the checkpoint, rows and all.
async fn bring_back(
    core: &Core,
    mut activation: Activation,
    previous: Option<Activation>,
) -> Result<Option<Suspended>, StartError> {
    let (instances, suspension) = instances_of(core, &mut activation).await;
    let changes = instances.into_iter().map(RowsChange::Zero).collect();
    let trials = match trial_instances(core, &mut activation).await {
        Some(instances) => {
            let runs = instances.into_iter().map(|rule| activation.trial.clone().map(|it| (it, rule, TrialRows::Zero)));
            runs.map(|runs| TrialChange { rows_go_back: false, runs }).collect()
        }
        None => core.prepare_trial(&activation, None, None).await.map_err(internal)?,
    };
    core.cast_swap(&activation, previous.clone(), changes, trials);
    let behind = previous.filter(|previous| previous.rows_since != activation.rows_since);
    let tried = activation.trial.as_ref().map(|trial| &*trial.activation);
    for activation in [Some(&activation), behind.as_ref(), tried].into_iter().flatten() {
        let mut loaded = Vec::new();
        for (worker, rows) in read_rows(core, activation)?.into_iter().enumerate() {
            let (done, answer) = oneshot::channel();
            loaded.push(answer);
            let (key, since) = (activation.key.clone(), activation.rows_since);
            core.cast(worker, Job::LoadRows { key, since, rows, done });
        }
        for loaded in loaded {
            loaded.await.map_err(|_| core.gone())?;
        }
    }
    Ok(suspension.map(|suspension| Suspended::new(&activation, suspension)))
}

/// One instance for each worker; none, and why, when that cannot be. It is suspended then.
async fn instances_of(core: &Core, activation: &mut Activation) -> (Instances, Option<Suspension>) {
    let count = core.workers.len();
    let none = || (0..count).map(|_| None).collect();
    if activation.suspended.is_some() {
        return (none(), None);
    }
    match start_instances(activation.rule.clone(), count).await {
        Ok(instances) => (instances, None),
        Err(error) => {
            let suspension = Suspension::unavailable(error.to_string());
            activation.suspended = Some(suspension.clone());
            (none(), Some(suspension))
        }
    }
}

fn internal(error: DeployError) -> StartError {
    StartError::Thread(error.to_string())
}

type RowsOfWorker = Vec<(VehicleKey, Vec<u8>)>;

fn read_rows(core: &Core, activation: &Activation) -> Result<Vec<RowsOfWorker>, StartError> {
    let facts = activation.rule.facts();
    let workers = core.workers.len();
    let mut rows: Vec<RowsOfWorker> = (0..workers).map(|_| Vec::new()).collect();
    for (key, value) in core.logs.events.snapshots(&keys::rows_since(&activation.key, activation.rows_since))? {
        let record: RowRecord = record_format::decode(&value).map_err(record_error(&key))?;
        let vehicle = keys::vehicle_of(&key);
        let fits = record.state_version == facts.state_version && record.row.len() == facts.row_bytes as usize;
        let (Some(vehicle), true) = (vehicle, fits) else {
            let what = format!(
                "{} bytes of state version {}, but {} {} has {} of version {}",
                record.row.len(),
                record.state_version,
                facts.name,
                facts.version,
                facts.row_bytes,
                facts.state_version
            );
            return Err(record_error(&key)(RecordError::Damaged(what)));
        };
        rows[worker_of(vehicle, workers)].push((vehicle, record.row));
    }
    Ok(rows)
}

/// A change that lies after the checkpoint, at its place between two blocks.
async fn replay_change(core: &Core, change: Change) -> Result<Option<Suspended>, StartError> {
    let key = change.key.clone();
    let generation = change.record.generation;
    if change.record.retired {
        core.front.lock().await.generation = generation;
        core.cast_all(|| Job::Retire { key: key.clone(), done: oneshot::channel().0 });
        core.deployments.lock().running.remove(&key);
        return Ok(None);
    }
    let running = core.deployments.lock().running.get(&key).cloned();
    let before = running.as_ref().map(|running| running.current.clone());
    let mut activation = activation_of(change);
    let (instances, mut suspension) = instances_of(core, &mut activation).await;
    let prepared = core.prepare_rows(&mut activation, running.as_ref(), instances).await;
    let (activation, previous, changes) = match (prepared, running) {
        (Ok(changes), running) => {
            let previous = Running::behind(running.as_ref(), &activation);
            (activation, previous, changes)
        }
        (Err(DeployError::Runtime(error)), _) => return Err(error.into()),
        // Its rows cannot be made now: those of before stay, suspended, and whoever deploys it again migrates them.
        (Err(error), Some(Running { current, previous })) => {
            let suspension = suspension.insert(Suspension::unavailable(error.to_string())).clone();
            let changes = core.workers.iter().map(|_| RowsChange::Keep(None)).collect();
            (Activation { generation, suspended: Some(suspension), trial: None, ..current }, previous, changes)
        }
        // Rows that begin at zero cannot fail.
        (Err(_), None) => return Ok(None),
    };
    let mut activation = activation;
    let trial = trial_instances(core, &mut activation).await;
    let trials = match core.prepare_trial(&activation, before.as_ref(), trial).await {
        Ok(trials) => trials,
        Err(DeployError::Runtime(error)) => return Err(error.into()),
        Err(error) => {
            tracing::warn!(tenant = %key.0, deployment = %key.1, %error, "a trial is over");
            activation.trial = None;
            core.prepare_trial(&activation, before.as_ref(), None).await.map_err(internal)?
        }
    };
    core.front.lock().await.generation = generation;
    core.cast_swap(&activation, previous, changes, trials);
    Ok(suspension.map(|suspension| Suspended::new(&activation, suspension)))
}

fn activation_of(change: Change) -> Activation {
    let Change { key, mut record, config, rule, tried } = change;
    let trial = record.trial.take().zip(tried);
    let rule = rule.unwrap_or_else(|reason| {
        let facts = RuleFacts {
            hash: record.plugin_hash,
            name: record.plugin_name,
            version: record.plugin_version,
            state_version: record.state_version,
            row_bytes: record.row_bytes,
        };
        Arc::new(MissingRule { facts, reason })
    });
    let live = Activation {
        key,
        generation: record.generation,
        revision: record.revision,
        active_from: record.active_from,
        rows_since: record.rows_since,
        config,
        config_hash: record.config_hash,
        rule,
        failed: record.failed,
        failed_because: None,
        suspended: record.suspended,
        swap: None,
        scope: record.scope,
        trial: None,
    };
    let trial = trial.map(|(record, (config, rule))| TrialPart {
        mode: record.mode(),
        activation: Arc::new(Activation {
            generation: record.since,
            rows_since: record.since,
            revision: record.revision,
            config,
            config_hash: record.config_hash,
            rule: rule.unwrap_or_else(|reason| {
                let facts = RuleFacts {
                    hash: record.plugin_hash,
                    name: record.plugin_name,
                    version: record.plugin_version,
                    state_version: record.state_version,
                    row_bytes: record.row_bytes,
                };
                Arc::new(MissingRule { facts, reason })
            }),
            failed: None,
            failed_because: None,
            suspended: None,
            ..live.clone()
        }),
        figures: Arc::default(),
    });
    Activation { trial, ..live }
}

fn readings_of(block: Block) -> Result<(Offset, ReadingFrame), StartError> {
    let at = block.first;
    let unreadable = |reason: String| StartError::Frame { at, reason };
    let frame = Frame::parse(block.bytes).map_err(|error| unreadable(error.to_string()))?;
    let frame = frame.into_readings().map_err(|_| unreadable("it holds events".into()))?;
    Ok((at, frame))
}

fn each_block(
    log: &dyn EventLog,
    stream: Stream,
    from: Offset,
    mut visit: impl FnMut(Block) -> Result<(), StartError>,
) -> Result<(), StartError> {
    let mut at = from.max(log.bounds(stream).first);
    loop {
        let blocks = log.read(stream, at, READ_BYTES_MAX)?;
        let Some(last) = blocks.last() else { return Ok(()) };
        at = last.first + u64::from(last.count);
        blocks.into_iter().try_for_each(&mut visit)?;
    }
}
