//! Names and instruments of the cloud's ingest.

use fleet_model::EventClass;
use fleet_wire::control::Code;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Frames received, by class.
pub const INGEST_FRAMES: &str = "drover_cloud_ingest_frames";
/// Bytes of frames received, by class.
pub const INGEST_BYTES: &str = "drover_cloud_ingest_bytes";
/// Frames that were there before, by class.
pub const INGEST_REPEATS: &str = "drover_cloud_ingest_repeats";
/// Records made durable, by class.
pub const INGEST_RECORDS: &str = "drover_cloud_ingest_records";
/// Milliseconds from a frame's making at the edge until it is durable here, by class.
pub const INGEST_AGE_MS: &str = "drover_cloud_ingest_age_ms";
/// Class streams refused, by class and reason.
pub const INGEST_STREAMS_REFUSED: &str = "drover_cloud_ingest_streams_refused";
/// Connections refused, by stage.
pub const INGEST_CONNECTIONS_REFUSED: &str = "drover_cloud_ingest_connections_refused";
/// Audit records of edges whose hash is not that of what they say.
pub const INGEST_AUDIT_BROKEN: &str = "drover_cloud_ingest_audit_broken";
/// Readings that edges shed before they were delivered.
pub const INGEST_SHED: &str = "drover_cloud_ingest_shed";

struct Instruments {
    frames: Counter<u64>,
    bytes: Counter<u64>,
    repeats: Counter<u64>,
    records: Counter<u64>,
    age_ms: Histogram<f64>,
    streams_refused: Counter<u64>,
    connections_refused: Counter<u64>,
    audit_broken: Counter<u64>,
    shed: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = opentelemetry::global::meter(observability::METER);
    let counter = |name, what| meter.u64_counter(name).with_description(what).build();
    Instruments {
        frames: counter(INGEST_FRAMES, "Frames received from edges"),
        bytes: counter(INGEST_BYTES, "Bytes of frames received from edges"),
        repeats: counter(INGEST_REPEATS, "Frames that were there before"),
        records: counter(INGEST_RECORDS, "Records from edges made durable"),
        age_ms: meter
            .f64_histogram(INGEST_AGE_MS)
            .with_description("Milliseconds from the edge's commit to the cloud's")
            .with_boundaries(vec![
                1.0,
                2.0,
                5.0,
                10.0,
                25.0,
                50.0,
                100.0,
                250.0,
                1_000.0,
                10_000.0,
                60_000.0,
                3_600_000.0,
            ])
            .build(),
        streams_refused: counter(INGEST_STREAMS_REFUSED, "Class streams refused"),
        connections_refused: counter(INGEST_CONNECTIONS_REFUSED, "Connections of edges refused"),
        audit_broken: counter(INGEST_AUDIT_BROKEN, "Audit records of edges that were changed after they were recorded"),
        shed: counter(INGEST_SHED, "Readings that edges shed before they were delivered"),
    }
});

fn class_of(class: EventClass) -> [KeyValue; 1] {
    [KeyValue::new("class", class.as_str())]
}

pub(super) fn count_frame(class: EventClass, len: usize) {
    INSTRUMENTS.frames.add(1, &class_of(class));
    INSTRUMENTS.bytes.add(len as u64, &class_of(class));
}

pub(super) fn count_shed(records: u64) {
    INSTRUMENTS.shed.add(records, &[]);
}

pub(super) fn count_repeat(class: EventClass) {
    INSTRUMENTS.repeats.add(1, &class_of(class));
}

pub(super) fn count_durable(class: EventClass, count: u32, created_ms: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    INSTRUMENTS.records.add(u64::from(count), &class_of(class));
    INSTRUMENTS.age_ms.record(now.saturating_sub(created_ms).max(0) as f64, &class_of(class));
}

pub(super) fn count_stream_refused(class: EventClass, code: Code) {
    let reason = match code {
        Code::BadFrame => "bad_frame",
        Code::NotDurable => "not_durable",
        _ => "protocol",
    };
    let labels = [KeyValue::new("class", class.as_str()), KeyValue::new("reason", reason)];
    INSTRUMENTS.streams_refused.add(1, &labels);
}

pub(super) fn count_refused(stage: &'static str) {
    INSTRUMENTS.connections_refused.add(1, &[KeyValue::new("stage", stage)]);
}

pub(super) fn count_broken_record() {
    INSTRUMENTS.audit_broken.add(1, &[]);
}
