//! Meters as metrics. The workers count in plain numbers; what came since the last time is added here, off their threads.

use crate::metering::{MeterKey, Usage};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge};
use std::collections::BTreeMap;

/// Readings that a rule answered, by tenant, deployment and plugin, as all of these.
pub const PLUGIN_READINGS: &str = "drover_plugin_readings";
/// Calls of a rule.
pub const PLUGIN_BATCHES: &str = "drover_plugin_batches";
/// CPU time of these, ms.
pub const PLUGIN_CPU_MS: &str = "drover_plugin_cpu_ms";
/// Events that it proposed.
pub const PLUGIN_EVENTS: &str = "drover_plugin_events";
/// Bytes of these.
pub const PLUGIN_EVENT_BYTES: &str = "drover_plugin_event_bytes";
/// Calls without an answer.
pub const PLUGIN_FAILURES: &str = "drover_plugin_failures";
/// Lines that it logged, by `outcome`: kept, or dropped beyond its rate or quota.
pub const PLUGIN_LOG_LINES: &str = "drover_plugin_log_lines";
/// The most memory that an instance had since the node's start, bytes.
pub const PLUGIN_MEMORY_BYTES_HIGH: &str = "drover_plugin_memory_bytes_high";

/// The instruments, and what they were told.
pub(crate) struct UsageMetrics {
    readings: Counter<u64>,
    batches: Counter<u64>,
    cpu_ms: Counter<f64>,
    events: Counter<u64>,
    event_bytes: Counter<u64>,
    failures: Counter<u64>,
    log_lines: Counter<u64>,
    memory_bytes_high: Gauge<u64>,
    told: BTreeMap<MeterKey, Usage>,
}

impl UsageMetrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter(observability::METER);
        let counter = |name, what| meter.u64_counter(name).with_description(what).build();
        Self {
            readings: counter(PLUGIN_READINGS, "Readings that a rule answered"),
            batches: counter(PLUGIN_BATCHES, "Calls of a rule"),
            cpu_ms: meter.f64_counter(PLUGIN_CPU_MS).with_description("CPU time of a rule's calls, ms").build(),
            events: counter(PLUGIN_EVENTS, "Events that a rule proposed"),
            event_bytes: counter(PLUGIN_EVENT_BYTES, "Bytes of the events that a rule proposed"),
            failures: counter(PLUGIN_FAILURES, "Calls of a rule that gave no answer"),
            log_lines: counter(PLUGIN_LOG_LINES, "Lines that a rule logged, by outcome"),
            memory_bytes_high: meter
                .u64_gauge(PLUGIN_MEMORY_BYTES_HIGH)
                .with_description("The most memory that an instance of a rule had, bytes")
                .build(),
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, usage: Vec<(MeterKey, Usage)>) {
        for (key, now) in usage {
            let before = self.told.insert(key.clone(), now);
            if before == Some(now) {
                continue;
            }
            let before = before.unwrap_or_default();
            let labels = [
                KeyValue::new("tenant", key.tenant.to_string()),
                KeyValue::new("deployment", key.deployment.to_string()),
                KeyValue::new("plugin", key.plugin),
                KeyValue::new("trial", key.trial),
            ];
            self.readings.add(now.readings - before.readings, &labels);
            self.batches.add(now.batches - before.batches, &labels);
            self.cpu_ms.add((now.cpu_us - before.cpu_us) as f64 / 1_000.0, &labels);
            self.events.add(now.events - before.events, &labels);
            self.event_bytes.add(now.event_bytes - before.event_bytes, &labels);
            self.failures.add(now.failures - before.failures, &labels);
            self.memory_bytes_high.record(now.memory_bytes_high, &labels);
            let with = |outcome: &'static str| [&labels[..], &[KeyValue::new("outcome", outcome)]].concat();
            self.log_lines.add(now.log_lines_kept - before.log_lines_kept, &with("kept"));
            self.log_lines.add(now.log_lines_dropped - before.log_lines_dropped, &with("dropped"));
        }
    }
}
