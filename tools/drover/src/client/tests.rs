//! A small server that says the same over HTTP/3 and HTTP/2, on one port number.

use super::*;
use crate::Connection as Options;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;

type Answering = Arc<dyn Fn(&str) -> (u16, String) + Send + Sync>;

/// Answers requests, which it is shown as lines of text: method and target, headers, an empty line, the body.
pub(crate) struct Server {
    port: u16,
    directory: TempDir,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::listening(Arc::new(answer), true).await
    }

    async fn listening(answer: Answering, udp: bool) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = |alpn: &[u8]| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key.clone_key())
                .unwrap();
            config.alpn_protocols = vec![alpn.to_vec()];
            config
        };
        let (listener, endpoint) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if !udp {
                break (listener, None);
            }
            let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(config(b"h3")).unwrap();
            let quic = quinn::ServerConfig::with_crypto(Arc::new(crypto));
            // The same number may be taken over UDP; then another is tried.
            if let Ok(endpoint) = quinn::Endpoint::server(quic, listener.local_addr().unwrap()) {
                break (listener, Some(endpoint));
            }
        };
        let port = listener.local_addr().unwrap().port();
        if let Some(endpoint) = endpoint {
            tokio::spawn(serve_http3(endpoint, answer.clone()));
        }
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config(b"h2")));
        tokio::spawn(serve_http2(listener, acceptor, answer));
        Self { port, directory }
    }
}

/// The command line's options for this server.
pub(crate) fn options(server: &Server, http2: bool) -> Options {
    Options {
        cloud: Some(format!("https://localhost:{}", server.port)),
        api_key: Some("secret".to_owned()),
        ca: Some(server.directory.path().join("ca.pem")),
        http2,
    }
}

fn seen(parts: &http::request::Parts, body: &[u8]) -> String {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut text = format!("{} {target} {:?}\n", parts.method, parts.version);
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    text + "\n" + std::str::from_utf8(body).unwrap()
}

async fn serve_http2(listener: TcpListener, acceptor: tokio_rustls::TlsAcceptor, answer: Answering) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let (status, text) = answer(&seen(&parts, &body));
                    Ok::<_, Infallible>(Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap())
                }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn serve_http3(endpoint: quinn::Endpoint, answer: Answering) {
    while let Some(incoming) = endpoint.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let mut connection =
                h3::server::Connection::<_, Bytes>::new(h3_quinn::Connection::new(connection)).await.unwrap();
            while let Ok(Some(resolver)) = connection.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let (request, mut stream) = resolver.resolve_request().await.unwrap();
                    let mut body = Vec::new();
                    while let Ok(Some(data)) = stream.recv_data().await {
                        body.extend_from_slice(bytes::Buf::chunk(&data));
                    }
                    let (status, text) = answer(&seen(&request.into_parts().0, &body));
                    let head = Response::builder().status(status).body(()).unwrap();
                    let _ = stream.send_response(head).await;
                    let _ = stream.send_data(Bytes::from(text)).await;
                    let _ = stream.finish().await;
                });
            }
        });
    }
}

#[tokio::test]
async fn the_same_request_goes_over_both_protocols() {
    let server = Server::start(|request| (200, serde_json::to_string(request).unwrap())).await;
    for (http2, version) in [(false, "HTTP/3.0"), (true, "HTTP/2.0")] {
        let mut client = Client::of_cloud(&options(&server, http2)).unwrap();
        let large = "x".repeat(300_000);
        let said: String = client
            .send(Method::PUT, "/v1/deployments/zones", "application/json", Bytes::from(large.clone()))
            .await
            .unwrap();
        assert!(said.starts_with(&format!("PUT /v1/deployments/zones {version}\n")), "{}", &said[..60]);
        assert!(said.contains("authorization: Bearer secret\n") && said.contains("content-type: application/json\n"));
        assert!(said.ends_with(&format!("\n\n{large}")));
        // The same connection again.
        let said: String = client.get("/v1/status?x=1").await.unwrap();
        assert!(said.starts_with(&format!("GET /v1/status?x=1 {version}\n")));
        client.close().await;
    }
}

#[tokio::test]
async fn a_refusal_is_shown_with_its_places_and_ends_with_3() {
    let problem = r#"{"title":"The config was refused","detail":"no","errors":[{"pointer":"/config","detail":"odd"}]}"#;
    let server = Server::start(move |_| (422, problem.to_owned())).await;
    for http2 in [false, true] {
        let mut client = Client::of_cloud(&options(&server, http2)).unwrap();
        let failure = client.get::<String>("/").await.unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(failure.said().unwrap(), "The config was refused (HTTP 422): no\n  /config: odd");
    }
}

#[tokio::test]
async fn without_udp_it_goes_over_tcp() {
    let server = Server::listening(Arc::new(|_: &str| (200, "1".to_owned())), false).await;
    let mut client = Client::of_cloud(&options(&server, false)).unwrap();
    assert_eq!(client.get::<u8>("/").await.unwrap(), 1);
    assert!(matches!(client.connection, Some(Connection::Tcp(_))));
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let server = Server::start(|_| (200, String::new())).await;
    let mut options = options(&server, false);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    options.cloud = Some(format!("https://localhost:{free}"));
    for http2 in [false, true] {
        options.http2 = http2;
        let started = std::time::Instant::now();
        let failure = Client::of_cloud(&options).unwrap().get::<u8>("/").await.unwrap_err();
        assert_eq!(failure.exit_code(), 4);
        assert!(failure.said().unwrap().contains("refused the connection"), "{failure:?}");
        assert!(started.elapsed() < HTTP3_WITHIN, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_explained() {
    let (server, other) =
        (Server::start(|_| (200, "1".to_owned())).await, Server::start(|_| (200, "1".to_owned())).await);
    for http2 in [false, true] {
        let mut options = options(&server, http2);
        options.ca = Some(other.directory.path().join("ca.pem"));
        let failure = Client::of_cloud(&options).unwrap().get::<u8>("/").await.unwrap_err();
        assert_eq!(failure.exit_code(), 4, "{failure:?}");
        assert!(failure.said().unwrap().contains("--ca"), "{failure:?}");
    }
}

#[test]
fn urls_are_read() {
    let base = |url: &str| Base::parse(url).map(|base| base.to_string());
    assert_eq!(base("https://localhost:8443/").unwrap(), "https://localhost:8443");
    assert_eq!(base("https://[::1]:8443").unwrap(), "https://[::1]:8443");
    assert_eq!(base("http://x").unwrap(), "http://x:80");
    for wrong in ["", "localhost:8443", "ftp://x", "https://", "https://x/v1"] {
        assert_eq!(base(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}
