//! What every request passes, whatever it came over: limits, deadlines, and the count of what is under way.

use super::problem::Problem;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use serde::Deserialize;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Sleep;

/// Open connections per transport.
pub(crate) const CONNECTIONS_MAX: usize = 10_000;
/// Requests at a time on one connection.
pub(crate) const REQUESTS_PER_CONNECTION_MAX: u32 = 100;
/// Header fields of one request, decoded: names, values and 32 bytes each.
pub(crate) const FIELD_SECTION_LEN_MAX: u64 = 16 * 1_024;
/// Header fields of one request.
pub(crate) const FIELDS_MAX: usize = 100;
/// Any request body; routes have smaller limits of their own. The largest is a preview of a component that carries Python.
pub(crate) const BODY_LEN_MAX: u64 = 40 * 1_024 * 1_024;
/// How long a connection stays open after its last answer, for that to arrive.
pub(crate) const DRAIN_LINGER: Duration = Duration::from_secs(1);

/// How long a peer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// For a handshake, and for the headers of a request. Milliseconds, default 10,000.
    pub header_ms: u64,
    /// For the whole body of a request. Milliseconds, default 60,000.
    pub body_ms: u64,
    /// How long a connection may stay without a request under way. Milliseconds, default 60,000.
    pub idle_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { header_ms: 10_000, body_ms: 60_000, idle_ms: 60_000 }
    }
}

impl Deadlines {
    pub(crate) fn header(&self) -> Duration {
        Duration::from_millis(self.header_ms)
    }

    pub(crate) fn body(&self) -> Duration {
        Duration::from_millis(self.body_ms)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }
}

/// Counts the requests under way on one connection.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<watch::Sender<Requests>>);

#[derive(Debug, Default)]
struct Requests {
    under_way: usize,
    ever: bool,
}

/// A request under way: until it is dropped, its connection is not idle.
#[derive(Debug)]
pub(crate) struct Active(Activity);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn begin(&self) -> Active {
        self.0.send_modify(|requests| {
            requests.under_way += 1;
            requests.ever = true;
        });
        Active(self.clone())
    }

    /// Resolves when nothing was under way for `limit`.
    pub(crate) async fn idle(&self, limit: Duration) {
        let mut requests = self.0.subscribe();
        loop {
            // Neither wait ends early: the sender lives in `self`.
            let _ = requests.wait_for(|requests| requests.under_way == 0).await;
            if tokio::time::timeout(limit, requests.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Resolves when a connection is of no use: its first request did not come, or nothing was under way for long.
    pub(crate) async fn unused(&self, deadlines: &Deadlines) {
        let mut requests = self.0.subscribe();
        let first = requests.wait_for(|requests| requests.ever);
        let began = tokio::time::timeout(deadlines.header().min(deadlines.idle()), first).await.is_ok();
        if began {
            self.idle(deadlines.idle()).await;
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.0.send_modify(|requests| requests.under_way -= 1);
    }
}

/// Refuses what has too many header fields. The libraries have limits of their own, some above ours.
pub(crate) async fn limit_headers(request: Request, next: Next) -> Result<Response, Problem> {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    let len = fields.sum::<usize>() + request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let count = request.headers().len();
    if len as u64 > FIELD_SECTION_LEN_MAX || count > FIELDS_MAX {
        let limits = format!("{FIELD_SECTION_LEN_MAX} bytes and {FIELDS_MAX} fields are allowed");
        return Err(Problem::headers_too_large(format!("{count} header fields of {len} bytes came; at most {limits}")));
    }
    Ok(next.run(request).await)
}

/// Gives the bodies of requests their deadline.
pub(crate) async fn body_deadline(limit: Duration, request: Request, next: Next) -> Response {
    let request = request.map(|inner| {
        let sleep = Box::pin(tokio::time::sleep(limit));
        if inner.is_end_stream() { inner } else { Body::new(InTime { inner, sleep }) }
    });
    next.run(request).await
}

/// Counts a request as under way until the last byte of its answer is out.
pub(crate) async fn keep_active(activity: Activity, request: Request, next: Next) -> Response {
    let active = activity.begin();
    next.run(request).await.map(|inner| Body::new(Held { inner, _active: active }))
}

/// A body that fails when its time is over.
struct InTime {
    inner: Body,
    sleep: Pin<Box<Sleep>>,
}

/// The request's body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body took too long")]
struct TooSlow;

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => self.sleep.as_mut().poll(cx).map(|()| Some(Err(axum::Error::new(TooSlow)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that keeps its connection from being idle.
struct Held {
    inner: Body,
    _active: Active,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_idle_only_when_nothing_was_under_way_for_the_whole_limit() {
        let limit = Duration::from_millis(30);
        let activity = Activity::new();
        let (first, second) = (activity.begin(), activity.begin());
        let mut idle = std::pin::pin!(activity.idle(limit));
        assert!(tokio::time::timeout(2 * limit, &mut idle).await.is_err(), "two are under way");
        drop(first);
        assert!(tokio::time::timeout(2 * limit, &mut idle).await.is_err(), "one is under way");
        let ended = tokio::time::Instant::now();
        drop(second);
        idle.await;
        assert!(ended.elapsed() >= limit);
    }
}
