//! What a plugin says of itself.

use crate::bindings::newest;
use crate::limits::ROW_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest name of a plugin, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most older state versions whose rows a plugin may say to read. `wit` says it to authors.
const MIGRATES_FROM_MAX: usize = 64;
/// Longest version of a plugin, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// What kind of rule a plugin is; decides what it is asked and what it may propose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// Where vehicles are.
    Geofence,
    /// What a trip costs.
    Pricing,
    /// What needs a workshop.
    Maintenance,
}

impl PluginKind {
    /// As APIs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PluginKind::Geofence => "geofence",
            PluginKind::Pricing => "pricing",
            PluginKind::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a plugin says of itself, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Descriptor {
    /// Lower case letters, digits and hyphens, at most 64.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// What kind of rule it is.
    pub kind: PluginKind,
    /// Changes when the meaning of a row changes.
    pub state_version: u32,
    /// Bytes of state per vehicle.
    pub row_bytes: u32,
    /// Older state versions whose rows it migrates. `None` when it was built against a contract that does not ask.
    pub migrates_from: Option<Vec<u32>>,
    /// JSON Schema 2020-12 of its config.
    pub config_schema: serde_json::Value,
}

impl Descriptor {
    /// Checks what `describe` answered; an error says which field is wrong and how.
    pub(crate) fn checked(found: newest::Descriptor, migrates_from: Option<Vec<u32>>) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if found.name.is_empty() || found.name.len() > NAME_BYTES_MAX || !found.name.chars().all(allowed) {
            return Err(format!(
                "name {:?}: use 1 to {NAME_BYTES_MAX} lower case letters, digits, hyphens",
                found.name
            ));
        }
        if found.version.len() > VERSION_BYTES_MAX || semver::Version::parse(&found.version).is_err() {
            return Err(format!("version {:?} is not a semantic version such as 1.0.0", found.version));
        }
        if found.row_bytes > ROW_BYTES_MAX {
            return Err(format!("row-bytes {}: at most {ROW_BYTES_MAX} are allowed", found.row_bytes));
        }
        if migrates_from.as_ref().is_some_and(|versions| versions.len() > MIGRATES_FROM_MAX) {
            return Err(format!("migrates-from: at most {MIGRATES_FROM_MAX} versions are allowed"));
        }
        let config_schema = serde_json::from_str(&found.config_schema)
            .map_err(|error| format!("config-schema is not JSON: {error}"))?;
        Ok(Self {
            name: found.name,
            version: found.version,
            kind: match found.kind {
                newest::Kind::Geofence => PluginKind::Geofence,
                newest::Kind::Pricing => PluginKind::Pricing,
                newest::Kind::Maintenance => PluginKind::Maintenance,
            },
            state_version: found.state_version,
            row_bytes: found.row_bytes,
            migrates_from,
            config_schema,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> newest::Descriptor {
        newest::Descriptor {
            name: "geo-fence2".into(),
            version: "1.0.0-rc.1".into(),
            kind: newest::Kind::Geofence,
            state_version: 1,
            row_bytes: 64,
            config_schema: "{}".into(),
        }
    }

    #[test]
    fn a_bad_field_is_named() {
        assert_eq!(Descriptor::checked(described(), None).unwrap().name, "geo-fence2");
        for (bad, field) in [
            (newest::Descriptor { name: "Geo".into(), ..described() }, "name"),
            (newest::Descriptor { name: String::new(), ..described() }, "name"),
            (newest::Descriptor { version: "1.0".into(), ..described() }, "version"),
            (newest::Descriptor { row_bytes: ROW_BYTES_MAX + 1, ..described() }, "row-bytes"),
            (newest::Descriptor { config_schema: "{".into(), ..described() }, "config-schema"),
        ] {
            let error = Descriptor::checked(bad, None).unwrap_err();
            assert!(error.starts_with(field), "{error}");
        }
        let error = Descriptor::checked(described(), Some(vec![0; MIGRATES_FROM_MAX + 1])).unwrap_err();
        assert!(error.starts_with("migrates-from"), "{error}");
    }
}
