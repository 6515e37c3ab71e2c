//! Puts the parts together, runs them, and takes them down in order.

use crate::cloud_ingest::{CloudIngest, CloudIngestError, EdgeRegistry, EdgeTenants, PluginBytes};
use crate::cloud_rules;
use crate::config::{CloudConfig, ConfigError};
use crate::plugin_reports::{PluginReports, UsageError};
use crate::projections::latest::Latest;
use crate::registry::{Registry, StorageError};
use crate::serving::{self, Edges, KnownEdge, Listener};
use bytes::Bytes;
use event_log::{EventLog, RedbLog, RedbOptions};
use fleet_wire::control::DeploymentStatus;
use observability::Observability;
use plugin_host::{EngineConfig, PluginEngine};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vehicle_runtime::{Clock, Logs, Runtime, RuntimeConfig, system_clock};

/// Where the program says which addresses it listens on, in the data folder.
const ADDRESSES_FILE: &str = "addresses.json";

/// How often it is asked whether trials go on: edges tell of them as often.
const TRIALS_FOLLOWED_EVERY: Duration = Duration::from_secs(1);

/// Why the cloud could not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder.
    #[error("data_dir = {0}: {1}")]
    DataDir(String, io::Error),
    /// A log.
    #[error("the log {0} cannot be opened: {1}")]
    Log(&'static str, event_log::OpenError),
    /// The plugin engine.
    #[error(transparent)]
    Engine(#[from] plugin_host::EngineError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] StorageError),
    /// What edges reported of their rules.
    #[error(transparent)]
    PluginReports(#[from] UsageError),
    /// The vehicles.
    #[error("the vehicles cannot be brought back: {0}")]
    Runtime(#[from] vehicle_runtime::StartError),
    /// The edges' door.
    #[error(transparent)]
    CloudIngest(#[from] CloudIngestError),
    /// The partners' door.
    #[error("serving.listen = {0} cannot be bound: {1}")]
    Bind(std::net::SocketAddr, io::Error),
    /// The partners' door.
    #[error(transparent)]
    Serving(#[from] serving::StartError),
    /// A task ended by a panic.
    #[error("a part of the program failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A cloud that has everything it needs and listens, but answers nothing yet.
pub struct Cloud {
    config: CloudConfig,
    logs: Logs,
    registry: Registry,
    plugin_reports: PluginReports,
    edges: Arc<EdgeRegistry>,
    edge_tenants: EdgeTenants,
    latest: Arc<Latest>,
    runtime: Arc<Runtime>,
    ingest: CloudIngest,
    listener: Listener,
    observability: Observability,
    clock: Clock,
}

impl Cloud {
    /// Opens logs and registry, binds sockets, brings the vehicles back.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub async fn start(config: CloudConfig, observability: Observability) -> Result<Self, CloudError> {
        let clock = system_clock();
        let data_dir = config.data_dir.clone();
        std::fs::create_dir_all(&data_dir)
            .map_err(|error| CloudError::DataDir(data_dir.display().to_string(), error))?;
        let (opened, opened_clock) = (data_dir.clone(), clock.clone());
        let signers = config.signers().map_err(ConfigError::from)?;
        let opening = tokio::task::spawn_blocking(move || {
            let logs = Logs { telemetry: open(&opened, "telemetry.redb")?, events: open(&opened, "events.redb")? };
            let cache_dir = Some(opened.join("plugin-cache"));
            let engine = PluginEngine::new(EngineConfig { cache_dir, ..EngineConfig::default() })?;
            let plugin_reports = PluginReports::open(logs.events.clone(), opened_clock.clone())?;
            let registry = Registry::open(&opened, logs.events.clone(), engine, signers, opened_clock)?;
            Ok::<_, CloudError>((logs, registry, plugin_reports))
        });
        let (logs, registry, plugin_reports) = opening.await??;
        let edge_tenants = config.edge_tenants().map_err(ConfigError::from)?;
        let (audit, reports) = (registry.audit().clone(), plugin_reports.clone());
        let ingest = CloudIngest::bind(config.cloud_ingest.clone(), edge_tenants.clone(), audit, reports)?;
        let listen = config.serving.listen;
        let listener = Listener::bind(listen).map_err(|error| CloudError::Bind(listen, error))?;
        let latest = Arc::new(Latest::default());
        let budgets = config.budgets.clone();
        let actors = RuntimeConfig { budgets, others_append_events: true, ..config.actors.clone() };
        let (plugins, audit) = (Arc::new(registry.clone()), registry.audit().clone());
        let runtime = Runtime::start(actors, logs.clone(), latest.clone(), plugins, clock.clone(), audit).await?;
        let edges = Arc::new(EdgeRegistry::new(clock.clone()));
        let cloud = Self {
            config,
            logs,
            registry,
            plugin_reports,
            edges,
            edge_tenants,
            latest,
            runtime,
            ingest,
            listener,
            observability,
            clock,
        };
        cloud.write_addresses(&data_dir)?;
        tracing::info!(cloud_ingest = %cloud.ingest.local_addr(), serving = %cloud.listener.address(),
            vehicles = cloud.latest.count(), "the cloud is ready");
        Ok(cloud)
    }

    /// Answers until `shutdown`, then drains; says so when the deadline for that is missed.
    ///
    /// # Errors
    /// When a part stopped by itself.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CloudError> {
        let drain = self.config.drain();
        let (chain, private_key) = self.config.serving.identity()?;
        let observability = self.observability.clone();
        let stop = shutdown.child_token();
        let rules = TaskTracker::new();
        let here = cloud_rules::start(
            &self.registry,
            self.runtime.clone(),
            self.plugin_reports.clone(),
            self.clock.clone(),
            &rules,
            &stop,
        );
        rules.close();
        let known_edges: Arc<dyn Edges> = Arc::new(KnownEdges {
            edges: self.edges.clone(),
            tenants: self.edge_tenants,
            here,
            clock: self.clock.clone(),
        });
        let trials = follow_trials(self.registry.clone(), known_edges.clone(), stop.clone());
        let mut trials = tokio::spawn(trials);
        let parts = serving::Parts {
            logs: self.logs.clone(),
            latest: self.latest,
            registry: self.registry.clone(),
            plugin_reports: self.plugin_reports,
            edges: known_edges,
            api_keys: self.config.api_keys,
            open_metrics: self.config.serving.open_metrics,
            metrics_text: Box::new(move || observability.metrics_text()),
            clock: self.clock,
            heartbeat: None,
        };
        let deadlines = self.config.serving.deadlines;
        let deployments = self.registry.deployments();
        let plugins = Arc::new(Components(self.registry));
        let mut serving = tokio::spawn(serving::run(parts, self.listener, chain, private_key, deadlines, stop.clone()));
        let ingest = self.ingest.run(self.logs, self.runtime.clone(), self.edges, deployments, plugins, stop.clone());
        let mut ingest = tokio::spawn(ingest);
        let mut ended = Ok(());
        tokio::select! {
            () = shutdown.cancelled() => {}
            result = &mut serving => ended = result.map_err(CloudError::from).and_then(|r| r.map_err(CloudError::from)),
            result = &mut ingest => ended = result.map_err(CloudError::from).and_then(|r| r.map_err(CloudError::from)),
        }
        stop.cancel();
        tracing::info!(drain_s = drain.as_secs(), "stopping");
        let vehicles = async {
            if let Err(error) = self.runtime.shutdown().await {
                tracing::error!(%error, "the vehicles did not stop well; the next start applies readings again");
            }
        };
        end_of(&mut trials).await;
        rules.wait().await;
        let draining = drained(end_of(&mut serving), end_of(&mut ingest), vehicles);
        match tokio::time::timeout(drain, draining).await {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!(
                drain_s = drain.as_secs(),
                "stopped before everything was drained; nothing durable is lost"
            ),
        }
        ended
    }

    fn write_addresses(&self, data_dir: &Path) -> Result<(), CloudError> {
        let addresses = serde_json::json!({
            "cloud_ingest": self.ingest.local_addr().to_string(),
            "serving": self.listener.address().to_string(),
        });
        let part = data_dir.join("addresses.json.part");
        let write = || {
            let mut file = std::fs::File::create(&part)?;
            file.write_all(addresses.to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, data_dir.join(ADDRESSES_FILE))
        };
        write().map_err(|error| CloudError::DataDir(data_dir.display().to_string(), error))
    }
}

/// Trials go on and end, until `stop`. A change that began is made.
async fn follow_trials(registry: Registry, edges: Arc<dyn Edges>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(TRIALS_FOLLOWED_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        registry.follow_trials(|record, trial| serving::seen_trial(&*edges, record, trial)).await;
    }
}

/// The vehicles stop when nobody hands them readings any more. Serving ends beside them: one partner who is slow to hang
/// up must not cost them their last checkpoint.
async fn drained(
    serving: impl Future<Output = ()>,
    ingest: impl Future<Output = ()>,
    vehicles: impl Future<Output = ()>,
) {
    tokio::join!(serving, async {
        ingest.await;
        vehicles.await;
    });
}

/// Waits for a part that may have ended, and have said how, before.
async fn end_of<T>(part: &mut JoinHandle<T>) {
    if !part.is_finished() {
        let _ = part.await;
    }
}

fn open(data_dir: &Path, name: &'static str) -> Result<Arc<dyn EventLog>, CloudError> {
    let log = RedbLog::open(&data_dir.join(name), RedbOptions::default());
    Ok(Arc::new(log.map_err(|error| CloudError::Log(name, error))?))
}

/// Cloud ingest's view of the edges, as serving reads it.
struct KnownEdges {
    edges: Arc<EdgeRegistry>,
    tenants: EdgeTenants,
    /// How what runs in the cloud stands.
    here: watch::Receiver<Vec<DeploymentStatus>>,
    clock: Clock,
}

impl Edges for KnownEdges {
    fn edges(&self) -> Vec<KnownEdge> {
        let now = (self.clock)();
        let known = |view: crate::cloud_ingest::EdgeView| {
            let mut status = view.status.unwrap_or_default();
            if status.software.is_empty() {
                status.software = view.software;
            }
            KnownEdge {
                edge: view.edge.to_string(),
                connected: view.connected,
                last_seen_ms: now.since_ms(view.last_seen).max(0) as u64,
                status,
                received: view.received,
                tenants: self.tenants.only(&view.edge),
            }
        };
        self.edges.edges().into_iter().map(known).collect()
    }

    fn here(&self) -> Vec<DeploymentStatus> {
        self.here.borrow().clone()
    }
}

/// The registry's components, as edges fetch them.
struct Components(Registry);

impl PluginBytes for Components {
    fn plugin_bytes(&self, hash: &str) -> Option<Bytes> {
        match self.0.component(hash.parse().ok()?) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(hash, %error, "a component cannot be read");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::cell::Cell;

    #[test]
    fn a_partner_who_does_not_hang_up_costs_no_checkpoint() {
        let order = Cell::new("");
        let ingest = async { order.set("ingest") };
        let vehicles = async {
            assert_eq!(order.get(), "ingest", "nobody hands them readings any more");
            order.set("vehicles");
        };
        assert!(drained(std::future::pending(), ingest, vehicles).now_or_never().is_none());
        assert_eq!(order.get(), "vehicles");
    }
}
