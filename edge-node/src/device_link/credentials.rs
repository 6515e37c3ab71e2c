//! Who may come through the door, and for which vehicles.

use fleet_model::{Refusal, TenantId, VehicleId, VehicleName};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// One `[[device_link.credentials]]` entry: a device, or a whole tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// MQTT user name, or the user of HTTP Basic. Required, once in the file.
    pub username: String,
    /// SHA-256 of the password in hex, or `salt:hex` with hex = SHA-256(salt password). Required.
    pub password_sha256: PasswordHash,
    /// Whose readings it may send. Required.
    pub tenant: TenantId,
    /// The only vehicle it may send for. Default: all of the tenant's.
    pub vehicle: Option<VehicleId>,
}

/// What is kept of a password.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct PasswordHash {
    salt: String,
    digest: [u8; 32],
}

/// Somebody who proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// As in the config.
    pub username: String,
    /// Whose readings they may send.
    pub tenant: TenantId,
    /// The only vehicle they may send for.
    pub vehicle: Option<VehicleId>,
}

/// All credentials of this edge node.
#[derive(Debug)]
pub struct Credentials {
    known: HashMap<String, (PasswordHash, Arc<Principal>)>,
    /// Compared when the user name is unknown, so that the time of an answer does not tell which names exist.
    nobody: PasswordHash,
}

impl TryFrom<String> for PasswordHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (salt, hex_digest) = text.rsplit_once(':').unwrap_or(("", &text));
        let mut digest = [0; 32];
        match hex::decode_to_slice(hex_digest, &mut digest) {
            Ok(()) => Ok(Self { salt: salt.to_owned(), digest }),
            // The text is not repeated: somebody may have written the password itself.
            Err(_) => Err("password_sha256 is \"<64 hex digits>\" or \"<salt>:<64 hex digits>\" of SHA-256(salt \
                           password), such as `printf %s \"$salt$password\" | sha256sum` gives"
                .into()),
        }
    }
}

impl PasswordHash {
    /// The hash of a password.
    #[must_use]
    pub fn of(salt: &str, password: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(salt).chain_update(password).finalize().into();
        Self { salt: salt.to_owned(), digest }
    }

    /// Takes the same time whatever differs.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        let given = Self::of(&self.salt, password);
        given.digest.ct_eq(&self.digest).into()
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl Credentials {
    /// Takes the config's entries. Of two with one user name the last counts; the config refuses such a file.
    #[must_use]
    pub fn new(entries: &[Credential]) -> Self {
        let known = entries
            .iter()
            .map(|entry| {
                let principal = Principal {
                    username: entry.username.clone(),
                    tenant: entry.tenant.clone(),
                    vehicle: entry.vehicle.clone(),
                };
                (entry.username.clone(), (entry.password_sha256.clone(), Arc::new(principal)))
            })
            .collect();
        Self { known, nobody: PasswordHash { salt: String::new(), digest: [0; 32] } }
    }

    /// Who this is, if the password is right.
    #[must_use]
    pub fn check(&self, username: &str, password: &[u8]) -> Option<Arc<Principal>> {
        match self.known.get(username) {
            Some((hash, principal)) => hash.matches(password).then(|| Arc::clone(principal)),
            None => {
                let _ = self.nobody.matches(password);
                None
            }
        }
    }
}

impl Principal {
    /// Whether they may send for this vehicle.
    ///
    /// # Errors
    /// [`Refusal::NotYours`], with detail.
    pub fn covers(&self, name: &VehicleName) -> Result<(), (Refusal, String)> {
        let mine = self.tenant == name.tenant && self.vehicle.as_ref().is_none_or(|only| *only == name.vehicle);
        if mine {
            return Ok(());
        }
        let detail = format!("user {:?} may not send for {}/{}", self.username, name.tenant, name.vehicle);
        Err((Refusal::NotYours, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(username: &str, hash: PasswordHash, vehicle: Option<&str>) -> Credential {
        Credential {
            username: username.into(),
            password_sha256: hash,
            tenant: TenantId::new("demo").unwrap(),
            vehicle: vehicle.map(|v| VehicleId::new(v).unwrap()),
        }
    }

    #[test]
    fn only_the_right_password_opens() {
        let hex = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"; // of "password"
        let plain = PasswordHash::try_from(hex.to_owned()).unwrap();
        let credentials = Credentials::new(&[
            credential("a", plain, None),
            credential("b", PasswordHash::of("s", b"x"), Some("bus")),
        ]);
        assert_eq!(credentials.check("a", b"password").unwrap().username, "a");
        assert!(credentials.check("b", b"x").is_some());
        for (user, password) in [("a", "x"), ("a", ""), ("b", "password"), ("c", "x"), ("", "")] {
            assert!(credentials.check(user, password.as_bytes()).is_none(), "{user} {password}");
        }
    }

    #[test]
    fn a_salted_hash_is_written_with_its_salt() {
        let hash = PasswordHash::of("pepper:1", b"secret");
        let written = format!("pepper:1:{}", hex::encode(hash.digest));
        assert!(PasswordHash::try_from(written).unwrap().matches(b"secret"));
        let refused = PasswordHash::try_from("hunter2".to_owned()).unwrap_err();
        assert!(refused.contains("64 hex") && !refused.contains("hunter2"));
    }

    #[test]
    fn a_credential_covers_its_tenant_or_its_vehicle() {
        let name = |tenant: &str, vehicle: &str| VehicleName::new(tenant.parse().unwrap(), vehicle.parse().unwrap());
        let all = Credentials::new(&[credential("a", PasswordHash::of("", b"x"), None)]).check("a", b"x").unwrap();
        assert!(all.covers(&name("demo", "any")).is_ok());
        assert_eq!(all.covers(&name("other", "any")).unwrap_err().0, Refusal::NotYours);
        let one =
            Credentials::new(&[credential("a", PasswordHash::of("", b"x"), Some("bus"))]).check("a", b"x").unwrap();
        assert!(one.covers(&name("demo", "bus")).is_ok());
        assert_eq!(one.covers(&name("demo", "tram")).unwrap_err().0, Refusal::NotYours);
    }
}
