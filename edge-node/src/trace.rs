//! The start of a sampled payload's trace.

use fleet_model::event::TraceContext;

/// Opens the root span of a payload if it is sampled, and closes it when the guard goes.
#[must_use]
pub(crate) fn publish_span(transport: &'static str) -> Option<(tracing::Span, TraceContext)> {
    if !observability::trace::sample() {
        return None;
    }
    let span = tracing::info_span!(target: observability::trace::TARGET, "device_link.publish", transport);
    let context = observability::trace::context_of(&span)?;
    Some((span, context))
}
