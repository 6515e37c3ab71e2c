//! Names and instruments of the uplink.

use fleet_model::EventClass;
use fleet_wire::control::StreamStatus;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge};
use std::sync::LazyLock;

/// 1 while the cloud is connected, else 0.
pub const UPLINK_CONNECTED: &str = "drover_uplink_connected";
/// Records in the edge's log that the cloud has not acknowledged, by class. Absent until the cloud has said what it has.
pub const UPLINK_LAG_OFFSETS: &str = "drover_uplink_lag_offsets";
/// Age of the oldest record that the cloud has not acknowledged, by class; 0 when it has all. Absent as the other.
pub const UPLINK_LAG_SECONDS: &str = "drover_uplink_lag_seconds";
/// Frames sent, by class.
pub const UPLINK_FRAMES: &str = "drover_uplink_frames";
/// Bytes of frames sent, by class.
pub const UPLINK_BYTES: &str = "drover_uplink_bytes";
/// Connections that failed or ended.
pub const UPLINK_CONNECTIONS_LOST: &str = "drover_uplink_connections_lost";
/// Class streams that ended while the connection went on, by class.
pub const UPLINK_STREAMS_LOST: &str = "drover_uplink_streams_lost";

struct Instruments {
    connected: Gauge<u64>,
    lag_offsets: Gauge<u64>,
    lag_seconds: Gauge<f64>,
    frames: Counter<u64>,
    bytes: Counter<u64>,
    connections_lost: Counter<u64>,
    streams_lost: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = opentelemetry::global::meter(observability::METER);
    Instruments {
        connected: meter.u64_gauge(UPLINK_CONNECTED).with_description("1 while the cloud is connected").build(),
        lag_offsets: meter.u64_gauge(UPLINK_LAG_OFFSETS).with_description("Records not acknowledged").build(),
        lag_seconds: meter
            .f64_gauge(UPLINK_LAG_SECONDS)
            .with_description("Age of the oldest record that is not acknowledged")
            .build(),
        frames: meter.u64_counter(UPLINK_FRAMES).with_description("Frames sent").build(),
        bytes: meter.u64_counter(UPLINK_BYTES).with_description("Bytes of frames sent").build(),
        connections_lost: meter
            .u64_counter(UPLINK_CONNECTIONS_LOST)
            .with_description("Connections that failed or ended")
            .build(),
        streams_lost: meter
            .u64_counter(UPLINK_STREAMS_LOST)
            .with_description("Class streams that ended while the connection went on")
            .build(),
    }
});

fn class_of(class: EventClass) -> [KeyValue; 1] {
    [KeyValue::new("class", class.as_str())]
}

pub(super) fn count_connection_failed() {
    INSTRUMENTS.connections_lost.add(1, &[]);
}

pub(super) fn count_stream_failed(class: EventClass) {
    INSTRUMENTS.streams_lost.add(1, &class_of(class));
}

pub(super) fn count_frame_sent(class: EventClass, len: usize) {
    INSTRUMENTS.frames.add(1, &class_of(class));
    INSTRUMENTS.bytes.add(len as u64, &class_of(class));
}

pub(super) fn record_connected(connected: bool) {
    INSTRUMENTS.connected.record(u64::from(connected), &[]);
}

pub(super) fn record_lag(stream: &StreamStatus) {
    let class = class_of(stream.class);
    INSTRUMENTS.lag_offsets.record(stream.next.saturating_sub(stream.acked), &class);
    let age_ms = stream.oldest_unacked_ms.unwrap_or(0);
    INSTRUMENTS.lag_seconds.record(age_ms as f64 / 1_000.0, &class);
}
