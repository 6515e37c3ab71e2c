//! What an operator may choose.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Most seconds between two exports of metrics: a day.
const METRICS_INTERVAL_S_MAX: u64 = 86_400;

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
    /// Seconds between two exports of metrics to `otlp_endpoint`, 1 to 86,400. Default 15.
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

impl ObservabilityConfig {
    /// Tries everything that can be tried without setting anything up: what passes here does not stop a start.
    ///
    /// # Errors
    /// The key within the section, and what is wrong and what is allowed.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        // A lone word that is no level would be taken for the only module that may log.
        let lone_word = !self.level.contains([',', '=', '[']);
        if (lone_word && self.level.parse::<LevelFilter>().is_err()) || EnvFilter::try_new(&self.level).is_err() {
            let allowed = "off, error, warn, info, debug and trace, or a filter such as \"info,drover_edge=debug\"";
            return Err(("level", format!("{:?} is no log filter: allowed are {allowed}", self.level)));
        }
        if let Some(endpoint) = &self.otlp_endpoint
            && !is_http_url(endpoint)
        {
            let allowed = "write scheme, host and port, such as \"http://127.0.0.1:4318\"";
            return Err(("otlp_endpoint", format!("{endpoint:?} is no address to export to: {allowed}")));
        }
        if !(0.0..=1.0).contains(&self.trace_sample_ratio) {
            return Err((
                "trace_sample_ratio",
                format!("{} is out of bounds: 0 to 1 is allowed", self.trace_sample_ratio),
            ));
        }
        if !(1..=METRICS_INTERVAL_S_MAX).contains(&self.metrics_interval_s) {
            let (value, max) = (self.metrics_interval_s, METRICS_INTERVAL_S_MAX);
            return Err(("metrics_interval_s", format!("{value} is out of bounds: 1 to {max} is allowed")));
        }
        Ok(())
    }
}

/// Whether a text is `http[s]://host[:port][/path]`, as the exporters need it.
fn is_http_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else { return false };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The colons of an IPv6 address stand in brackets.
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after_brackets..].rfind(':') {
        Some(at) => (&authority[..after_brackets + at], Some(&authority[after_brackets + at + 1..])),
        None => (authority, None),
    };
    let is_host_char = |c: char| c.is_ascii_alphanumeric() || "-._[]:%".contains(c);
    !host.is_empty()
        && host.chars().all(is_host_char)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && path.chars().all(|c| c.is_ascii_graphic() && !"?#<>\"{}|\\^`".contains(c))
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

    #[test]
    fn values_that_cannot_start_are_told_with_key_and_what_is_allowed() {
        assert_eq!(ObservabilityConfig::default().check(), Ok(()));
        let cases = [
            ("trace_sample_ratio = 5.0", "trace_sample_ratio", "0 to 1"),
            ("trace_sample_ratio = nan", "trace_sample_ratio", "0 to 1"),
            ("metrics_interval_s = 0", "metrics_interval_s", "1 to 86400"),
            ("level = \"a=b=c\"", "level", "info, debug"),
            ("level = \"verbose\"", "level", "info, debug"),
            ("otlp_endpoint = \"127.0.0.1:4318\"", "otlp_endpoint", "http://127.0.0.1:4318"),
            ("otlp_endpoint = \"http://:4318\"", "otlp_endpoint", "http://127.0.0.1:4318"),
            ("otlp_endpoint = \"http://collector:x\"", "otlp_endpoint", "http://127.0.0.1:4318"),
            ("otlp_endpoint = \"http://a b\"", "otlp_endpoint", "http://127.0.0.1:4318"),
            ("otlp_endpoint = \"grpc://collector:4317\"", "otlp_endpoint", "http://127.0.0.1:4318"),
        ];
        for (text, key, allowed) in cases {
            let config: ObservabilityConfig = toml::from_str(text).unwrap();
            let (wrong, reason) = config.check().unwrap_err();
            assert_eq!(wrong, key, "{text}");
            assert!(reason.contains(allowed), "{text}: {reason}");
        }
        for level in ["off", "WARN", "info,drover_edge=debug", "drover_edge=trace"] {
            let config = ObservabilityConfig { level: level.into(), ..Default::default() };
            assert_eq!(config.check(), Ok(()), "{level}");
        }
        for good in ["http://127.0.0.1:4318", "https://collector.example.com", "http://[::1]:4318/", "http://c/otlp/x"]
        {
            let config = ObservabilityConfig { otlp_endpoint: Some(good.into()), ..Default::default() };
            assert_eq!(config.check(), Ok(()), "{good}");
        }
    }
}
