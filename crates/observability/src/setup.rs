//! Installs subscriber, meter provider and exporters for the process.

use crate::config::{LogFormat, ObservabilityConfig};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::{Encoder, TextEncoder};
use std::io::IsTerminal;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// One export may take this long before it is given up.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why observability could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `level` is no filter.
    #[error(
        "observability.level = {level:?} is no log filter ({reason}): write a level such as \"info\", or \"info,drover_edge=debug\""
    )]
    Level {
        /// As configured.
        level: String,
        /// What the parser says.
        reason: String,
    },
    /// `trace_sample_ratio` is no share.
    #[error("observability.trace_sample_ratio = {0} is not between 0 and 1")]
    Ratio(f64),
    /// The exporter could not be built.
    #[error("observability.otlp_endpoint = {endpoint:?} cannot be used: {reason}")]
    Exporter {
        /// As configured.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The metrics registry refused.
    #[error("metrics: {0}")]
    Metrics(String),
    /// Somebody installed a subscriber before.
    #[error("logging is set up already: {0}")]
    Twice(String),
}

/// What was set up. Keep it until the end of `main` and call [`Observability::shutdown`].
#[derive(Debug, Clone)]
pub struct Observability {
    registry: prometheus::Registry,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

/// Sets up logs on standard error, metrics for [`Observability::metrics_text`], and, when an endpoint is configured,
/// export of traces and metrics. Call once, early in `main`.
///
/// # Errors
/// See [`SetupError`]; the message names the key to change.
pub fn init(
    service: &'static str,
    version: &'static str,
    config: &ObservabilityConfig,
) -> Result<Observability, SetupError> {
    if !(0.0..=1.0).contains(&config.trace_sample_ratio) {
        return Err(SetupError::Ratio(config.trace_sample_ratio));
    }
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|e| SetupError::Level { level: config.level.clone(), reason: e.to_string() })?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(opentelemetry::KeyValue::new("service.version", version))
        .build();

    let registry = prometheus::Registry::new();
    let prometheus = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(|e| SetupError::Metrics(e.to_string()))?;
    let mut meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(prometheus);
    let mut tracers = None;
    if let Some(endpoint) = &config.otlp_endpoint {
        let (spans, metrics) = exporters(endpoint)?;
        let interval = Duration::from_secs(config.metrics_interval_s.max(1));
        meters = meters.with_reader(PeriodicReader::builder(metrics).with_interval(interval).build());
        let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(spans).build();
        crate::trace::enable(config.trace_sample_ratio);
        tracers = Some(provider);
    }
    let meters = meters.build();
    opentelemetry::global::set_meter_provider(meters.clone());

    let colours = std::io::stderr().is_terminal();
    let lines = match config.log {
        LogFormat::Human => tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr).boxed(),
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    // Spans of traced readings carry their own target, so that the log filter does not decide about traces.
    let traces = tracers.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(crate::METER))
            .with_filter(tracing_subscriber::filter::filter_fn(|meta| meta.target() == crate::trace::TARGET))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces)
        .try_init()
        .map_err(|e| SetupError::Twice(e.to_string()))?;
    Ok(Observability { registry, meters, tracers })
}

/// The exporters' HTTP client blocks and starts a runtime of its own, which must not happen on a thread of ours.
fn exporters(endpoint: &str) -> Result<(SpanExporter, MetricExporter), SetupError> {
    // They have no TLS: every export would fail.
    if !endpoint.starts_with("http://") {
        let reason = "write http://host:port of a collector near by; for TLS, let that one forward".to_owned();
        return Err(SetupError::Exporter { endpoint: endpoint.to_owned(), reason });
    }
    let base = endpoint.trim_end_matches('/').to_owned();
    let built = std::thread::spawn(move || {
        let spans = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{base}/v1/traces"))
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|e| e.to_string())?;
        let metrics = MetricExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{base}/v1/metrics"))
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|e| e.to_string())?;
        Ok((spans, metrics))
    })
    .join()
    .unwrap_or_else(|_| Err("the exporter's client could not start".to_owned()));
    built.map_err(|reason| SetupError::Exporter { endpoint: endpoint.to_owned(), reason })
}

impl Observability {
    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written as text");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Sends what is still waiting, bounded by the export timeout. Blocks: call it after the runtime has ended, or on
    /// a blocking thread.
    pub fn shutdown(&self) {
        if let Some(tracers) = &self.tracers
            && let Err(error) = tracers.shutdown()
        {
            tracing::warn!(%error, "the last traces were not exported");
        }
        if let Err(error) = self.meters.shutdown() {
            tracing::warn!(%error, "the last metrics were not exported");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_come_out_as_prometheus_text() {
        let observed = init("test", "0", &ObservabilityConfig::default()).unwrap();
        let counter = opentelemetry::global::meter(crate::METER).u64_counter("drover_test_readings").build();
        counter.add(3, &[opentelemetry::KeyValue::new("reason", "x")]);
        let text = observed.metrics_text();
        assert!(text.contains("drover_test_readings_total{reason=\"x\"} 3"), "{text}");
        observed.shutdown();
    }

    #[test]
    fn nonsense_is_refused_by_the_key_to_change() {
        let config = ObservabilityConfig { level: "a=b=c".into(), ..Default::default() };
        assert!(init("test", "0", &config).unwrap_err().to_string().contains("observability.level"));
        let config = ObservabilityConfig { trace_sample_ratio: 2.0, ..Default::default() };
        assert!(init("test", "0", &config).unwrap_err().to_string().contains("trace_sample_ratio"));
        let config = ObservabilityConfig { otlp_endpoint: Some("https://x:4318".into()), ..Default::default() };
        assert!(init("test", "0", &config).unwrap_err().to_string().contains("observability.otlp_endpoint"));
    }
}
