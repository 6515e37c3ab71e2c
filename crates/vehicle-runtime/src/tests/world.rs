//! Two logs in memory that outlive the runtimes over them, and a clock that stands still.

use super::fleet::{self, Admitted};
use super::model::Result;
use super::native_rule::{Counting, Shelf};
use crate::audit::AuditTrail;
use crate::config::{Clock, Logs, RuntimeConfig};
use crate::deployment::{DeploymentState, SwapReport};
use crate::error::DeployError;
use crate::keys::DeploymentKey;
use crate::plugin::RuleFinder;
use crate::runtime::{Parts, Runtime, StateSink};
use crate::swap::Change;
use crate::worker::Fault;
use event_log::{Append, Commit, EventLog, MemoryLog, Offset, Stream};
use fleet_model::audit::{Act, Chain};
use fleet_model::{EventId, Scope, Timestamp, TrialMode, VehicleName, VehicleState};
use fleet_wire::{Frame, ReadingFrame};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Remembers the last state of each vehicle.
#[derive(Default)]
pub(crate) struct Seen(pub Mutex<BTreeMap<String, VehicleState>>);

impl StateSink for Seen {
    fn changed(&self, states: &[(Arc<VehicleName>, VehicleState)]) {
        let states = states.iter().map(|(name, state)| (name.vehicle.to_string(), *state));
        self.0.lock().extend(states);
    }
}

pub(crate) struct World {
    pub logs: Logs,
    pub seen: Arc<Seen>,
    pub now_ms: Arc<AtomicI64>,
    pub finder: Arc<dyn RuleFinder>,
    pub fault: Fault,
    pub config: RuntimeConfig,
}

/// Checkpoints only when a test asks for one.
pub(crate) fn config(workers: usize) -> RuntimeConfig {
    RuntimeConfig {
        workers,
        checkpoint_readings: u64::MAX,
        checkpoint_interval_s: 1_000_000,
        ..RuntimeConfig::default()
    }
}

impl World {
    pub(crate) fn new(workers: usize, versions: impl IntoIterator<Item = Counting>) -> Self {
        Self::with_finder(workers, Shelf::of(versions))
    }

    pub(crate) fn with_finder(workers: usize, finder: Arc<dyn RuleFinder>) -> Self {
        let logs = Logs { telemetry: Arc::new(MemoryLog::new()), events: Arc::new(MemoryLog::new()) };
        let now_ms = Arc::new(AtomicI64::new(1_700_000_000_000));
        Self { logs, seen: Arc::default(), now_ms, finder, fault: None, config: config(workers) }
    }

    pub(crate) async fn start(&self) -> Arc<Runtime> {
        self.try_start().await.unwrap()
    }

    pub(crate) async fn try_start(&self) -> std::result::Result<Arc<Runtime>, crate::StartError> {
        let now = self.now_ms.clone();
        let clock: Clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
        let sink: Arc<dyn StateSink> = self.seen.clone();
        let audit = AuditTrail::new(self.logs.events.clone(), clock.clone(), "edge:depot-1");
        let parts = Parts { sink, finder: self.finder.clone(), clock, audit, fault: self.fault.clone() };
        Runtime::start_with(self.config.clone(), self.logs.clone(), parts).await
    }

    /// Puts a block into the telemetry log: what a device was told is durable.
    pub(crate) async fn log(&self, frame: &ReadingFrame) -> Offset {
        let first = self.logs.telemetry.bounds(Stream::TELEMETRY).next;
        let count = frame.header().count;
        let append = Append { stream: Stream::TELEMETRY, count, bytes: frame.bytes().clone(), source: None };
        self.logs.telemetry.submit(Commit { appends: vec![append], ..Default::default() }).durable().await.unwrap();
        first
    }

    /// Logs readings as one block and hands it in.
    pub(crate) async fn take(&self, runtime: &Runtime, readings: &[Admitted]) {
        let frame = fleet::block(readings);
        let first = self.log(&frame).await;
        runtime.apply(first, frame).await.unwrap();
    }

