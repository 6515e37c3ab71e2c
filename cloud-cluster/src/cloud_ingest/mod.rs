//! The cloud's end of the uplink: takes frames from edges, makes them durable, acknowledges, and hands readings on.
//!
//! ```text
//!  edge --QUIC--> class_stream: read, validate, commit with the edge's offset, acknowledge
//!                                                |
//!                          telemetry log --> applier --> vehicle actors
//! ```
//! An acknowledgement means that the records are durable here and the edge's offset with them, in one transaction. The
//! actors get readings from the log in the log's order, whichever edge they came from, so that a restart continues
//! where they stood. What edges recorded of their acts goes into the cloud's own chain.
//!
//! What no part of this module does: acknowledge before the commit, believe an edge's name that is not in its
//! certificate, take a record of a tenant for which the edge may not speak, let one edge's bad frame touch another
//! stream, or go on when a log has failed.

mod applier;
mod broken;
mod class_stream;
mod complaints;
mod config;
mod connection;
mod control_stream;
mod edge_tenants;
mod first_time;
mod identity;
mod messages;
pub mod metrics;
mod plugin_stream;
mod reason;
mod registry;
mod validation;

pub use applier::{Apply, ApplyError};
pub use broken::BrokenLog;
pub use config::{CloudIngestConfig, CloudIngestConfigError};
pub use edge_tenants::{EdgeEntry, EdgeTenants, EdgeTenantsError};
pub use registry::{EdgeRegistry, EdgeView};

use crate::plugin_reports::PluginReports;
use crate::quic_endpoint;
use bytes::Bytes;
use connection::Shared;
use event_log::EventLog;
use fleet_wire::control::{Code, EncodedSet};
use quinn::{Endpoint, VarInt};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vehicle_runtime::{AuditTrail, Logs};

/// Commits of telemetry that may wait for the disk at a time, over all edges. Bounds memory to that many frames, and
/// keeps below the log's own queue, so that handing in a commit never blocks a thread.
const TELEMETRY_COMMITS_MAX: usize = 64;
/// The same for everything else, so that alerts do not stand in telemetry's queue.
const EVENT_COMMITS_MAX: usize = 64;
/// Handshakes under way at a time; more are told to come back with a token that proves their address.
const HANDSHAKES_MAX: usize = 64;
/// Waiting for connections to end after they were told to.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);

/// Where plugins' bytes are.
pub trait PluginBytes: Send + Sync + 'static {
    /// The component with this SHA-256 (64 hexadecimal digits); may read a disk.
    fn plugin_bytes(&self, hash: &str) -> Option<Bytes>;
}

/// Why the ingest could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CloudIngestError {
    /// The config.
    #[error(transparent)]
    Config(#[from] CloudIngestConfigError),
    /// The socket.
    #[error("cloud_ingest.listen = {0} cannot be bound: {1}")]
    Bind(SocketAddr, std::io::Error),
    /// The readings in the log cannot be applied. Restart when the cause is gone; nothing durable is lost.
    #[error("readings cannot be applied: {0}")]
    Apply(#[from] ApplyError),
    /// A log failed and takes nothing more.
    #[error(transparent)]
    Broken(#[from] BrokenLog),
}

/// A socket that is bound and takes no connections yet.
#[derive(Debug)]
pub struct CloudIngest {
    endpoint: Endpoint,
    config: CloudIngestConfig,
    edge_tenants: EdgeTenants,
    audit: AuditTrail,
    plugin_reports: PluginReports,
}

impl CloudIngest {
    /// Reads the certificates and binds the socket. Needs a tokio runtime. `edge_tenants` says who may speak for whom;
    /// `audit` is the trail of the events log; `plugin_reports` takes what edges report of their rules.
    ///
    /// # Errors
    /// See [`CloudIngestError`].
    pub fn bind(
        config: CloudIngestConfig,
        edge_tenants: EdgeTenants,
        audit: AuditTrail,
        plugin_reports: PluginReports,
    ) -> Result<Self, CloudIngestError> {
        let (server, private_key) = (config.server()?, config.private_key()?);
        let bound = UdpSocket::bind(config.listen).and_then(|socket| {
            let known_again = quic_endpoint::config(&private_key, socket.local_addr()?);
            Endpoint::new(known_again, Some(server), socket, Arc::new(quinn::TokioRuntime))
        });
        let endpoint = bound.map_err(|error| CloudIngestError::Bind(config.listen, error))?;
        Ok(Self { endpoint, config, edge_tenants, audit, plugin_reports })
    }

    /// The address that was bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap_or(self.config.listen)
    }

    /// Serves edges until `shutdown`, then says good-bye to them. When it returns nothing of it holds the logs any more.
    ///
    /// # Errors
    /// When readings cannot be applied any more, or a log takes nothing more: the node has to stop, or its answers would
    /// silently grow old.
    pub async fn run<R: Apply>(
        self,
        logs: Logs,
        runtime: Arc<R>,
        edges: Arc<EdgeRegistry>,
        deployments: watch::Receiver<EncodedSet>,
        plugins: Arc<dyn PluginBytes>,
        shutdown: CancellationToken,
    ) -> Result<(), CloudIngestError> {
        let telemetry: Arc<dyn EventLog> = logs.telemetry.clone();
        let shared = Arc::new(Shared {
            logs,
            audit: self.audit.clone(),
            plugin_reports: self.plugin_reports.clone(),
            first_time: first_time::FirstTime::default(),
            edges,
            edge_tenants: self.edge_tenants.clone(),
            deployments,
            plugins,
            complaints: complaints::Complaints::default(),
            breakage: broken::Breakage::default(),
            telemetry_commits: Arc::new(Semaphore::new(TELEMETRY_COMMITS_MAX)),
            event_commits: Arc::new(Semaphore::new(EVENT_COMMITS_MAX)),
        });
        let (mut tasks, reads) = (JoinSet::new(), TaskTracker::new());
        let result = tokio::select! {
            () = self.accept(&shared, &mut tasks) => Ok(()),
            Err(error) = applier::run(telemetry, runtime, &reads) => Err(CloudIngestError::Apply(error)),
            broken = shared.breakage.reported() => Err(CloudIngestError::Broken(broken)),
            () = shutdown.cancelled() => Ok(()),
        };
        self.endpoint.close(VarInt::from_u32(Code::ShuttingDown as u32), b"shutting down");
        let drained = async {
            // Each connection ends its streams; handshakes that were under way end too.
            while tasks.join_next().await.is_some() {}
            self.endpoint.wait_idle().await;
        };
        if tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err() {
            tracing::warn!("some edges did not hear that the cloud is shutting down");
        }
        tasks.shutdown().await;
        reads.close();
        reads.wait().await;
        result
    }

    async fn accept(&self, shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let connections = Arc::new(Semaphore::new(self.config.connections_max));
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                Some(_) = tasks.join_next() => continue,
            };
            let Some(incoming) = incoming else { return };
            let Ok(connection) = connections.clone().try_acquire_owned() else {
                metrics::count_refused("busy");
                incoming.refuse();
                continue;
            };
            let Ok(handshake) = handshakes.clone().try_acquire_owned() else {
                metrics::count_refused("handshakes");
                if incoming.may_retry() {
                    let _ = incoming.retry();
                } else {
                    incoming.refuse();
                }
                continue;
            };
            let shared = shared.clone();
            tasks.spawn(async move {
                connection::serve(incoming, shared, handshake).await;
                drop(connection);
            });
        }
    }
}
