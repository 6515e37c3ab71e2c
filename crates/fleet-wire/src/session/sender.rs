//! The edge's end of a class stream.

use crate::frame::{FrameError, FrameHeader};
use bytes::Bytes;
use std::collections::VecDeque;

/// Frames that may be unacknowledged at a time, however small they are.
const FRAMES_IN_FLIGHT_MAX: usize = 1_024;

/// How much may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderLimits {
    /// Bytes sent and not acknowledged. One frame is always allowed.
    pub window_bytes: usize,
    /// Bytes to read from the log at a time.
    pub read_bytes: usize,
}

/// A block of the edge's log: the bytes are the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingFrame {
    header: FrameHeader,
    bytes: Bytes,
}

impl OutgoingFrame {
    /// Reads the header of a block; the bytes are sent as they are.
    ///
    /// # Errors
    /// When the block is no frame.
    pub fn new(bytes: Bytes) -> Result<Self, FrameError> {
        let header = FrameHeader::parse(&bytes)?;
        if bytes.len() != header.frame_len() {
            return Err(FrameError::Truncated { expected: header.frame_len(), found: bytes.len() });
        }
        Ok(Self { header, bytes })
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the log and hand the blocks to [`Sender::handle_read`].
    Read {
        /// The block that holds this offset comes first.
        from: u64,
        /// About this much.
        bytes_max: usize,
    },
    /// Write these bytes to the stream, then call [`Sender::handle_frame_sent`].
    Send(Bytes),
    /// Nothing, until an acknowledgement comes or the log grows.
    Wait,
}

/// How a stream was taken up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// Where the last connection ended, or later.
    Onward,
    /// The cloud knows nothing of this log: from the oldest record on.
    FromTheOldest,
    /// The cloud has lost what it had acknowledged; it is sent again.
    CloudWentBack {
        /// It had acknowledged everything below.
        acked: u64,
        /// It has everything below.
        next: u64,
    },
}

/// Why a stream cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// The cloud has more than this log. Only an operator can help.
    #[error(
        "the cloud has everything below offset {cloud}, but this log ends at {log}: it is older than it was. \
         Was a backup of the edge's data put back?"
    )]
    LogIsBehind {
        /// What the cloud has.
        cloud: u64,
        /// Where the log ends.
        log: u64,
    },
    /// What the cloud wants is gone. Only an operator can help.
    #[error("the cloud wants offset {wanted}, but the log starts at {first}: what was between is gone")]
    Trimmed {
        /// Wanted.
        wanted: u64,
        /// Still there.
        first: u64,
    },
    /// An acknowledgement below an earlier one. Worth a new stream.
    #[error("the cloud acknowledged offset {found} after {acked}")]
    AckWentBack {
        /// Before.
        acked: u64,
        /// Now.
        found: u64,
    },
    /// An acknowledgement of what was not sent, or of half a frame. Worth a new stream.
    #[error("the cloud acknowledged offset {found}, where no frame ends that is under way ({acked} to {sent})")]
    AckOfNothing {
        /// Acknowledged before.
        acked: u64,
        /// Sent.
        sent: u64,
        /// The acknowledgement.
        found: u64,
    },
    /// The log's blocks do not follow one another, or are of another life of the log.
    #[error("the log gave the frame {first}..{next} of epoch {epoch}, but offset {expected} of epoch {own} was due")]
    LogHasAHole {
        /// First offset in the frame.
        first: u64,
        /// After the last.
        next: u64,
        /// In the frame.
        epoch: u64,
        /// Due.
        expected: u64,
        /// The log's.
        own: u64,
    },
}

/// The state machine.
///
/// Call [`handle_resume`](Self::handle_resume) when the cloud has said where it stands; then do what
/// [`poll`](Self::poll) says until it says [`Action::Wait`], and again after every `handle_*`. After
/// [`handle_disconnect`](Self::handle_disconnect) or an error only `handle_resume` starts it again.
#[derive(Debug)]
pub struct Sender {
    epoch: u64,
    limits: SenderLimits,
    /// The cloud has said that it has everything below.
    acked: u64,
    /// Where the log ends, as far as we were told.
    log_next: u64,
    stream: Option<Open>,
}

/// What belongs to one stream and ends with it.
#[derive(Debug)]
struct Open {
    /// After the last frame read from the log.
    read: u64,
    /// A read is under way.
    reading: bool,
    /// Read, not sent.
    ready: VecDeque<OutgoingFrame>,
    /// The frame that `poll` gave out, until it is sent.
    sending: bool,
    /// Sent, not acknowledged: offset after the frame, and its length.
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
}

impl Sender {
    /// For one stream of a log.
    #[must_use]
    pub fn new(epoch: u64, limits: SenderLimits) -> Self {
        Self { epoch, limits, acked: 0, log_next: 0, stream: None }
    }

