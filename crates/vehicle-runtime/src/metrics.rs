//! What is measured, under which names.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, UpDownCounter};

/// Readings applied to their vehicle.
pub const READINGS_APPLIED: &str = "drover_readings_applied";
/// Of these, readings older than the newest of their vehicle.
pub const READINGS_LATE: &str = "drover_readings_late";
/// Events made durable, by class.
pub const EVENTS: &str = "drover_events";
/// From a block's hand-in until a worker was through with its part, ms.
pub const BATCH_MS: &str = "drover_batch_ms";
/// Blocks handed in of which no worker or not every worker is through.
pub const BLOCKS_IN_FLIGHT: &str = "drover_blocks_in_flight";
/// One call of a plugin, ms, by tenant and deployment.
pub const PLUGIN_MS: &str = "drover_plugin_ms";
/// Readings on which an actor or a plugin failed, by stage.
pub const POISON_READINGS: &str = "drover_poison_readings";
/// Times a plugin's breaker opened, by tenant and deployment.
pub const BREAKER_OPENED: &str = "drover_plugin_breaker_opened";
/// Times a rule was over a budget, by tenant, deployment and budget.
pub const BUDGET_EXCEEDED: &str = "drover_plugin_budget_exceeded";
/// Times a deployment was suspended, by tenant and deployment.
pub const SUSPENSIONS: &str = "drover_plugin_suspensions";
/// Live readings that a suspended deployment was not shown, by tenant and deployment.
pub const READINGS_MISSED: &str = "drover_plugin_readings_missed";
/// Actors restarted after a panic.
pub const ACTOR_RESTARTS: &str = "drover_actor_restarts";
/// Vehicle actors that live.
pub const ACTORS_LIVE: &str = "drover_actors_live";
/// From a checkpoint's barrier until it was durable, ms.
pub const CHECKPOINT_MS: &str = "drover_checkpoint_ms";
/// Offset in the telemetry log below which everything is applied and its events are durable.
pub const APPLIED_OFFSET: &str = "drover_applied_offset";

/// Acts recorded, by act and outcome.
pub const AUDIT_ACTS: &str = "drover_audit_acts";

/// The instruments of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub applied: Counter<u64>,
    pub late: Counter<u64>,
    pub events: Counter<u64>,
    pub batch_ms: Histogram<f64>,
    pub in_flight: UpDownCounter<i64>,
    pub plugin_ms: Histogram<f64>,
    pub poison: Counter<u64>,
    pub breaker: Counter<u64>,
    pub budget_exceeded: Counter<u64>,
    pub suspensions: Counter<u64>,
    pub missed: Counter<u64>,
    pub restarts: Counter<u64>,
    pub live: UpDownCounter<i64>,
    pub checkpoint_ms: Histogram<f64>,
    pub applied_offset: Gauge<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter(observability::METER);
        let counter = |name, what| meter.u64_counter(name).with_description(what).build();
        let level = |name, what| meter.i64_up_down_counter(name).with_description(what).build();
        // A block takes from some 10 us to, under pressure, seconds.
        let bounds = vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0, 5_000.0];
        let duration =
            |name, what| meter.f64_histogram(name).with_description(what).with_boundaries(bounds.clone()).build();
        Self {
            applied: counter(READINGS_APPLIED, "Readings applied to their vehicle"),
            late: counter(READINGS_LATE, "Readings older than the newest of their vehicle"),
            events: counter(EVENTS, "Events made durable"),
            batch_ms: duration(BATCH_MS, "From a block's hand-in until a worker was through with its part, ms"),
            in_flight: level(BLOCKS_IN_FLIGHT, "Parts of blocks handed to workers and not finished"),
            plugin_ms: duration(PLUGIN_MS, "One call of a plugin, ms"),
            poison: counter(POISON_READINGS, "Readings on which an actor or a plugin failed"),
            breaker: counter(BREAKER_OPENED, "Times a plugin's breaker opened"),
            budget_exceeded: counter(BUDGET_EXCEEDED, "Times a rule was over a budget"),
            suspensions: counter(SUSPENSIONS, "Times a deployment was suspended"),
            missed: counter(READINGS_MISSED, "Live readings that a suspended deployment was not shown"),
            restarts: counter(ACTOR_RESTARTS, "Vehicle actors restarted after a panic"),
            live: level(ACTORS_LIVE, "Vehicle actors that live"),
            checkpoint_ms: duration(CHECKPOINT_MS, "From a checkpoint's barrier until it was durable, ms"),
            applied_offset: meter
                .u64_gauge(APPLIED_OFFSET)
                .with_description("Telemetry offset below which everything is applied and durable")
                .build(),
        }
    }

    /// The labels of a stage.
    pub(crate) fn stage(stage: &str) -> [KeyValue; 1] {
        [KeyValue::new("stage", stage.to_owned())]
    }

    /// The labels of a deployment.
    pub(crate) fn deployment(key: &crate::keys::DeploymentKey) -> [KeyValue; 2] {
        [KeyValue::new("tenant", key.0.to_string()), KeyValue::new("deployment", key.1.to_string())]
    }
}
