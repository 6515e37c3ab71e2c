//! Watches the frames of a stream as they arrive, before the HTTP/3 library buffers them.
//!
//! The library collects a whole frame before it looks at it and knows no limit on the way: a peer could make it keep
//! a frame of any length. The guard follows the frame boundaries (RFC 9114 §7.1) and refuses a frame that is longer
//! than anything we accept, as soon as its length is known. DATA frames pass: the library hands those on piece by piece.

use super::field_section::{self, Malformed, Section};

/// Longest HEADERS, SETTINGS or unknown frame, bytes as sent; also the longest decoded field section. What is shorter
/// and still over the limit of the door gets an answer (431); beyond this the stream is reset.
pub(super) const FRAME_LEN_MAX: u64 = 64 * 1_024;

const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;

/// Why a stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Over [`FRAME_LEN_MAX`].
    #[error("a frame of {0} bytes; at most {FRAME_LEN_MAX} are accepted")]
    TooLong(u64),
    /// See [`Malformed`].
    #[error("malformed request: {0}")]
    Malformed(#[from] Malformed),
}

/// What the stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request: HEADERS, DATA, trailers.
    Request,
    /// A unidirectional stream: its type stands first.
    Unidirectional,
}

/// Where the guard stands in its stream. Feed it every byte once, in order.
#[derive(Debug)]
pub(super) struct FrameGuard {
    state: State,
    varint: Varint,
    section: Section,
    headers: Vec<u8>,
}

#[derive(Debug)]
enum State {
    StreamType,
    /// A stream without frames, such as QPACK's.
    NoFrames,
    Type,
    Length {
        of: u64,
    },
    Payload {
        of: u64,
        left: u64,
    },
}

impl FrameGuard {
    pub(super) fn new(kind: Kind) -> Self {
        let state = if kind == Kind::Request { State::Type } else { State::StreamType };
        Self { state, varint: Varint::default(), section: Section::Headers, headers: Vec::new() }
    }

    /// Looks at the next bytes.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            match self.state {
                State::NoFrames => return Ok(()),
                State::StreamType => {
                    let Some(kind) = self.varint.take(&mut bytes) else { return Ok(()) };
                    self.state = if kind == 0 { State::Type } else { State::NoFrames };
                }
                State::Type => {
                    let Some(of) = self.varint.take(&mut bytes) else { return Ok(()) };
                    self.state = State::Length { of };
                }
                State::Length { of } => {
                    let Some(left) = self.varint.take(&mut bytes) else { return Ok(()) };
                    if of != DATA && left > FRAME_LEN_MAX {
                        return Err(Refused::TooLong(left));
                    }
                    self.state = if left == 0 { State::Type } else { State::Payload { of, left } };
                }
                State::Payload { of, left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (payload, rest) = bytes.split_at(here);
                    bytes = rest;
                    let left = left - here as u64;
                    if of == HEADERS {
                        self.headers.extend_from_slice(payload);
                    }
                    if left > 0 {
                        self.state = State::Payload { of, left };
                        continue;
                    }
                    self.state = State::Type;
                    if of == HEADERS {
                        field_section::check(&std::mem::take(&mut self.headers), self.section)?;
                        self.section = Section::Trailers;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A QUIC integer (RFC 9000 §16) that may be cut between packets.
#[derive(Debug, Default)]
struct Varint {
    value: u64,
    read: u8,
    len: u8,
}

impl Varint {
    fn take(&mut self, bytes: &mut &[u8]) -> Option<u64> {
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.read == 0 {
                self.len = 1 << (byte >> 6);
                self.value = u64::from(byte & 0x3f);
            } else {
                self.value = self.value << 8 | u64::from(*byte);
            }
            self.read += 1;
            if self.read == self.len {
                return Some(std::mem::take(self).value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GET: [u8; 5] = [0, 0, 0b1100_0000 | 17, 0b1100_0000 | 23, 0b1100_0000 | 1];

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0b0100_0000 | (payload.len() >> 8) as u8, payload.len() as u8];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn verdict(kind: Kind, bytes: &[u8], piece: usize) -> Result<(), Refused> {
        let mut guard = FrameGuard::new(kind);
        bytes.chunks(piece).try_for_each(|chunk| guard.see(chunk))
    }

    proptest! {
        #[test]
        fn a_request_passes_however_it_is_cut(piece in 1..40_usize, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [frame(1, &GET), frame(0, &body), frame(0x21, b"grease"), frame(1, &[0, 0])].concat();
            prop_assert_eq!(verdict(Kind::Request, &bytes, piece), Ok(()));
        }

        #[test]
        fn a_repeated_path_is_found_however_it_is_cut(piece in 1..40_usize) {
            let bytes = frame(1, &[&GET[..], &[0b1100_0000 | 1]].concat());
            prop_assert_eq!(verdict(Kind::Request, &bytes, piece), Err(Refused::Malformed(Malformed::Twice(":path"))));
        }
    }

    #[test]
    fn a_long_frame_is_refused_before_its_payload_comes() {
        // 8-byte length.
        let long = [1, 0b1100_0000, 0, 0, 0, 0x40, 0, 0, 0];
        assert_eq!(verdict(Kind::Request, &long, 9), Err(Refused::TooLong(0x4000_0000)));
        assert_eq!(
            verdict(Kind::Unidirectional, &[&[0][..], &[4], &long[1..]].concat(), 3),
            Err(Refused::TooLong(0x4000_0000))
        );
        let data = [0, 0b1100_0000, 0, 0, 0, 0x40, 0, 0, 0];
        assert_eq!(verdict(Kind::Request, &data, 9), Ok(()));
        // A QPACK stream has no frames.
        assert_eq!(verdict(Kind::Unidirectional, &[&[2][..], &long].concat(), 4), Ok(()));
    }
}