    /// The cloud has everything below, as far as we know.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Bytes sent and not acknowledged.
    #[must_use]
    pub fn in_flight_bytes(&self) -> usize {
        self.stream.as_ref().map_or(0, |open| open.in_flight_bytes)
    }

    /// A new stream is open and the cloud has said what it has; `first` and `next` are the bounds of the log.
    ///
    /// # Errors
    /// When the log does not have what the cloud wants.
    pub fn handle_resume(&mut self, cloud: Option<u64>, first: u64, next: u64) -> Result<Resumed, SenderError> {
        self.stream = None;
        let from = cloud.unwrap_or(first);
        if from > next {
            return Err(SenderError::LogIsBehind { cloud: from, log: next });
        }
        if from < first {
            return Err(SenderError::Trimmed { wanted: from, first });
        }
        let resumed = match cloud {
            None => Resumed::FromTheOldest,
            Some(cloud) if cloud < self.acked => Resumed::CloudWentBack { acked: self.acked, next: cloud },
            Some(_) => Resumed::Onward,
        };
        self.acked = from;
        self.log_next = self.log_next.max(next);
        self.stream = Some(Open {
            read: from,
            reading: false,
            ready: VecDeque::new(),
            sending: false,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        });
        Ok(resumed)
    }

    /// The log has grown to `next`.
    pub fn handle_log_advanced(&mut self, next: u64) {
        self.log_next = self.log_next.max(next);
    }

    /// The blocks that [`Action::Read`] asked for; none when the log had none.
    ///
    /// # Errors
    /// When they do not follow what was read before.
    pub fn handle_read(&mut self, frames: Vec<OutgoingFrame>) -> Result<(), SenderError> {
        let Some(open) = &mut self.stream else { return Ok(()) };
        open.reading = false;
        if frames.is_empty() {
            // The log promised more than it has; it will say so again when it grows.
            self.log_next = open.read;
        }
        for frame in frames {
            let (first, next) = (frame.header.first_offset, frame.header.next_offset());
            if first != open.read || frame.header.epoch != self.epoch {
                let (epoch, expected, own) = (frame.header.epoch, open.read, self.epoch);
                self.stream = None;
                return Err(SenderError::LogHasAHole { first, next, epoch, expected, own });
            }
            open.read = next;
            open.ready.push_back(frame);
        }
        Ok(())
    }

    /// The frame that [`Action::Send`] gave out is written.
    pub fn handle_frame_sent(&mut self) {
        let Some(open) = &mut self.stream else { return };
        if std::mem::take(&mut open.sending)
            && let Some(frame) = open.ready.pop_front()
        {
            open.in_flight.push_back((frame.header.next_offset(), frame.bytes.len()));
            open.in_flight_bytes += frame.bytes.len();
        }
    }

    /// The cloud has everything below `next`.
    ///
    /// # Errors
    /// When it cannot: the stream is over.
    pub fn handle_ack(&mut self, next: u64) -> Result<(), SenderError> {
        let Some(open) = &mut self.stream else { return Ok(()) };
        // The frame being written may be acknowledged before the shell has come back from writing it.
        let writing = open.sending.then(|| open.ready.front().map(|frame| frame.header.next_offset())).flatten();
        let ends_a_frame =
            next == self.acked || writing == Some(next) || open.in_flight.iter().any(|(end, _)| *end == next);
        if next < self.acked {
            let acked = self.acked;
            self.stream = None;
            return Err(SenderError::AckWentBack { acked, found: next });
        }
        if !ends_a_frame {
            let sent = open.in_flight.back().map_or(self.acked, |(end, _)| *end);
            let acked = self.acked;
            self.stream = None;
            return Err(SenderError::AckOfNothing { acked, sent, found: next });
        }
        while open.in_flight.front().is_some_and(|(end, _)| *end <= next) {
            if let Some((_, len)) = open.in_flight.pop_front() {
                open.in_flight_bytes -= len;
            }
        }
        if writing == Some(next) {
            open.ready.pop_front();
            open.sending = false;
        }
        self.acked = next;
        Ok(())
    }

    /// The stream is gone; what was under way will be sent again.
    pub fn handle_disconnect(&mut self) {
        self.stream = None;
    }

    /// What to do next. Gives the same frame out only once.
    pub fn poll(&mut self) -> Action {
        let Some(open) = &mut self.stream else { return Action::Wait };
        if open.sending {
            return Action::Wait;
        }
        if let Some(frame) = open.ready.front() {
            let fits = open.in_flight_bytes + frame.bytes.len() <= self.limits.window_bytes;
            let room = open.in_flight.is_empty() || (fits && open.in_flight.len() < FRAMES_IN_FLIGHT_MAX);
            if !room {
                return Action::Wait;
            }
            open.sending = true;
            return Action::Send(frame.bytes.clone());
        }
        if !open.reading && open.read < self.log_next {
            open.reading = true;
            return Action::Read { from: open.read, bytes_max: self.limits.read_bytes };
        }
        Action::Wait
    }
}
