//! An edge and a cloud for a test.

use crate::certificates::{Authority, Pair};
use bytes::Bytes;
use drover_cloud::cloud_ingest::{
    Apply, CloudIngest, CloudIngestConfig, CloudIngestError, EdgeEntry, EdgeRegistry, EdgeTenants, PluginBytes,
};
use drover_cloud::plugin_reports::PluginReports;
use drover_edge::uplink::{self, ConnectionState, UplinkConfig, UplinkHandle};
use event_log::{Append, Commit, EventLog, MemoryLog, Offset, RedbLog, RedbOptions, Stream};
use fleet_model::{Event, EventClass, EventId, EventKind, PluginRef, Reading, Sequence, Timestamp, VehicleName};
use fleet_wire::control::{EdgeStatus, EncodedSet};
use fleet_wire::frame::Placement;
use fleet_wire::{EventBlockV1, EventFrame, Frame, ReadingBlockV1, ReadingFrame, ReadingV1, VehicleNameV1};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{AuditTrail, Logs, RuntimeError, system_clock};

/// Between two attempts of an edge that shall make only one in a test, however slow the machine is. The wait is random
/// up to this: a year leaves a chance of one in a million for half a minute.
const NEVER_MS: u64 = 365 * 86_400_000;

/// Whatever is waited for comes within this time, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

pub fn memory() -> Logs {
    Logs { telemetry: Arc::new(MemoryLog::new()), events: Arc::new(MemoryLog::new()) }
}

pub fn redb(dir: &Path) -> Logs {
    let open = |name: &str| RedbLog::open(&dir.join(name), RedbOptions::default()).unwrap();
    Logs { telemetry: Arc::new(open("telemetry.redb")), events: Arc::new(open("events.redb")) }
}

pub fn vehicle() -> VehicleName {
    VehicleName::new("demo".parse().unwrap(), "bus-1".parse().unwrap())
}

/// A frame of `count` readings whose sequences are their offsets.
pub fn readings(epoch: u64, first: Offset, count: u32) -> Bytes {
    let fix = Reading::fix(Timestamp(1_000), Timestamp(2_000), 52.2, 21.0);
    let block = ReadingBlockV1 {
        vehicles: vec![VehicleNameV1::of(&vehicle())],
        readings: (0..u64::from(count)).map(|i| ReadingV1::of(0, Sequence(first + i), &fix)).collect(),
        traces: Vec::new(),
    };
    let at = Placement { class: EventClass::Telemetry, first_offset: first, epoch, created_ms: now_ms() };
    ReadingFrame::build(&block, at).unwrap().bytes().clone()
}

/// A frame of `count` alerts whose sequences are their offsets.
pub fn alerts(epoch: u64, first: Offset, count: u32) -> Bytes {
    let vehicle = vehicle();
    let event = |sequence: u64| Event {
        id: EventId::of(vehicle.key, Timestamp(sequence as i64), EventKind::GeofenceEntered, "zones", "a"),
        kind: EventKind::GeofenceEntered,
        vehicle: vehicle.clone(),
        sequence: Sequence(sequence),
        event_time: Timestamp(1_000),
        received_time: Timestamp(2_000),
        subject: "a".into(),
        value: f64::NAN,
        details: None,
        plugin: PluginRef {
            deployment: "zones".into(),
            name: "geofence".into(),
            version: "1.0.0".into(),
            hash: [7; 32],
        },
        trace: None,
    };
    let events: Vec<_> = (first..first + u64::from(count)).map(event).collect();
    let at = Placement { class: EventClass::Alerts, first_offset: first, epoch, created_ms: now_ms() };
    EventFrame::build(&EventBlockV1::of(&events), at).unwrap().bytes().clone()
}

fn now_ms() -> i64 {
    system_clock()().0
}

pub async fn append(log: &Arc<dyn EventLog>, stream: Stream, count: u32, bytes: Bytes) {
    let append = Append { stream, count, bytes, source: None };
    log.submit(Commit { appends: vec![append], ..Commit::default() }).durable().await.unwrap();
}

pub async fn append_readings(logs: &Logs, count: u32) {
    let first = logs.telemetry.bounds(Stream::TELEMETRY).next;
    append(&logs.telemetry, Stream::TELEMETRY, count, readings(logs.telemetry.epoch(), first, count)).await;
}

pub async fn append_alerts(logs: &Logs, count: u32) {
    let first = logs.events.bounds(Stream::ALERTS).next;
    append(&logs.events, Stream::ALERTS, count, alerts(logs.events.epoch(), first, count)).await;
}

pub async fn reaches(what: &str, log: &Arc<dyn EventLog>, stream: Stream, next: Offset) {
    let mut grows = log.subscribe(stream);
    soon(what, grows.wait_for(|found| *found >= next)).await.unwrap();
}

