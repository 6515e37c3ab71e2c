//! Certificates as `drover dev-certs` makes them, and bad ones.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Paths of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), dir }
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub fn issue(&self, common_name: &str) -> Pair {
        self.issue_until(common_name, SystemTime::now() + DAY)
    }

    pub fn issue_expired(&self, common_name: &str) -> Pair {
        self.issue_until(common_name, SystemTime::now() - DAY)
    }

    fn issue_until(&self, common_name: &str, end: SystemTime) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = (SystemTime::now() - 2 * DAY).into();
        params.not_after = end.into();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let folder = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        let pair = Pair { certificate: folder.join("certificate.pem"), private_key: folder.join("key.pem") };
        std::fs::write(&pair.certificate, certificate.pem()).unwrap();
        std::fs::write(&pair.private_key, key.serialize_pem()).unwrap();
        pair
    }
}

impl Pair {
    /// Puts these files where others were, as a renewal does.
    pub fn replace(&self, old: &Pair) {
        let copy = |from: &Path, to: &Path| std::fs::copy(from, to).unwrap();
        copy(&self.certificate, &old.certificate);
        copy(&self.private_key, &old.private_key);
    }
}
