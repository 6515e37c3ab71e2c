//! Who may sign a tenant's components.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fleet_model::TenantId;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is signed is this, then the component: a signature made for something else is none for a component.
pub const SIGNED_PREFIX: &[u8] = b"drover plugin v1\n";
/// Bytes of a public key.
const PUBLIC_KEY_LEN: usize = 32;
/// Bytes of a signature.
const SIGNATURE_LEN: usize = 64;
/// Keys of one tenant.
const KEYS_MAX: usize = 100;

/// One `[[tenants]]` of the config.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// Which.
    pub name: TenantId,
    /// Whether a component must be signed by one of `plugin_keys`. Default true. A signature that is there must be good
    /// in any case.
    #[serde(default = "required")]
    pub require_signatures: bool,
    /// Who may sign. Default: nobody.
    #[serde(default)]
    pub plugin_keys: Vec<PluginKey>,
}

fn required() -> bool {
    true
}

/// A key that signs components.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginKey {
    /// Whose it is: stands with what it signed.
    pub name: String,
    /// Ed25519, base64: what `drover plugin key` prints.
    pub public_key: PublicKey,
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey([u8; PUBLIC_KEY_LEN]);

impl TryFrom<String> for PublicKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = STANDARD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| format!("{text:?} is no Ed25519 public key: `drover plugin key` makes one"))
    }
}

/// The entries, checked.
#[derive(Debug, Clone, Default)]
pub struct Signers {
    by_tenant: BTreeMap<TenantId, TenantEntry>,
    /// Who has no entry may upload what is not signed.
    lenient: bool,
}

/// What contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignersError {
    /// Two entries.
    #[error("the tenant {0} is there twice")]
    Twice(TenantId),
    /// Too many keys.
    #[error("the tenant {0} has {1} plugin_keys; at most {KEYS_MAX} are allowed")]
    TooMany(TenantId, usize),
    /// Two keys of one name, or one key twice.
    #[error("the tenant {0} has two plugin_keys {1:?}, or the same key under two names")]
    KeyTwice(TenantId, String),
}

/// Why a component's signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error(
        "the component is not signed, and this tenant's must be: sign it with `drover plugin sign`; the cloud's config has \
         the keys in [[tenants]] plugin_keys, and require_signatures = false turns this off"
    )]
    Missing,
    /// Not even the length fits.
    #[error("the signature is not {SIGNATURE_LEN} bytes in base64url without padding")]
    Malformed,
    /// It is somebody else's, or of something else.
    #[error("no key of this tenant has made this signature of this component")]
    Foreign,
}

