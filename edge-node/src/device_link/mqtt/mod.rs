//! MQTT 3.1.1 and 5: the protocol in `session` (no I/O), one task per connection in `connection`.

mod connection;
mod session;
mod sessions;
mod topics;

pub use connection::serve;
pub use sessions::Sessions;

use super::payload::PAYLOAD_LEN_MAX;
use std::time::Duration;

/// Publishes of one connection that are not answered yet; beyond it the socket is not read. MQTT 5 clients are told.
pub const UNACKNOWLEDGED_MAX: u16 = 256;
/// Largest packet: a payload with topic and properties. MQTT 5 clients are told, and disconnected beyond it.
pub const PACKET_LEN_MAX: u32 = PAYLOAD_LEN_MAX as u32 + 4 * 1_024;
/// Largest packet of an MQTT 3.1.1 client, which cannot be told: a payload over the limit is refused with a dead
/// letter and acknowledged, so that the device does not send it for ever.
pub const PACKET_LEN_3_1_1_MAX: u32 = 1_024 * 1_024;
/// Largest CONNECT with what comes before it is answered: nothing is known of the peer yet.
const CONNECT_LEN_MAX: usize = 16 * 1_024;
/// A connection that has not been accepted by then is closed.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A client that wants no keep-alive, or a longer one, gets this: a dead connection is noticed some day.
const KEEP_ALIVE_S_MAX: u16 = 1_200;
/// A peer that takes none of our answers for this long is gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// Topic aliases that an MQTT 5 client may use.
const TOPIC_ALIASES_MAX: u16 = 32;
/// Longest reason string in an answer, in bytes.
const REASON_LEN_MAX: usize = 200;
