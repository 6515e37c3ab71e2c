//! Names and instruments of the edge node's metrics, and the counts that its status reports.

use fleet_model::Refusal;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, UpDownCounter};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Readings that were admitted and are durable.
pub const READINGS_ADMITTED: &str = "drover_readings_admitted";
/// Readings that were said before.
pub const READINGS_REPEATED: &str = "drover_readings_repeated";
/// Admitted readings that were older than their vehicle's newest.
pub const READINGS_LATE: &str = "drover_readings_late";
/// Readings and payloads that were refused, by `reason`.
pub const READINGS_REFUSED: &str = "drover_readings_refused";
/// Payloads that came in, by `transport`.
pub const DEVICE_PAYLOADS: &str = "drover_device_payloads";
/// Device connections that are open, by `transport`.
pub const DEVICE_CONNECTIONS: &str = "drover_device_connections";
/// Device connections that we ended, by `reason`.
pub const DEVICE_CONNECTIONS_ENDED: &str = "drover_device_connections_ended";
/// Readings in a block.
pub const INGEST_BLOCK_READINGS: &str = "drover_ingest_block_readings";
/// Milliseconds from handing a block to the log until it is durable.
pub const INGEST_COMMIT_MS: &str = "drover_ingest_commit_ms";
/// Milliseconds from a reading's event time until it is durable at the edge; one sample a block.
pub const EVENT_AGE_MS: &str = "drover_event_age_ms";
/// Credits that are free; none left means that devices are held back.
pub const INGEST_CREDITS_FREE: &str = "drover_ingest_credits_free";
/// Blocks that the log refused because the disk is full.
pub const INGEST_COMMITS_FAILED: &str = "drover_ingest_commits_failed";
/// Readings that were shed before they were delivered, the disk being short.
pub const READINGS_SHED: &str = "drover_readings_shed";

/// The instruments.
pub struct Instruments {
    /// [`READINGS_ADMITTED`]
    pub admitted: Counter<u64>,
    /// [`READINGS_REPEATED`]
    pub repeated: Counter<u64>,
    /// [`READINGS_LATE`]
    pub late: Counter<u64>,
    /// [`READINGS_REFUSED`]
    pub refused: Counter<u64>,
    /// [`DEVICE_PAYLOADS`]
    pub payloads: Counter<u64>,
    /// [`DEVICE_CONNECTIONS`]
    pub connections: UpDownCounter<i64>,
    /// [`DEVICE_CONNECTIONS_ENDED`]
    pub connections_ended: Counter<u64>,
    /// [`INGEST_BLOCK_READINGS`]
    pub block_readings: Histogram<u64>,
    /// [`INGEST_COMMIT_MS`]
    pub commit_ms: Histogram<f64>,
    /// [`EVENT_AGE_MS`]
    pub event_age_ms: Histogram<f64>,
    /// [`INGEST_CREDITS_FREE`]
    pub credits_free: Gauge<u64>,
    /// [`INGEST_COMMITS_FAILED`]
    pub commits_failed: Counter<u64>,
    /// [`READINGS_SHED`]
    pub shed: Counter<u64>,
}

