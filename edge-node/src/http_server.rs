//! Serves an axum router over HTTP/1.1 and HTTP/2 without TLS, with bounds on connections and on slow peers.

use crate::device_link::listener;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A peer must have sent a request's head by then, counted from the connection or the last answer.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// Serves until `shutdown`, then lets requests that run finish. Returns when the last connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let ending = shutdown.clone();
    listener::accept(listener, connections, shutdown, move |stream, peer| {
        let service = TowerToHyperService::new(router.clone());
        let ending = ending.clone();
        async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
            server.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_DEADLINE).max_concurrent_streams(64);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = ending.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "HTTP connection ended");
            }
        }
    })
    .await;
}
