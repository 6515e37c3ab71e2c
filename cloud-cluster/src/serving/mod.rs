//! The HTTP API: one router, served over HTTP/1.1, HTTP/2 and HTTP/3 on one port number.
//!
//! One resource, one file. What every request passes - limits, deadlines - is in `door`; who is calling is decided in
//! `auth` and nowhere else. Nothing here keeps what a slow reader has not taken yet.

mod audit_line;
pub mod auth;
mod cursor;
mod deployments;
mod door;
mod event_feed;
mod event_line;
mod event_stream;
mod events;
mod health;
mod http3;
mod openapi;
mod plugin;
mod plugin_cost;
mod plugin_logs;
mod plugins;
mod previews;
mod problem;
mod signals;
pub mod status;
mod stream_places;
mod tags;
mod target;
mod tcp;
mod trials;
mod vehicles;

pub use auth::{ApiKey, KeyHash};
pub use door::Deadlines;
pub use status::{Edges, KnownEdge};
pub(crate) use trials::seen as seen_trial;

use crate::metrics;
use crate::plugin_reports::PluginReports;
use crate::projections::latest::Latest;
use crate::quic_endpoint;
use crate::registry::Registry;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use event_feed::Feeds;
use http::header::ALT_SVC;
use http::{HeaderName, HeaderValue, Method};
use opentelemetry::KeyValue;
use problem::Problem;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream_places::StreamPlaces;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use vehicle_runtime::{Clock, Logs};

/// How long a client may remember that HTTP/3 is offered, seconds.
const ALT_SVC_MAX_AGE_S: u32 = 86_400;
/// Ports tried when TCP has a free one that UDP has not.
const BIND_TRIES: usize = 16;

/// What serving needs from the other parts.
pub struct Parts {
    /// The logs that are served.
    pub logs: Logs,
    /// The vehicles' states.
    pub latest: Arc<Latest>,
    /// Components and deployments.
    pub registry: Registry,
    /// What edges report of their rules.
    pub plugin_reports: PluginReports,
    /// The edges.
    pub edges: Arc<dyn Edges>,
    /// Who may call.
    pub api_keys: Vec<ApiKey>,
    /// `/metrics` without a key.
    pub open_metrics: bool,
    /// What `/metrics` answers.
    pub metrics_text: Box<dyn Fn() -> String + Send + Sync>,
    /// Says what time it is.
    pub clock: Clock,
    /// How often a quiet stream says that it lives; `None`: every 15 s.
    pub heartbeat: Option<Duration>,
}

/// The state of every handler.
#[derive(Clone)]
pub(crate) struct App(Arc<AppState>);

pub(crate) struct AppState {
    version: &'static str,
    feeds: Feeds,
    latest: Arc<Latest>,
    registry: Registry,
    plugin_reports: PluginReports,
    edges: Arc<dyn Edges>,
    api_keys: Vec<ApiKey>,
    open_metrics: bool,
    metrics_text: Box<dyn Fn() -> String + Send + Sync>,
    clock: Clock,
    heartbeat: Duration,
    streams: StreamPlaces,
    previews: Arc<Semaphore>,
    logs: Logs,
    shutdown: CancellationToken,
}

impl std::ops::Deref for App {
    type Target = AppState;
    fn deref(&self) -> &AppState {
        &self.0
    }
}

/// Sockets that are bound, TCP and UDP on the same port.
pub struct Listener {
    tcp: std::net::TcpListener,
    udp: std::net::UdpSocket,
    address: SocketAddr,
}

