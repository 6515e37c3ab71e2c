//! A frame: 48 bytes of header, then one block of records as rkyv laid it out.
//!
//! ```text
//!  0  magic "DRVR"            16  first_offset  u64   offset of the first record in the sender's stream
//!  4  header version   u8     24  epoch         u64   the sender's log: another epoch, another count of offsets
//!  5  class            u8     32  created_ms    i64   when the frame was built, the sender's clock
//!  6  record kind      u8     40  flags         u32   bit 0: backlog
//!  7  record version   u8     44  crc32c        u32   over bytes 0..44 and the body
//!  8  body length      u32
//! 12  record count     u32    48  body
//! ```
//! Integers are little-endian. The codec of the body is the upper nibble of the record kind: 0, as rkyv wrote it.

use crate::audit_block::{ArchivedAuditBlockV1, AuditBlockV1};
use crate::block::{ArchivedEventBlockV1, ArchivedReadingBlockV1, EventBlockV1, ReadingBlockV1};
use bytes::{Bytes, BytesMut};
use fleet_model::{EventClass, EventKind};

/// Bytes of header before the body.
pub const HEADER_LEN: usize = 48;
/// Largest frame. redb rounds values up to powers of two: stay just under 256 KiB.
pub const FRAME_LEN_MAX: usize = 256 * 1_024 - 512;
/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"DRVR";
/// Layout of the header.
pub const HEADER_VERSION: u8 = 1;
/// The version of the records inside.
pub const RECORD_VERSION: u8 = 1;
/// Flag: sent after the fact, from the log of an edge that was cut off.
pub const FLAG_BACKLOG: u32 = 1;

/// What a frame's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// [`ReadingBlockV1`].
    Readings = 1,
    /// [`EventBlockV1`].
    Events = 2,
    /// [`AuditBlockV1`].
    Audit = 3,
}

/// What stands before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whose promise the records have.
    pub class: EventClass,
    /// What the records are.
    pub kind: RecordKind,
    /// Bytes of body.
    pub body_len: u32,
    /// Records in the body.
    pub count: u32,
    /// Offset of the first record in the sender's stream.
    pub first_offset: u64,
    /// The sender's log.
    pub epoch: u64,
    /// When the frame was built, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// [`FLAG_BACKLOG`].
    pub flags: u32,
    /// Checksum of header and body.
    pub crc32c: u32,
}

/// Why bytes are not a frame. None of these is worth a retry with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the header says.
    #[error("a frame of {expected} bytes was cut to {found}")]
    Truncated {
        /// Bytes that the header promises.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// Not a frame at all.
    #[error("no frame starts here: the first bytes are {0:02x?}")]
    Magic([u8; 4]),
    /// A header, class, kind, record version or codec that this build does not know.
    #[error("unknown {what} {value}: this build is too old for the sender")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// Longer than [`FRAME_LEN_MAX`].
    #[error("a frame of {0} bytes is over the limit of {FRAME_LEN_MAX}")]
    TooLong(usize),
    /// Damaged on the way or on the disk.
    #[error("checksum {found:08x} does not match {expected:08x}: the frame is damaged")]
    Checksum {
        /// In the header.
        expected: u32,
        /// Over the bytes.
        found: u32,
    },
    /// The body is not what rkyv would have written.
    #[error("the body is malformed: {0}")]
    Body(String),
    /// The body contradicts the header or itself.
    #[error("the block contradicts itself: {0}")]
    Inconsistent(&'static str),
}

/// Why a block was not made a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The frame would be longer than [`FRAME_LEN_MAX`]: split the block.
    #[error("the frame would be {0} bytes long; at most {FRAME_LEN_MAX} are allowed")]
    TooLong(usize),
    /// rkyv could not lay it out.
    #[error("rkyv: {0}")]
    Layout(String),
}

impl FrameHeader {
    /// Reads and checks a header, for a receiver that wants to know how many bytes follow.
    ///
    /// # Errors
    /// The first thing about it that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(FrameError::Truncated { expected: HEADER_LEN, found: bytes.len() });
        };
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let magic = [header[0], header[1], header[2], header[3]];
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let known = |what, value, ok| if ok { Ok(()) } else { Err(FrameError::Unknown { what, value }) };
        known("header version", header[4], header[4] == HEADER_VERSION)?;
        let class = EventClass::from_code(header[5]).ok_or(FrameError::Unknown { what: "class", value: header[5] })?;
        known("codec", header[6] >> 4, header[6] >> 4 == 0)?;
        let kind = match header[6] & 0x0f {
            1 => RecordKind::Readings,
            2 => RecordKind::Events,
            3 => RecordKind::Audit,
            value => return Err(FrameError::Unknown { what: "record kind", value }),
        };
        known("record version", header[7], header[7] == RECORD_VERSION)?;
        let body_len = u32_at(8);
        let frame_len = body_len as usize + HEADER_LEN;
        if frame_len > FRAME_LEN_MAX {
            return Err(FrameError::TooLong(frame_len));
        }
        let (count, first_offset) = (u32_at(12), u64_at(16));
        if count == 0 {
            return Err(FrameError::Inconsistent("it holds no records"));
        }
        if first_offset.checked_add(u64::from(count)).is_none() {
            return Err(FrameError::Inconsistent("its offsets go beyond what can be counted"));
        }
        Ok(Self {
            class,
            kind,
            body_len,
            count,
            first_offset,
            epoch: u64_at(24),
            created_ms: u64_at(32) as i64,
            flags: u32_at(40),
            crc32c: u32_at(44),
        })
    }

    /// Bytes of header and body together.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        HEADER_LEN + self.body_len as usize
    }

    /// Offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.first_offset + u64::from(self.count)
    }
}

