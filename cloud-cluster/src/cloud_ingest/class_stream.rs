//! One class of one edge: frames in, commits, acknowledgements out.
//!
//! Several commits are in flight: the reader hands frames to the log and the acknowledger waits for them in the same
//! order. The log itself drops what it has and refuses what would leave a hole, so nothing here needs to be undone
//! when a connection breaks between a commit and its acknowledgement.

use super::connection::{Shared, reset};
use super::messages::{self, StreamError};
use super::metrics;
use super::registry::Connected;
use super::validation::{FrameRefused, Validator};
use bytes::{Bytes, BytesMut};
use event_log::{Append, Commit, CommitError, EventLog, Source, SourcePosition, Stream, Ticket};
use fleet_model::EventClass;
use fleet_wire::control::{ClassReply, Code, OPENING_LEN_MAX};
use fleet_wire::session::{Decision, Receiver, ReceiverError};
use fleet_wire::{Frame, FrameError, FrameHeader, HEADER_LEN};
use parking_lot::Mutex;
use quinn::{RecvStream, SendStream};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Commits of one stream that may wait for the disk at a time.
const COMMITS_IN_FLIGHT_MAX: usize = 16;

/// Why a class stream ended.
#[derive(Debug, thiserror::Error)]
enum ClassError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] FrameRefused),
    #[error(transparent)]
    Session(#[from] ReceiverError),
    #[error("not stored: {0}")]
    Commit(#[from] CommitError),
    #[error("the log cannot be read: {0}")]
    Log(#[from] event_log::ReadError),
}

impl ClassError {
    fn code(&self) -> Option<Code> {
        match self {
            Self::Stream(StreamError::Ended) => None,
            Self::Stream(StreamError::Malformed(_)) => Some(Code::Protocol),
            Self::Frame(_) | Self::Refused(_) | Self::Session(_) => Some(Code::BadFrame),
            Self::Commit(CommitError::Hole { .. }) => Some(Code::BadFrame),
            Self::Commit(_) | Self::Log(_) => Some(Code::NotDurable),
        }
    }
}

/// What the acknowledger waits for, in the order of the frames.
enum Due {
    Commit {
        ticket: Ticket,
        header: FrameHeader,
        permit: OwnedSemaphorePermit,
    },
    /// Nothing new, but an acknowledgement is owed.
    Repeat,
}

/// Serves the stream to its end.
pub(super) async fn run(
    (mut send, mut recv): (SendStream, RecvStream),
    class: EventClass,
    epoch: u64,
    shared: Arc<Shared>,
    connected: Arc<Connected>,
) {
    let Err(error) = serve(&mut send, &mut recv, class, epoch, &shared, &connected).await else {
        let _ = send.finish();
        return;
    };
    let edge = &connected.edge;
    match error.code() {
        None => tracing::debug!(%edge, class = class.as_str(), "class stream ended"),
        Some(code) => {
            metrics::count_stream_refused(class, code);
            tracing::error!(%edge, class = class.as_str(), "class stream refused: {error}; the edge will send again");
            reset(&mut send, &mut recv, code);
        }
    }
}

async fn serve(
    send: &mut SendStream,
    recv: &mut RecvStream,
    class: EventClass,
    epoch: u64,
    shared: &Arc<Shared>,
    connected: &Connected,
) -> Result<(), ClassError> {
    let edge = &connected.edge;
    let source = Source(format!("{edge}/{}", class.as_str()));
    let (log, permits, stream) = match class {
        EventClass::Telemetry => (&shared.logs.telemetry, &shared.telemetry_commits, Stream::TELEMETRY),
        EventClass::Alerts => (&shared.logs.events, &shared.event_commits, Stream::ALERTS),
        EventClass::Billing => (&shared.logs.events, &shared.event_commits, Stream::BILLING),
        EventClass::Audit => (&shared.logs.events, &shared.event_commits, Stream::AUDIT),
    };
    let watermark = log.watermark(&source)?;
    if let Some((before, next)) = watermark
        && before != epoch
    {
        tracing::warn!(
            %edge, class = class.as_str(), before, epoch, next,
            "the edge has a new log: it was set up afresh, or two machines use its certificate"
        );
    }
    let receiver = Receiver::new(class, epoch, watermark);
    let next = receiver.resume();
    messages::write(send, &ClassReply::Resume { next }, OPENING_LEN_MAX).await?;
    connected.received(class, next.unwrap_or(0));
    tracing::debug!(%edge, class = class.as_str(), ?next, "class stream open");

    let receiver = Mutex::new(receiver);
    let (due, dues) = mpsc::channel(COMMITS_IN_FLIGHT_MAX);
    let lane = Lane { log: log.as_ref(), permits, stream, source, class, epoch };
    // Both are finished, so that what is in flight is acknowledged before a bad frame after it ends the stream.
    let (read, acknowledged) =
        tokio::join!(read_frames(recv, &lane, &receiver, due), acknowledge(send, dues, &receiver, class, connected));
    acknowledged.and(read)
}

/// Where a stream's frames go.
struct Lane<'a> {
    log: &'a dyn EventLog,
    permits: &'a Arc<Semaphore>,
    stream: Stream,
    source: Source,
    class: EventClass,
    epoch: u64,
}

impl Lane<'_> {
    fn submit(&self, frame: &Frame) -> Ticket {
        let header = frame.header();
        let source = SourcePosition { source: self.source.clone(), epoch: self.epoch, first: header.first_offset };
        let bytes = frame.bytes().clone();
        let append = Append { stream: self.stream, count: header.count, bytes, source: Some(source) };
        self.log.submit(Commit { appends: vec![append], snapshots: Vec::new() })
    }
}

