//! One edge's connection: who it is, hello, then a task per stream.

use super::broken::Breakage;
use super::complaints::Complaints;
use super::edge_tenants::{EdgeTenants, Tenants};
use super::first_time::FirstTime;
use super::identity::edge_of;
use super::messages::{self, StreamError};
use super::reason::explain;
use super::registry::{Connected, EdgeRegistry};
use super::{PluginBytes, class_stream, control_stream, metrics, plugin_stream};
use crate::plugin_reports::PluginReports;
use fleet_model::{EdgeId, EventClass};
use fleet_wire::control::{self, Code, EncodedSet, Hello, StreamOpen, ToEdge};
use fleet_wire::frame::RECORD_VERSION;
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream, VarInt};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use vehicle_runtime::{AuditTrail, Logs};

/// From the first packet to the end of the handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// The first message of a connection and of each stream comes within this time.
const OPENING_DEADLINE: Duration = Duration::from_secs(5);
/// A refused edge gets this long to read why.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(2);

/// Our name and version, as edges are told.
pub(super) const SOFTWARE: &str = concat!("drover-cloud ", env!("CARGO_PKG_VERSION"));

/// What all connections work on.
pub(super) struct Shared {
    pub(super) logs: Logs,
    pub(super) audit: AuditTrail,
    pub(super) plugin_reports: PluginReports,
    pub(super) first_time: FirstTime,
    pub(super) edges: Arc<EdgeRegistry>,
    pub(super) edge_tenants: EdgeTenants,
    pub(super) deployments: watch::Receiver<EncodedSet>,
    pub(super) plugins: Arc<dyn PluginBytes>,
    pub(super) complaints: Complaints,
    pub(super) breakage: Breakage,
    pub(super) telemetry_commits: Arc<Semaphore>,
    pub(super) event_commits: Arc<Semaphore>,
}

/// An edge that was refused: what to tell it, and with which code.
struct Refusal(Code, String);

/// From handshake to end.
pub(super) async fn serve(incoming: Incoming, shared: Arc<Shared>, handshake: OwnedSemaphorePermit) {
    let address = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return handshake_failed(&shared, address, &error),
    };
    let connection = match tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return handshake_failed(&shared, address, &error),
        Err(_) => return handshake_failed(&shared, address, &ConnectionError::TimedOut),
    };
    drop(handshake);
    if let Err(Refusal(code, reason)) = welcome(&connection, &shared).await {
        metrics::count_refused("hello");
        if shared.complaints.is_new(address.ip(), &reason, Instant::now()) {
            tracing::warn!(%address, "connection refused: {reason}");
        }
        connection.close(VarInt::from_u32(code as u32), reason.as_bytes());
    }
}

fn handshake_failed(shared: &Shared, address: SocketAddr, error: &ConnectionError) {
    metrics::count_refused("handshake");
    let reason = explain(error);
    if shared.complaints.is_new(address.ip(), &reason, Instant::now()) {
        tracing::warn!(%address, "handshake with an edge failed: {reason}");
    }
}

async fn welcome(connection: &Connection, shared: &Arc<Shared>) -> Result<(), Refusal> {
    let edge = edge_of(connection).map_err(|e| Refusal(Code::Identity, e.to_string()))?;
    let opening = tokio::time::timeout(OPENING_DEADLINE, async {
        let (send, mut recv) = connection.accept_bi().await.map_err(|_| StreamError::Ended)?;
        let open = messages::read::<StreamOpen>(&mut recv, control::OPENING_LEN_MAX).await?;
        Ok::<_, StreamError>((send, recv, open))
    });
    let (mut send, recv, hello) = match opening.await {
        Ok(Ok((send, recv, StreamOpen::Control(hello)))) => (send, recv, hello),
        Ok(Ok(_)) => return Err(Refusal(Code::Protocol, "the first stream must be the control stream".into())),
        Ok(Err(StreamError::Ended)) => return Ok(()),
        Ok(Err(error)) => return Err(Refusal(Code::Protocol, error.to_string())),
        Err(_) => return Err(Refusal(Code::Overdue, "no hello came".into())),
    };
    let tenants = match check_hello(&hello, &edge).and_then(|()| tenants_of(&edge, &shared.edge_tenants)) {
        Ok(tenants) => tenants,
        Err(reason) => {
            let refused = ToEdge::Refused { reason: reason.clone() };
            if messages::write(&mut send, &refused, control::MESSAGE_LEN_MAX).await.is_ok() {
                let _ = send.finish();
                let _ = tokio::time::timeout(REFUSAL_DEADLINE, send.stopped()).await;
            }
            return Err(Refusal(Code::Refused, reason));
        }
    };
    let events = shared.logs.events.as_ref();
    if let Err(error) = shared.first_time.came(events, &shared.audit, &edge, &hello.software).await {
        // It is let in nevertheless: what it has to deliver matters more, and its next connection is recorded.
        tracing::error!(%edge, %error, "an edge came for the first time, which could not be recorded");
    }
    let welcome = ToEdge::Welcome { protocol: control::PROTOCOL, software: SOFTWARE.into() };
    if messages::write(&mut send, &welcome, control::MESSAGE_LEN_MAX).await.is_err() {
        return Ok(());
    }
    shared.complaints.forget(connection.remote_address().ip());
    let connected = shared.edges.connected(&edge, tenants, &hello.software, connection);
    tracing::info!(%edge, address = %connection.remote_address(), software = hello.software, "edge connected");
    let ended = serve_streams(connection, &edge, shared, connected, (send, recv)).await;
    tracing::info!(%edge, "edge disconnected: {ended}");
    Ok(())
}

