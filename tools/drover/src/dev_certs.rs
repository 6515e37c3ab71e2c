//! `drover dev-certs`: a certificate authority of one's own, for development and trials.
//!
//! Who holds `ca.key` can pretend to be any edge. Production edges enrol instead.

use anyhow::{Context, bail};
use fleet_model::EdgeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Certificates are valid from a day ago, for clocks that are wrong,
const VALID_BEFORE: Duration = Duration::from_secs(24 * 3_600);
/// for a year: development machines are not set up anew every month.
const VALID_FOR: Duration = Duration::from_secs(365 * 24 * 3_600);
/// The authority lives longer than what it signs.
const CA_VALID_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

const EXAMPLES: &str = "\
Examples:
  drover dev-certs certs
  drover dev-certs certs --edge depot-1 --edge depot-2 --host cloud.example --host 10.0.0.5

Writes into DIR
  ca.pem ca.key                    the authority; keep ca.key to yourself
  cloud.pem cloud.key              for drover-cloud, valid for the hosts
  edge-<id>.pem edge-<id>.key      for each edge; the common name is the edge's id, valid for the hosts";

/// Make certificates for development: an authority, the cloud, edges
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DevCerts {
    /// Where to; made if it is missing
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// Id of an edge; may be repeated
    #[arg(long = "edge", value_name = "ID", default_value = "depot-1")]
    pub(crate) edges: Vec<EdgeId>,

    /// Host name or address of cloud and edges; may be repeated
    #[arg(long = "host", value_name = "HOST", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub(crate) hosts: Vec<String>,

    /// Replace what is there: everything signed by the old authority stops working
    #[arg(long)]
    pub(crate) force: bool,
}

impl DevCerts {
    /// Does it. Answers what was written.
    ///
    /// # Errors
    /// When a file is there already and `force` is not given, or cannot be written.
    pub(crate) fn run(&self) -> anyhow::Result<Vec<PathBuf>> {
        write(&self.dir, &self.edges, &self.hosts, self.force)
    }
}

/// Makes an authority, and certificates for the cloud and each edge. Answers the files, in the order of writing.
///
/// # Errors
/// When a file is there already and `force` is not given, or cannot be written.
pub(crate) fn write(dir: &Path, edges: &[EdgeId], hosts: &[String], force: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Drover development CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut ca, CA_VALID_FOR);
    files.push(("ca.pem".to_owned(), ca.self_signed(&ca_key)?.pem()));
    files.push(("ca.key".to_owned(), ca_key.serialize_pem()));
    let issuer = Issuer::new(ca, ca_key);

    let servers = [ExtendedKeyUsagePurpose::ServerAuth];
    files.extend(signed("cloud", "drover-cloud", hosts, &servers, &issuer)?);
    // An edge is a client of the cloud and a server for its devices.
    let both = [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    for edge in edges {
        files.extend(signed(&format!("edge-{edge}"), edge.as_str(), hosts, &both, &issuer)?);
    }

    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    if let Some((name, _)) = files.iter().find(|(name, _)| dir.join(name).exists())
        && !force
    {
        let path = dir.join(name);
        bail!("{} is there already: choose another folder, or replace all of them with --force", path.display());
    }
    files.into_iter().map(|(name, pem)| write_file(dir.join(name), &pem)).collect()
}

fn signed(
    file: &str,
    common_name: &str,
    hosts: &[String],
    usages: &[ExtendedKeyUsagePurpose],
    issuer: &Issuer<'_, KeyPair>,
) -> anyhow::Result<[(String, String); 2]> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts.to_vec())
        .with_context(|| format!("one of the hosts {hosts:?} is neither a name nor an address"))?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, VALID_FOR);
    let certificate = params.signed_by(&key, issuer)?;
    Ok([(format!("{file}.pem"), certificate.pem()), (format!("{file}.key"), key.serialize_pem())])
}

fn valid(params: &mut CertificateParams, time: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - VALID_BEFORE).into();
    params.not_after = (now + time).into();
}

/// A new file each time: the old one may be readable by others.
fn write_file(path: PathBuf, pem: &str) -> anyhow::Result<PathBuf> {
    let mode = if path.extension().is_some_and(|extension| extension == "key") { 0o600 } else { 0o644 };
    let written = match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
            file.and_then(|mut file| file.write_all(pem.as_bytes()))
        }
    };
    written.with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn depot() -> Vec<EdgeId> {
        vec!["depot-1".parse().unwrap()]
    }

    #[test]
    fn keys_are_for_their_owner_only_and_nothing_is_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let files = write(dir.path(), &depot(), &hosts, false).unwrap();
        let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["ca.pem", "ca.key", "cloud.pem", "cloud.key", "edge-depot-1.pem", "edge-depot-1.key"]);
        for file in &files {
            let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
            let key = file.extension().is_some_and(|e| e == "key");
            assert_eq!(mode, if key { 0o600 } else { 0o644 }, "{file:?}");
        }

        let before = fs::read(dir.path().join("ca.key")).unwrap();
        let refused = write(dir.path(), &depot(), &hosts, false).unwrap_err().to_string();
        assert!(refused.contains("ca.pem") && refused.contains("--force"), "{refused}");
        assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), before);

        write(dir.path(), &depot(), &hosts, true).unwrap();
        assert_ne!(fs::read(dir.path().join("ca.key")).unwrap(), before);
    }
}
