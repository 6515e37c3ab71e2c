//! `drover plugin key` and `drover plugin sign`.

use crate::failure::Failure;
use crate::output;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is signed is this, then the component, so that the signature is good for nothing else.
const SIGNED_PREFIX: &[u8] = b"drover plugin v1\n";

/// Make a key that signs components
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  drover plugin key --out alice.key --name alice

Keep the file to yourself; what is printed goes into the cloud's config.")]
pub(crate) struct Key {
    /// Where to write the private key; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Whose it is; stands with what it signed
    #[arg(long, default_value = "default")]
    name: String,
}

/// Sign a component: writes <file>.sig, which upload and deploy send along
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  drover plugin sign my-rule.wasm --key alice.key
  drover plugin upload my-rule.wasm")]
pub(crate) struct Sign {
    /// A WebAssembly component
    file: PathBuf,

    /// The private key: what `drover plugin key` wrote
    #[arg(long, value_name = "FILE", env = "DROVER_SIGNING_KEY")]
    key: PathBuf,
}

impl Key {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let failed = |error: rcgen::Error| Failure::Failed(format!("a key cannot be made: {error}"));
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.out);
        let written = file.and_then(|mut file| file.write_all(pair.serialize_pem().as_bytes()));
        written.map_err(|error| Failure::Usage(format!("{}: {error}", self.out.display())))?;
        let public = STANDARD.encode(pair.der_bytes());
        output::say(&format!(
            "wrote {} (keep it to yourself)\n\nfor the tenant's entry in cloud.toml:\n",
            self.out.display()
        ))?;
        output::say(&format!(
            "[[tenants]]\nname = \"...\"\nplugin_keys = [{{ name = \"{}\", public_key = \"{public}\" }}]",
            self.name.escape_default()
        ))?;
        Ok(())
    }
}

impl Sign {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let wasm = read(&self.file)?;
        let pem = String::from_utf8(read(&self.key)?);
        let pair =
            pem.ok().and_then(|pem| KeyPair::from_pem(&pem).ok()).filter(|pair| pair.is_compatible(&PKCS_ED25519));
        let pair = pair.ok_or_else(|| {
            Failure::Usage(format!("{} is no Ed25519 key: `drover plugin key` makes one", self.key.display()))
        })?;
        let signature = pair
            .sign(&[SIGNED_PREFIX, &wasm].concat())
            .map_err(|error| Failure::Failed(format!("it cannot be signed: {error}")))?;
        let path = signature_of(&self.file);
        std::fs::write(&path, URL_SAFE_NO_PAD.encode(signature) + "\n")
            .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        output::say(&format!("wrote {}", path.display()))?;
        Ok(())
    }
}

/// The signature that lies beside a component, if there is one.
pub(super) fn beside(component: &Path) -> Result<Option<String>, Failure> {
    let path = signature_of(component);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Usage(format!("cannot read {}: {error}", path.display()))),
    }
}

fn signature_of(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_signature_lies_beside_its_component() {
        let folder = tempfile::tempdir().unwrap();
        let (key, component) = (folder.path().join("a.key"), folder.path().join("a.wasm"));
        let make = Key { out: key.clone(), name: "alice".into() };
        make.run().unwrap();
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(make.run(), Err(Failure::Usage(_))), "a key is never overwritten");
        std::fs::write(&component, b"\0asm").unwrap();
        assert_eq!(beside(&component).unwrap(), None);
        Sign { file: component.clone(), key: key.clone() }.run().unwrap();
        let signature = beside(&component).unwrap().unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap().len(), 64);
        let no_key = Sign { file: key.clone(), key: component }.run();
        assert!(matches!(no_key, Err(Failure::Usage(said)) if said.contains("drover plugin key")));
    }
}
