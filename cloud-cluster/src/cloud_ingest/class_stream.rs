//! One class of one edge: frames in, commits, acknowledgements out.
//!
//! ```text
//! frames --> read_frames --due--> settle: wait for the commits, in order --bell--> write_acks --> acknowledgements
//! ```
//! Several commits are in flight. The log itself drops what it has and refuses what would leave a hole, so nothing here
//! needs to be undone when a connection breaks between a commit and its acknowledgement. An edge that takes no
//! acknowledgements holds up nobody: its commits are settled all the same, and what it is owed is one number.

use super::connection::{Shared, reset};
use super::messages::{self, StreamError};
use super::metrics;
use super::registry::Connected;
use super::validation::{Checked, FrameRefused, Validator};
use bytes::{Bytes, BytesMut};
use event_log::{Append, Commit, CommitError, EventLog, Offset, Source, SourcePosition, Stream, Ticket};
use fleet_model::{AuditRecord, EdgeId, EventClass};
use fleet_wire::control::{ClassReply, Code, OPENING_LEN_MAX};
use fleet_wire::session::{Decision, Receiver, ReceiverError};
use fleet_wire::{Frame, FrameError, FrameHeader, HEADER_LEN};
use parking_lot::Mutex;
use quinn::{RecvStream, SendStream};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use vehicle_runtime::AuditTrail;

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

/// What is settled in the order of the frames.
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
    (epoch, first): (u64, Offset),
    shared: Arc<Shared>,
    connected: Arc<Connected>,
) {
    let Err(error) = serve(&mut send, &mut recv, class, (epoch, first), &shared, &connected).await else {
        let _ = send.finish();
        return;
    };
    match &error {
        ClassError::Commit(error) => shared.breakage.report_commit(class, error),
        ClassError::Log(error) => shared.breakage.report_read(class, error),
        _ => (),
    }
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
    (epoch, first): (u64, Offset),
    shared: &Arc<Shared>,
    connected: &Connected,
) -> Result<(), ClassError> {
    let edge = &connected.edge;
    // Each life of the edge's log has a count of its own. One count for all would be begun anew when an edge comes back
    // with a log that it had before - a disk put back, a standby box - and all of it would be stored twice.
    let source = Source(format!("{edge}/{}/{epoch:016x}", class.as_str()));
    let (log, permits, stream) = match class {
        EventClass::Telemetry => (&shared.logs.telemetry, &shared.telemetry_commits, Stream::TELEMETRY),
        EventClass::Alerts => (&shared.logs.events, &shared.event_commits, Stream::ALERTS),
        EventClass::Billing => (&shared.logs.events, &shared.event_commits, Stream::BILLING),
        EventClass::Audit => (&shared.logs.events, &shared.event_commits, Stream::AUDIT),
    };
    let watermark = match log.watermark(&source)? {
        Some((of, next)) if of == epoch && next < first && class == EventClass::Telemetry => {
            tracing::warn!(%edge, from = next, to = first, "the edge has shed readings before they came here: its disk \
                was short of space; its telemetry.gap events name the vehicles");
            metrics::count_shed(first - next);
            let skips = vec![SourcePosition { source: source.clone(), epoch, first }];
            log.submit(Commit { skips, ..Commit::default() }).durable().await?;
            Some((epoch, first))
        }
        watermark => watermark,
    };
    if let Some(before) = connected.sends_from(class, epoch) {
        tracing::warn!(
            %edge, class = class.as_str(), before, epoch,
            "the edge has another log than before: it was set up afresh, or two machines use its certificate"
        );
    }
    let receiver = Receiver::new(class, epoch, watermark);
    let next = receiver.resume();
    messages::write(send, &ClassReply::Resume { next }, OPENING_LEN_MAX).await?;
    connected.received(class, next.unwrap_or(0));
    tracing::debug!(%edge, class = class.as_str(), ?next, "class stream open");

    let receiver = Mutex::new(receiver);
    let (due, dues) = mpsc::channel(COMMITS_IN_FLIGHT_MAX);
    // One place: a ring that was not heard yet stands for all after it.
    let (bell, rings) = mpsc::channel(1);
    let lane = Lane { log: log.as_ref(), audit: &shared.audit, edge, permits, stream, source, class, epoch };
    let mut acknowledged = std::pin::pin!(async {
        tokio::try_join!(settle(dues, &receiver, bell, class, connected), write_acks(send, &receiver, rings))
    });
    let mut validator = Validator::new(edge.clone(), connected.tenants.clone());
    let read = tokio::select! {
        // Before the frames have ended it ends only with an error: no frame would be acknowledged any more.
        failed = &mut acknowledged => return failed.map(drop),
        read = read_frames(recv, &lane, &mut validator, &receiver, due) => read,
    };
    // What is in flight is acknowledged before a bad frame after it ends the stream.
    acknowledged.await?;
    read
}

