//! `edge.toml`: one struct, read and checked as a whole. Relative paths are relative to the file.

use crate::device_link::credentials::Credential;
use crate::retention::RetentionConfig;
use crate::uplink::UplinkConfig;
use fleet_model::{AdmissionPolicy, EdgeId};
use observability::ObservabilityConfig;
use serde::Deserialize;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use vehicle_runtime::{BudgetConfig, RuntimeConfig};

/// Most device connections that may be configured.
const CONNECTIONS_LIMIT: usize = 100_000;
/// Most seconds that a shutdown may be given: an hour.
const DRAIN_S_MAX: u64 = 3_600;

/// Everything an operator may choose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the logs, plugins and `addresses.json`; made if it is missing. Required.
    pub data_dir: PathBuf,
    /// Name of this edge node: 1 to 64 letters, digits or `. _ : -`. Required; the same as the common name of
    /// `uplink.certificate`.
    pub edge: EdgeId,
    /// Seconds that a shutdown may take to finish what was begun, 1 to 3,600. Default 10.
    #[serde(default = "default_drain_s")]
    pub drain_s: u64,
    /// The door for devices. Required.
    pub device_link: DeviceLinkConfig,
    /// What is refused.
    #[serde(default)]
    pub admission: AdmissionConfig,
    /// The vehicle actors.
    #[serde(default)]
    pub actors: RuntimeConfig,
    /// Where plugins are kept.
    #[serde(default)]
    pub plugins: PluginsConfig,
    /// What rules may use.
    #[serde(default)]
    pub budgets: BudgetConfig,
    /// What is kept, and for how long.
    #[serde(default)]
    pub retention: RetentionConfig,
    /// The operator's door.
    #[serde(default)]
    pub admin: AdminConfig,
    /// The way to the cloud. Default: none; the edge node works alone.
    pub uplink: Option<UplinkConfig>,
    /// Logs, metrics and traces.
    #[serde(default)]
    pub observability: ObservabilityConfig,
}

/// `[device_link]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLinkConfig {
    /// Device connections at once, over all listeners, 1 to 100,000. Default 10,000.
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
    /// MQTT without TLS. Default: none.
    pub mqtt: Option<ListenConfig>,
    /// MQTT with TLS. Default: none.
    pub mqtts: Option<TlsListenConfig>,
    /// HTTP. Default: none.
    pub http: Option<ListenConfig>,
    /// Who may send readings. At least one.
    pub credentials: Vec<Credential>,
}

/// A listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// `ip:port`; port 0 takes a free one, which `addresses.json` names. Required.
    pub listen: SocketAddr,
}

/// A listener with TLS 1.2 or 1.3.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsListenConfig {
    /// `ip:port`. Required.
    pub listen: SocketAddr,
    /// PEM file: the chain, our own certificate first. Required.
    pub certificate: PathBuf,
    /// PEM file: the key to it. Required.
    pub private_key: PathBuf,
}

/// `[admission]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// A device's clock may be ahead of ours by this many seconds. Default 86,400.
    pub future_clock_s_max: u32,
    /// Accept any clock. Default false.
    pub accept_future_clocks: bool,
}

/// `[plugins]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginsConfig {
    /// Folder of the plugins, as received. Default `<data_dir>/plugins`.
    pub dir: Option<PathBuf>,
    /// Folder of the compiled plugins. Default `<data_dir>/plugin-cache`.
    pub cache_dir: Option<PathBuf>,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// `ip:port` of /healthz, /readyz, /metrics, /v1/status and /v1/dead-letters. There is no password: keep it on
    /// the machine or behind a proxy. Default 127.0.0.1:9464.
    pub listen: SocketAddr,
}

/// What is wrong with a config file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is no TOML, or has an unknown key, or a value of a wrong type. The text shows line and key.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, key, what is allowed.
        error: Box<toml::de::Error>,
    },
    /// A value that is of the right type and still not possible.
    #[error("{}{}: {key}: {reason}", path.display(), Line(*line))]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: Option<usize>,
        /// Which key.
        key: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
}

struct Line(Option<usize>);

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, " line {line}"))
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { future_clock_s_max: 86_400, accept_future_clocks: false }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9_464)) }
    }
}

