//! HTTP/3: quinn for QUIC, h3 for HTTP.

use crate::failure::Failure;
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use futures_util::future::select_ok;
use http::{Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Keeps the way through routers open while a stream is quiet, and notices a server that is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// A peer that does not answer for this long is gone: over UDP, a killed server says nothing.
const IDLE_MAX: Duration = Duration::from_secs(8);
/// When a name has several addresses, the next one is tried this much later.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(150);

type SendRequest = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;
type RequestStream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// An open connection.
#[derive(Clone)]
pub(crate) struct Connection {
    send: SendRequest,
    quic: quinn::Connection,
    endpoint: quinn::Endpoint,
}

/// Why there is no connection.
pub(crate) enum ConnectError {
    /// Nobody answers over UDP; TCP may work.
    NoAnswer(String),
    /// The server answers, but not to us: TCP would say the same.
    NotTrusted(String),
}

impl Connection {
    pub(crate) async fn open(host: &str, port: u16, tls: &rustls::ClientConfig) -> Result<Self, ConnectError> {
        let no_answer = |error: &dyn std::fmt::Display| ConnectError::NoAnswer(error.to_string());
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(|error| no_answer(&error))?;
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        transport.max_idle_timeout(quinn::IdleTimeout::try_from(IDLE_MAX).ok());
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host((host, port)).await.map_err(|error| no_answer(&error))?.collect();
        let tries = addresses.into_iter().enumerate().map(|(place, address)| {
            let config = config.clone();
            async move {
                tokio::time::sleep(NEXT_ADDRESS_AFTER * place as u32).await;
                quic(address, host, config).await
            }
            .boxed()
        });
        let tries: Vec<_> = tries.collect();
        if tries.is_empty() {
            return Err(ConnectError::NoAnswer(format!("{host} has no address")));
        }
        let ((quic, endpoint), _) = select_ok(tries).await?;
        let (mut driver, send) =
            h3::client::new(h3_quinn::Connection::new(quic.clone())).await.map_err(|error| no_answer(&error))?;
        tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
        Ok(Self { send, quic, endpoint })
    }

    /// Sends a request with its body, and answers when the head of the response is there.
    pub(crate) async fn request(&mut self, request: Request<Bytes>) -> Result<(Response<()>, Body), Failure> {
        let lost = |error: &dyn std::fmt::Display| Failure::Unreachable(format!("the connection was lost: {error}"));
        let (parts, body) = request.into_parts();
        let mut stream = self.send.send_request(Request::from_parts(parts, ())).await.map_err(|error| lost(&error))?;
        // A server may answer before it has read everything, with a refusal; what it says counts then.
        if body.is_empty() || stream.send_data(body).await.is_ok() {
            let _ = stream.finish().await;
        }
        let response = stream.recv_response().await.map_err(|error| lost(&error))?;
        Ok((response, Body { stream, _connection: self.clone() }))
    }

    /// Says goodbye and waits a moment until that is said.
    pub(crate) async fn close(self) {
        self.quic.close(quinn::VarInt::from_u32(0x100), b"done");
        let _ = tokio::time::timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }
}

async fn quic(
    address: SocketAddr,
    host: &str,
    config: quinn::ClientConfig,
) -> Result<(quinn::Connection, quinn::Endpoint), ConnectError> {
    let no_answer = |error: &dyn std::fmt::Display| ConnectError::NoAnswer(error.to_string());
    let any: SocketAddr =
        if address.is_ipv6() { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() } else { ([0; 4], 0).into() };
    let mut endpoint = quinn::Endpoint::client(any).map_err(|error| no_answer(&error))?;
    endpoint.set_default_client_config(config);
    let connecting = endpoint.connect(address, host).map_err(|error| no_answer(&error))?;
    match connecting.await {
        Ok(connection) => Ok((connection, endpoint)),
        // TLS alerts travel as transport errors 0x100 and up.
        Err(quinn::ConnectionError::TransportError(error)) if (0x100..0x200).contains(&u64::from(error.code)) => {
            Err(ConnectError::NotTrusted(error.reason))
        }
        Err(error) => Err(no_answer(&error)),
    }
}

/// The body of a response. Holds the connection: h3 closes it when its last handle goes.
pub(crate) struct Body {
    stream: RequestStream,
    _connection: Connection,
}

impl Body {
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.stream.recv_data().await {
            Ok(Some(mut data)) => Ok(Some(data.copy_to_bytes(data.remaining()))),
            Ok(None) => Ok(None),
            Err(error) => Err(Failure::Unreachable(format!("the connection was lost: {error}"))),
        }
    }
}