/// The sequences of all records of a stream, in the log's order.
pub fn sequences(log: &Arc<dyn EventLog>, stream: Stream) -> Vec<u64> {
    let mut found = Vec::new();
    let mut next = log.bounds(stream).first;
    loop {
        let blocks = log.read(stream, next, 1 << 20).unwrap();
        if blocks.is_empty() {
            return found;
        }
        for block in blocks {
            next = block.first + u64::from(block.count);
            match Frame::parse(block.bytes).unwrap().into_readings() {
                Ok(frame) => found.extend(frame.block().readings.iter().map(|r| r.sequence().0)),
                Err(frame) => {
                    let events = frame.into_events().unwrap();
                    found.extend(events.block().events.iter().map(|e| e.sequence.to_native()));
                }
            }
        }
    }
}

pub fn assert_once_and_in_order(log: &Arc<dyn EventLog>, stream: Stream, count: u64) {
    let found = sequences(log, stream);
    assert_eq!(found.len() as u64, count, "none missing, none doubled");
    assert!(found.into_iter().eq(0..count), "in order");
}

/// Stands where the vehicle actors stand: keeps what it was given.
pub struct Applied {
    offsets: watch::Sender<Vec<(Offset, u32)>>,
}

impl Applied {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { offsets: watch::channel(Vec::new()).0 })
    }

    pub async fn reaches(&self, next: Offset) -> Vec<(Offset, u32)> {
        let mut seen = self.offsets.subscribe();
        let reached = |blocks: &Vec<(Offset, u32)>| blocks.last().is_some_and(|(at, n)| at + u64::from(*n) >= next);
        soon("readings are applied", seen.wait_for(reached)).await.unwrap().clone()
    }
}

impl Apply for Applied {
    fn applied(&self) -> Offset {
        self.offsets.borrow().last().map_or(0, |(at, n)| at + u64::from(*n))
    }

    async fn apply(&self, first: Offset, frame: ReadingFrame) -> Result<(), RuntimeError> {
        let expected = Apply::applied(self);
        assert_eq!(first, expected, "blocks are handed on in the log's order, without holes");
        self.offsets.send_modify(|blocks| blocks.push((first, frame.header().count)));
        Ok(())
    }
}

/// Plugins by hash.
#[derive(Default)]
pub struct Shelf(pub HashMap<String, Bytes>);

impl PluginBytes for Shelf {
    fn plugin_bytes(&self, hash: &str) -> Option<Bytes> {
        self.0.get(hash).cloned()
    }
}

/// A running cloud ingest.
pub struct Cloud {
    pub address: SocketAddr,
    pub logs: Logs,
    pub applied: Arc<Applied>,
    pub edges: Arc<EdgeRegistry>,
    pub deployments: watch::Sender<EncodedSet>,
    pub plugin_reports: PluginReports,
    stop: CancellationToken,
    task: JoinHandle<Result<(), CloudIngestError>>,
}

pub fn cloud_config(authority: &Authority, pair: &Pair, listen: SocketAddr) -> CloudIngestConfig {
    CloudIngestConfig {
        listen,
        ca: authority.ca(),
        certificate: pair.certificate.clone(),
        private_key: pair.private_key.clone(),
        connections_max: 16,
        idle_timeout_ms: 1_500,
    }
}

impl Cloud {
    pub async fn start(authority: &Authority, logs: Logs) -> Self {
        Self::start_at(authority, logs, "127.0.0.1:0".parse().unwrap(), Applied::new(), Shelf::default()).await
    }

    pub async fn start_at(
        authority: &Authority,
        logs: Logs,
        listen: SocketAddr,
        applied: Arc<Applied>,
        plugins: Shelf,
    ) -> Self {
        let config = cloud_config(authority, &authority.issue("drover-cloud"), listen);
        Self::start_with(config, EdgeTenants::default(), logs, applied, plugins).await
    }

    /// With `[[edges]]`: a name and its tenants.
    pub async fn start_for(authority: &Authority, logs: Logs, plugins: Shelf, edges: &[(&str, &[&str])]) -> Self {
        let config = cloud_config(authority, &authority.issue("drover-cloud"), "127.0.0.1:0".parse().unwrap());
        let entry = |(name, tenants): &(&str, &[&str])| EdgeEntry {
            name: name.parse().unwrap(),
            tenants: tenants.iter().map(|tenant| tenant.parse().unwrap()).collect(),
        };
        let edges: Vec<_> = edges.iter().map(entry).collect();
        Self::start_with(config, EdgeTenants::new(&edges).unwrap(), logs, Applied::new(), plugins).await
    }

