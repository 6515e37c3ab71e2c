//! `cloud.toml`: one struct, read once. What it does not know it refuses.

use crate::cloud_ingest::{CloudIngestConfig, CloudIngestConfigError, EdgeEntry, EdgeTenants, EdgeTenantsError};
use crate::registry::{Signers, SignersError, TenantEntry};
use crate::serving::{ApiKey, Deadlines};
use observability::ObservabilityConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vehicle_runtime::{BudgetConfig, RuntimeConfig};

/// Deadlines that make sense, milliseconds.
const DEADLINE_MS: std::ops::RangeInclusive<u64> = 50..=3_600_000;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// Where logs, components and configs are kept.
    pub data_dir: PathBuf,
    /// Seconds that a shutdown may take. Default 10.
    #[serde(default = "drain_s")]
    pub drain_s: u64,
    /// Where edges connect.
    pub cloud_ingest: CloudIngestConfig,
    /// For which tenants each edge may speak. Default: none is listed, and every edge may speak for all.
    #[serde(default)]
    pub edges: Vec<EdgeEntry>,
    /// Where partners and people connect.
    pub serving: ServingConfig,
    /// Who may call. Default: nobody.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
    /// Who signs components, by tenant. Default: nobody is listed; who has no entry must sign, and cannot.
    #[serde(default)]
    pub tenants: Vec<TenantEntry>,
    /// The vehicles' actors.
    #[serde(default)]
    pub actors: RuntimeConfig,
    /// What rules that run here may use.
    #[serde(default)]
    pub budgets: BudgetConfig,
    /// Logs, metrics, traces.
    #[serde(default)]
    pub observability: ObservabilityConfig,
}

fn drain_s() -> u64 {
    10
}

/// The `[serving]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingConfig {
    /// Address and port, TCP for HTTP/1.1 and HTTP/2, UDP for HTTP/3.
    pub listen: SocketAddr,
    /// PEM file: the certificate chain.
    pub certificate: PathBuf,
    /// PEM file: the key to it.
    pub private_key: PathBuf,
    /// `/metrics` without a key. Default false: only with an operator's.
    #[serde(default)]
    pub open_metrics: bool,
    /// How long peers may take.
    #[serde(default)]
    pub deadlines: Deadlines,
}

/// What is wrong with a config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A line: which, which key, and what is allowed.
    #[error("{0}: {1}")]
    Toml(PathBuf, toml::de::Error),
    /// A value.
    #[error("{key} = {value}: {allowed}")]
    Value {
        /// Which key.
        key: String,
        /// As configured.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A value of a section that both programs have.
    #[error("{key}: {reason}")]
    Section {
        /// Which key.
        key: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// In which file.
    #[error("{0}: {1}")]
    In(PathBuf, Box<ConfigError>),
    /// `[cloud_ingest]`.
    #[error(transparent)]
    CloudIngest(#[from] CloudIngestConfigError),
    /// `[[edges]]`.
    #[error(transparent)]
    Edges(#[from] EdgeTenantsError),
    /// `[[tenants]]`.
    #[error(transparent)]
    Signers(#[from] SignersError),
}

/// The certificate of `[serving]` with its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl CloudConfig {
    /// Reads a file; relative paths in it are relative to it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.to_owned(), error))?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Toml(path.to_owned(), error))?;
        let base = path.parent().unwrap_or(Path::new("."));
        config.data_dir = base.join(&config.data_dir);
        config.serving.certificate = base.join(&config.serving.certificate);
        config.serving.private_key = base.join(&config.serving.private_key);
        config.cloud_ingest.relative_to(base);
        config.check_values().map_err(|error| ConfigError::In(path.to_owned(), Box::new(error)))?;
        Ok(config)
    }

    /// Tries what can be tried without binding and writing: values and certificates.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_values()?;
        self.cloud_ingest.check()?;
        self.serving.identity().map(drop)
    }

    /// How long a shutdown may take.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }

    /// The `[[tenants]]`, checked.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn signers(&self) -> Result<Signers, SignersError> {
        Signers::new(&self.tenants)
    }

    /// The `[[edges]]`, checked.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn edge_tenants(&self) -> Result<EdgeTenants, EdgeTenantsError> {
        EdgeTenants::new(&self.edges)
    }

    fn check_values(&self) -> Result<(), ConfigError> {
        self.edge_tenants()?;
        self.signers()?;
        let deadlines = &self.serving.deadlines;
        let all = [("header_ms", deadlines.header_ms), ("body_ms", deadlines.body_ms), ("idle_ms", deadlines.idle_ms)];
        for (key, value) in all {
            if !DEADLINE_MS.contains(&value) {
                let allowed = format!("{} to {} milliseconds are allowed", DEADLINE_MS.start(), DEADLINE_MS.end());
                return Err(value_error(&format!("serving.deadlines.{key}"), value, allowed));
            }
        }
        for (place, key) in self.api_keys.iter().enumerate() {
            if self.api_keys[..place].iter().any(|other| other.sha256 == key.sha256) {
                return Err(value_error("api_keys.name", &key.name, "another key has the same sha256".into()));
            }
        }
        let of = |section, key: &str, reason| ConfigError::Section { key: format!("{section}.{key}"), reason };
        self.actors.check().map_err(|(key, reason)| of("actors", key, reason))?;
        self.budgets.check().map_err(|(key, reason)| of("budgets", &key, reason))?;
        self.observability.check().map_err(|(key, reason)| of("observability", key, reason))
    }
}

