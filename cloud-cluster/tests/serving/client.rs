//! One client for HTTP/1.1, HTTP/2 and HTTP/3.

use crate::cloud::Cloud;
use bytes::{Buf, Bytes};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
    Http3,
}

pub(crate) const ALL: [Version; 3] = [Version::Http1, Version::Http2, Version::Http3];
/// Nothing here takes that long; a test that hangs fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Call<'c> {
    pub(crate) cloud: &'c Cloud,
    pub(crate) version: Version,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// An answer whose body comes piece by piece. Dropped, it lets go of the connection.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pieces: mpsc::Receiver<Result<Bytes, String>>,
    /// What came after the lines that were asked for.
    rest: Vec<u8>,
    _task: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Cloud {
    pub(crate) fn get(&self, version: Version, path: impl Into<String>) -> Call<'_> {
        self.call(version, Method::GET, path)
    }

    pub(crate) fn call(&self, version: Version, method: Method, path: impl Into<String>) -> Call<'_> {
        let headers = vec![(AUTHORIZATION.as_str(), format!("Bearer {}", crate::cloud::DEMO_KEY))];
        Call { cloud: self, version, method, path: path.into(), headers, body: Bytes::new() }
    }

    pub(crate) fn tls(&self, alpn: &[u8]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        tls
    }

    /// A TLS connection; nothing is said on it yet.
    pub(crate) async fn connect_tcp(&self, alpn: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.tls(alpn)));
        connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
    }

    /// A QUIC connection; nothing is said on it yet.
    pub(crate) async fn connect_quic(&self) -> (quinn::Endpoint, quinn::Connection) {
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(self.tls(b"h3")).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        let connection = endpoint.connect(self.address, "localhost").unwrap().await.unwrap();
        (endpoint, connection)
    }
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    pub(crate) fn no_key(mut self) -> Self {
        self.headers.clear();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        Self { body, ..self.header("content-type", "application/json") }
    }

    pub(crate) fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) async fn send(self) -> Answer {
        tokio::time::timeout(PATIENCE, self.exchange()).await.unwrap()
    }

    async fn exchange(self) -> Answer {
        let uri = match self.version {
            Version::Http1 => self.path.clone(),
            _ => format!("https://localhost:{}{}", self.cloud.address.port(), self.path),
        };
        let mut request = Request::builder().method(self.method).uri(uri);
        if self.version == Version::Http1 {
            request = request.header(HOST, "localhost");
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let (answered, answer) = oneshot::channel();
        let (sender, pieces) = mpsc::channel(4);
        let task = if self.version == Version::Http3 {
            let (endpoint, connection) = self.cloud.connect_quic().await;
            let request = request.body(()).unwrap();
            tokio::spawn(over_http3(endpoint, connection, request, self.body, answered, sender))
        } else {
            let http2 = self.version == Version::Http2;
            let stream = self.cloud.connect_tcp(if http2 { b"h2" } else { b"http/1.1" }).await;
            let request = request.body(Full::new(self.body)).unwrap();
            tokio::spawn(over_tcp(stream, http2, request, answered, sender))
        };
        let (status, headers) = answer.await.unwrap();
        Answer { status, headers, pieces, rest: Vec::new(), _task: AbortOnDrop(task) }
    }
}

type Answered = oneshot::Sender<(StatusCode, HeaderMap)>;
type Pieces = mpsc::Sender<Result<Bytes, String>>;

async fn over_tcp(
    stream: tokio_rustls::client::TlsStream<TcpStream>,
    http2: bool,
    request: Request<Full<Bytes>>,
    answered: Answered,
    pieces: Pieces,
) {
    let io = TokioIo::new(stream);
    let (response, driver) = if http2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let driver = AbortOnDrop(tokio::spawn(async move { drop(connection.await) }));
        (sender.send_request(request).await.unwrap(), driver)
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let driver = AbortOnDrop(tokio::spawn(async move { drop(connection.await) }));
        (sender.send_request(request).await.unwrap(), driver)
    };
    let (parts, mut body) = response.into_parts();
    let _ = answered.send((parts.status, parts.headers));
    while let Some(frame) = body.frame().await {
        let piece = frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(|error| error.to_string());
        // HTTP/2 may end with an empty frame.
        if piece.as_ref().is_ok_and(Bytes::is_empty) {
            continue;
        }
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
    drop(driver);
}

async fn over_http3(
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    request: Request<()>,
    body: Bytes,
    answered: Answered,
    pieces: Pieces,
) {
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    let _driver = AbortOnDrop(tokio::spawn(async move {
        let _ = std::future::poll_fn(|cx| driver.poll_close(cx)).await;
    }));
    let mut stream = sender.send_request(request).await.unwrap();
    if !body.is_empty() {
        stream.send_data(body).await.unwrap();
    }
    stream.finish().await.unwrap();
    let response = stream.recv_response().await.unwrap();
    let _ = answered.send((response.status(), response.headers().clone()));
    loop {
        let piece = match stream.recv_data().await {
            Ok(Some(mut data)) => Ok(data.copy_to_bytes(data.remaining())),
            Ok(None) => break,
            Err(error) => Err(error.to_string()),
        };
        let failed = piece.is_err();
        if pieces.send(piece).await.is_err() || failed {
            break;
        }
    }
    drop((stream, endpoint));
}

impl Answer {
    /// The next piece; `None` at the clean end.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, String>> {
        tokio::time::timeout(PATIENCE, self.pieces.recv()).await.unwrap()
    }

    /// Everything up to the clean end.
    pub(crate) async fn bytes(mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.rest);
        while let Some(piece) = self.piece().await {
            all.extend_from_slice(&piece.unwrap());
        }
        all
    }

    pub(crate) async fn json(self) -> Value {
        let bytes = self.bytes().await;
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)))
    }

    /// The next `count` lines, with their line feeds.
    pub(crate) async fn lines(&mut self, count: usize) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.rest);
        loop {
            let ends = all.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            if let Some((end, _)) = ends.take(count).nth(count.saturating_sub(1)) {
                self.rest = all.split_off(end + 1);
                return all;
            }
            all.extend_from_slice(&self.piece().await.expect("the stream ended early").unwrap());
        }
    }
}
