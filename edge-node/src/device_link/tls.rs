//! TLS for devices.

use crate::config::TlsListenConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Reads certificate and key.
///
/// # Errors
/// The key of the config that is wrong, and why.
pub fn acceptor(config: &TlsListenConfig) -> Result<TlsAcceptor, (&'static str, String)> {
    let told = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| ("certificate", told(&config.certificate, &error)))?;
    if chain.is_empty() {
        return Err(("certificate", told(&config.certificate, &"it holds no certificate")));
    }
    let key = PrivateKeyDer::from_pem_file(&config.private_key)
        .map_err(|error| ("private_key", told(&config.private_key, &error)))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, key))
        .map_err(|error| ("private_key", told(&config.private_key, &error)))?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}
