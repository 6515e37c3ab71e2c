//! The start of a sampled payload's trace.

use fleet_model::TenantId;
use fleet_model::event::TraceContext;
use tracing::Span;

/// The root span of a sampled payload: from the door until it is durable and answered, which is when this is dropped.
#[derive(Debug)]
pub struct PublishTrace {
    /// What travels on with the payload's first reading.
    pub context: TraceContext,
    _span: Span,
}

/// Opens the root span of a payload if it is sampled.
#[must_use]
pub fn publish(transport: &'static str, tenant: &TenantId) -> Option<PublishTrace> {
    if !observability::trace::sample() {
        return None;
    }
    let span = tracing::info_span!(target: observability::trace::TARGET, "device_link.publish", transport, %tenant);
    let context = observability::trace::context_of(&span)?;
    Some(PublishTrace { context, _span: span })
}
