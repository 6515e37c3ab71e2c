//! One request: from an h3 stream to the router and back.
//!
//! The request's body is read to its end whether the handler wants it or not: a client whose upload is stopped treats
//! the answer as failed. So a pump reads beside the handler, hands pieces over through a channel of one, and goes on
//! reading into nothing when the handler has let go.

use super::guarded::{Both, Guarded, Receiving, Sending};
use crate::serving::door::{Active, BODY_LEN_MAX, Deadlines};
use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tower::ServiceExt;

/// Headers that only HTTP/1.1 has.
const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    http::header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

type Piece = Result<Bytes, std::io::Error>;

/// What a request needs to be answered.
pub(super) struct Request {
    pub(super) router: Router,
    pub(super) deadlines: Deadlines,
    pub(super) active: Active,
}

/// Why a request was not answered to its end.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the request took longer than {0} ms to arrive")]
    TooSlow(u64),
    #[error("the body is {found} bytes, its content-length says {expected}")]
    ContentLength { expected: u64, found: u64 },
    #[error("the content-length is no number, or there are two")]
    ContentLengthMalformed,
    #[error("the body is longer than {BODY_LEN_MAX} bytes")]
    TooLong,
    #[error("a header of HTTP/1.1 has no place in HTTP/3")]
    HopByHop,
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the answer's body failed: {0}")]
    Answer(#[source] axum::Error),
}

impl Failed {
    fn code(&self) -> Code {
        match self {
            Failed::TooSlow(_) | Failed::Stream(_) => Code::H3_REQUEST_INCOMPLETE,
            Failed::ContentLength { .. } | Failed::ContentLengthMalformed | Failed::HopByHop => Code::H3_MESSAGE_ERROR,
            Failed::TooLong => Code::H3_EXCESSIVE_LOAD,
            Failed::Answer(_) => Code::H3_INTERNAL_ERROR,
        }
    }
}

impl Request {
    /// Answers, or resets the stream and says why at debug.
    pub(super) async fn answer(self, resolver: RequestResolver<Guarded<h3_quinn::Connection>, Bytes>) {
        let deadline = self.deadlines.header();
        // When the deadline passes the stream is dropped, and with that reset.
        let Ok(resolved) = tokio::time::timeout(deadline, resolver.resolve_request()).await else {
            return tracing::debug!("the headers of an HTTP/3 request took too long");
        };
        let (request, stream) = match resolved {
            Ok(resolved) => resolved,
            Err(error) => return tracing::debug!(%error, "an HTTP/3 request was malformed"),
        };
        if let Err(failed) = self.exchange(request, stream).await {
            tracing::debug!(error = %failed, "an HTTP/3 request failed");
        }
    }

    async fn exchange(self, request: http::Request<()>, stream: RequestStream<Both, Bytes>) -> Result<(), Failed> {
        let (mut sending, receiving) = stream.split();
        let expected = match content_length(request.headers()) {
            Ok(expected) => expected,
            Err(failed) => {
                sending.stop_stream(failed.code());
                return Err(failed);
            }
        };
        let (pieces, body) = mpsc::channel::<Piece>(1);
        let body =
            futures_util::stream::unfold(body, |mut body| async { body.recv().await.map(|piece| (piece, body)) });
        let head_only = request.method() == Method::HEAD;
        let request = request.map(|()| Body::from_stream(body));
        let router = self.router;
        let respond = async {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            send(&mut sending, response, head_only).await
        };
        let pump = async {
            let read = read_to_end(receiving, &pieces, expected);
            let read = match tokio::time::timeout(self.deadlines.body(), read).await {
                Ok(read) => read,
                Err(_) => Err(Failed::TooSlow(self.deadlines.body_ms)),
            };
            if let Err(failed) = &read {
                // The handler must not take a cut body for a whole one.
                let _ = pieces.try_send(Err(std::io::Error::other(failed.to_string())));
            }
            drop(pieces);
            read
        };
        let done = tokio::try_join!(respond, pump).map(|_| ());
        if let Err(failed) = &done {
            sending.stop_stream(failed.code());
        }
        drop(self.active);
        done
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Failed> {
    if HOP_BY_HOP.iter().any(|name| headers.contains_key(name)) {
        return Err(Failed::HopByHop);
    }
    let mut given = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let digits = first.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let Some(expected) = digits.and_then(|text| text.parse().ok()) else { return Err(Failed::ContentLengthMalformed) };
    if given.next().is_some() { Err(Failed::ContentLengthMalformed) } else { Ok(Some(expected)) }
}

async fn read_to_end(
    mut stream: RequestStream<Receiving, Bytes>,
    pieces: &mpsc::Sender<Piece>,
    expected: Option<u64>,
) -> Result<(), Failed> {
    let mut found = 0_u64;
    while let Some(mut data) = stream.recv_data().await? {
        let piece = data.copy_to_bytes(data.remaining());
        found += piece.len() as u64;
        if let Some(expected) = expected.filter(|expected| found > *expected) {
            return Err(Failed::ContentLength { expected, found });
        }
        if found > BODY_LEN_MAX {
            return Err(Failed::TooLong);
        }
        let _ = pieces.send(Ok(piece)).await;
    }
    // Trailers are read and not used.
    let _ = stream.recv_trailers().await?;
    match expected {
        Some(expected) if found != expected => Err(Failed::ContentLength { expected, found }),
        _ => Ok(()),
    }
}

async fn send(
    stream: &mut RequestStream<Sending, Bytes>,
    response: Response<Body>,
    head_only: bool,
) -> Result<(), Failed> {
    let (mut parts, mut body) = response.into_parts();
    for name in &HOP_BY_HOP {
        parts.headers.remove(name);
    }
    // hyper does this over TCP.
    if let Some(len) = body.size_hint().exact().filter(|len| *len > 0 || !head_only) {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| len.into());
    }
    stream.send_response(Response::from_parts(parts, ())).await?;
    while !head_only && let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Failed::Answer)?.into_data() {
            stream.send_data(data).await?;
        }
    }
    stream.finish().await?;
    Ok(())
}
