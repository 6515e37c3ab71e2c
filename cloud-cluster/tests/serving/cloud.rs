//! A cloud's serving part with logs in memory and a certificate of its own.

use bytes::Bytes;
use drover_cloud::plugin_reports::PluginReports;
use drover_cloud::projections::latest::Latest;
use drover_cloud::registry::{Registry, Signers};
use drover_cloud::serving::{self, ApiKey, Deadlines, Edges, KeyHash, KnownEdge, Listener, Parts};
use event_log::{Append, Commit, EventLog, MemoryLog, Stream};
use fleet_model::vehicle::LatestReading;
use fleet_model::{
    Event, EventClass, EventId, EventKind, PluginRef, Reading, Sequence, TenantId, Timestamp, VehicleName, VehicleState,
};
use fleet_wire::control::{DeploymentStatus, EdgeStatus};
use fleet_wire::frame::Placement;
use fleet_wire::{EventBlockV1, EventFrame, ReadingBlockV1, ReadingFrame, ReadingV1, VehicleNameV1};
use plugin_host::{Compiler, EngineConfig, PluginEngine};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{Logs, StateSink};

/// When the clock of every cloud here stands still.
pub(crate) const NOW: Timestamp = Timestamp(1_708_353_714_000);
pub(crate) const DEMO_KEY: &str = "key of demo";
pub(crate) const OTHER_KEY: &str = "key of other";
pub(crate) const OPERATOR_KEY: &str = "key of the operator";

pub(crate) struct Cloud {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) log: MemoryLog,
    pub(crate) telemetry: MemoryLog,
    pub(crate) latest: Arc<Latest>,
    pub(crate) registry: Registry,
    pub(crate) plugin_reports: PluginReports,
    pub(crate) data_dir: PathBuf,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

pub(crate) struct Options {
    pub(crate) heartbeat: Duration,
    pub(crate) deadlines: Deadlines,
    pub(crate) open_metrics: bool,
    pub(crate) signers: Signers,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            deadlines: Deadlines::default(),
            open_metrics: false,
            signers: Signers::lenient(),
        }
    }
}

struct OneEdge;

impl Edges for OneEdge {
    fn edges(&self) -> Vec<KnownEdge> {
        let known = |edge: &str, tenants| KnownEdge {
            edge: edge.into(),
            connected: true,
            last_seen_ms: 5,
            status: EdgeStatus::default(),
            received: [(EventClass::Alerts, 7)].into(),
            tenants,
        };
        vec![known("depot-1", None), known("depot-of-other", Some([TenantId::new("other").unwrap()].into()))]
    }

