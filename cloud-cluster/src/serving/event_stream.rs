//! `/v1/events/stream`: events as they come, from a cursor, without a repeat or a hole.
//!
//! A stream is pulled by its connection: nothing is read from the log before the last piece was taken, so a slow
//! reader holds one piece and a position, and the log keeps the rest for it.

use super::App;
use super::auth::Caller;
use super::event_feed::{Feed, Filter};
use super::events::{AnyEvent, class, filter};
use super::problem::Problem;
use super::stream_places::StreamPlace;
use crate::metrics;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use event_log::Offset;
use fleet_model::EventClass;
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use observability::trace;
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::IntoParams;

/// After a write at the end of the log, new events gather this long: a busy stream sends fewer, fuller packets. A
/// stream that was quiet longer sends at once.
const GATHER: Duration = Duration::from_millis(50);
/// Bytes after which a piece is written without waiting for more.
const PIECE_LEN: usize = 64 * 1_024;
/// A quiet stream says this often that it lives; a reader that is gone is noticed by it.
pub(crate) const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

const NDJSON: &str = "application/x-ndjson";
const SERVER_SENT_EVENTS: &str = "text/event-stream";

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamQuery {
    /// Class of events: `telemetry` (readings), `alerts` (the default), `billing` or `audit` (who did what; an operator's
    /// key without a tenant reads all of these). Each has cursors of its own.
    #[param(example = "alerts")]
    class: Option<String>,
    /// Only events of this vehicle. Acts are of none.
    vehicle: Option<String>,
    /// A cursor from an event: only what comes after it. Absent: from the oldest event that is kept. `now`: only what
    /// is new. The header `Last-Event-ID` has precedence.
    after: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    ServerSentEvents,
}

/// Events as they come.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events", params(StreamQuery,
    ("Last-Event-ID" = Option<String>, Header, description = "The last `id` that a Server-Sent Events reader saw"),
), responses(
    (status = 200, description = "One event a line (an empty line every 15 s says that the stream lives), or, when \
     asked for by Accept, Server-Sent Events whose `id` is the event's cursor", content(
        (AnyEvent<'_> = "application/x-ndjson"), (String = "text/event-stream"))),
    (status = 410, description = "The cursor is too old; `oldest` is the first that is left", body = Problem),
    (status = 503, description = "Too many streams are open; `Retry-After` says when to ask again", body = Problem),
))]
pub(crate) async fn stream_events(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let class = class(query.class.as_deref())?;
    let filter = filter(&caller, class, query.vehicle.as_deref())?;
    let last_seen = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let next = app.feeds.of(class).start(last_seen.or(query.after.as_deref()))?;
    let place = app.streams.take(filter.tenant.as_ref())?;
    let format = format(&headers);
    metrics::streams().add(1, &[]);
    let end = app.feeds.of(class).subscribe();
    let now = Instant::now();
    let reader = Reader { app, class, filter, format, next, end, written: now, gather_until: now, _place: place };
    let pieces =
        futures_util::stream::unfold(reader, |mut reader| async { reader.piece().await.map(|piece| (piece, reader)) });
    let kind = if format == Format::Ndjson { NDJSON } else { SERVER_SENT_EVENTS };
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], Body::from_stream(pieces)).into_response())
}

/// Server-Sent Events only for who names them.
fn format(headers: &HeaderMap) -> Format {
    let wants = |value: &http::HeaderValue| value.to_str().is_ok_and(|text| text.contains(SERVER_SENT_EVENTS));
    if headers.get_all(ACCEPT).iter().any(wants) { Format::ServerSentEvents } else { Format::Ndjson }
}

struct Reader {
    app: App,
    class: EventClass,
    filter: Filter,
    format: Format,
    next: Offset,
    end: watch::Receiver<Offset>,
    written: Instant,
    gather_until: Instant,
    _place: StreamPlace,
}

impl Drop for Reader {
    fn drop(&mut self) {
        metrics::streams().add(-1, &[]);
    }
}

impl Reader {
    /// The next bytes to write; `None` when the server stops.
    async fn piece(&mut self) -> Option<Result<Bytes, Problem>> {
        let mut piece = BytesMut::new();
        loop {
            if self.app.shutdown.is_cancelled() {
                return None;
            }
            let end = *self.end.borrow_and_update();
            while self.next < end && piece.len() < PIECE_LEN {
                let stretch = match self.feed().stretch(self.next).await {
                    Ok(stretch) => stretch,
                    // The stream breaks off; who resumes is told why.
                    Err(problem) => return Some(Err(problem)),
                };
                self.next = self.append(&stretch, &mut piece);
                // Long stretches without an event for this reader must not look like a dead stream.
                if piece.is_empty() && self.written.elapsed() >= self.app.heartbeat {
                    break;
                }
            }
            if !piece.is_empty() {
                self.written = Instant::now();
                self.gather_until = self.written + if self.next < end { Duration::ZERO } else { GATHER };
                return Some(Ok(piece.freeze()));
            }
            let heartbeat_at = self.written + self.app.heartbeat;
            if Instant::now() < heartbeat_at {
                let news = async {
                    let changed = self.end.changed().await;
                    tokio::time::sleep_until(self.gather_until).await;
                    changed
                };
                tokio::select! {
                    () = self.app.shutdown.cancelled() => return None,
                    changed = news => if changed.is_err() { return None },
                    () = tokio::time::sleep_until(heartbeat_at) => {}
                }
            }
            if Instant::now() >= heartbeat_at {
                self.written = Instant::now();
                return Some(Ok(self.heartbeat()));
            }
        }
    }

    fn feed(&self) -> &Feed {
        self.app.feeds.of(self.class)
    }

    fn heartbeat(&self) -> Bytes {
        match self.format {
            Format::Ndjson => Bytes::from_static(b"\n"),
            Format::ServerSentEvents => Bytes::from_static(b":\n\n"),
        }
    }

    /// Takes what passes from a stretch until the piece is full; answers where to go on.
    fn append(&self, stretch: &super::event_feed::Stretch, piece: &mut BytesMut) -> Offset {
        let mut count = 0;
        let mut next = stretch.next();
        for event in stretch.select(&self.filter, self.next) {
            if self.format == Format::ServerSentEvents {
                piece.extend_from_slice(format!("id: {}\ndata: ", self.feed().cursor(event.next)).as_bytes());
            }
            piece.extend_from_slice(event.line);
            if self.format == Format::ServerSentEvents {
                piece.extend_from_slice(b"\n");
            }
            if let Some(context) = event.trace {
                let tenant = self.filter.tenant.as_ref().map(tracing::field::display);
                let span = tracing::info_span!(target: trace::TARGET, "serving.deliver", tenant);
                trace::set_parent(&span, context);
                span.in_scope(|| tracing::trace!("delivered"));
            }
            count += 1;
            if piece.len() >= PIECE_LEN {
                next = event.next;
                break;
            }
        }
        metrics::events_delivered().add(count, &[]);
        next
    }
}
