//! One class stream as two state machines without sockets, clocks or logs: the edge's [`Sender`] and the cloud's
//! [`Receiver`]. A shell feeds them what happened and does what they say.
//!
//! ```text
//!   edge's log            in flight                cloud's log
//!   [acked .. sent)  ---- frames, in order --->  expected: what must come next
//!      ^                                            |
//!      +------------ acknowledgements <-------------+  all below is durable
//! ```
//! The log of the edge is the only queue: what is not acknowledged is read from it again after a cut.

mod receiver;
mod sender;

pub use receiver::{Decision, Receiver, ReceiverError};
pub use sender::{Action, OutgoingFrame, Resumed, Sender, SenderError, SenderLimits};