    pub(crate) async fn settled(&self, runtime: &Runtime) {
        runtime.settled(self.logs.telemetry.bounds(Stream::TELEMETRY).next).await;
    }

    /// What the events log and the sink hold. An event that stands there twice fails the test.
    pub(crate) fn result(&self) -> Result {
        let mut result = Result { states: self.seen.0.lock().clone(), ..Result::default() };
        for event in self.events() {
            let twice = result.events.insert(event.id, (event.vehicle.clone(), event.subject.clone()));
            assert_eq!(twice, None, "{event:?} is there twice");
        }
        result
    }

    /// The events log, in its order.
    pub(crate) fn events(&self) -> Vec<Written> {
        let mut written = Vec::new();
        let mut at = 0;
        loop {
            let blocks = self.logs.events.read(Stream::ALERTS, at, 1 << 20).unwrap();
            let Some(last) = blocks.last() else { return written };
            at = last.first + u64::from(last.count);
            for block in blocks {
                let frame = Frame::parse(block.bytes).unwrap();
                assert_eq!(frame.header().first_offset, block.first);
                assert_eq!(frame.header().epoch, self.logs.events.epoch());
                let frame = frame.into_events().unwrap();
                let events = frame.block();
                written.extend(events.events.iter().map(|event| {
                    let plugin = &events.plugins[event.plugin.to_native() as usize];
                    Written {
                        id: EventId(event.id),
                        vehicle: events.vehicles[event.vehicle.to_native() as usize].vehicle.to_string(),
                        sequence: event.sequence.to_native(),
                        subject: event.subject.to_string(),
                        plugin_version: plugin.version.to_string(),
                    }
                }));
            }
        }
    }
}

/// The acts of a log, in its order; their chains hold.
pub(crate) fn acts(log: &dyn EventLog) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut chains: BTreeMap<_, Chain> = BTreeMap::new();
    for block in log.read(Stream::AUDIT, 0, usize::MAX).unwrap() {
        let frame = Frame::parse(block.bytes).unwrap().into_audit().unwrap();
        assert_eq!((frame.header().first_offset, frame.header().epoch), (block.first, log.epoch()));
        for record in frame.block().records.iter() {
            let record = record.to_record().unwrap();
            chains.entry(record.act.tenant.clone()).or_default().follow(&record).unwrap();
            acts.push(record.act);
        }
    }
    acts
}

/// An event as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub id: EventId,
    pub vehicle: String,
    pub sequence: u64,
    pub subject: String,
    pub plugin_version: String,
}

/// Deploys a version of the counting rule for tenant `demo` as `counts`.
pub(crate) async fn deploy(
    runtime: &Runtime,
    revision: u64,
    version: Counting,
) -> std::result::Result<SwapReport, DeployError> {
    runtime.core.change(Change::to(counts(), revision, serde_json::json!({}), version.source(), Scope::ALL)).await
}

/// Tries a version of the counting rule beside what [`deploy`] deployed.
pub(crate) async fn try_out(runtime: &Runtime, version: u8, mode: TrialMode) {
    try_rule(runtime, version.into(), Counting::version(version), mode).await.unwrap();
}

/// The same with a rule of one's own.
pub(crate) async fn try_rule(
    runtime: &Runtime,
    revision: u64,
    rule: Counting,
    mode: TrialMode,
) -> std::result::Result<(), DeployError> {
    runtime.core.try_out(&counts(), revision, serde_json::json!({}), rule.source(), mode).await
}

/// What [`deploy`] deploys.
pub(crate) fn counts() -> DeploymentKey {
    ("demo".parse().unwrap(), "counts".parse().unwrap())
}

/// Waits until what runs is as asked for; whoever changes it tells.
pub(crate) async fn until(runtime: &Runtime, what: impl Fn(&DeploymentState) -> bool) -> DeploymentState {
    let mut changed = runtime.deployments_changed();
    loop {
        changed.borrow_and_update();
        if let Some(found) = runtime.deployments().into_iter().find(&what) {
            return found;
        }
        changed.changed().await.unwrap();
    }
}

/// A current-thread runtime for tests that cannot be async, such as property tests.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}
