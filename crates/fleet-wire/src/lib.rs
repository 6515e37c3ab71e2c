//! What edge and cloud say to each other: frames of rkyv records, and the uplink session as a sans-io state machine.
//!
//! A frame is at once the block an edge commits to its log, the bytes on the wire, and the block the cloud validates
//! and commits. Nothing on the way decodes and encodes it again, audit records excepted (ADR 9). `docs/protocol.md` says
//! the same for implementers in other languages.
//!
//! Pure: no sockets, no clocks, no threads, no randomness of its own.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit_block;
pub mod backoff;
pub mod block;
pub mod control;
pub mod frame;
pub mod session;

pub use audit_block::{ArchivedAuditBlockV1, ArchivedAuditV1, AuditBlockV1, AuditV1, InvalidAudit, LinkV1, OriginV1};
pub use block::{
    ArchivedEventBlockV1, ArchivedEventV1, ArchivedReadingBlockV1, ArchivedReadingV1, EventBlockV1, EventV1,
    PluginNameV1, ReadingBlockV1, ReadingV1, TraceV1, VehicleNameV1,
};
pub use frame::{
    AuditFrame, BuildError, EventFrame, FRAME_LEN_MAX, Frame, FrameError, FrameHeader, HEADER_LEN, ReadingFrame,
    RecordKind,
};
