//! Names of the cloud's metrics, and their instruments.

use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};
use std::sync::OnceLock;

/// Requests answered, by route, method, status and HTTP version.
pub const REQUESTS: &str = "drover_http_requests";
/// Time from a request's headers to its answer's headers, seconds.
pub const REQUEST_SECONDS: &str = "drover_http_request_duration_seconds";
/// Event streams that are open.
pub const STREAMS: &str = "drover_event_streams_open";
/// Events written to streams.
pub const EVENTS_DELIVERED: &str = "drover_events_delivered";
/// Components uploaded, by result.
pub const PLUGIN_UPLOADS: &str = "drover_plugin_uploads";
/// Deployments changed, by act.
pub const DEPLOYMENT_CHANGES: &str = "drover_deployment_changes";

macro_rules! instrument {
    ($(#[$doc:meta])* $name:ident: $kind:ident = $make:ident($metric:ident), $description:literal) => {
        $(#[$doc])*
        pub(crate) fn $name() -> &'static $kind {
            static INSTRUMENT: OnceLock<$kind> = OnceLock::new();
            INSTRUMENT.get_or_init(|| {
                opentelemetry::global::meter(observability::METER).$make($metric).with_description($description).build()
            })
        }
    };
}

type CountU64 = Counter<u64>;
type UpDown = UpDownCounter<i64>;

instrument!(requests: CountU64 = u64_counter(REQUESTS), "Requests answered");
instrument!(streams: UpDown = i64_up_down_counter(STREAMS), "Event streams that are open");
instrument!(events_delivered: CountU64 = u64_counter(EVENTS_DELIVERED), "Events written to streams");
instrument!(plugin_uploads: CountU64 = u64_counter(PLUGIN_UPLOADS), "Components uploaded");
instrument!(deployment_changes: CountU64 = u64_counter(DEPLOYMENT_CHANGES), "Deployments changed");

/// Bounds of the histogram, seconds: from a read of memory to a component that is compiled.
const REQUEST_SECONDS_BOUNDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

pub(crate) fn request_seconds() -> &'static Histogram<f64> {
    static INSTRUMENT: OnceLock<Histogram<f64>> = OnceLock::new();
    INSTRUMENT.get_or_init(|| {
        let meter = opentelemetry::global::meter(observability::METER);
        let histogram = meter.f64_histogram(REQUEST_SECONDS).with_description("Time to the answer's headers");
        histogram.with_boundaries(REQUEST_SECONDS_BOUNDS.to_vec()).build()
    })
}
