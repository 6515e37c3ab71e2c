//! One QUIC connection to the cloud.

use super::config::{UplinkConfig, UplinkConfigError};
use super::reason::explain;
use fleet_wire::control::Code;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// From the first packet to the end of the handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Waiting for the last packets of a connection that was closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// What the cloud may send on one stream before we read it: a plugin, deployments.
const STREAM_WINDOW_BYTES: u32 = 1_024 * 1_024;
/// Over all streams.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1_024 * 1_024;
/// What quinn keeps to send again, over all streams. The sessions' windows are the real bound.
const SEND_WINDOW_BYTES: u64 = 8 * 1_024 * 1_024;
/// Keep-alives in the time after which silence counts as loss.
const KEEP_ALIVES_PER_TIMEOUT: u32 = 4;

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Config(#[from] UplinkConfigError),
    #[error("{0:?} cannot be resolved: {1}")]
    Resolve(String, std::io::Error),
    #[error("no UDP socket: {0}")]
    Socket(std::io::Error),
    #[error("{0}")]
    Setup(String),
    #[error("{}", explain(.0))]
    Lost(ConnectionError),
    #[error("the cloud refused this edge: {0}")]
    Refused(String),
    #[error("{0}")]
    Protocol(String),
    #[error("no answer in time: {0}")]
    Overdue(&'static str),
    #[error("shutting down")]
    ShuttingDown,
}

impl SessionError {
    /// Whether trying again soon is pointless, though some data went through.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Lost(ConnectionError::ApplicationClosed(close)) => matches!(
                Code::from_number(close.error_code.into_inner()),
                Some(Code::Superseded | Code::Identity | Code::Refused | Code::Busy)
            ),
            _ => false,
        }
    }
}

/// A connection with the socket it has to itself: after a change of network the next attempt starts afresh.
pub(super) struct Cloud {
    pub(super) connection: Connection,
    endpoint: Endpoint,
}

impl Cloud {
    /// Tells the cloud that we go, and sees that it is told.
    pub(super) async fn close(self, code: Code) {
        self.connection.close(VarInt::from_u32(code as u32), b"");
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.endpoint.wait_idle()).await;
    }
}

/// Tries the addresses of the cloud one after the other.
pub(super) async fn connect(config: &UplinkConfig) -> Result<Cloud, SessionError> {
    let server_name = config.server_name()?;
    let tls = QuicClientConfig::try_from(config.tls()?).map_err(|e| SessionError::Setup(e.to_string()))?;
    let mut client = ClientConfig::new(Arc::new(tls));
    client.transport_config(Arc::new(transport(config)));

    let resolved = tokio::net::lookup_host(&config.cloud).await;
    let addresses: Vec<_> = resolved.map_err(|e| SessionError::Resolve(config.cloud.clone(), e))?.collect();
    let mut last = SessionError::Setup(format!("{:?} has no address", config.cloud));
    for address in addresses {
        match connect_to(address, &client, &server_name).await {
            Ok(cloud) => return Ok(cloud),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr, client: &ClientConfig, server_name: &str) -> Result<Cloud, SessionError> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any).map_err(SessionError::Socket)?;
    let connecting = endpoint
        .connect_with(client.clone(), address, server_name)
        .map_err(|e| SessionError::Setup(format!("{address}: {e}")))?;
    match tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await {
        Ok(Ok(connection)) => Ok(Cloud { connection, endpoint }),
        Ok(Err(error)) => Err(SessionError::Lost(error)),
        Err(_) => Err(SessionError::Lost(ConnectionError::TimedOut)),
    }
}

fn transport(config: &UplinkConfig) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        // The edge opens all streams.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(config.idle_timeout_ms))))
        .keep_alive_interval(Some(Duration::from_millis(u64::from(config.idle_timeout_ms / KEEP_ALIVES_PER_TIMEOUT))));
    transport
}