/// Where a stream's frames go.
struct Lane<'a> {
    log: &'a dyn EventLog,
    audit: &'a AuditTrail,
    edge: &'a EdgeId,
    permits: &'a Arc<Semaphore>,
    stream: Stream,
    source: Source,
    class: EventClass,
    epoch: u64,
}

impl Lane<'_> {
    fn position(&self, header: &FrameHeader) -> SourcePosition {
        SourcePosition { source: self.source.clone(), epoch: self.epoch, first: header.first_offset }
    }

    /// Audit records go into the cloud's chains, one frame at a time; the ticket is settled already.
    async fn take_over(&self, header: &FrameHeader, records: Vec<AuditRecord>) -> Ticket {
        for record in records.iter().filter(|record| !record.is_whole()) {
            // It is kept as it came: where a chain was broken is told by whoever verifies it.
            metrics::count_broken_record();
            tracing::error!(edge = %self.edge, number = record.link.number, act = record.act.act,
                "an audit record of an edge was changed after it was recorded there");
        }
        let (settled, ticket) = oneshot::channel();
        let taken = self.audit.take_over(self.edge, records, self.position(header)).await;
        // Nobody else holds the other end.
        let _ = settled.send(taken);
        Ticket::new(ticket)
    }

    fn submit(&self, frame: &Frame) -> Ticket {
        let header = frame.header();
        let source = self.position(header);
        let bytes = frame.bytes().clone();
        let append = Append { stream: self.stream, count: header.count, bytes, source: Some(source) };
        self.log.submit(Commit { appends: vec![append], ..Commit::default() })
    }
}

async fn read_frames(
    recv: &mut RecvStream,
    lane: &Lane<'_>,
    validator: &mut Validator,
    receiver: &Mutex<Receiver>,
    due: mpsc::Sender<Due>,
) -> Result<(), ClassError> {
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
                let header = *frame.header();
                let checked = validator.check(&frame)?;
                // The semaphore is never closed.
                let Ok(permit) = lane.permits.clone().acquire_owned().await else { return Ok(()) };
                let ticket = match checked {
                    Checked::AsItCame => lane.submit(&frame),
                    Checked::Audit(records) => lane.take_over(&header, records).await,
                };
                Due::Commit { ticket, header, permit }
            }
        };
        if due.send(next).await.is_err() {
            // The other side has ended and says why.
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

/// Waits for the commits. A permit is back as soon as its frame is durable, whatever the edge does with the news.
async fn settle(
    mut dues: mpsc::Receiver<Due>,
    receiver: &Mutex<Receiver>,
    bell: mpsc::Sender<()>,
    class: EventClass,
    connected: &Connected,
) -> Result<(), ClassError> {
    while let Some(due) = dues.recv().await {
        if let Due::Commit { ticket, header, permit } = due {
            ticket.durable().await?;
            drop(permit);
            receiver.lock().handle_durable();
            connected.received(class, header.next_offset());
            metrics::count_durable(class, header.count, header.created_ms);
        }
        // It may be rung already.
        let _ = bell.try_send(());
    }
    Ok(())
}

/// Writes the newest acknowledgement whenever the edge has room for one.
async fn write_acks(
    send: &mut SendStream,
    receiver: &Mutex<Receiver>,
    mut rings: mpsc::Receiver<()>,
) -> Result<(), ClassError> {
    while rings.recv().await.is_some() {
        let ack = receiver.lock().poll_ack();
        if let Some(next) = ack {
            send.write_all(&next.to_le_bytes()).await.map_err(StreamError::from)?;
        }
    }
    Ok(())
}
