//! Whom to trust.

use crate::failure::Failure;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep the certificates they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Trusts the authorities in `ca`, or the system's. Without ALPN: each protocol sets its own.
pub(crate) fn config(ca: Option<&Path>) -> Result<rustls::ClientConfig, Failure> {
    let roots = roots(ca)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn roots(ca: Option<&Path>) -> Result<rustls::RootCertStore, Failure> {
    let path = ca
        .map(Path::to_owned)
        .or_else(|| SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists()))
        .ok_or_else(|| Failure::Usage("this system has no list of trusted authorities; name one with --ca".into()))?;
    let wrong = |what: String| Failure::Usage(format!("--ca {}: {what}", path.display()));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        // A system's list may hold one that is odd; a file of one's own must be good.
        if let (Err(error), Some(_)) = (roots.add(certificate), ca) {
            return Err(wrong(error.to_string()));
        }
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