/// The instruments of this process; first used after `observability::init`.
pub static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = opentelemetry::global::meter(observability::METER);
    let ages = vec![10.0, 100.0, 1_000.0, 10_000.0, 60_000.0, 600_000.0, 3_600_000.0, 86_400_000.0];
    Instruments {
        admitted: meter.u64_counter(READINGS_ADMITTED).with_description("Readings admitted and durable").build(),
        repeated: meter.u64_counter(READINGS_REPEATED).with_description("Readings said before, dropped").build(),
        late: meter.u64_counter(READINGS_LATE).with_description("Admitted readings older than the newest").build(),
        refused: meter.u64_counter(READINGS_REFUSED).with_description("Readings refused, by reason").build(),
        payloads: meter.u64_counter(DEVICE_PAYLOADS).with_description("Payloads received, by transport").build(),
        connections: meter.i64_up_down_counter(DEVICE_CONNECTIONS).with_description("Open device connections").build(),
        connections_ended: meter
            .u64_counter(DEVICE_CONNECTIONS_ENDED)
            .with_description("Device connections that the edge node ended, by reason")
            .build(),
        block_readings: meter
            .u64_histogram(INGEST_BLOCK_READINGS)
            .with_description("Readings in a block")
            .with_boundaries(vec![1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 2_000.0])
            .build(),
        commit_ms: meter
            .f64_histogram(INGEST_COMMIT_MS)
            .with_description("Milliseconds until a block is durable")
            .with_boundaries(vec![0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 500.0, 2_000.0])
            .build(),
        event_age_ms: meter
            .f64_histogram(EVENT_AGE_MS)
            .with_description("Milliseconds since the event time, by stage and class")
            .with_boundaries(ages)
            .build(),
        credits_free: meter.u64_gauge(INGEST_CREDITS_FREE).with_description("Free admission credits").build(),
        commits_failed: meter
            .u64_counter(INGEST_COMMITS_FAILED)
            .with_description("Blocks that the log refused")
            .build(),
        shed: meter.u64_counter(READINGS_SHED).with_description("Readings shed before they were delivered").build(),
    }
});

/// Attribute of [`READINGS_REFUSED`] and [`DEVICE_CONNECTIONS_ENDED`].
#[must_use]
pub fn reason(code: &'static str) -> [KeyValue; 1] {
    [KeyValue::new("reason", code)]
}

/// Attribute of the door's metrics: `mqtt`, `mqtts` or `http`.
#[must_use]
pub fn transport(name: &'static str) -> [KeyValue; 1] {
    [KeyValue::new("transport", name)]
}

/// What ingest counts since the start of the process.
#[derive(Debug)]
pub struct Counts {
    admitted: AtomicU64,
    repeats: AtomicU64,
    late: AtomicU64,
    vehicles: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// [`Counts`] at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Readings admitted.
    pub admitted: u64,
    /// Readings said before.
    pub repeats: u64,
    /// Admitted readings that were late.
    pub late: u64,
    /// Vehicles known to admission.
    pub vehicles: u64,
    /// Refused, by reason; only reasons that occurred.
    pub refused: BTreeMap<String, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            admitted: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            late: AtomicU64::new(0),
            vehicles: AtomicU64::new(0),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Counts {
    /// Counts readings that are durable now.
    pub fn count(&self, admitted: u64, late: u64, repeats: u64) {
        self.admitted.fetch_add(admitted, Ordering::Relaxed);
        self.late.fetch_add(late, Ordering::Relaxed);
        self.repeats.fetch_add(repeats, Ordering::Relaxed);
        INSTRUMENTS.admitted.add(admitted, &[]);
        INSTRUMENTS.late.add(late, &[]);
        INSTRUMENTS.repeated.add(repeats, &[]);
    }

    /// Counts one refusal.
    pub fn count_refused(&self, why: Refusal) {
        if let Some(at) = Refusal::ALL.iter().position(|known| *known == why) {
            self.refused[at].fetch_add(1, Ordering::Relaxed);
        }
        INSTRUMENTS.refused.add(1, &reason(why.code()));
    }

    /// Notes how many vehicles admission knows.
    pub fn set_vehicles(&self, vehicles: usize) {
        self.vehicles.store(vehicles as u64, Ordering::Relaxed);
    }

    /// All counts.
    #[must_use]
    pub fn read(&self) -> Counted {
        let refused = Refusal::ALL.iter().zip(&self.refused).filter_map(|(why, count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then(|| (why.code().to_owned(), count))
        });
        Counted {
            admitted: self.admitted.load(Ordering::Relaxed),
            repeats: self.repeats.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            vehicles: self.vehicles.load(Ordering::Relaxed),
            refused: refused.collect(),
        }
    }
}