impl AdmissionConfig {
    /// As the model has it.
    #[must_use]
    pub fn policy(&self) -> AdmissionPolicy {
        let limit = i64::from(self.future_clock_s_max) * 1_000;
        AdmissionPolicy { future_clock_ms_max: (!self.accept_future_clocks).then_some(limit) }
    }
}

fn default_drain_s() -> u64 {
    10
}

fn default_connections_max() -> usize {
    10_000
}

impl Config {
    /// Reads and checks a file, and makes its paths absolute or relative to the working directory.
    ///
    /// # Errors
    /// The first thing that is wrong, with line, key and what is allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Self::parse(&text, path)
    }

    /// The same for a text; `path` names it and is the base of relative paths.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), error: Box::new(error) })?;
        config.check().map_err(|(key, reason)| {
            let line = line_of(text, &key);
            ConfigError::Value { path: path.to_owned(), line, key, reason }
        })?;
        let base = path.parent().unwrap_or(Path::new("."));
        config.resolve(base);
        config.check_files().map_err(|(key, reason)| {
            let line = line_of(text, &key);
            ConfigError::Value { path: path.to_owned(), line, key, reason }
        })?;
        Ok(config)
    }

    /// Folder of the plugins as received.
    #[must_use]
    pub fn plugins_dir(&self) -> PathBuf {
        self.plugins.dir.clone().unwrap_or_else(|| self.data_dir.join("plugins"))
    }

    /// Folder of the compiled plugins.
    #[must_use]
    pub fn plugin_cache_dir(&self) -> PathBuf {
        self.plugins.cache_dir.clone().unwrap_or_else(|| self.data_dir.join("plugin-cache"))
    }

    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((key.to_owned(), reason));
        let link = &self.device_link;
        if link.mqtt.is_none() && link.mqtts.is_none() && link.http.is_none() {
            return wrong("device_link", "configure at least one of mqtt, mqtts and http".into());
        }
        if !(1..=CONNECTIONS_LIMIT).contains(&link.connections_max) {
            return wrong("device_link.connections_max", format!("allowed are 1 to {CONNECTIONS_LIMIT}"));
        }
        if link.credentials.is_empty() {
            return wrong("device_link.credentials", "add at least one, or no device can send anything".into());
        }
        if self.edge.as_str() == EdgeId::CLOUD {
            return wrong("edge", "this is how the cloud itself is listed; call the edge otherwise".into());
        }
        let mut names = HashSet::new();
        for (index, credential) in link.credentials.iter().enumerate() {
            let key = format!("device_link.credentials.{index}.username");
            if credential.username.is_empty() || credential.username.contains(':') {
                return wrong(&key, "a user name is not empty and has no colon (HTTP Basic cannot carry it)".into());
            }
            if !names.insert(&credential.username) {
                return wrong(&key, format!("{:?} is there twice; each user name once", credential.username));
            }
        }
        if !(1..=DRAIN_S_MAX).contains(&self.drain_s) {
            return wrong("drain_s", format!("{} is out of bounds: 1 to {DRAIN_S_MAX} is allowed", self.drain_s));
        }
        self.actors.check().map_err(|(key, reason)| (format!("actors.{key}"), reason))?;
        self.budgets.check().map_err(|(key, reason)| (format!("budgets.{key}"), reason))?;
        self.retention.check().map_err(|(key, reason)| (format!("retention.{key}"), reason))?;
        self.observability.check().map_err(|(key, reason)| (format!("observability.{key}"), reason))
    }

    fn resolve(&mut self, base: &Path) {
        let mut paths = vec![&mut self.data_dir];
        paths.extend(&mut self.plugins.dir);
        paths.extend(&mut self.plugins.cache_dir);
        if let Some(tls) = &mut self.device_link.mqtts {
            paths.extend([&mut tls.certificate, &mut tls.private_key]);
        }
        for path in paths {
            *path = base.join(&*path);
        }
        if let Some(uplink) = &mut self.uplink {
            uplink.relative_to(base);
        }
    }

    fn check_files(&self) -> Result<(), (String, String)> {
        if let Some(tls) = &self.device_link.mqtts {
            crate::device_link::tls::acceptor(tls)
                .map_err(|(key, reason)| (format!("device_link.mqtts.{key}"), reason))?;
        }
        if let Some(uplink) = &self.uplink {
            uplink.check().map_err(|error| {
                let text = error.to_string();
                let key = text.split([' ', ',']).next().unwrap_or("uplink").to_owned();
                (key, text)
            })?;
        }
        Ok(())
    }
}

