//! Serves an axum router over HTTP/1.1 without TLS, with bounds on the number of connections and on the time that a
//! peer may take to ask: one that connects and says nothing, or little, does not hold a place for ever.

use crate::device_link::listener;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A peer must have sent a request's head by then, counted from the connection or the last answer. The body has a
/// deadline of its own where one is read.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// Serves until `shutdown`, then lets requests that run finish. Returns when the last connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    serve_within(HEAD_DEADLINE, listener, router, connections, shutdown).await;
}

async fn serve_within(
    head_deadline: Duration,
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
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(head_deadline);
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// Nothing a test waits for takes longer.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// 64 connections that said nothing kept the operator out until the node was started again.
    #[tokio::test]
    async fn a_silent_connection_gives_its_place_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Arc::new(Semaphore::new(1));
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let deadline = Duration::from_millis(20);
        let server = tokio::spawn(serve_within(deadline, listener, router, Arc::clone(&places), shutdown.clone()));
        // Nothing at all, half of a head, and the word that HTTP/2 begins with.
        for said in ["", "GET / HT", "PRI * HTTP/2.0\r\n"] {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(said.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let closed = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut answer));
            let _ = closed.await.expect("it is open for ever");
            // The place is free when the connection's task has ended.
            drop(places.acquire().await.unwrap());
        }
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking.write_all(b"GET / HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        shutdown.cancel();
        server.await.unwrap();
    }
}
