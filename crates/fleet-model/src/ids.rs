//! Names and numbers that identify things. A held value is valid: the constructors check.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// Longest tenant, vehicle, edge or deployment id and longest tag, in bytes.
pub const ID_LEN_MAX: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing between the quotes.
    #[error("{what} is empty")]
    Empty {
        /// Which id it was meant to be.
        what: &'static str,
    },
    /// More than [`ID_LEN_MAX`] bytes.
    #[error("{what} is {len} bytes long; at most {ID_LEN_MAX} are allowed")]
    TooLong {
        /// Which id it was meant to be.
        what: &'static str,
        /// Bytes found.
        len: usize,
    },
    /// A character outside `A-Z a-z 0-9 . _ : -`.
    #[error("{what} contains {found:?}; allowed are letters, digits and . _ : -")]
    Character {
        /// Which id it was meant to be.
        what: &'static str,
        /// The first character that is not allowed.
        found: char,
    },
}

fn check(what: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { what });
    }
    if text.len() > ID_LEN_MAX {
        return Err(InvalidId::TooLong { what, len: text.len() });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    match text.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(InvalidId::Character { what, found }),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps the text.
            ///
            /// # Errors
            /// Says what is wrong with the text: empty, too long, or a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                check($what, text)?;
                Ok(Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
    };
}

text_id!(
    /// A customer whose data nobody else sees.
    TenantId, "tenant"
);
text_id!(
    /// What drives, as its tenant calls it. Unique within the tenant.
    VehicleId, "vehicle"
);
text_id!(
    /// An edge node, as its client certificate names it.
    EdgeId, "edge"
);
impl EdgeId {
    /// What the cloud is called where what runs on edges and in the cloud is listed together. No edge may be.
    pub const CLOUD: &str = "cloud";
}

text_id!(
    /// A plugin put to work under a name of the tenant's choice, with a config.
    DeploymentName, "deployment"
);
text_id!(
    /// A word that a tenant gives to its vehicles, so that a deployment can be for all that have it.
    Tag, "tag"
);

/// (tenant, vehicle) as one number: the first 8 bytes, big-endian, of SHA-256(`tenant` 0x00 `vehicle`).
///
/// Stable across processes, machines and releases: it decides shards and event ids and is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VehicleKey(pub u64);

impl VehicleKey {
    /// The key of a vehicle. About 200 ns: keep it with the connection or the block, not per reading.
    #[must_use]
    pub fn of(tenant: &TenantId, vehicle: &VehicleId) -> Self {
        let mut hash = Sha256::new();
        hash.update(tenant.as_str());
        hash.update([0]);
        hash.update(vehicle.as_str());
        let digest = hash.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// Which of `count` shards this vehicle belongs to.
    ///
    /// # Panics
    /// If `count` is 0.
    #[must_use]
    pub fn shard(self, count: usize) -> usize {
        (self.0 % count as u64) as usize
    }
}

/// A vehicle with its tenant and key, made once and shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VehicleName {
    /// Whose vehicle.
    pub tenant: TenantId,
    /// Its name within the tenant.
    pub vehicle: VehicleId,
    /// Both as one number.
    pub key: VehicleKey,
}

impl VehicleName {
    /// Joins the two names and computes their key.
    #[must_use]
    pub fn new(tenant: TenantId, vehicle: VehicleId) -> Self {
        let key = VehicleKey::of(&tenant, &vehicle);
        Self { tenant, vehicle, key }
    }
}

/// Place of a reading among all readings of its vehicle, from 1, without holes. Given at edge admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stable_across_releases() {
        let name = VehicleName::new("demo".parse().unwrap(), "WAW-1000".parse().unwrap());
        // printf 'demo\0WAW-1000' | sha256sum
        assert_eq!(format!("{:016x}", name.key.0), "17f7c41b35b0337a");
    }

    #[test]
    fn ids_refuse_what_breaks_topics_and_logs() {
        for bad in ["", "a/b", "a b", "+", "#", "a\n", "ä", &"x".repeat(65)] {
            assert!(VehicleId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(VehicleId::new("NYC-0927").unwrap().as_str(), "NYC-0927");
    }

    #[test]
    fn ids_keep_their_checks_when_deserialised() {
        assert!(serde_json::from_str::<TenantId>("\"a/b\"").is_err());
        assert_eq!(serde_json::from_str::<TenantId>("\"demo\"").unwrap().as_str(), "demo");
    }
}