    pub async fn start_with(
        config: CloudIngestConfig,
        edge_tenants: EdgeTenants,
        logs: Logs,
        applied: Arc<Applied>,
        plugins: Shelf,
    ) -> Self {
        // A cloud that is started again on its port waits for the socket of the one before: quinn lets it go in a task
        // of its own, soon after the endpoint is dropped.
        let deadline = Instant::now() + PATIENCE;
        let audit = AuditTrail::new(logs.events.clone(), system_clock(), "drover");
        let plugin_reports = PluginReports::open(logs.events.clone(), system_clock()).unwrap();
        let ingest = loop {
            match CloudIngest::bind(config.clone(), edge_tenants.clone(), audit.clone(), plugin_reports.clone()) {
                Ok(ingest) => break ingest,
                Err(CloudIngestError::Bind(..)) if Instant::now() < deadline => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let address = ingest.local_addr();
        let edges = Arc::new(EdgeRegistry::new(system_clock()));
        let (deployments, deployments_seen) = watch::channel(EncodedSet::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (logs, applied, edges, stop) = (logs.clone(), applied.clone(), edges.clone(), stop.clone());
            async move { ingest.run(logs, applied, edges, deployments_seen, Arc::new(plugins), stop).await }
        });
        Self { address, logs, applied, edges, deployments, plugin_reports, stop, task }
    }

    pub async fn stop(self) -> Logs {
        self.stop.cancel();
        soon("the cloud stops", self.task).await.unwrap().unwrap();
        self.logs
    }

    /// It stops by itself, for this reason.
    pub async fn fails(self) -> CloudIngestError {
        soon("the cloud stops by itself", self.task).await.unwrap().unwrap_err()
    }
}

/// A running uplink.
pub struct Edge {
    pub logs: Logs,
    pub handle: UplinkHandle,
    pub status: watch::Sender<EdgeStatus>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub fn uplink_config(authority: &Authority, pair: &Pair, cloud: SocketAddr) -> UplinkConfig {
    UplinkConfig {
        cloud: cloud.to_string(),
        server_name: Some("localhost".into()),
        ca: authority.ca(),
        certificate: pair.certificate.clone(),
        private_key: pair.private_key.clone(),
        telemetry_window_bytes: 1 << 20,
        reconnect_ms_first: 20,
        reconnect_ms_max: 200,
        idle_timeout_ms: 1_500,
    }
}

/// The same for an edge that tries once: its reason stands.
pub fn one_attempt(authority: &Authority, pair: &Pair, cloud: SocketAddr) -> UplinkConfig {
    UplinkConfig { reconnect_ms_first: NEVER_MS, reconnect_ms_max: NEVER_MS, ..uplink_config(authority, pair, cloud) }
}

impl Edge {
    pub fn start(authority: &Authority, logs: Logs, cloud: SocketAddr) -> Self {
        let pair = authority.issue("depot-1");
        Self::start_with(uplink_config(authority, &pair, cloud), logs)
    }

    pub fn start_with(config: UplinkConfig, logs: Logs) -> Self {
        Self::start_as("depot-1", config, logs)
    }

    pub fn start_as(name: &str, config: UplinkConfig, logs: Logs) -> Self {
        Self::start_reporting(name, config, logs, None)
    }

    /// With rules of which it reports.
    pub fn start_reporting(
        name: &str,
        config: UplinkConfig,
        logs: Logs,
        reports: Option<vehicle_runtime::PluginReports>,
    ) -> Self {
        let (status, status_seen) = watch::channel(EdgeStatus::default());
        let (link, handle) = uplink::link(name.parse().unwrap(), "drover-edge test".into(), status_seen);
        let link = match reports {
            Some(reports) => link.with_reports(reports),
            None => link,
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(uplink::run(config, logs.clone(), link, stop.clone()));
        Self { logs, handle, status, stop, task }
    }

    pub async fn connected(&self) {
        let mut state = self.handle.state.clone();
        let there = |s: &uplink::UplinkState| matches!(s.connection, ConnectionState::Connected { .. });
        soon("the edge connects", state.wait_for(there)).await.unwrap();
    }

    /// Why there is no connection.
    pub async fn refused(&self) -> String {
        let mut state = self.handle.state.clone();
        let waits = |s: &uplink::UplinkState| matches!(s.connection, ConnectionState::Waiting { .. });
        let found = soon("the attempt fails", state.wait_for(waits)).await.unwrap().connection.clone();
        let ConnectionState::Waiting { reason } = found else { unreachable!() };
        reason
    }

    pub async fn acked(&self, class: EventClass, next: Offset) {
        let mut state = self.handle.state.clone();
        let reached =
            |s: &uplink::UplinkState| s.streams.iter().any(|stream| stream.class == class && stream.acked >= next);
        soon("all is acknowledged", state.wait_for(reached)).await.unwrap();
    }

    pub async fn stop(self) -> Logs {
        self.stop.cancel();
        soon("the edge stops", self.task).await.unwrap();
        self.logs
    }
}
