//! HTTP/3: the same router as over TCP, behind a small bridge from h3 to tower.

mod bridge;
mod field_section;
mod frame_guard;
mod guarded;

use super::door::Deadlines;
use super::door::{Activity, CONNECTIONS_MAX, DRAIN_LINGER, REQUESTS_PER_CONNECTION_MAX};
use axum::Router;
use guarded::Guarded;
use h3::error::Code;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a peer may send on one stream before we read it. A quarter of quinn's default: connections are many and small.
const STREAM_WINDOW: u32 = 256 * 1_024;
/// The same for a whole connection.
const CONNECTION_WINDOW: u32 = 1_024 * 1_024;
/// Unacknowledged response bytes kept per connection.
const SEND_WINDOW: u64 = 1_024 * 1_024;
/// Silence after which a peer counts as gone. It is asked three times before.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(8);
/// Control stream, two of QPACK, and some to spare for reserved types.
const UNIDIRECTIONAL_STREAMS_MAX: u32 = 8;
/// Connections beyond which a new peer must first prove its address.
const UNVALIDATED_CONNECTIONS_MAX: usize = 256;

/// The QUIC side of the configuration.
pub(super) fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(REQUESTS_PER_CONNECTION_MAX.into());
    transport.max_concurrent_uni_streams(UNIDIRECTIONAL_STREAMS_MAX.into());
    transport.stream_receive_window(STREAM_WINDOW.into());
    transport.receive_window(CONNECTION_WINDOW.into());
    transport.send_window(SEND_WINDOW);
    transport.datagram_receive_buffer_size(None);
    transport.max_idle_timeout(quinn::IdleTimeout::try_from(SILENCE_MAX).ok());
    transport.keep_alive_interval(Some(ASK_EVERY));
    transport
}

/// Accepts connections until `shutdown`, then lets requests end.
pub(super) async fn serve(
    endpoint: quinn::Endpoint,
    router: Router,
    deadlines: Deadlines,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let incoming = tokio::select! {
            () = shutdown.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        if connections.len() >= UNVALIDATED_CONNECTIONS_MAX
            && incoming.may_retry()
            && !incoming.remote_address_validated()
        {
            let _ = incoming.retry();
            continue;
        }
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            let accepted = tokio::time::timeout(deadlines.header(), async { incoming.await });
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok(Ok(quic)) => connection(quic, router, deadlines, shutdown).await,
                Ok(Err(error)) => tracing::debug!(%error, "an HTTP/3 handshake failed"),
                Err(_) => tracing::debug!("an HTTP/3 handshake took too long"),
            }
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
    endpoint.close(code(Code::H3_NO_ERROR), b"shutting down");
    endpoint.wait_idle().await;
}

async fn connection(quic: quinn::Connection, router: Router, deadlines: Deadlines, shutdown: CancellationToken) {
    let mut builder = h3::server::builder();
    builder.max_field_section_size(frame_guard::FRAME_LEN_MAX).send_grease(false);
    let guarded = Guarded(h3_quinn::Connection::new(quic.clone()));
    let mut http3 = match tokio::time::timeout(deadlines.header(), builder.build(guarded)).await {
        Ok(Ok(http3)) => http3,
        Ok(Err(error)) => return tracing::debug!(%error, "an HTTP/3 connection failed at its start"),
        Err(_) => return quic.close(code(Code::H3_NO_ERROR), b"too slow"),
    };
    let activity = Activity::new();
    let requests = TaskTracker::new();
    let mut unused = std::pin::pin!(activity.unused(&deadlines));
    loop {
        let accepted = tokio::select! {
            accepted = http3.accept() => accepted,
            () = &mut unused => break,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok(Some(resolver)) => {
                let request = bridge::Request { router: router.clone(), deadlines, active: activity.begin() };
                let quic = quic.clone();
                requests.spawn(async move {
                    // A peer that goes away is noticed at the next write at the earliest: look at the connection too.
                    tokio::select! {
                        _ = quic.closed() => {}
                        () = request.answer(resolver) => {}
                    }
                });
            }
            Ok(None) => break,
            Err(error) => {
                if !error.is_h3_no_error() {
                    tracing::debug!(%error, "an HTTP/3 connection ended");
                }
                break;
            }
        }
    }
    // GOAWAY: what was accepted is still answered. It names the first request that is not (RFC 9114 §5.2), one after
    // the last that was accepted.
    let _ = http3.shutdown(1).await;
    requests.close();
    requests.wait().await;
    // The last answers are on their way: closing now would throw them away. A client closes after GOAWAY by itself.
    let _ = tokio::time::timeout(DRAIN_LINGER, quic.closed()).await;
    quic.close(code(Code::H3_NO_ERROR), b"");
}

fn code(code: Code) -> quinn::VarInt {
    quinn::VarInt::from_u64(code.value()).unwrap_or(quinn::VarInt::MAX)
}
