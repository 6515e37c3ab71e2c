//! Connects to an edge, plainly or with TLS.

use crate::target::Target;
use anyhow::{Context, bail};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection, with its TLS, stands within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Where systems keep the certificates they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Bytes to and from an edge.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to one target again and again.
pub(crate) struct Transport {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Transport {
    /// `ca` is a PEM file of authorities to trust, instead of the system's.
    pub(crate) fn new(target: Target, ca: Option<&Path>) -> anyhow::Result<Self> {
        let tls = if target.tls {
            let name =
                ServerName::try_from(target.host.clone()).context("the host is neither a name nor an address")?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots(ca)?)
                .with_no_client_auth();
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self { target, tls })
    }

    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match tokio::time::timeout(CONNECT_WITHIN, self.connect_unbounded()).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
        }
    }

    async fn connect_unbounded(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port)).await?;
        // Messages are small and gathered by us: waiting for more would only delay them.
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await.map_err(explained)?)),
            None => Ok(Box::new(stream)),
        }
    }
}

/// Says what to do about a certificate that is not accepted.
fn explained(error: io::Error) -> io::Error {
    let of_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if of_tls { io::Error::other(format!("{error} (--ca names the authority to trust)")) } else { error }
}

fn roots(ca: Option<&Path>) -> anyhow::Result<rustls::RootCertStore> {
    let path = match ca {
        Some(path) => path.to_owned(),
        None => SYSTEM_ROOTS
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .context("this system has no list of trusted authorities; name one with --ca")?,
    };
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(&path).with_context(|| format!("read {}", path.display()))?;
    for certificate in certificates {
        let certificate = certificate.with_context(|| format!("{} is not a PEM file", path.display()))?;
        // A system's list may hold one that is odd; the edge's own must be good.
        if let (Err(error), Some(_)) = (roots.add(certificate), ca) {
            bail!("{}: {error}", path.display());
        }
    }
    if roots.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(roots)
}
