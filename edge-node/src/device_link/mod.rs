//! The door for devices: MQTT 3.1.1 and 5 over TCP and TLS, and HTTP. Bytes become types here, once.
//!
//! ```text
//! socket -> mqtt/session (protocol) -> topic, payload (types) -> ingest (credits, queue) -> PUBACK, 202
//! ```

pub mod credentials;
pub mod elements;
pub mod explain;
pub mod http;
pub mod listener;
pub mod mqtt;
pub mod payload;
pub mod rfc3339;
pub mod tls;
pub mod topic;

use crate::ingest::Ingest;
use credentials::Credentials;
use vehicle_runtime::Clock;

/// What every connection needs.
pub struct Door {
    /// Who may come in.
    pub credentials: Credentials,
    /// Where readings go.
    pub ingest: Ingest,
    /// Gives `received_time`.
    pub clock: Clock,
    /// Who is connected over MQTT.
    pub sessions: mqtt::Sessions,
}
