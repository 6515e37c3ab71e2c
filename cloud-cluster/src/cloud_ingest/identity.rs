//! Which edge a certificate names.

use fleet_model::EdgeId;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate names no edge.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    #[error("the connection has no client certificate")]
    Missing,
    #[error("the client certificate cannot be read: {0}")]
    Malformed(String),
    #[error("the client certificate must have exactly one common name, the edge's; it has {0}")]
    CommonNames(usize),
    #[error("the client certificate's common name is no edge: {0}")]
    NoEdge(String),
    #[error(
        "the client certificate's common name is \"{}\", which is how the cloud itself is listed: name the edge otherwise",
        EdgeId::CLOUD
    )]
    CalledCloud,
}

/// The edge that the other side has proved to be. rustls has checked signature and validity.
pub(super) fn edge_of(connection: &quinn::Connection) -> Result<EdgeId, IdentityError> {
    let identity = connection.peer_identity().ok_or(IdentityError::Missing)?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| IdentityError::Missing)?;
    let certificate = chain.first().ok_or(IdentityError::Missing)?;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| IdentityError::Malformed(e.to_string()))?;
    let names: Vec<_> = parsed.subject().iter_common_name().collect();
    let [name] = names.as_slice() else { return Err(IdentityError::CommonNames(names.len())) };
    let name = name.as_str().map_err(|e| IdentityError::Malformed(e.to_string()))?;
    match EdgeId::new(name) {
        Ok(edge) if edge.as_str() == EdgeId::CLOUD => Err(IdentityError::CalledCloud),
        Ok(edge) => Ok(edge),
        Err(error) => Err(IdentityError::NoEdge(error.to_string())),
    }
}
