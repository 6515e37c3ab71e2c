//! What edge and cloud say to each other: frames of rkyv records, and the uplink session as a sans-io state machine.
//!
//! A frame is at once the block an edge commits to its log, the bytes on the wire, and the block the cloud validates
//! and commits. Nothing on the way decodes and encodes it again. `docs/protocol.md` says the same for implementers in
//! other languages.
//!
//! Pure: no sockets, no clocks, no threads, no randomness of its own.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backoff;
pub mod block;
pub mod control;
pub mod frame;
pub mod session;

pub use block::{
    ArchivedEventBlockV1, ArchivedEventV1, ArchivedReadingBlockV1, ArchivedReadingV1, EventBlockV1, EventV1,
    PluginNameV1, ReadingBlockV1, ReadingV1, TraceV1, VehicleNameV1,
};
pub use frame::{
    BuildError, EventFrame, FRAME_LEN_MAX, Frame, FrameError, FrameHeader, HEADER_LEN, ReadingFrame, RecordKind,
};