fn check_hello(hello: &Hello, edge: &EdgeId) -> Result<(), String> {
    if hello.protocol != control::PROTOCOL {
        let (theirs, ours) = (hello.protocol, control::PROTOCOL);
        return Err(format!("it speaks protocol {theirs}, this cloud speaks {ours}: update the older one"));
    }
    if hello.edge != edge.as_str() {
        return Err(format!(
            "it calls itself {:?}, but its certificate is for {:?}: set `edge` in its config to the certificate's \
             common name, or give it its own certificate",
            hello.edge,
            edge.as_str()
        ));
    }
    if !hello.records.is_empty() && !hello.records.contains(&RECORD_VERSION) {
        return Err(format!("it sends records of versions {:?}, this cloud knows {RECORD_VERSION}", hello.records));
    }
    Ok(())
}

fn tenants_of(edge: &EdgeId, listed: &EdgeTenants) -> Result<Tenants, String> {
    listed.of(edge).ok_or_else(|| {
        format!("{:?} is not among the [[edges]] of this cloud's config: add it there with its tenants", edge.as_str())
    })
}

/// Accepts streams until the connection ends. Answers why it did.
async fn serve_streams(
    connection: &Connection,
    edge: &EdgeId,
    shared: &Arc<Shared>,
    connected: Connected,
    control: (SendStream, RecvStream),
) -> String {
    let mut tasks = JoinSet::new();
    let reason = accept_streams(connection, edge, shared, Arc::new(connected), control, &mut tasks).await;
    // What it started has ended when this returns, and with it every use of the logs.
    tasks.shutdown().await;
    reason
}

async fn accept_streams(
    connection: &Connection,
    edge: &EdgeId,
    shared: &Arc<Shared>,
    connected: Arc<Connected>,
    control: (SendStream, RecvStream),
    tasks: &mut JoinSet<()>,
) -> String {
    let (close, mut closing) = tokio::sync::mpsc::channel::<String>(1);
    tasks.spawn({
        let (shared, connected) = (shared.clone(), connected.clone());
        async move {
            let reason = control_stream::run(control, shared, connected).await;
            let _ = close.send(reason).await;
        }
    });
    let mut classes: BTreeMap<EventClass, AbortHandle> = BTreeMap::new();
    let (opened, mut openings) = tokio::sync::mpsc::channel(4);
    loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok(stream) => {
                    let (opened, edge) = (opened.clone(), edge.clone());
                    tasks.spawn(async move {
                        if let Some(opening) = read_opening(stream, &edge).await {
                            let _ = opened.send(opening).await;
                        }
                    });
                }
                Err(reason) => return reason.to_string(),
            },
            Some((send, recv, open)) = openings.recv() => match open {
                StreamOpen::Class { class, epoch, first } => {
                    let run = class_stream::run((send, recv), class, (epoch, first), shared.clone(), connected.clone());
                    // One stream per class: what an edge opens anew it has given up before.
                    if let Some(before) = classes.insert(class, tasks.spawn(run)) {
                        before.abort();
                    }
                }
                StreamOpen::Plugin { hash } => {
                    tasks.spawn(plugin_stream::run((send, recv), hash, shared.clone(), connected.clone()));
                }
                StreamOpen::Control(_) => {
                    let reason = "a second control stream";
                    connection.close(VarInt::from_u32(Code::Protocol as u32), reason.as_bytes());
                    return reason.into();
                }
            },
            Some(reason) = closing.recv() => {
                connection.close(VarInt::from_u32(Code::Protocol as u32), reason.as_bytes());
                return reason;
            }
            Some(_) = tasks.join_next() => (),
        }
    }
}

async fn read_opening(
    (mut send, mut recv): (SendStream, RecvStream),
    edge: &EdgeId,
) -> Option<(SendStream, RecvStream, StreamOpen)> {
    let read = messages::read::<StreamOpen>(&mut recv, control::OPENING_LEN_MAX);
    let (code, reason) = match tokio::time::timeout(OPENING_DEADLINE, read).await {
        Ok(Ok(open)) => return Some((send, recv, open)),
        Ok(Err(error)) => (Code::Protocol, error.to_string()),
        Err(_) => (Code::Overdue, "it did not say what it is for".into()),
    };
    tracing::warn!(%edge, "a stream was refused: {reason}");
    reset(&mut send, &mut recv, code);
    None
}

/// Ends a stream for a reason. Dropping it would look like a clean end.
pub(super) fn reset(send: &mut SendStream, recv: &mut RecvStream, code: Code) {
    let _ = send.reset(VarInt::from_u32(code as u32));
    let _ = recv.stop(VarInt::from_u32(code as u32));
}
