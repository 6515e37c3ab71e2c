//! The cloud's end of a class stream.

use crate::frame::FrameHeader;
use fleet_model::EventClass;
use std::collections::VecDeque;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Hand it to the log, then call [`Receiver::handle_durable`].
    Commit,
    /// It is there already: drop it. It is acknowledged again.
    Repeat,
}

/// Why a frame does not belong here. The stream is over; a new one settles where to go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverError {
    /// Records in between are missing.
    #[error("offset {expected} is next, but a frame starts at {found}: records in between are missing")]
    Hole {
        /// Due.
        expected: u64,
        /// Found.
        found: u64,
    },
    /// Half of it is there already.
    #[error("offset {expected} is next, but it is in the middle of a frame ({first}..{next})")]
    Straddles {
        /// Due.
        expected: u64,
        /// First offset in the frame.
        first: u64,
        /// After the last.
        next: u64,
    },
    /// From another life of the sender's log than the stream was opened for.
    #[error("a frame of epoch {found} on a stream of epoch {expected}")]
    OtherEpoch {
        /// The stream's.
        expected: u64,
        /// The frame's.
        found: u64,
    },
    /// Of another class than the stream was opened for.
    #[error("a frame of class {} on a stream of class {}", found.as_str(), expected.as_str())]
    OtherClass {
        /// The stream's.
        expected: EventClass,
        /// The frame's.
        found: EventClass,
    },
}

/// The state machine.
///
/// Each frame goes through [`handle_frame`](Self::handle_frame); each that is to be committed is reported durable in
/// the same order; [`poll_ack`](Self::poll_ack) then says what to acknowledge.
#[derive(Debug)]
pub struct Receiver {
    class: EventClass,
    epoch: u64,
    /// What must come next; `None` until the first frame of an epoch that the log has never seen.
    expected: Option<u64>,
    /// Frames handed to the log: offset after each.
    committing: VecDeque<u64>,
    /// Everything below is durable.
    durable: Option<u64>,
    /// An acknowledgement is owed.
    owed: bool,
}

impl Receiver {
    /// `watermark` is what the log says about the source: an epoch and the next offset.
    #[must_use]
    pub fn new(class: EventClass, epoch: u64, watermark: Option<(u64, u64)>) -> Self {
        let next = watermark.filter(|(of, _)| *of == epoch).map(|(_, next)| next);
        Self { class, epoch, expected: next, committing: VecDeque::new(), durable: next, owed: false }
    }

    /// What to answer the sender's opening: where it shall go on.
    #[must_use]
    pub fn resume(&self) -> Option<u64> {
        self.durable
    }

    /// Frames handed to the log and not yet durable.
    #[must_use]
    pub fn committing(&self) -> usize {
        self.committing.len()
    }

    /// A frame has come.
    ///
    /// # Errors
    /// When it does not belong here.
    pub fn handle_frame(&mut self, header: &FrameHeader) -> Result<Decision, ReceiverError> {
        if header.class != self.class {
            return Err(ReceiverError::OtherClass { expected: self.class, found: header.class });
        }
        if header.epoch != self.epoch {
            return Err(ReceiverError::OtherEpoch { expected: self.epoch, found: header.epoch });
        }
        let (first, next) = (header.first_offset, header.next_offset());
        let expected = self.expected.unwrap_or(first);
        if first > expected {
            return Err(ReceiverError::Hole { expected, found: first });
        }
        if next <= expected {
            self.owed |= self.durable.is_some();
            return Ok(Decision::Repeat);
        }
        if first < expected {
            return Err(ReceiverError::Straddles { expected, first, next });
        }
        self.expected = Some(next);
        self.committing.push_back(next);
        Ok(Decision::Commit)
    }

    /// The oldest frame that was handed to the log is durable.
    pub fn handle_durable(&mut self) {
        if let Some(next) = self.committing.pop_front() {
            self.durable = Some(next);
            self.owed = true;
        }
    }

    /// What to acknowledge: everything below is durable. Each is given out once; one stands for all before it.
    pub fn poll_ack(&mut self) -> Option<u64> {
        if std::mem::take(&mut self.owed) { self.durable } else { None }
    }
}