impl Signers {
    /// Checks the entries. Who has none must sign, and nobody can.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(entries: &[TenantEntry]) -> Result<Self, SignersError> {
        let mut by_tenant = BTreeMap::new();
        for entry in entries {
            let keys = &entry.plugin_keys;
            if keys.len() > KEYS_MAX {
                return Err(SignersError::TooMany(entry.name.clone(), keys.len()));
            }
            let same = |a: &PluginKey, b: &PluginKey| a.name == b.name || a.public_key == b.public_key;
            if let Some((_, twice)) =
                keys.iter().enumerate().find(|(at, key)| keys[..*at].iter().any(|other| same(key, other)))
            {
                return Err(SignersError::KeyTwice(entry.name.clone(), twice.name.clone()));
            }
            if by_tenant.insert(entry.name.clone(), entry.clone()).is_some() {
                return Err(SignersError::Twice(entry.name.clone()));
            }
        }
        Ok(Self { by_tenant, lenient: false })
    }

    /// Nobody must sign: for tests.
    #[must_use]
    pub fn lenient() -> Self {
        Self { by_tenant: BTreeMap::new(), lenient: true }
    }

    /// The name of the key that signed the component; `None` when it is not signed and need not be.
    pub(super) fn check(
        &self,
        tenant: &TenantId,
        wasm: &[u8],
        signature: Option<&str>,
    ) -> Result<Option<String>, SignatureError> {
        let entry = self.by_tenant.get(tenant);
        let Some(signature) = signature else {
            let needed = entry.map_or(!self.lenient, |entry| entry.require_signatures);
            return if needed { Err(SignatureError::Missing) } else { Ok(None) };
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).ok().filter(|bytes| bytes.len() == SIGNATURE_LEN);
        let signature = signature.ok_or(SignatureError::Malformed)?;
        let signed = [SIGNED_PREFIX, wasm].concat();
        let mut keys = entry.map(|entry| entry.plugin_keys.as_slice()).unwrap_or_default().iter();
        let has_signed =
            |key: &&PluginKey| UnparsedPublicKey::new(&ED25519, key.public_key.0).verify(&signed, &signature).is_ok();
        keys.find(has_signed).map(|key| Some(key.name.clone())).ok_or(SignatureError::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    const WASM: &[u8] = b"\0asm and so on";

    fn key(seed: u8) -> (Ed25519KeyPair, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = STANDARD.encode(pair.public_key().as_ref());
        (pair, public)
    }

    fn signed(pair: &Ed25519KeyPair, wasm: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(pair.sign(&[SIGNED_PREFIX, wasm].concat()))
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn entries(text: &str) -> Result<Vec<TenantEntry>, toml::de::Error> {
        #[derive(Deserialize)]
        struct File {
            tenants: Vec<TenantEntry>,
        }
        toml::from_str::<File>(text).map(|file| file.tenants)
    }

    #[test]
    fn only_a_tenants_own_keys_sign_and_only_this_component() {
        let [(alice, alice_public), (bob, bob_public), (eve, _)] = [1, 2, 3].map(key);
        let text = format!(
            r#"[[tenants]]
            name = "demo"
            plugin_keys = [{{ name = "alice", public_key = "{alice_public}" }}, {{ name = "bob", public_key = "{bob_public}" }}]
            [[tenants]]
            name = "free"
            require_signatures = false"#
        );
        let signers = Signers::new(&entries(&text).unwrap()).unwrap();
        let check = |of: &str, signature: Option<&str>| signers.check(&tenant(of), WASM, signature);
        assert_eq!(check("demo", Some(&signed(&alice, WASM))), Ok(Some("alice".into())));
        assert_eq!(check("demo", Some(&signed(&bob, WASM))), Ok(Some("bob".into())));
        assert_eq!(check("demo", Some(&signed(&eve, WASM))), Err(SignatureError::Foreign));
        assert_eq!(check("demo", Some(&signed(&alice, b"something else"))), Err(SignatureError::Foreign));
        let bare = URL_SAFE_NO_PAD.encode(alice.sign(WASM));
        assert_eq!(check("demo", Some(&bare)), Err(SignatureError::Foreign), "without what it is signed as");
        assert_eq!(check("demo", None), Err(SignatureError::Missing));
        assert_eq!(check("demo", Some("x")), Err(SignatureError::Malformed));
        assert_eq!(check("free", None), Ok(None));
        assert_eq!(
            check("free", Some(&signed(&alice, WASM))),
            Err(SignatureError::Foreign),
            "what is there must be good"
        );
        assert_eq!(check("nobody", None), Err(SignatureError::Missing));
        assert_eq!(Signers::lenient().check(&tenant("nobody"), WASM, None), Ok(None));
    }

    #[test]
    fn entries_that_contradict_themselves_are_named() {
        let (_, public) = key(1);
        let of = |text: &str| Signers::new(&entries(text).unwrap()).unwrap_err();
        let twice = "[[tenants]]\nname = \"a\"\n[[tenants]]\nname = \"a\"";
        assert_eq!(of(twice), SignersError::Twice(tenant("a")));
        let keys = format!(
            r#"[[tenants]]
            name = "a"
            plugin_keys = [{{ name = "x", public_key = "{public}" }}, {{ name = "y", public_key = "{public}" }}]"#
        );
        assert_eq!(of(&keys), SignersError::KeyTwice(tenant("a"), "y".into()));
        let bad = entries("[[tenants]]\nname = \"a\"\nplugin_keys = [{ name = \"x\", public_key = \"AAAA\" }]");
        assert!(bad.unwrap_err().to_string().contains("drover plugin key"));
    }
}
