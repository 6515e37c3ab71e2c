//! One class on its way: the log is tailed, its blocks are sent as they are, acknowledgements come back.

use super::connection::SessionError;
use super::messages::{self, StreamError};
use super::progress::Progress;
use super::{Complaint, metrics};
use bytes::Bytes;
use event_log::{Offset, ReadError};
use fleet_model::EventClass;
use fleet_wire::FrameError;
use fleet_wire::backoff::Backoff;
use fleet_wire::control::{ACK_LEN, ClassReply, Code, OPENING_LEN_MAX, StreamOpen};
use fleet_wire::session::{Action, OutgoingFrame, Resumed, Sender, SenderError, SenderLimits};
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The cloud says where it stands within this time.
const RESUME_DEADLINE: Duration = Duration::from_secs(10);

/// Why a class stream ended.
#[derive(Debug, thiserror::Error)]
enum ClassError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Session(#[from] SenderError),
    #[error("{0}")]
    Log(#[from] ReadError),
    #[error("a block of the log is no frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the cloud does not take this stream: {0}")]
    Refused(String),
    #[error("the cloud did not say where to go on")]
    Overdue,
}

/// Alerts first whenever both have something to send.
fn priority(class: EventClass) -> i32 {
    match class {
        EventClass::Telemetry => 0,
        EventClass::Alerts | EventClass::Billing => 2,
        EventClass::Audit => 1,
    }
}

/// Opens the stream, and again when only the stream ends; ends with the connection.
pub(super) async fn keep_open(
    connection: Connection,
    progress: Arc<Progress>,
    limits: SenderLimits,
    mut backoff: Backoff,
) -> SessionError {
    let class = progress.class.as_str();
    let mut complaint = Complaint::default();
    loop {
        let before = progress.acked();
        let Err(error) = run(&connection, &progress, limits).await;
        if let Some(reason) = connection.close_reason() {
            return SessionError::Lost(reason);
        }
        if progress.acked() != before {
            backoff.succeeded();
        }
        metrics::count_stream_failed(progress.class);
        let text = match &error {
            ClassError::Stream(StreamError::Reset(code)) => match Code::from_number(*code) {
                Some(Code::BadFrame) => {
                    "the cloud refused a frame (its log says which and why); it is sent again".to_owned()
                }
                Some(Code::NotDurable) => "the cloud cannot store it now (is its disk full?)".to_owned(),
                _ => error.to_string(),
            },
            _ => error.to_string(),
        };
        if complaint.is_new(&text) {
            tracing::warn!(class, acked = progress.acked(), "stream to the cloud ended: {text}; opening it again");
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.failed(rand::random())) => (),
            reason = connection.closed() => return SessionError::Lost(reason),
        }
    }
}

async fn run(
    connection: &Connection,
    progress: &Arc<Progress>,
    limits: SenderLimits,
) -> Result<Infallible, ClassError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(StreamError::Connection)?;
    let result = converse(&mut send, &mut recv, progress, limits).await;
    // Dropping the stream would look like a clean end.
    let _ = send.reset(VarInt::from_u32(Code::Done as u32));
    let _ = recv.stop(VarInt::from_u32(Code::Done as u32));
    result
}

async fn converse(
    send: &mut SendStream,
    recv: &mut RecvStream,
    progress: &Arc<Progress>,
    limits: SenderLimits,
) -> Result<Infallible, ClassError> {
    let _ = send.set_priority(priority(progress.class));
    let epoch = progress.log.epoch();
    let first = progress.log.bounds(progress.stream).first;
    messages::write(send, &StreamOpen::Class { class: progress.class, epoch, first }).await?;
    let reply = tokio::time::timeout(RESUME_DEADLINE, messages::read(recv, OPENING_LEN_MAX));
    let cloud = match reply.await.map_err(|_| ClassError::Overdue)?? {
        ClassReply::Resume { next } => next,
        ClassReply::Refused { reason } => return Err(ClassError::Refused(reason)),
    };

    let mut sender = Sender::new(epoch, limits);
    // In this order: what is appended between the two is announced, or within the bounds, or both.
    let log_grows = progress.log.subscribe(progress.stream);
    let bounds = progress.log.bounds(progress.stream);
    let resumed = sender.handle_resume(cloud, bounds.first, bounds.next)?;
    let (class, from) = (progress.class.as_str(), sender.acked());
    if let Some(cloud) = cloud
        && cloud < progress.acked()
    {
        tracing::warn!(
            class,
            from,
            acked = progress.acked(),
            "the cloud has lost what it had acknowledged; sending again"
        );
    }
    tracing::info!(class, from, behind = bounds.next - from, ?resumed, "stream to the cloud is open");
    debug_assert!(!matches!(resumed, Resumed::CloudWentBack { .. }), "a new sender has acknowledged nothing");
    progress.set_acked(from);

    let shared = Shared { sender: Mutex::new(sender), acked: Notify::new() };
    let writing = write_frames(send, progress, log_grows, &shared);
    tokio::try_join!(writing, read_acks(recv, progress, &shared)).map(|(never, _)| never)
}

/// Both directions of the stream work on one state machine.
struct Shared {
    sender: Mutex<Sender>,
    acked: Notify,
}

async fn write_frames(
    send: &mut SendStream,
    progress: &Arc<Progress>,
    mut log_grows: watch::Receiver<Offset>,
    shared: &Shared,
) -> Result<Infallible, ClassError> {
    loop {
        let action = shared.sender.lock().poll();
        match action {
            Action::Read { from, bytes_max } => {
                let frames = read_log(progress, from, bytes_max).await?;
                shared.sender.lock().handle_read(frames)?;
            }
            Action::Send(bytes) => {
                send_frame(send, progress.class, bytes).await?;
                shared.sender.lock().handle_frame_sent();
            }
            Action::Wait => {
                tokio::select! {
                    () = shared.acked.notified() => (),
                    changed = log_grows.changed() => {
                        if changed.is_err() {
                            return Err(ReadError::Broken("the log was closed".into()).into());
                        }
                        let next = *log_grows.borrow_and_update();
                        shared.sender.lock().handle_log_advanced(next);
                    }
                }
            }
        }
    }
}

async fn send_frame(send: &mut SendStream, class: EventClass, bytes: Bytes) -> Result<(), ClassError> {
    let len = bytes.len();
    send.write_chunk(bytes).await.map_err(StreamError::from)?;
    metrics::count_frame_sent(class, len);
    Ok(())
}

async fn read_log(progress: &Progress, from: u64, bytes_max: usize) -> Result<Vec<OutgoingFrame>, ClassError> {
    let (log, stream) = (progress.log.clone(), progress.stream);
    let read = progress.reads.spawn_blocking(move || log.read(stream, from, bytes_max)).await;
    let blocks = read.map_err(|e| ReadError::Broken(e.to_string()))??;
    Ok(blocks.into_iter().map(|block| OutgoingFrame::new(block.bytes)).collect::<Result<_, _>>()?)
}

async fn read_acks(recv: &mut RecvStream, progress: &Progress, shared: &Shared) -> Result<Infallible, ClassError> {
    loop {
        let mut next = [0; ACK_LEN];
        recv.read_exact(&mut next).await.map_err(StreamError::from)?;
        let next = u64::from_le_bytes(next);
        shared.sender.lock().handle_ack(next)?;
        progress.set_acked(next);
        shared.acked.notify_one();
    }
}
