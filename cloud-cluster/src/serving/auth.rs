//! Who is calling, decided in one place.

use super::App;
use super::problem::Problem;
use axum::extract::FromRequestParts;
use fleet_model::{TenantId, audit};
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One key of the configuration: `[[api_keys]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawApiKey")]
pub struct ApiKey {
    /// Who holds it; stands in logs and audit records. 1 to 128 bytes, not `drover` and not beginning with `edge:`.
    pub name: String,
    /// Whose data it opens. Absent only for an operator's key.
    pub tenant: Option<TenantId>,
    /// SHA-256 of the key.
    pub sha256: KeyHash,
    /// Also opens what is not a tenant's: `/v1/status`, `/metrics`, and, without `tenant`, all acts. Default false.
    pub operator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApiKey {
    name: String,
    tenant: Option<TenantId>,
    sha256: KeyHash,
    #[serde(default)]
    operator: bool,
}

impl TryFrom<RawApiKey> for ApiKey {
    type Error = String;
    fn try_from(raw: RawApiKey) -> Result<Self, String> {
        if raw.tenant.is_none() && !raw.operator {
            return Err("a key needs a `tenant`, or `operator = true`".into());
        }
        // Acts are recorded under it.
        if raw.name == audit::DROVER || raw.name.starts_with(audit::EDGE_PREFIX) {
            return Err(format!(
                "a key must not be named {:?}: so are we ourselves and the edges in audit records",
                raw.name
            ));
        }
        if raw.name.is_empty() || raw.name.len() > audit::WHO_LEN_MAX || raw.name.chars().any(char::is_control) {
            return Err(format!("a key's name has 1 to {} bytes and no control characters", audit::WHO_LEN_MAX));
        }
        Ok(Self { name: raw.name, tenant: raw.tenant, sha256: raw.sha256, operator: raw.operator })
    }
}

/// SHA-256 of a key; 64 hex digits in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key as its holder knows it.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl TryFrom<String> for KeyHash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash)
            .map_err(|_| "sha256 is 64 hex digits: the SHA-256 of the key (`drover api-key new` makes both)")?;
        Ok(Self(hash))
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

/// Who is calling: the key was known.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Name of the key.
    pub(crate) key: String,
    tenant: Option<TenantId>,
    operator: bool,
}

impl Caller {
    /// The tenant whose data this caller may see.
    pub(crate) fn tenant(&self) -> Result<&TenantId, Problem> {
        self.tenant.as_ref().ok_or_else(|| Problem::forbidden("this key belongs to no tenant: use a tenant's key"))
    }

    /// The tenant whose acts this caller may see; `None`: all of them, for an operator's key that is of no tenant.
    pub(crate) fn tenant_or_all(&self) -> Result<Option<&TenantId>, Problem> {
        if self.tenant.is_none() {
            self.operator()?;
        }
        Ok(self.tenant.as_ref())
    }

    /// Passes operators.
    pub(crate) fn operator(&self) -> Result<(), Problem> {
        if self.operator {
            Ok(())
        } else {
            Err(Problem::forbidden("this is for operators: use a key with operator = true"))
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let given = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(given) = given else {
            return Err(Problem::unauthorized("send your key in the header Authorization: Bearer <key>"));
        };
        let key = match given.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            _ => return Err(Problem::unauthorized("the header Authorization is not of the form Bearer <key>")),
        };
        let hash = KeyHash::of(key);
        // Every key is compared, each in constant time: how long it takes says nothing.
        let mut found = None;
        for known in &*app.api_keys {
            if equal_in_constant_time(&known.sha256, &hash) {
                found = Some(known);
            }
        }
        let Some(known) = found else { return Err(Problem::unauthorized("nobody has this key")) };
        Ok(Self { key: known.name.clone(), tenant: known.tenant.clone(), operator: known.operator })
    }
}

fn equal_in_constant_time(a: &KeyHash, b: &KeyHash) -> bool {
    let difference = a.0.iter().zip(b.0).fold(0_u8, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}
