//! The `[uplink]` section.

use fleet_model::EventClass;
use fleet_wire::session::SenderLimits;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Alerts that may be under way unacknowledged. They are small; this is for an edge that comes back after a day.
const ALERTS_WINDOW_BYTES: usize = 512 * 1_024;

/// How to reach the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkConfig {
    /// `host:port` of the cloud's ingest, UDP.
    pub cloud: String,
    /// The name that the cloud's certificate must have. Default: the host of `cloud`.
    #[serde(default)]
    pub server_name: Option<String>,
    /// PEM file: who signed the cloud's certificate.
    pub ca: PathBuf,
    /// PEM file: this edge's certificate; its common name is the edge's name.
    pub certificate: PathBuf,
    /// PEM file: the key to it.
    pub private_key: PathBuf,
    /// Telemetry that may be under way unacknowledged, bytes. More fills long fat links, less keeps alerts quick on
    /// thin ones. Default 1 MiB.
    #[serde(default = "telemetry_window_bytes")]
    pub telemetry_window_bytes: usize,
    /// Longest wait after the first failed attempt, milliseconds. Default 200.
    #[serde(default = "reconnect_ms_first")]
    pub reconnect_ms_first: u64,
    /// Longest wait between attempts, milliseconds. Default 15,000.
    #[serde(default = "reconnect_ms_max")]
    pub reconnect_ms_max: u64,
    /// Silence after which the connection counts as lost, milliseconds. Default 15,000.
    #[serde(default = "idle_timeout_ms")]
    pub idle_timeout_ms: u32,
}

fn telemetry_window_bytes() -> usize {
    1_024 * 1_024
}

fn reconnect_ms_first() -> u64 {
    200
}

fn reconnect_ms_max() -> u64 {
    15_000
}

fn idle_timeout_ms() -> u32 {
    15_000
}

/// What is wrong with the section, naming the key.
#[derive(Debug, thiserror::Error)]
pub enum UplinkConfigError {
    /// No host and port.
    #[error("uplink.cloud = {0:?} is not host:port, such as \"cloud.example.com:7443\"")]
    Address(String),
    /// Not a name a certificate can have.
    #[error("uplink.server_name = {0:?} is no host name")]
    ServerName(String),
    /// A file cannot be used.
    #[error("uplink.{key} = {path:?} cannot be used: {reason}")]
    File {
        /// Which key.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Key and certificate do not belong together, or are of an unknown kind.
    #[error("uplink.certificate and uplink.private_key cannot be used together: {0}")]
    Pair(rustls::Error),
    /// A number out of bounds.
    #[error("uplink.{key} = {value} is out of bounds: {allowed}")]
    Number {
        /// Which key.
        key: &'static str,
        /// As configured.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl UplinkConfig {
    /// Relative paths are relative to `base`, the folder of the config file.
    pub fn relative_to(&mut self, base: &Path) {
        for path in [&mut self.ca, &mut self.certificate, &mut self.private_key] {
            *path = base.join(&*path);
        }
    }

    /// Tries everything that can be tried without the cloud.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), UplinkConfigError> {
        let bounds = [
            ("telemetry_window_bytes", self.telemetry_window_bytes as u64, 4_096..=1 << 30, "4096 to 1073741824"),
            ("reconnect_ms_first", self.reconnect_ms_first, 1..=60_000, "1 to 60000"),
            ("reconnect_ms_max", self.reconnect_ms_max, 1..=3_600_000, "1 to 3600000"),
            ("idle_timeout_ms", u64::from(self.idle_timeout_ms), 200..=600_000, "200 to 600000"),
        ];
        for (key, value, range, allowed) in bounds {
            if !range.contains(&value) {
                return Err(UplinkConfigError::Number { key, value, allowed });
            }
        }
        self.tls().map(drop)
    }

    /// The name that the cloud's certificate must have.
    ///
    /// # Errors
    /// When `cloud` is not host:port or the name is none.
    pub(super) fn server_name(&self) -> Result<String, UplinkConfigError> {
        let address = || UplinkConfigError::Address(self.cloud.clone());
        let (host, port) = self.cloud.rsplit_once(':').ok_or_else(address)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(address());
        }
        let name = self.server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        rustls_pki_types::ServerName::try_from(name.clone())
            .map(|_| name.clone())
            .map_err(|_| UplinkConfigError::ServerName(name))
    }

    /// Reads the files. Called for every connection, so that renewed certificates are used without a restart.
    pub(super) fn tls(&self) -> Result<rustls::ClientConfig, UplinkConfigError> {
        self.server_name()?;
        let file = |key, path: &Path, reason: String| UplinkConfigError::File { key, path: path.to_owned(), reason };
        let certificates = |key, path: &Path| {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let found = read.map_err(|e| file(key, path, e.to_string()))?;
            if found.is_empty() { Err(file(key, path, "it holds no certificate".into())) } else { Ok(found) }
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates("ca", &self.ca)? {
            roots.add(certificate).map_err(|e| file("ca", &self.ca, e.to_string()))?;
        }
        let chain = certificates("certificate", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.private_key)
            .map_err(|e| file("private_key", &self.private_key, e.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(UplinkConfigError::Pair)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(UplinkConfigError::Pair)?;
        tls.alpn_protocols = vec![fleet_wire::control::ALPN.to_vec()];
        Ok(tls)
    }

    pub(super) fn limits(&self, class: EventClass) -> SenderLimits {
        let window_bytes = match class {
            EventClass::Telemetry => self.telemetry_window_bytes,
            EventClass::Alerts | EventClass::Billing | EventClass::Audit => ALERTS_WINDOW_BYTES,
        };
        SenderLimits { window_bytes, read_bytes: window_bytes / 2 }
    }
}
