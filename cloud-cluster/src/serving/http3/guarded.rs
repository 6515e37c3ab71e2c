//! `h3-quinn` with our checks in between: every byte a peer sends passes a [`FrameGuard`], and a response that was not
//! finished is reset, since a dropped QUIC stream looks like a clean end to the peer.

use super::frame_guard::{FrameGuard, Kind, Refused};
use bytes::Bytes;
use h3::error::Code;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream, StreamErrorIncoming,
    StreamId, WriteBuf,
};
use std::task::{Context, Poll, ready};

/// A connection whose streams are guarded.
pub(super) struct Guarded<C>(pub(super) C);

/// The receiving half.
pub(super) struct Receiving {
    inner: h3_quinn::RecvStream,
    id: StreamId,
    guard: FrameGuard,
    /// A read is under way. h3-quinn panics when it is asked to stop a stream then.
    reading: bool,
}

/// The sending half.
pub(super) struct Sending {
    inner: h3_quinn::SendStream<Bytes>,
    ended: bool,
}

/// Both halves of a request.
pub(super) struct Both {
    sending: Sending,
    receiving: Receiving,
}

impl Receiving {
    fn new(inner: h3_quinn::RecvStream, kind: Kind) -> Self {
        let id = inner.recv_id();
        Self { inner, id, guard: FrameGuard::new(kind), reading: false }
    }
}

impl Both {
    fn new(inner: h3_quinn::BidiStream<Bytes>) -> Self {
        let (sending, receiving) = inner.split();
        let sending = Sending { inner: sending, ended: false };
        Self { sending, receiving: Receiving::new(receiving, Kind::Request) }
    }
}

fn code(refused: Refused) -> Code {
    match refused {
        Refused::TooLong(_) => Code::H3_EXCESSIVE_LOAD,
        Refused::Malformed(_) => Code::H3_MESSAGE_ERROR,
    }
}

impl RecvStream for Receiving {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.reading = true;
        let read = ready!(self.inner.poll_data(cx));
        self.reading = false;
        if let Ok(Some(bytes)) = &read
            && let Err(refused) = self.guard.see(bytes)
        {
            tracing::debug!(%refused, stream = %self.id, "refused what an HTTP/3 peer sent");
            let error_code = code(refused).value();
            self.inner.stop_sending(error_code);
            return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code }));
        }
        Poll::Ready(read)
    }

    fn stop_sending(&mut self, error_code: u64) {
        // While a read is under way the stream ends when it is dropped.
        if !self.reading {
            self.inner.stop_sending(error_code);
        }
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

impl SendStream<Bytes> for Sending {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.ended = true;
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.ended = true;
        self.inner.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.ended {
            self.inner.reset(Code::H3_REQUEST_CANCELLED.value());
        }
    }
}

impl RecvStream for Both {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let read = ready!(self.receiving.poll_data(cx));
        if let Err(StreamErrorIncoming::StreamTerminated { error_code }) = &read {
            self.sending.reset(*error_code);
        }
        Poll::Ready(read)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.receiving.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiving.recv_id()
    }
}

impl SendStream<Bytes> for Both {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sending.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.sending.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.sending.send_id()
    }
}

impl BidiStream<Bytes> for Both {
    type SendStream = Sending;
    type RecvStream = Receiving;

    fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }
}

impl<C> OpenStreams<Bytes> for Guarded<C>
where
    C: OpenStreams<Bytes, BidiStream = h3_quinn::BidiStream<Bytes>, SendStream = h3_quinn::SendStream<Bytes>>,
{
    type BidiStream = Both;
    type SendStream = Sending;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, StreamErrorIncoming>> {
        self.0.poll_open_bidi(cx).map_ok(Both::new)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sending, StreamErrorIncoming>> {
        self.0.poll_open_send(cx).map_ok(|inner| Sending { inner, ended: false })
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.0.close(code, reason);
    }
}

impl Connection<Bytes> for Guarded<h3_quinn::Connection> {
    type RecvStream = Receiving;
    type OpenStreams = Guarded<h3_quinn::OpenStreams>;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receiving, ConnectionErrorIncoming>> {
        let accepted = ready!(Connection::<Bytes>::poll_accept_recv(&mut self.0, cx));
        Poll::Ready(accepted.map(|stream| Receiving::new(stream, Kind::Unidirectional)))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both, ConnectionErrorIncoming>> {
        let accepted = ready!(Connection::<Bytes>::poll_accept_bidi(&mut self.0, cx));
        Poll::Ready(accepted.map(Both::new))
    }

    fn opener(&self) -> Self::OpenStreams {
        Guarded(Connection::<Bytes>::opener(&self.0))
    }
}
