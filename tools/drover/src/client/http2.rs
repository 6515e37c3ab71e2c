//! HTTP over TCP: HTTP/2 where TLS agrees on it, 1.1 otherwise; plain only for an edge's admin pages.

use crate::failure::Failure;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::time::Duration;

/// A TCP connection stands within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Asks a quiet connection whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A client that connects when it is asked something.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Connection {
    pub(crate) fn new(tls: &rustls::ClientConfig) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .build(connector);
        Self { client }
    }

    /// Sends a request with its body, and answers when the head of the response is there.
    pub(crate) async fn request(&self, request: Request<Bytes>) -> Result<(Response<()>, Body), Failure> {
        let (parts, body) = request.into_parts();
        let to = parts.uri.authority().map_or_else(String::new, ToString::to_string);
        let request = Request::from_parts(parts, Full::new(body));
        let response = self.client.request(request).await.map_err(|error| explained(&to, &error))?;
        let (parts, body) = response.into_parts();
        Ok((Response::from_parts(parts, ()), Body(body)))
    }
}

/// The body of a response.
pub(crate) struct Body(Incoming);

impl Body {
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.0.frame().await {
            let frame = frame.map_err(|error| Failure::Unreachable(format!("the connection was lost: {error}")))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// Looks through the causes for one that says what to do.
fn explained(to: &str, error: &(dyn Error + 'static)) -> Failure {
    let mut last = error;
    loop {
        if let Some(io) = last.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return super::refused_connection(to);
        }
        if let Some(tls) = last.downcast_ref::<rustls::Error>() {
            return super::not_trusted(to, &tls.to_string());
        }
        // An I/O error passes over the error that it wraps when it is asked for its source.
        let wrapped = last.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        last = match (wrapped, last.source()) {
            (Some(wrapped), _) => wrapped,
            (None, Some(source)) => source,
            (None, None) => return Failure::Unreachable(format!("no answer from {to}: {last}")),
        };
    }
}
