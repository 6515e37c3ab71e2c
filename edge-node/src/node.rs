//! The edge node put together: what is started in which order, and how it ends.

use crate::admin::{self, Admin};
use crate::config::{Config, ListenConfig};
use crate::deployments::{EdgePlugins, PluginStore};
use crate::device_link::credentials::Credentials;
use crate::device_link::{Door, http, listener, mqtt, tls};
use crate::metrics::Counts;
use crate::status::{self, SOFTWARE, Sources};
use crate::{http_server, ingest, retention, uplink};
use anyhow::Context;
use event_log::{RedbLog, RedbOptions};
use fleet_wire::control::{DeploymentStatus, EdgeStatus};
use observability::Observability;
use plugin_host::{EngineConfig, PluginEngine};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{
    AuditTrail, Clock, Deployer, Logs, NoSink, PluginReports, PluginSource, Runtime, RuntimeConfig, system_clock,
};

/// File in the data folder that says where the listeners are.
pub const ADDRESSES_FILE: &str = "addresses.json";

/// Where the listeners are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// MQTT.
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// HTTP for devices.
    pub http: Option<SocketAddr>,
    /// The admin page.
    pub admin: SocketAddr,
}

/// A running edge node.
pub struct Node {
    addresses: Addresses,
    runtime: Arc<Runtime>,
    ingest: ingest::Running,
    ready: Arc<AtomicBool>,
    /// Ends the doors.
    doors_close: CancellationToken,
    doors: JoinSet<()>,
    /// Ends the rest: uplink, deployments, status, admin page.
    rest_ends: CancellationToken,
    rest: JoinSet<()>,
    drain: Duration,
}

/// Opens the logs of a data folder.
///
/// # Errors
/// Why one cannot be opened.
pub fn open_logs(data_dir: &Path) -> anyhow::Result<Logs> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("data_dir {}", data_dir.display()))?;
    let open = |name: &str| RedbLog::open(&data_dir.join(name), RedbOptions::default());
    Ok(Logs { telemetry: Arc::new(open("telemetry.redb")?), events: Arc::new(open("events.redb")?) })
}

struct Listeners {
    mqtt: Option<TcpListener>,
    mqtts: Option<TcpListener>,
    http: Option<TcpListener>,
    admin: TcpListener,
}

impl Node {
    /// Starts everything: recovers from the logs, then lets devices in.
    ///
    /// # Errors
    /// What could not be started; nothing runs then.
    pub async fn start(config: Config, logs: Logs, observability: Option<Observability>) -> anyhow::Result<Self> {
        let clock = system_clock();
        // Ports first: an operator who made a mistake there learns it before a long recovery.
        let listeners = Listeners::bind(&config).await?;
        let addresses = listeners.addresses()?;

        let store = Arc::new(open_plugins(&config).await?);
        let source: Arc<dyn PluginSource> = store.clone();
        let audit = AuditTrail::new(logs.events.clone(), clock.clone(), &fleet_model::audit::edge(&config.edge));
        let actors = RuntimeConfig { budgets: config.budgets.clone(), ..config.actors.clone() };
        let runtime = Runtime::start(actors, logs.clone(), Arc::new(NoSink), source, clock.clone(), audit)
            .await
            .context("the actors cannot be started")?;
        let counts = Arc::new(Counts::default());
        let (ingest, running) = ingest::start(ingest::Parts {
            logs: logs.clone(),
            runtime: runtime.clone(),
            policy: config.admission.policy(),
            checkpoint_readings: config.retention.checkpoint_readings(),
            clock: clock.clone(),
            counts: counts.clone(),
        })
        .await?;

        let sources = Sources { logs: logs.clone(), runtime: runtime.clone(), counts };
        let rest_ends = CancellationToken::new();
        let mut rest = JoinSet::new();
        let (deployments, handle) = start_uplink(&config, &logs, &sources, &store, &mut rest, &rest_ends);
        let retention = retention::Parts {
            logs: logs.clone(),
            runtime: runtime.clone(),
            config: config.retention,
            clock: clock.clone(),
            uplink: handle.clone(),
        };
        rest.spawn(retention::run(retention, rest_ends.clone()));
        let ready = Arc::new(AtomicBool::new(false));
        let page = Admin {
            edge: config.edge.clone(),
            ready: ready.clone(),
            sources,
            deployments,
            uplink: handle,
            observability,
        };
        let connections = Arc::new(Semaphore::new(admin::CONNECTIONS_MAX));
        rest.spawn(http_server::serve(listeners.admin, admin::router(page), connections, rest_ends.clone()));

        let doors_close = CancellationToken::new();
        let doors = open_doors(
            &config,
            Doors { mqtt: listeners.mqtt, mqtts: listeners.mqtts, http: listeners.http },
            ingest,
            clock,
            &doors_close,
        )?;
        write_addresses(&config.data_dir, &addresses)?;
        ready.store(true, Ordering::Release);
        let Addresses { mqtt, mqtts, http, admin } = &addresses;
        tracing::info!(edge = %config.edge, ?mqtt, ?mqtts, ?http, %admin, "ready");
        let drain = Duration::from_secs(config.drain_s);
        Ok(Self { addresses, runtime, ingest: running, ready, doors_close, doors, rest_ends, rest, drain })
    }