/// Bytes that were checked: magic, versions, length, checksum, body. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Frame {
    header: FrameHeader,
    bytes: Bytes,
}

/// A frame of readings.
#[derive(Debug, Clone)]
pub struct ReadingFrame(Frame);

/// A frame of events.
#[derive(Debug, Clone)]
pub struct EventFrame(Frame);

/// A frame of audit records.
#[derive(Debug, Clone)]
pub struct AuditFrame(Frame);

/// Where in a sender's stream a new frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Whose promise the records have.
    pub class: EventClass,
    /// Offset of the first record.
    pub first_offset: u64,
    /// The sender's log.
    pub epoch: u64,
    /// Now, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

impl Frame {
    /// Checks bytes that come from outside: from a peer, or from a disk.
    ///
    /// # Errors
    /// The first thing about them that is wrong.
    pub fn parse(bytes: Bytes) -> Result<Self, FrameError> {
        let header = FrameHeader::parse(&bytes)?;
        if bytes.len() != header.frame_len() {
            return Err(FrameError::Truncated { expected: header.frame_len(), found: bytes.len() });
        }
        let found = checksum(&bytes);
        if found != header.crc32c {
            return Err(FrameError::Checksum { expected: header.crc32c, found });
        }
        let body = &bytes[HEADER_LEN..];
        match header.kind {
            RecordKind::Readings => check_readings(body, header.count, header.class)?,
            RecordKind::Events => check_events(body, header.count, header.class)?,
            RecordKind::Audit => check_audit(body, header.count, header.class)?,
        }
        Ok(Self { header, bytes })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Header and body as they travel and are stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The frame as readings, or back as it was.
    ///
    /// # Errors
    /// The frame itself when it holds something else.
    pub fn into_readings(self) -> Result<ReadingFrame, Frame> {
        if self.header.kind == RecordKind::Readings { Ok(ReadingFrame(self)) } else { Err(self) }
    }

    /// The frame as events, or back as it was.
    ///
    /// # Errors
    /// The frame itself when it holds something else.
    pub fn into_events(self) -> Result<EventFrame, Frame> {
        if self.header.kind == RecordKind::Events { Ok(EventFrame(self)) } else { Err(self) }
    }

    /// The frame as audit records, or back as it was.
    ///
    /// # Errors
    /// The frame itself when it holds something else.
    pub fn into_audit(self) -> Result<AuditFrame, Frame> {
        if self.header.kind == RecordKind::Audit { Ok(AuditFrame(self)) } else { Err(self) }
    }

    fn build(kind: RecordKind, count: usize, body: &[u8], at: Placement) -> Result<Self, BuildError> {
        let frame_len = HEADER_LEN + body.len();
        if frame_len > FRAME_LEN_MAX {
            return Err(BuildError::TooLong(frame_len));
        }
        let mut bytes = BytesMut::with_capacity(frame_len);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[HEADER_VERSION, at.class as u8, kind as u8, RECORD_VERSION]);
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(count as u32).to_le_bytes());
        bytes.extend_from_slice(&at.first_offset.to_le_bytes());
        bytes.extend_from_slice(&at.epoch.to_le_bytes());
        bytes.extend_from_slice(&at.created_ms.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(body);
        let crc32c = checksum(&bytes);
        bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc32c.to_le_bytes());
        let header = FrameHeader {
            class: at.class,
            kind,
            body_len: body.len() as u32,
            count: count as u32,
            first_offset: at.first_offset,
            epoch: at.epoch,
            created_ms: at.created_ms,
            flags: 0,
            crc32c,
        };
        Ok(Self { header, bytes: bytes.freeze() })
    }
}

impl ReadingFrame {
    /// Lays out a block once; from here on it is only copied.
    ///
    /// # Errors
    /// When the frame would be too long.
    pub fn build(block: &ReadingBlockV1, at: Placement) -> Result<Self, BuildError> {
        let body = rkyv::to_bytes::<rkyv::rancor::Error>(block).map_err(|e| BuildError::Layout(e.to_string()))?;
        Frame::build(RecordKind::Readings, block.readings.len(), &body, at).map(Self)
    }

