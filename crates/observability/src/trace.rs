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

static SAMPLED: Share = Share::none();

/// One in the fixed-point numbers of [`Share`].
const ONE: u64 = 1 << 32;

/// Takes a share of what passes, spread evenly: with 0.7 seven of ten.
struct Share {
    /// What each adds.
    each: AtomicU64,
    /// The sum of what was added; each time it passes a whole number, one is taken. Begins just below one, so that the
    /// first is taken.
    sum: AtomicU64,
}

impl Share {
    const fn none() -> Self {
        Self { each: AtomicU64::new(0), sum: AtomicU64::new(ONE - 1) }
    }

    fn set(&self, ratio: f64) {
        self.each.store((ratio.clamp(0.0, 1.0) * ONE as f64) as u64, Ordering::Relaxed);
    }

    fn takes_next(&self) -> bool {
        match self.each.load(Ordering::Relaxed) {
            0 => false,
            each => {
                let before = self.sum.fetch_add(each, Ordering::Relaxed);
                before.wrapping_add(each) / ONE != before / ONE
            }
        }
    }
}

/// Samples this share of payloads from now on.
pub(crate) fn enable(ratio: f64) {
    SAMPLED.set(ratio);
}

/// Whether the next payload is to be traced. Counts: with a ratio of 0.01 every hundredth is.
#[must_use]
pub fn sample() -> bool {
    SAMPLED.takes_next()
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
        for (ratio, taken) in [(0.0, 0), (0.01, 10), (0.1, 100), (0.4, 400), (0.7, 700), (1.0, 1_000)] {
            let share = Share::none();
            share.set(ratio);
            assert_eq!((0..1_000).filter(|_| share.takes_next()).count(), taken, "{ratio}");
        }
    }

    #[test]
    fn what_is_sampled_is_spread_evenly_from_the_first_on() {
        let share = Share::none();
        share.set(0.7);
        let taken: Vec<bool> = (0..10).map(|_| share.takes_next()).collect();
        assert!(taken[0] && !taken.windows(2).any(|two| two == [false, false]), "{taken:?}");
    }

    #[test]
    fn without_an_exporter_there_is_no_context() {
        assert_eq!(context_of(&tracing::info_span!(target: TARGET, "device_link.publish")), None);
    }
}
