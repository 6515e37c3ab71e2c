//! A sampled reading's way from device to partner, as one distributed trace (W3C trace context).
//!
//! The door decides which payloads are sampled; from there the context travels in frames and events, and each stage
//! opens a child span. What is not sampled costs one atomic read.

use fleet_model::event::TraceContext;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Target of the spans that are exported.
pub const TARGET: &str = "drover::trace";

/// Every how many-th payload is sampled; 0: none.
static EVERY: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Samples this share of payloads from now on.
pub(crate) fn enable(ratio: f64) {
    let every = if ratio > 0.0 { (1.0 / ratio).round() as u64 } else { 0 };
    EVERY.store(every, Ordering::Relaxed);
}

/// Whether the next payload is to be traced. Counts: with a ratio of 0.01 every hundredth is.
#[must_use]
pub fn sample() -> bool {
    match EVERY.load(Ordering::Relaxed) {
        0 => false,
        every => SEEN.fetch_add(1, Ordering::Relaxed).is_multiple_of(every),
    }
}

/// The context to send along with what happens in `span`; `None` when nothing exports it.
#[must_use]
pub fn context_of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let known = context.span().span_context().clone();
    known
        .is_valid()
        .then(|| TraceContext { trace_id: known.trace_id().to_bytes(), span_id: known.span_id().to_bytes() })
}

/// Makes `span` a child of a span of another stage or process.
pub fn set_parent(span: &Span, parent: TraceContext) {
    let remote = SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    if let Err(error) = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)) {
        tracing::debug!(?error, "span keeps no parent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_decides_how_many_are_sampled() {
        enable(0.1);
        assert_eq!((0..1_000).filter(|_| sample()).count(), 100);
        enable(0.0);
        assert_eq!((0..1_000).filter(|_| sample()).count(), 0);
    }

    #[test]
    fn without_an_exporter_there_is_no_context() {
        assert_eq!(context_of(&tracing::info_span!(target: TARGET, "device_link.publish")), None);
    }
}