    /// The block, read in place.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn block(&self) -> &ArchivedReadingBlockV1 {
        // SAFETY: the only ways to a `ReadingFrame` are `build`, which wrote this body from a block, and
        // `Frame::parse`, which validated it as this type; `Bytes` is immutable.
        unsafe { rkyv::access_unchecked::<ArchivedReadingBlockV1>(&self.0.bytes[HEADER_LEN..]) }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.0.header
    }

    /// Header and body as they travel and are stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }
}

impl EventFrame {
    /// Lays out a block once; from here on it is only copied.
    ///
    /// # Errors
    /// When the frame would be too long.
    pub fn build(block: &EventBlockV1, at: Placement) -> Result<Self, BuildError> {
        let body = rkyv::to_bytes::<rkyv::rancor::Error>(block).map_err(|e| BuildError::Layout(e.to_string()))?;
        Frame::build(RecordKind::Events, block.events.len(), &body, at).map(Self)
    }

    /// The block, read in place.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn block(&self) -> &ArchivedEventBlockV1 {
        // SAFETY: as in `ReadingFrame::block`.
        unsafe { rkyv::access_unchecked::<ArchivedEventBlockV1>(&self.0.bytes[HEADER_LEN..]) }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.0.header
    }

    /// Header and body as they travel and are stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }
}

impl AuditFrame {
    /// Lays out a block once; from here on it is only copied.
    ///
    /// # Errors
    /// When the frame would be too long.
    pub fn build(block: &AuditBlockV1, at: Placement) -> Result<Self, BuildError> {
        let body = rkyv::to_bytes::<rkyv::rancor::Error>(block).map_err(|e| BuildError::Layout(e.to_string()))?;
        Frame::build(RecordKind::Audit, block.records.len(), &body, at).map(Self)
    }

    /// The block, read in place.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn block(&self) -> &ArchivedAuditBlockV1 {
        // SAFETY: as in `ReadingFrame::block`.
        unsafe { rkyv::access_unchecked::<ArchivedAuditBlockV1>(&self.0.bytes[HEADER_LEN..]) }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.0.header
    }

    /// Header and body as they travel and are stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }
}

fn checksum(frame: &[u8]) -> u32 {
    let before = crc32c::crc32c(&frame[..HEADER_LEN - 4]);
    crc32c::crc32c_append(before, &frame[HEADER_LEN..])
}

fn check_readings(body: &[u8], count: u32, class: EventClass) -> Result<(), FrameError> {
    if class != EventClass::Telemetry {
        return Err(FrameError::Inconsistent("readings are of another class than telemetry"));
    }
    let block = rkyv::access::<ArchivedReadingBlockV1, rkyv::rancor::Error>(body)
        .map_err(|e| FrameError::Body(e.to_string()))?;
    let vehicles = block.vehicles.len();
    if block.readings.len() != count as usize {
        return Err(FrameError::Inconsistent("the header counts other readings than the body holds"));
    }
    if block.readings.iter().any(|reading| reading.vehicle_index() >= vehicles) {
        return Err(FrameError::Inconsistent("a reading names a vehicle that is not in the dictionary"));
    }
    if block.traces.iter().any(|trace| trace.record.to_native() >= count) {
        return Err(FrameError::Inconsistent("a trace names a reading that is not there"));
    }
    Ok(())
}

fn check_events(body: &[u8], count: u32, class: EventClass) -> Result<(), FrameError> {
    let block =
        rkyv::access::<ArchivedEventBlockV1, rkyv::rancor::Error>(body).map_err(|e| FrameError::Body(e.to_string()))?;
    if block.events.len() != count as usize {
        return Err(FrameError::Inconsistent("the header counts other events than the body holds"));
    }
    for event in block.events.iter() {
        if event.vehicle.to_native() as usize >= block.vehicles.len() {
            return Err(FrameError::Inconsistent("an event names a vehicle that is not in the dictionary"));
        }
        if event.plugin.to_native() as usize >= block.plugins.len() {
            return Err(FrameError::Inconsistent("an event names a plugin that is not in the dictionary"));
        }
        let Some(kind) = EventKind::from_code(event.kind.to_native()) else {
            return Err(FrameError::Inconsistent("an event is of a kind that this build does not know"));
        };
        if kind.class() != class {
            return Err(FrameError::Inconsistent("an event is of another class than its frame"));
        }
    }
    if block.traces.iter().any(|trace| trace.record.to_native() >= count) {
        return Err(FrameError::Inconsistent("a trace names an event that is not there"));
    }
    Ok(())
}

fn check_audit(body: &[u8], count: u32, class: EventClass) -> Result<(), FrameError> {
    if class != EventClass::Audit {
        return Err(FrameError::Inconsistent("audit records are of another class than audit"));
    }
    let block =
        rkyv::access::<ArchivedAuditBlockV1, rkyv::rancor::Error>(body).map_err(|e| FrameError::Body(e.to_string()))?;
    if block.records.len() != count as usize {
        return Err(FrameError::Inconsistent("the header counts other audit records than the body holds"));
    }
    Ok(())
}
