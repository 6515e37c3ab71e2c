//! What an operator may choose.

use serde::{Deserialize, Serialize};

/// The `[observability]` section of both programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObservabilityConfig {
    /// `"human"` (default) or `"json"`, one object a line. Logs go to standard error.
    pub log: LogFormat,
    /// What is logged: a level (`"info"`, the default), or a filter such as `"info,drover_edge=debug"`.
    pub level: String,
    /// Where traces and metrics go, OTLP over HTTP, such as `"http://127.0.0.1:4318"`. Absent (default): nowhere.
    pub otlp_endpoint: Option<String>,
    /// Share of payloads that are traced from device to partner, 0 to 1. Default 0.01. Without `otlp_endpoint` none is.
    pub trace_sample_ratio: f64,
    /// Seconds between two exports of metrics to `otlp_endpoint`. Default 15.
    pub metrics_interval_s: u64,
}

impl Default for ObservabilityConfig {
    fn default() -> Self {
        Self {
            log: LogFormat::Human,
            level: "info".into(),
            otlp_endpoint: None,
            trace_sample_ratio: 0.01,
            metrics_interval_s: 15,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For eyes.
    #[default]
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_have_defaults_and_unknown_ones_are_refused() {
        let config: ObservabilityConfig = toml::from_str("log = \"json\"").unwrap();
        assert_eq!(config, ObservabilityConfig { log: LogFormat::Json, ..Default::default() });
        let refused = toml::from_str::<ObservabilityConfig>("otlp = \"x\"").unwrap_err().to_string();
        assert!(refused.contains("otlp_endpoint"), "names what is allowed: {refused}");
    }
}
