//! The `[cloud_ingest]` section.

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Streams that an edge may have open: control, one per class, some plugins. Each place costs memory in advance.
const STREAMS_MAX: u32 = 16;
/// What an edge may send on one stream before it is read: its window and some.
const STREAM_WINDOW_BYTES: u32 = 1_280 * 1_024;
/// Over all streams: a telemetry stream that is not read leaves credit for alerts.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
/// What quinn keeps to send again: acknowledgements, deployments, plugins.
const SEND_WINDOW_BYTES: u64 = 4 * 1_024 * 1_024;

/// Where edges connect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudIngestConfig {
    /// Address and UDP port.
    pub listen: SocketAddr,
    /// PEM file: who signs the certificates of edges.
    pub ca: PathBuf,
    /// PEM file: the cloud's certificate.
    pub certificate: PathBuf,
    /// PEM file: the key to it.
    pub private_key: PathBuf,
    /// Connections at a time. Default 1,000.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Silence after which an edge counts as lost, milliseconds. Default 15,000.
    #[serde(default = "idle_timeout_ms")]
    pub idle_timeout_ms: u32,
}

fn connections_max() -> usize {
    1_000
}

fn idle_timeout_ms() -> u32 {
    15_000
}

/// What is wrong with the section, naming the key.
#[derive(Debug, thiserror::Error)]
pub enum CloudIngestConfigError {
    /// A file cannot be used.
    #[error("cloud_ingest.{key} = {path:?} cannot be used: {reason}")]
    File {
        /// Which key.
        key: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Key and certificate do not belong together, or are of an unknown kind.
    #[error("cloud_ingest.certificate and cloud_ingest.private_key cannot be used together: {0}")]
    Pair(rustls::Error),
    /// A number out of bounds.
    #[error("cloud_ingest.{key} = {value} is out of bounds: {allowed}")]
    Number {
        /// Which key.
        key: &'static str,
        /// As configured.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl CloudIngestConfig {
    /// Relative paths are relative to `base`, the folder of the config file.
    pub fn relative_to(&mut self, base: &Path) {
        for path in [&mut self.ca, &mut self.certificate, &mut self.private_key] {
            *path = base.join(&*path);
        }
    }

    /// Tries everything that can be tried without binding.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), CloudIngestConfigError> {
        self.server().map(drop)
    }

    pub(super) fn server(&self) -> Result<ServerConfig, CloudIngestConfigError> {
        let bounds = [
            ("connections_max", self.connections_max as u64, 1..=100_000, "1 to 100000"),
            ("idle_timeout_ms", u64::from(self.idle_timeout_ms), 200..=600_000, "200 to 600000"),
        ];
        for (key, value, range, allowed) in bounds {
            if !range.contains(&value) {
                return Err(CloudIngestConfigError::Number { key, value, allowed });
            }
        }
        let tls = QuicServerConfig::try_from(self.tls()?)
            .map_err(|e| CloudIngestConfigError::Pair(rustls::Error::General(e.to_string())))?;
        let mut server = ServerConfig::with_crypto(Arc::new(tls));
        server.transport_config(Arc::new(self.transport()));
        Ok(server)
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, CloudIngestConfigError> {
        PrivateKeyDer::from_pem_file(&self.private_key).map_err(|e| CloudIngestConfigError::File {
            key: "private_key",
            path: self.private_key.clone(),
            reason: e.to_string(),
        })
    }

    fn tls(&self) -> Result<rustls::ServerConfig, CloudIngestConfigError> {
        let file =
            |key, path: &Path, reason: String| CloudIngestConfigError::File { key, path: path.to_owned(), reason };
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
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|e| file("ca", &self.ca, e.to_string()))?;
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(CloudIngestConfigError::Pair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, self.private_key()?)
            .map_err(CloudIngestConfigError::Pair)?;
        tls.alpn_protocols = vec![fleet_wire::control::ALPN.to_vec()];
        // Every connection proves itself afresh: no resumption, and so no early data that could be replayed.
        tls.send_tls13_tickets = 0;
        Ok(tls)
    }

    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
            .send_window(SEND_WINDOW_BYTES)
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(self.idle_timeout_ms))));
        transport
    }
}
