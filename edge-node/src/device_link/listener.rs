//! Accepts device connections, up to a limit, and does the TLS handshake in the connection's own task.

use super::{Door, mqtt};
use crate::metrics::{INSTRUMENTS, reason};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After an accept that failed (no file descriptors left), wait this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves MQTT, over TLS when there is an acceptor, until `shutdown`. Returns when the last connection has ended.
pub async fn mqtt(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    door: Arc<Door>,
    connections: Arc<Semaphore>,
    shutdown: CancellationToken,
) {
    let ended = shutdown.clone();
    accept(listener, connections, shutdown.clone(), move |stream, peer| {
        let (door, tls, shutdown) = (Arc::clone(&door), tls.clone(), ended.clone());
        async move {
            let Some(tls) = tls else {
                return mqtt::serve(stream, door, peer, "mqtt", shutdown).await;
            };
            match tokio::time::timeout(mqtt::CONNECT_DEADLINE, tls.accept(stream)).await {
                Ok(Ok(stream)) => Box::pin(mqtt::serve(stream, door, peer, "mqtts", shutdown)).await,
                Ok(Err(error)) => tracing::info!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::info!(%peer, "TLS handshake took too long"),
            }
        }
    })
    .await;
}

/// Accepts until `shutdown`; each connection is a task of its own, so that a failure in one touches no other.
pub async fn accept<F, C>(listener: TcpListener, connections: Arc<Semaphore>, shutdown: CancellationToken, mut serve: F)
where
    F: FnMut(TcpStream, SocketAddr) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&connections).try_acquire_owned() else {
            tracing::warn!(%peer, "too many connections: one more was closed");
            INSTRUMENTS.connections_ended.add(1, &reason("too_many"));
            continue;
        };
        // Acknowledgements are small and somebody waits for them.
        let _ = stream.set_nodelay(true);
        tasks.spawn(hold(place, serve(stream, peer)));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn hold(_place: OwnedSemaphorePermit, connection: impl Future<Output = ()>) {
    connection.await;
}