    /// Where the listeners are.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Runs until `shutdown` resolves, then ends well: closes the doors, finishes what was taken, says what it could
    /// not finish within the deadline.
    ///
    /// # Errors
    /// What made it stop by itself.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = shutdown => None,
            ended = self.ingest.ended() => Some(ended.map_err(anyhow::Error::from).and(Err(anyhow::anyhow!("ingest ended")))),
            // They end when told to; before that, it is a defect of ours, and half an edge node serves nobody.
            Some(ended) = self.doors.join_next() => Some(Err(ended_early("a listener for devices", ended))),
            Some(ended) = self.rest.join_next() => Some(Err(ended_early("uplink, deployments, status or admin", ended))),
        };
        self.ready.store(false, Ordering::Release);
        self.doors_close.cancel();
        if let Some(failed) = failed {
            // Fail-stop: nobody is acknowledged any more, and the next start takes up from the logs.
            self.rest_ends.cancel();
            return failed.context("the edge node stops");
        }
        tracing::info!(deadline_s = self.drain.as_secs(), "ending");
        let drained = tokio::time::timeout(self.drain, async {
            while self.doors.join_next().await.is_some() {}
            // The doors held the last ways into ingest.
            self.ingest.ended().await?;
            self.runtime.shutdown().await?;
            anyhow::Ok(())
        })
        .await;
        self.rest_ends.cancel();
        let rest =
            tokio::time::timeout(Duration::from_secs(1), async { while self.rest.join_next().await.is_some() {} });
        let _ = rest.await;
        match drained {
            Ok(Ok(())) => {
                tracing::info!("ended; everything that was taken is stored");
                Ok(())
            }
            Ok(failed) => failed,
            Err(_) => {
                tracing::warn!("the deadline passed before everything was finished; the next start takes it up");
                Ok(())
            }
        }
    }
}

fn ended_early(what: &str, ended: Result<(), JoinError>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow::anyhow!("{what} ended by itself"),
        Err(panic) => anyhow::Error::new(panic).context(format!("{what} failed")),
    }
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let link = &config.device_link;
        let tls = link.mqtts.as_ref().map(|tls| ListenConfig { listen: tls.listen });
        Ok(Self {
            mqtt: bind("device_link.mqtt", link.mqtt.as_ref()).await?,
            mqtts: bind("device_link.mqtts", tls.as_ref()).await?,
            http: bind("device_link.http", link.http.as_ref()).await?,
            admin: TcpListener::bind(config.admin.listen)
                .await
                .with_context(|| format!("admin.listen = {}", config.admin.listen))?,
        })
    }

    fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Addresses {
            mqtt: of(&self.mqtt)?,
            mqtts: of(&self.mqtts)?,
            http: of(&self.http)?,
            admin: self.admin.local_addr()?,
        })
    }
}

