//! HTTP/1.1 and HTTP/2 over TLS.

use super::door::{
    Activity, CONNECTIONS_MAX, Deadlines, FIELD_SECTION_LEN_MAX, FIELDS_MAX, REQUESTS_PER_CONNECTION_MAX,
    body_deadline, keep_active,
};
use axum::{Router, middleware};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
/// What hyper reads ahead of an HTTP/1 connection.
const HTTP1_BUFFER_LEN_MAX: usize = 64 * 1_024;
/// How long to wait when the system has no descriptor for another connection.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Accepts connections until `shutdown`, then lets requests end.
pub(super) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    deadlines: Deadlines,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let (tls, router, shutdown) = (tls.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(stream, peer, tls, router, deadlines, shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    router: Router,
    deadlines: Deadlines,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(deadlines.header(), tls.accept(stream));
    let handshake = tokio::select! {
        () = shutdown.cancelled() => return,
        handshake = handshake => handshake,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "a TLS handshake took too long"),
    };
    let activity = Activity::new();
    let counted = activity.clone();
    let router = router
        .layer(middleware::from_fn(move |request, next| body_deadline(deadlines.body(), request, next)))
        .layer(middleware::from_fn(move |request, next| keep_active(counted.clone(), request, next)));
    // TLS has settled which it is: nothing is guessed from the first bytes.
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.header())
        .max_headers(FIELDS_MAX)
        .max_buf_size(HTTP1_BUFFER_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(FIELD_SECTION_LEN_MAX as u32)
        .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { tokio::select! { () = activity.unused(&deadlines) => {}, () = shutdown.cancelled() => {} } } => {
            connection.as_mut().graceful_shutdown();
            // An HTTP/2 peer that never finishes what it began is cut off, unless an answer is still under way.
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = activity.idle(deadlines.header()) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection failed");
    }
}