impl Listener {
    /// Binds both. Port 0 takes one that is free for both.
    ///
    /// # Errors
    /// When one of them is taken.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut failed = None;
        for _ in 0..BIND_TRIES {
            let tcp = std::net::TcpListener::bind(address)?;
            let bound = tcp.local_addr()?;
            match std::net::UdpSocket::bind(bound) {
                Ok(udp) => {
                    tcp.set_nonblocking(true)?;
                    return Ok(Self { tcp, udp, address: bound });
                }
                Err(error) if address.port() == 0 => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Why serving could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate and its key do not fit together, or are of a kind that TLS cannot use.
    #[error("the certificate of [serving] cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// QUIC needs TLS 1.3 with AES-128.
    #[error("the certificate of [serving] cannot be used for QUIC: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// A socket.
    #[error("the sockets of [serving] cannot be used: {0}")]
    Socket(#[from] io::Error),
}

/// Serves until `shutdown`, then ends streams, lets other requests end, and returns.
///
/// # Errors
/// See [`StartError`]; after the start it does not fail.
pub async fn run(
    parts: Parts,
    listener: Listener,
    certificate: Vec<CertificateDer<'static>>,
    private_key: PrivateKeyDer<'static>,
    deadlines: Deadlines,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = |versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&[u8]]| {
        let mut tls = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(certificate.clone(), private_key.clone_key())?;
        tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok::<_, rustls::Error>(tls)
    };
    let over_tcp = tls(rustls::ALL_VERSIONS, &[b"h2", b"http/1.1"])?;
    let over_quic = quinn::crypto::rustls::QuicServerConfig::try_from(tls(&[&rustls::version::TLS13], &[b"h3"])?)?;
    let mut quic = quinn::ServerConfig::with_crypto(Arc::new(over_quic));
    quic.transport_config(Arc::new(http3::transport()));
    let endpoint = quinn::Endpoint::new(
        quic_endpoint::config(&private_key, listener.address),
        Some(quic),
        listener.udp,
        Arc::new(quinn::TokioRuntime),
    )?;
    let tcp = TcpListener::from_std(listener.tcp)?;
    let app = App(Arc::new(AppState {
        version: env!("CARGO_PKG_VERSION"),
        feeds: Feeds::new(&parts.logs),
        latest: parts.latest,
        registry: parts.registry,
        plugin_reports: parts.plugin_reports,
        edges: parts.edges,
        api_keys: parts.api_keys,
        open_metrics: parts.open_metrics,
        metrics_text: parts.metrics_text,
        clock: parts.clock,
        heartbeat: parts.heartbeat.unwrap_or(event_stream::HEARTBEAT_EVERY),
        streams: StreamPlaces::default(),
        previews: Arc::new(Semaphore::new(previews::PREVIEWS_MAX)),
        logs: parts.logs,
        shutdown: shutdown.clone(),
    }));
    let router = router(app);
    let alt_svc = format!("h3=\":{}\"; ma={ALT_SVC_MAX_AGE_S}", listener.address.port());
    let alt_svc = HeaderValue::from_str(&alt_svc).unwrap_or(HeaderValue::from_static("clear"));
    let with_alt_svc = router.clone().layer(middleware::map_response(move |mut response: Response| {
        response.headers_mut().insert(ALT_SVC, alt_svc.clone());
        std::future::ready(response)
    }));
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(over_tcp));
    tokio::join!(
        tcp::serve(tcp, tls, with_alt_svc, deadlines, shutdown.clone()),
        http3::serve(endpoint, router, deadlines, shutdown),
    );
    Ok(())
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Description::openapi())
        .routes(routes!(vehicles::list_vehicles))
        .routes(routes!(vehicles::get_vehicle))
        .routes(routes!(events::list_events))
        .routes(routes!(event_stream::stream_events))
        .routes(routes!(plugins::upload_plugin, plugins::list_plugins))
        .routes(routes!(plugin::get_plugin))
        .routes(routes!(plugin_logs::get_plugin_logs))
        .routes(routes!(plugin_cost::get_plugin_cost))
        .layer(DefaultBodyLimit::max(plugins::UPLOAD_LEN_MAX))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(deployments::list_deployments))
                .routes(routes!(deployments::get_deployment, deployments::put_deployment))
                .routes(routes!(deployments::roll_back_deployment))
                .routes(routes!(deployments::promote_deployment))
                .layer(DefaultBodyLimit::max(deployments::REQUEST_LEN_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(tags::get_tags, tags::put_tags))
                .layer(DefaultBodyLimit::max(tags::REQUEST_LEN_MAX)),
        )
        .merge(
            OpenApiRouter::new()
                .routes(routes!(previews::preview))
                .layer(DefaultBodyLimit::max(previews::REQUEST_LEN_MAX)),
        )
        .routes(routes!(status::get_status))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::openapi))
}

fn router(app: App) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(|request: Request| async move {
            Problem::unknown_route(format!("{} is no route here; /openapi.json lists them", request.uri().path()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            Problem::method_not_allowed(format!("{} does not take {}", request.uri().path(), request.method()))
        })
        .with_state(app)
        .layer(middleware::from_fn(door::limit_headers))
        .layer(middleware::from_fn(observe))
        .layer(middleware::map_response(|mut response: Response| {
            let nosniff = HeaderValue::from_static("nosniff");
            response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), nosniff);
            std::future::ready(response)
        }))
}

/// Counts and times requests by the route's pattern, never by the path: paths hold ids.
async fn observe(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none".into(), |path| path.as_str().to_owned());
    let labels = [
        KeyValue::new("route", route),
        KeyValue::new("method", known_method(request.method())),
        KeyValue::new("version", format!("{:?}", request.version())),
    ];
    let response = next.run(request).await;
    metrics::request_seconds().record(began.elapsed().as_secs_f64(), &labels);
    let status = KeyValue::new("status", i64::from(response.status().as_u16()));
    metrics::requests().add(1, &[&labels[..], &[status]].concat());
    response
}

/// Anyone may invent methods; a metric has only those that a route takes (the name for the rest is OpenTelemetry's).
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The OpenAPI description, as `/openapi.json` serves it and `docs/openapi.json` holds it.
#[must_use]
pub fn openapi_json() -> String {
    let mut json = openapi::complete(routes().into_openapi()).to_pretty_json().unwrap_or_default();
    json.push('\n');
    json
}