fn value_error(key: &str, value: impl std::fmt::Display, allowed: String) -> ConfigError {
    ConfigError::Value { key: key.into(), value: value.to_string(), allowed }
}

impl ServingConfig {
    /// Reads the certificate and its key, and tries whether they belong together.
    ///
    /// # Errors
    /// Names the file that is wrong.
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        let wrong = |key, path: &Path, error: &dyn std::fmt::Display| {
            value_error(&format!("serving.{key}"), path.display(), format!("{error}"))
        };
        let read = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = read.map_err(|error| wrong("certificate", &self.certificate, &error))?;
        if chain.is_empty() {
            return Err(wrong("certificate", &self.certificate, &"it holds no certificate"));
        }
        let private_key = PrivateKeyDer::from_pem_file(&self.private_key)
            .map_err(|error| wrong("private_key", &self.private_key, &error))?;
        rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .and_then(|tls| tls.with_no_client_auth().with_single_cert(chain.clone(), private_key.clone_key()))
            .map_err(|error| wrong("certificate", &self.certificate, &error))?;
        Ok((chain, private_key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
data_dir = "cloud"
[cloud_ingest]
listen = "127.0.0.1:0"
ca = "ca.pem"
certificate = "cloud.pem"
private_key = "cloud.key"
[serving]
listen = "127.0.0.1:0"
certificate = "cloud.pem"
private_key = "cloud.key"
[[api_keys]]
name = "partner"
tenant = "demo"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"#;

    fn read(text: &str) -> Result<CloudConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloud.toml");
        std::fs::write(&path, text).unwrap();
        CloudConfig::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = read(GOOD).unwrap();
        assert!(config.data_dir.is_absolute() && config.serving.certificate.is_absolute());
        assert_eq!(config.drain_s, 10);
        assert!(config.check().unwrap_err().to_string().contains("ca.pem"), "the file is missing");
    }

    #[test]
    fn an_error_names_the_line_the_key_and_what_is_allowed() {
        for (from, to, expected) in [
            ("[serving]\n", "[serving]\nlisten_on = 1\n", &["line 9", "listen_on", "open_metrics"][..]),
            ("tenant = \"demo\"", "tenant = \"de mo\"", &["line 14", "tenant contains ' '", "letters"]),
            ("tenant = \"demo\"\n", "", &["line 12", "tenant", "operator"]),
            ("b7852b855", "b785", &["line 15", "sha256", "64 hex digits"]),
            ("127.0.0.1:0\"\nca", "here\"\nca", &["line 4", "listen", "socket address"]),
            ("[[api_keys]]", "[serving.deadlines]\nbody_ms = 1\n[[api_keys]]", &["serving.deadlines.body_ms", "50 to"]),
            ("data_dir = \"cloud\"", "", &["data_dir", "missing"]),
            ("[[api_keys]]", "[actors]\nworkers = 999\n[[api_keys]]", &["cloud.toml", "actors.workers", "0 to 256"]),
            (
                "[[api_keys]]",
                "[observability]\ntrace_sample_ratio = 5.0\n[[api_keys]]",
                &["cloud.toml", "observability.trace_sample_ratio", "0 to 1"],
            ),
            ("[[api_keys]]", "[[edges]]\nname = \"a\"\n[[api_keys]]", &["line 12", "tenants", "missing"]),
            ("[[api_keys]]", "[[edges]]\nname = \"a\"\ntenants = []\n[[api_keys]]", &["edges.tenants", "at least one"]),
            ("[[api_keys]]", "[[edges]]\nnames = \"a\"\n[[api_keys]]", &["line 13", "names", "tenants"]),
            ("[[api_keys]]", "[[edges]]\nname = \"a/b\"\ntenants = [\"x\"]\n[[api_keys]]", &["line 13", "edge"]),
        ] {
            let error = read(&GOOD.replacen(from, to, 1)).unwrap_err();
            for part in expected {
                assert!(error.contains(part), "{part:?} is missing in: {error}");
            }
        }
    }

    #[test]
    fn the_sample_is_right() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cloud.sample.toml");
        CloudConfig::read(&sample).unwrap();
    }
}