async fn read_frames(
    recv: &mut RecvStream,
    lane: &Lane<'_>,
    receiver: &Mutex<Receiver>,
    due: mpsc::Sender<Due>,
) -> Result<(), ClassError> {
    let mut validator = Validator::default();
    while let Some(bytes) = read_frame(recv).await? {
        metrics::count_frame(lane.class, bytes.len());
        let frame = Frame::parse(bytes)?;
        let decision = receiver.lock().handle_frame(frame.header())?;
        let next = match decision {
            Decision::Repeat => {
                metrics::count_repeat(lane.class);
                Due::Repeat
            }
            Decision::Commit => {
                validator.check(&frame)?;
                // The semaphore is never closed.
                let Ok(permit) = lane.permits.clone().acquire_owned().await else { return Ok(()) };
                Due::Commit { ticket: lane.submit(&frame), header: *frame.header(), permit }
            }
        };
        if due.send(next).await.is_err() {
            // The acknowledger has ended and says why.
            return Ok(());
        }
    }
    Ok(())
}

/// The next frame's bytes, `None` at the end of the stream. The header is checked before memory is taken.
async fn read_frame(recv: &mut RecvStream) -> Result<Option<Bytes>, ClassError> {
    let mut start = [0; HEADER_LEN];
    match recv.read_exact(&mut start).await.map_err(StreamError::from) {
        Ok(()) => (),
        Err(StreamError::Ended) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let header = FrameHeader::parse(&start)?;
    let mut bytes = BytesMut::zeroed(header.frame_len());
    bytes[..HEADER_LEN].copy_from_slice(&start);
    // Half a frame at the end of a connection is nothing: it is sent again.
    recv.read_exact(&mut bytes[HEADER_LEN..]).await.map_err(|_| StreamError::Ended)?;
    Ok(Some(bytes.freeze()))
}

async fn acknowledge(
    send: &mut SendStream,
    mut dues: mpsc::Receiver<Due>,
    receiver: &Mutex<Receiver>,
    class: EventClass,
    connected: &Connected,
) -> Result<(), ClassError> {
    while let Some(due) = dues.recv().await {
        if let Due::Commit { ticket, header, permit } = due {
            ticket.durable().await?;
            drop(permit);
            receiver.lock().handle_durable();
            metrics::count_durable(class, header.count, header.created_ms);
        }
        let ack = receiver.lock().poll_ack();
        if let Some(next) = ack {
            connected.received(class, next);
            send.write_all(&next.to_le_bytes()).await.map_err(StreamError::from)?;
        }
    }
    Ok(())
}
