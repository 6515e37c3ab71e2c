//! What this crate counts.

use opentelemetry::metrics::{Counter, Meter};
use opentelemetry::{KeyValue, global};
use std::sync::LazyLock;

/// Components compiled (not taken from the cache).
const COMPILES: &str = "drover_plugin_compiles";
/// Artifacts found in the cache.
const CACHE_HITS: &str = "drover_plugin_cache_hits";
/// Cache entries that were damaged or foreign and were thrown away.
const CACHE_DISCARDED: &str = "drover_plugin_cache_discarded";
/// Lines over a plugin's quota.
const LOG_LINES_DROPPED: &str = "drover_plugin_log_lines_dropped";
/// Calls that failed, by `reason`: trapped, timed_out, out_of_memory, too_much_output, rejected, malformed.
const CALLS_FAILED: &str = "drover_plugin_calls_failed";

struct Instruments {
    compiles: Counter<u64>,
    cache_hits: Counter<u64>,
    cache_discarded: Counter<u64>,
    log_lines_dropped: Counter<u64>,
    calls_failed: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter: Meter = global::meter("drover");
    let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
    Instruments {
        compiles: counter(COMPILES, "Plugins compiled."),
        cache_hits: counter(CACHE_HITS, "Plugins taken compiled from the cache."),
        cache_discarded: counter(CACHE_DISCARDED, "Cached compiled plugins that were unusable."),
        log_lines_dropped: counter(LOG_LINES_DROPPED, "Log lines of plugins over their quota."),
        calls_failed: counter(CALLS_FAILED, "Calls of plugins that failed, by reason."),
    }
});

pub(crate) fn compiled() {
    INSTRUMENTS.compiles.add(1, &[]);
}

pub(crate) fn cache_hit() {
    INSTRUMENTS.cache_hits.add(1, &[]);
}

pub(crate) fn cache_discarded() {
    INSTRUMENTS.cache_discarded.add(1, &[]);
}

pub(crate) fn log_line_dropped() {
    INSTRUMENTS.log_lines_dropped.add(1, &[]);
}

pub(crate) fn call_failed(reason: &'static str) {
    INSTRUMENTS.calls_failed.add(1, &[KeyValue::new("reason", reason)]);
}
