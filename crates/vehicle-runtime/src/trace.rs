//! Spans of readings that are traced from device to partner. What is not sampled costs nothing here.

use fleet_model::event::TraceContext;
use observability::trace::{TARGET, context_of, set_parent};
use tracing::Span;

/// A traced reading on its way through a worker. The span ends when this is dropped.
pub(crate) struct TracedReading {
    /// Index in its block.
    pub record: u32,
    /// What events caused by it carry on.
    pub context: TraceContext,
    _span: Span,
}

/// Opens the span `vehicle.apply` below the span that sent the reading.
pub(crate) fn open(record: u32, parent: TraceContext, tenant: &str, vehicle: &str) -> TracedReading {
    let span = tracing::info_span!(
        target: TARGET,
        "vehicle.apply",
        tenant,
        vehicle,
        trace_id = %hex(&parent.trace_id),
        span_id = %hex(&parent.span_id),
    );
    set_parent(&span, parent);
    // Where nothing exports spans, the sender's context is passed on.
    let context = context_of(&span).unwrap_or(parent);
    TracedReading { record, context, _span: span }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