async fn bind(key: &str, config: Option<&ListenConfig>) -> anyhow::Result<Option<TcpListener>> {
    let Some(config) = config else { return Ok(None) };
    let bound = TcpListener::bind(config.listen).await;
    Ok(Some(bound.with_context(|| format!("{key}.listen = {}", config.listen))?))
}

async fn open_plugins(config: &Config) -> anyhow::Result<PluginStore> {
    let (dir, cache_dir) = (config.plugins_dir(), config.plugin_cache_dir());
    let opened = tokio::task::spawn_blocking(move || {
        let engine = PluginEngine::new(EngineConfig { cache_dir: Some(cache_dir), ..Default::default() })?;
        PluginStore::open(dir.clone(), engine).with_context(|| format!("plugins.dir {}", dir.display()))
    });
    opened.await?
}

/// Starts the status page's source and, when there is a cloud, the uplink with the deployments.
fn start_uplink(
    config: &Config,
    logs: &Logs,
    sources: &Sources,
    store: &Arc<PluginStore>,
    tasks: &mut JoinSet<()>,
    ends: &CancellationToken,
) -> (watch::Receiver<Vec<DeploymentStatus>>, Option<uplink::UplinkHandle>) {
    let (status, status_seen) = watch::channel(EdgeStatus::default());
    let (link, handle) = uplink::link(config.edge.clone(), SOFTWARE.to_owned(), status_seen);
    let supply = EdgePlugins { store: store.clone(), fetch: Arc::new(handle.clone()) };
    // Also without a cloud: it reports what runs from before.
    let (deployer, deployments) = Deployer::new(sources.runtime.clone(), supply, handle.deployments.clone());
    tasks.spawn(status::publish(sources.clone(), deployments.clone(), status, ends.clone()));
    let Some(uplink) = &config.uplink else { return (deployments, None) };
    let reports = PluginReports::new(sources.runtime.clone(), system_clock(), rand::random());
    tasks.spawn(reports.clone().keep_days(ends.clone()));
    let link = link.with_reports(reports);
    tasks.spawn(deployer.run(ends.clone()));
    tasks.spawn(uplink::run(uplink.clone(), logs.clone(), link, ends.clone()));
    (deployments, Some(handle))
}

struct Doors {
    mqtt: Option<TcpListener>,
    mqtts: Option<TcpListener>,
    http: Option<TcpListener>,
}

fn open_doors(
    config: &Config,
    listeners: Doors,
    ingest: ingest::Ingest,
    clock: Clock,
    close: &CancellationToken,
) -> anyhow::Result<JoinSet<()>> {
    let door = Arc::new(Door {
        credentials: Credentials::new(&config.device_link.credentials),
        ingest,
        clock,
        sessions: mqtt::Sessions::default(),
    });
    let connections = Arc::new(Semaphore::new(config.device_link.connections_max));
    let mut doors = JoinSet::new();
    if let Some(listener) = listeners.mqtt {
        doors.spawn(listener::mqtt(listener, None, door.clone(), connections.clone(), close.clone()));
    }
    if let (Some(listener), Some(tls)) = (listeners.mqtts, &config.device_link.mqtts) {
        let acceptor = tls::acceptor(tls).map_err(|(key, why)| anyhow::anyhow!("device_link.mqtts.{key}: {why}"))?;
        doors.spawn(listener::mqtt(listener, Some(acceptor), door.clone(), connections.clone(), close.clone()));
    }
    if let Some(listener) = listeners.http {
        doors.spawn(http_server::serve(listener, http::router(door), connections, close.clone()));
    }
    Ok(doors)
}

fn write_addresses(data_dir: &Path, addresses: &Addresses) -> anyhow::Result<()> {
    let path = data_dir.join(ADDRESSES_FILE);
    let json = serde_json::to_vec(addresses)?;
    crate::deployments::write_atomically(&path, &json).with_context(|| path.display().to_string())
}