/// The line of a key such as `device_link.credentials.1.username`, or of the nearest part of it that is in the file.
fn line_of(text: &str, key: &str) -> Option<usize> {
    use toml::de::{DeTable, DeValue};
    let document = DeTable::parse(text).ok()?;
    let mut at = None;
    let mut table = document.get_ref().clone();
    let mut parts = key.split('.');
    while let Some(part) = parts.next() {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == part) else { break };
        at = Some(name.span().start);
        let next = match value.get_ref() {
            DeValue::Table(inner) => Some(inner.clone()),
            DeValue::Array(items) => {
                let item = parts.next().and_then(|index| index.parse::<usize>().ok()).and_then(|i| items.get(i));
                if let Some(item) = item {
                    at = Some(item.span().start);
                }
                item.and_then(|item| if let DeValue::Table(t) = item.get_ref() { Some(t.clone()) } else { None })
            }
            _ => None,
        };
        let Some(next) = next else { break };
        table = next;
    }
    at.map(|at| text[..at].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
data_dir = "data"
edge = "depot-1"

[device_link.mqtt]
listen = "127.0.0.1:0"

[[device_link.credentials]]
username = "demo"
password_sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
tenant = "demo"
"#;

    fn refused(text: &str) -> String {
        Config::parse(text, Path::new("/etc/drover/edge.toml")).unwrap_err().to_string()
    }

    #[test]
    fn a_short_file_is_enough_and_paths_are_relative_to_it() {
        let config = Config::parse(GOOD, Path::new("/etc/drover/edge.toml")).unwrap();
        assert_eq!(config.data_dir, Path::new("/etc/drover/data"));
        assert_eq!(config.plugins_dir(), Path::new("/etc/drover/data/plugins"));
        assert_eq!(
            (config.admin.listen.port(), config.device_link.connections_max, config.drain_s),
            (9464, 10_000, 10)
        );
        assert_eq!(config.admission.policy(), AdmissionPolicy::default());
    }

    #[test]
    fn every_mistake_is_told_with_line_and_key_and_what_is_allowed() {
        let with = |from: &str, to: &str| refused(&GOOD.replace(from, to));
        let cases = [
            (with("edge = \"depot-1\"", "edge = \"depot 1\""), ["line 3", "edge", "letters, digits"]),
            (with("edge = \"depot-1\"", "edge = \"cloud\""), ["line 3", "edge", "call the edge otherwise"]),
            (with("edge = \"depot-1\"", "edge = 5"), ["line 3", "edge", "string"]),
            (with("data_dir = \"data\"\n", ""), ["edge.toml", "data_dir", "missing"]),
            (with("listen = \"127.0.0.1:0\"", "lisen = \"127.0.0.1:0\""), ["line 6", "lisen", "`listen`"]),
            (with("127.0.0.1:0", "localhost"), ["line 6", "listen", "socket address"]),
            (with("5e884898", "x"), ["line 10", "password_sha256", "64 hex"]),
            (with("tenant = \"demo\"", "tenant = \"\""), ["line 11", "tenant", "empty"]),
            (with("tenant = \"demo\"", "tenat = \"demo\""), ["line 11", "tenat", "`tenant`"]),
            (with("username = \"demo\"", "username = \"a:b\""), ["line 9", "credentials.0.username", "no colon"]),
            (
                refused(&format!("{GOOD}{}", GOOD[GOOD.find("[[").unwrap()..].trim_end())),
                ["line 13", "credentials.1.username", "twice"],
            ),
            (
                with("[device_link.mqtt]\nlisten = \"127.0.0.1:0\"", "[admission]"),
                ["device_link", "at least one", "mqtts"],
            ),
            (
                with("[device_link.mqtt]", "[device_link]\nconnections_max = 0\n[device_link.mqtt]"),
                ["line 6", "device_link.connections_max", "1 to 100000"],
            ),
            (refused(&format!("{GOOD}[actors]\nworker = 1")), ["line 13", "worker", "checkpoint_readings"]),
            (refused(&format!("{GOOD}[actors]\nworkers = 257")), ["line 13", "actors.workers", "0 to 256"]),
            (
                refused(&format!("{GOOD}[actors]\npassivate_after_s = 9223372036854775807")),
                ["line 13", "actors.passivate_after_s", "1 to 31536000"],
            ),
            (refused(&format!("{GOOD}[budgets]\ncpu = 1")), ["line 13", "cpu", "deployment_cpu_ms_per_s"]),
            (
                refused(&format!("{GOOD}[[budgets.tenants]]\nname = \"a\"\ntenant_memory_mib = 0")),
                ["line 14", "budgets.tenants.0.tenant_memory_mib", "16 to 1048576"],
            ),
            (
                refused(&format!("{GOOD}[observability]\ntrace_sample_ratio = 5.0")),
                ["line 13", "observability.trace_sample_ratio", "0 to 1"],
            ),
            (
                refused(&format!("{GOOD}[observability]\nlevel = \"loud\"")),
                ["line 13", "observability.level", "info, debug"],
            ),
            (
                refused(&format!("{GOOD}[observability]\notlp_endpoint = \"collector:4318\"")),
                ["line 13", "observability.otlp_endpoint", "http://127.0.0.1:4318"],
            ),
            (with("data_dir = ", "drain_s = 0\ndata_dir = "), ["line 2", "drain_s", "1 to 3600"]),
            (
                refused(&format!(
                    "{GOOD}[device_link.mqtts]\nlisten = \"127.0.0.1:0\"\ncertificate = \"no.pem\"\nprivate_key = \"no.key\""
                )),
                ["line 14", "device_link.mqtts.certificate", "no.pem"],
            ),
            (refused("data_dir = "), ["line 1", "data_dir", "string"]),
        ];
        for (message, parts) in cases {
            for part in parts {
                assert!(message.contains(part), "{part:?} in:\n{message}");
            }
        }
    }

    #[test]
    fn a_password_written_by_mistake_is_not_repeated_by_the_explanation() {
        // The line itself is shown by the TOML reader, to whoever wrote it.
        let message = refused(&GOOD.replace("tenant = \"demo\"", "tenant = \"a b\""));
        assert!(!message.contains("5e884898"));
    }

    /// The sample with its commented-out keys that `wanted` picks by their line.
    fn sample_with(wanted: fn(&str) -> bool) -> Config {
        let line = |line: &'static str| {
            let key = line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || rest.contains(" = "));
            key.filter(|key| wanted(key)).unwrap_or(line)
        };
        let text: Vec<_> = SAMPLE.lines().map(line).collect();
        let config: Config = toml::from_str(&text.join("\n")).unwrap();
        config.check().unwrap();
        config
    }

    const SAMPLE: &str = include_str!("../../deploy/edge.sample.toml");

    #[test]
    fn the_sample_is_a_config() {
        let config: Config = toml::from_str(SAMPLE).unwrap();
        config.check().unwrap();
    }

    #[test]
    fn keys_that_are_commented_out_in_the_sample_show_their_default() {
        let mut with_all = sample_with(|_| true);
        let with_examples = sample_with(|key| key.starts_with('[') || key.contains("# example"));
        // Their default follows from data_dir.
        assert_eq!(with_all.plugins_dir(), with_examples.plugins_dir());
        assert_eq!(with_all.plugin_cache_dir(), with_examples.plugin_cache_dir());
        with_all.plugins = PluginsConfig::default();
        assert_eq!(format!("{with_all:#?}"), format!("{with_examples:#?}"));
    }

    #[test]
    fn every_key_is_in_the_sample() {
        let config = format!("{:#?}", sample_with(|_| true));
        let keys = config.lines().filter_map(|line| line.trim().split_once(": ")).map(|(key, _)| key);
        // Said by the program, not by the file.
        let keys = keys.filter(|key| *key != "others_append_events");
        let missing: Vec<_> = keys.filter(|key| !SAMPLE.contains(key)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