    fn here(&self) -> Vec<DeploymentStatus> {
        Vec::new()
    }
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let (certificate, certificate_pem) = (signed.cert.der().clone(), signed.cert.pem());
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (log, telemetry) = (MemoryLog::new(), MemoryLog::new());
        let latest = Arc::new(Latest::default());
        let clock: vehicle_runtime::Clock = Arc::new(|| NOW);
        let engine =
            PluginEngine::new(EngineConfig { compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap();
        let registry =
            Registry::open(folder.path(), Arc::new(log.clone()), engine, options.signers, clock.clone()).unwrap();
        let plugin_reports = PluginReports::open(Arc::new(log.clone()), clock.clone()).unwrap();
        let api_key = |name: &str, tenant: Option<&str>, key, operator| ApiKey {
            name: name.into(),
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            sha256: KeyHash::of(key),
            operator,
        };
        let parts = Parts {
            logs: Logs { telemetry: Arc::new(telemetry.clone()), events: Arc::new(log.clone()) },
            latest: latest.clone(),
            registry: registry.clone(),
            plugin_reports: plugin_reports.clone(),
            edges: Arc::new(OneEdge),
            api_keys: vec![
                api_key("demo", Some("demo"), DEMO_KEY, false),
                api_key("other", Some("other"), OTHER_KEY, false),
                api_key("operator", None, OPERATOR_KEY, true),
            ],
            open_metrics: options.open_metrics,
            metrics_text: Box::new(|| "# metrics\n".into()),
            clock,
            heartbeat: Some(options.heartbeat),
        };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (address, shutdown) = (listener.address(), CancellationToken::new());
        let chain = vec![certificate.clone()];
        let run = serving::run(parts, listener, chain, key, options.deadlines, shutdown.clone());
        let serving = Some(tokio::spawn(async move { run.await.unwrap() }));
        let data_dir = folder.path().to_owned();
        Self {
            address,
            certificate,
            certificate_pem,
            log,
            telemetry,
            latest,
            registry,
            plugin_reports,
            data_dir,
            shutdown,
            serving,
            _folder: folder,
        }
    }

    /// Appends one block with an event for each `(tenant, vehicle)`.
    pub(crate) async fn append(&self, of: &[(&str, &str)]) {
        let first = self.log.bounds(Stream::ALERTS).next;
        let events: Vec<Event> =
            of.iter().enumerate().map(|(i, (tenant, vehicle))| event(tenant, vehicle, first + i as u64)).collect();
        let at = Placement { class: EventClass::Alerts, first_offset: 1_000 + first, epoch: 9, created_ms: 0 };
        let frame = EventFrame::build(&EventBlockV1::of(&events), at).unwrap();
        self.append_bytes(frame.bytes().clone(), events.len()).await;
    }

    /// Appends one block with a reading for each `(tenant, vehicle)`.
    pub(crate) async fn append_readings(&self, of: &[(&str, &str)]) {
        let first = self.telemetry.bounds(Stream::TELEMETRY).next;
        let mut block = ReadingBlockV1::default();
        for (place, (tenant, vehicle)) in of.iter().enumerate() {
            let number = first + place as u64;
            let at = Timestamp(NOW.0 + number as i64);
            let reading = Reading { speed: 12.5, ..Reading::fix(at, Timestamp(at.0 + 1), 52.25, 21.0) };
            let name = VehicleName::new(tenant.parse().unwrap(), vehicle.parse().unwrap());
            block.vehicles.push(VehicleNameV1::of(&name));
            block.readings.push(ReadingV1::of(place as u32, Sequence(number), &reading));
        }
        let at = Placement { class: EventClass::Telemetry, first_offset: 1_000 + first, epoch: 9, created_ms: 0 };
        let bytes = ReadingFrame::build(&block, at).unwrap().bytes().clone();
        let append = Append { stream: Stream::TELEMETRY, count: of.len() as u32, bytes, source: None };
        let commit = Commit { appends: vec![append], ..Commit::default() };
        self.telemetry.submit(commit).durable().await.unwrap();
    }

    pub(crate) async fn append_bytes(&self, bytes: Bytes, count: usize) {
        let append = Append { stream: Stream::ALERTS, count: count as u32, bytes, source: None };
        let commit = Commit { appends: vec![append], ..Commit::default() };
        self.log.submit(commit).durable().await.unwrap();
    }

    /// Blocks of 1 to 7 events, `count` in all: every second one of tenant demo, of five vehicles in turn.
    pub(crate) async fn append_many(&self, count: usize) {
        let vehicles = ["bus-0", "bus-1", "bus-2", "bus-3", "bus-4"];
        let of = |i: usize| if i.is_multiple_of(2) { ("demo", vehicles[i / 2 % 5]) } else { ("other", "bus-0") };
        let mut at = 0;
        while at < count {
            let len = (at % 7 + 1).min(count - at);
            let block: Vec<_> = (at..at + len).map(of).collect();
            self.append(&block).await;
            at += len;
        }
    }

    /// Says that a vehicle was seen `age_ms` ago.
    pub(crate) fn seen(&self, tenant: &str, vehicle: &str, age_ms: i64) {
        let tenant: TenantId = tenant.parse().unwrap();
        let at = Timestamp(NOW.0 - age_ms);
        let reading = Reading { speed: 12.5, ignition: 1, ..Reading::fix(at, at, 52.25, 21.0) };
        let latest = Some(LatestReading { sequence: Sequence(3), reading });
        let state = VehicleState { counted_by: 9, applied: Sequence(3), latest, readings: 3, late: 1 };
        self.latest.changed(&[(Arc::new(VehicleName::new(tenant, vehicle.parse().unwrap())), state)]);
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn event(tenant: &str, vehicle: &str, number: u64) -> Event {
    let name = VehicleName::new(tenant.parse().unwrap(), vehicle.parse().unwrap());
    let kind = EventKind::GeofenceEntered;
    Event {
        id: EventId::of(name.key, Timestamp(number as i64), kind, "zones", "a"),
        kind,
        vehicle: name,
        sequence: Sequence(number),
        event_time: Timestamp(NOW.0 + number as i64),
        received_time: Timestamp(NOW.0 + number as i64 + 1),
        subject: "Śródmieście \"1\"".into(),
        value: f64::NAN,
        details: None,
        plugin: PluginRef {
            deployment: "zones".into(),
            name: "geofence".into(),
            version: "1.0.0".into(),
            hash: [7; 32],
        },
        trace: None,
    }
}
