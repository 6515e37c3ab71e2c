//! Talks to the cloud: over HTTP/3, or over TCP where UDP does not get through or `--http2` asks for it.

mod http2;
mod http3;
pub(crate) mod lines;
pub(crate) mod problem;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

use crate::Connection as Options;
use crate::failure::Failure;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use problem::Problem;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::net::TcpStream;

/// HTTP/3 gets this long before TCP is used.
const HTTP3_WITHIN: Duration = Duration::from_secs(3);
/// Whether somebody listens is asked over TCP when HTTP/3 did not answer by then.
const PROBE_AFTER: Duration = Duration::from_millis(300);
/// The head of an answer comes within this; a plugin is compiled meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// The next piece of a body comes within this.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// Largest answer that is not a stream.
const ANSWER_LEN_MAX: usize = 256 * 1024 * 1024;

/// A client of one cloud. Connects when it is asked something, and again after a connection was lost.
pub(crate) struct Client {
    base: Base,
    authorization: Option<HeaderValue>,
    tls: rustls::ClientConfig,
    tcp_only: bool,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Base {
    scheme: &'static str,
    host: String,
    port: u16,
}

enum Connection {
    Http3(http3::Connection),
    Tcp(http2::Connection),
}

/// A response whose body is still to be read.
pub(crate) struct Answer {
    body: Body,
    length: Option<usize>,
}

enum Body {
    Http3(Box<http3::Body>),
    Tcp(http2::Body),
}

impl Client {
    /// A client of the cloud that the options name.
    pub(crate) fn of_cloud(options: &Options) -> Result<Self, Failure> {
        let cloud = options.cloud.as_deref().ok_or_else(|| {
            Failure::Usage("which cloud? give --cloud https://host:port, or set DROVER_CLOUD".to_owned())
        })?;
        let base = Base::parse(cloud)?;
        if base.scheme != "https" {
            return Err(Failure::Usage(format!("--cloud {cloud}: it must begin with https://")));
        }
        let key = options
            .api_key
            .as_deref()
            .ok_or_else(|| Failure::Usage("which key? give --api-key KEY, or set DROVER_API_KEY".to_owned()))?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.trim()))
            .map_err(|_| Failure::Usage("the API key holds characters that no key has".to_owned()))?;
        authorization.set_sensitive(true);
        let tls = tls::config(options.ca.as_deref())?;
        Ok(Self { base, authorization: Some(authorization), tls, tcp_only: options.http2, connection: None })
    }

    /// A client of an edge's admin pages: plain HTTP on a loopback address, as a rule.
    pub(crate) fn of_edge(url: &str, ca: Option<&std::path::Path>) -> Result<Self, Failure> {
        let base = Base::parse(url)?;
        let tls = if base.scheme == "https" || ca.is_some() {
            tls::config(ca)?
        } else {
            // Not used, but the connector wants one; a machine without a list of authorities is no obstacle here.
            let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| Failure::Failed(error.to_string()))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        };
        Ok(Self { base, authorization: None, tls, tcp_only: true, connection: None })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        let body = self.get_bytes(path).await?;
        read_json(&body)
    }

    pub(crate) async fn get_bytes(&mut self, path: &str) -> Result<Bytes, Failure> {
        self.request(Method::GET, path, None, Bytes::new()).await?.whole().await
    }

    /// Sends a body, answers the JSON that comes back.
    pub(crate) async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let answer = self.request(method, path, Some(content_type), body).await?.whole().await?;
        read_json(&answer)
    }

    /// Sends a request and answers when a good head is there; any other is a failure.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let outcome = tokio::time::timeout(ANSWER_WITHIN, self.exchange(method, path, content_type, body)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Failure::Unreachable(format!("{} did not answer within {} s", self.base, ANSWER_WITHIN.as_secs())))
        });
        if matches!(outcome, Err(Failure::Unreachable(_))) {
            self.connection = None;
        }
        outcome
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|error| Failure::Usage(format!("{path} is no path: {error}")))?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type).header(header::CONTENT_LENGTH, body.len());
        }
        request = request.header(header::USER_AGENT, concat!("drover/", env!("CARGO_PKG_VERSION")));
        let request = request.body(body).map_err(|error| Failure::Failed(error.to_string()))?;
        let (response, body) = match self.connected().await? {
            Connection::Http3(connection) => {
                let (response, body) = connection.request(request).await?;
                (response, Body::Http3(Box::new(body)))
            }
            Connection::Tcp(connection) => {
                let (response, body) = connection.request(request).await?;
                (response, Body::Tcp(body))
            }
        };
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let answer = Answer { body, length };
        match response.status() {
            status if status.is_success() => Ok(answer),
            status => Err(Failure::Refused(answer.problem(status).await)),
        }
    }

    async fn connected(&mut self) -> Result<&mut Connection, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        if self.tcp_only {
            return Ok(Connection::Tcp(http2::Connection::new(&self.tls)));
        }
        let Base { host, port, .. } = &self.base;
        let http3 = tokio::time::timeout(HTTP3_WITHIN, http3::Connection::open(host, *port, &self.tls));
        // QUIC does not hear that nobody listens. TCP does, at once, and the cloud listens on both or on none.
        let nobody_listens = async {
            tokio::time::sleep(PROBE_AFTER).await;
            match TcpStream::connect((host.as_str(), *port)).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    // A server that only just starts may have UDP a moment before TCP.
                    tokio::time::sleep(PROBE_AFTER).await;
                }
                _ => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            opened = http3 => match opened {
                Ok(Ok(connection)) => return Ok(Connection::Http3(connection)),
                Ok(Err(http3::ConnectError::NotTrusted(why))) => return Err(not_trusted(&self.base.to_string(), &why)),
                Ok(Err(http3::ConnectError::NoAnswer(why))) => why,
                Err(_) => "no answer over UDP".to_owned(),
            },
            () = nobody_listens => return Err(refused_connection(&self.base.to_string())),
        };
        let tcp = tokio::time::timeout(HTTP3_WITHIN, TcpStream::connect((host.as_str(), *port))).await;
        match tcp {
            Ok(Ok(_)) => {
                eprintln!("drover: HTTP/3 does not get through ({why}); using HTTP/2");
                Ok(Connection::Tcp(http2::Connection::new(&self.tls)))
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(refused_connection(&self.base.to_string()))
            }
            Ok(Err(error)) => Err(Failure::Unreachable(format!("no connection to {}: {error}", self.base))),
            Err(_) => Err(Failure::Unreachable(format!("no answer from {}: is the address right?", self.base))),
        }
    }

    /// Closes the connection in good order.
    pub(crate) async fn close(&mut self) {
        if let Some(Connection::Http3(connection)) = self.connection.take() {
            connection.close().await;
        }
    }

    /// Gives up the connection; the next request builds another.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match &mut self.body {
            Body::Http3(body) => body.chunk().await,
            Body::Tcp(body) => body.chunk().await,
        }
    }

    /// The whole body.
    pub(crate) async fn whole(mut self) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        loop {
            let piece = tokio::time::timeout(PIECE_WITHIN, self.chunk())
                .await
                .map_err(|_| Failure::Unreachable("the answer stopped half way".to_owned()))??;
            let Some(piece) = piece else { break };
            whole.extend_from_slice(&piece);
            if whole.len() > ANSWER_LEN_MAX {
                return Err(Failure::Failed(format!("the answer is longer than {ANSWER_LEN_MAX} bytes")));
            }
        }
        if self.length.is_some_and(|length| length != whole.len()) {
            return Err(Failure::Unreachable("the answer was cut off".to_owned()));
        }
        Ok(whole.freeze())
    }

    async fn problem(self, status: StatusCode) -> Problem {
        let body = self.whole().await.unwrap_or_default();
        Problem::read(status.as_u16(), &body)
    }
}

impl Base {
    fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("{url} is not a URL like https://host:port: {why}"));
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong("it cannot be read"))?;
        let (scheme, port) = match uri.scheme_str() {
            Some("https") => ("https", 443),
            Some("http") => ("http", 80),
            _ => return Err(wrong("it does not begin with https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("leave out what follows the port"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { scheme, host, port: uri.port_u16().unwrap_or(port) })
    }
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.scheme, self.host, self.port),
        }
    }
}

fn refused_connection(to: &str) -> Failure {
    Failure::Unreachable(format!(
        "{to} refused the connection: is it running, and is the port right? (its data directory's addresses.json says \
         where it listens)"
    ))
}

fn not_trusted(to: &str, why: &str) -> Failure {
    Failure::Unreachable(format!(
        "the certificate of {to} is not accepted: {why}\n  give the file of its authority with --ca, and a host name \
         that the certificate holds"
    ))
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Failed(format!("the answer is not as expected: {error}")))
}

/// Percent-encodes a value for a query or a path.
pub(crate) fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A path with those parameters that have a value.
pub(crate) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let given: Vec<String> =
        parameters.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", encoded(value)))).collect();
    if given.is_empty() { path.to_owned() } else { format!("{path}?{}", given.join("&")) }
}
