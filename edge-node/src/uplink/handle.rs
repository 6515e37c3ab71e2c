//! What the rest of the edge node has of the uplink.

use super::connection::SessionError;
use super::messages;
use bytes::{Bytes, BytesMut};
use fleet_model::EdgeId;
use fleet_wire::control::{
    Code, DeploymentSet, EdgeStatus, OPENING_LEN_MAX, PLUGIN_LEN_MAX, PluginReply, StreamOpen, StreamStatus,
};
use quinn::{Connection, RecvStream, VarInt};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use vehicle_runtime::PluginReports;

/// A plugin that makes no progress for this long is given up.
const FETCH_STALL_MAX: Duration = Duration::from_secs(30);
/// Bytes taken from the stream at a time.
const FETCH_CHUNK_BYTES: usize = 64 * 1_024;

/// Makes both ends: the link goes to [`run`](super::run), the handle to whoever shows the state and loads plugins.
#[must_use]
pub fn link(edge: EdgeId, software: String, status: watch::Receiver<EdgeStatus>) -> (UplinkLink, UplinkHandle) {
    let (deployments, deployments_seen) = watch::channel(None);
    let (state, state_seen) = watch::channel(UplinkState::default());
    let (quic, quic_seen) = watch::channel(None);
    let link = UplinkLink { edge, software, status, reports: None, deployments, state, quic };
    (link, UplinkHandle { deployments: deployments_seen, state: state_seen, quic: quic_seen })
}

/// The uplink's end.
#[derive(Debug)]
pub struct UplinkLink {
    pub(super) edge: EdgeId,
    pub(super) software: String,
    /// What to tell the cloud; `software` and `streams` are filled in.
    pub(super) status: watch::Receiver<EdgeStatus>,
    /// What to tell it of the rules here.
    pub(super) reports: Option<PluginReports>,
    pub(super) deployments: watch::Sender<Option<DeploymentSet>>,
    state: watch::Sender<UplinkState>,
    quic: watch::Sender<Option<Connection>>,
}

/// Everybody else's end.
#[derive(Debug, Clone)]
pub struct UplinkHandle {
    /// What the cloud wants to run here; `None` until it has said so.
    pub deployments: watch::Receiver<Option<DeploymentSet>>,
    /// Whether there is a connection, and how far each class is.
    pub state: watch::Receiver<UplinkState>,
    quic: watch::Receiver<Option<Connection>>,
}

/// How the uplink stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct UplinkState {
    /// Whether there is a connection.
    pub connection: ConnectionState,
    /// How far each class is.
    pub streams: Vec<StreamStatus>,
}

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ConnectionState {
    /// On its way.
    #[default]
    Connecting,
    /// The cloud has said welcome.
    Connected {
        /// Where it is.
        cloud: SocketAddr,
        /// Name and version of its program.
        software: String,
    },
    /// The last attempt or connection ended; another follows.
    Waiting {
        /// Why, and what to do.
        reason: String,
    },
    /// The program ends.
    Closed,
}

/// Why a plugin did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Worth a retry when there is a connection.
    #[error("there is no connection to the cloud")]
    NotConnected,
    /// Worth a retry.
    #[error("the connection failed while the plugin was fetched: {0}")]
    Lost(String),
    /// Not worth a retry.
    #[error("the cloud does not give the plugin: {0}")]
    Refused(String),
    /// Not worth a retry.
    #[error("a plugin of {0} bytes is over the limit of {PLUGIN_LEN_MAX}")]
    TooLong(u64),
}

impl UplinkLink {
    /// The same, and the cloud is told what rules use and log.
    #[must_use]
    pub fn with_reports(self, reports: PluginReports) -> Self {
        Self { reports: Some(reports), ..self }
    }

    pub(super) fn set_connection(&self, connection: ConnectionState) {
        self.state.send_if_modified(|state| {
            let changed = state.connection != connection;
            state.connection = connection;
            changed
        });
    }

    pub(super) fn set_streams(&self, streams: Vec<StreamStatus>) {
        self.state.send_if_modified(|state| {
            let changed = state.streams != streams;
            state.streams = streams;
            changed
        });
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state.borrow().connection, ConnectionState::Connected { .. })
    }

    pub(super) fn set_quic(&self, connection: Option<Connection>) {
        self.quic.send_replace(connection);
    }
}

impl UplinkHandle {
    /// Fetches a plugin's bytes on a stream of its own. The caller checks their SHA-256.
    ///
    /// # Errors
    /// See [`FetchError`], which says what is worth a retry.
    pub async fn fetch_plugin(&self, hash: &str) -> Result<Bytes, FetchError> {
        let connection = self.quic.borrow().clone().ok_or(FetchError::NotConnected)?;
        let lost = |e: quinn::ConnectionError| FetchError::Lost(SessionError::Lost(e).to_string());
        let (mut send, mut recv) = connection.open_bi().await.map_err(lost)?;
        // Behind alerts and telemetry: a plugin can wait, a reading cannot.
        let _ = send.set_priority(-1);
        let open = StreamOpen::Plugin { hash: hash.to_owned() };
        let result = tokio::select! {
            result = async {
                messages::write(&mut send, &open).await.map_err(|e| FetchError::Lost(e.to_string()))?;
                receive_plugin(&mut recv).await
            } => result,
            reason = connection.closed() => Err(lost(reason)),
        };
        if result.is_err() {
            let _ = send.reset(VarInt::from_u32(Code::Done as u32));
            let _ = recv.stop(VarInt::from_u32(Code::Done as u32));
        }
        result
    }

    /// Waits until the cloud has said welcome.
    pub async fn connected(&self) {
        let mut quic = self.quic.clone();
        // An error means that the uplink has ended: then this never comes.
        if quic.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn receive_plugin(recv: &mut RecvStream) -> Result<Bytes, FetchError> {
    let stalled = |_| FetchError::Lost("it stalled".into());
    let reply = tokio::time::timeout(FETCH_STALL_MAX, messages::read(recv, OPENING_LEN_MAX));
    let len = match reply.await.map_err(stalled)?.map_err(|e| FetchError::Lost(e.to_string()))? {
        PluginReply::Found { len } => len,
        PluginReply::Refused { reason } => return Err(FetchError::Refused(reason)),
    };
    if len > PLUGIN_LEN_MAX as u64 {
        return Err(FetchError::TooLong(len));
    }
    let mut bytes = BytesMut::with_capacity(len as usize);
    while bytes.len() < len as usize {
        let wanted = FETCH_CHUNK_BYTES.min(len as usize - bytes.len());
        let chunk = tokio::time::timeout(FETCH_STALL_MAX, recv.read_chunk(wanted, true)).await.map_err(stalled)?;
        match chunk.map_err(|e| FetchError::Lost(e.to_string()))? {
            Some(chunk) => bytes.extend_from_slice(&chunk.bytes),
            None => return Err(FetchError::Lost("it ended early".into())),
        }
    }
    Ok(bytes.freeze())
}
