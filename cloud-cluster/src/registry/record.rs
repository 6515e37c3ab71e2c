//! What the registry stores: small JSON records in the events log's snapshots. Components and configs are files.
//!
//! | key                               | value                |
//! |-----------------------------------|----------------------|
//! | `registry/plugin/<tenant>/<hash>` | [`PluginRecord`]     |
//! | `registry/deployment/<tenant>/<name>` | [`DeploymentRecord`] |

use fleet_model::{DeploymentName, TenantId, Timestamp};
use plugin_host::{PluginHash, PluginKind};
use serde::{Deserialize, Serialize};

/// Prefix of all keys of plugins.
pub(super) const PLUGINS: &str = "registry/plugin/";
/// Prefix of all keys of deployments.
pub(super) const DEPLOYMENTS: &str = "registry/deployment/";
/// Layout of both records.
pub(super) const VERSION: u32 = 1;

/// A component that passed its checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// 1.
    pub record_version: u32,
    /// Who uploaded it, and alone may deploy it.
    pub tenant: TenantId,
    /// SHA-256 of the component: the name of its file.
    pub hash: PluginHash,
    /// Its own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it decides.
    pub kind: PluginKind,
    /// Bytes.
    pub size: u64,
    /// When it came.
    pub uploaded_time: Timestamp,
    /// The key that signed it, by its name then; `None` when it was not signed.
    #[serde(default)]
    pub signed_by: Option<String>,
}

/// A deployment with what it was before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRecord {
    /// 1.
    pub record_version: u32,
    /// Whose vehicles it is for.
    pub tenant: TenantId,
    /// Its name.
    pub name: DeploymentName,
    /// What shall run.
    pub current: Revision,
    /// What ran before, oldest first.
    pub history: Vec<Revision>,
}

/// One state of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Counts changes, from 1.
    pub revision: u64,
    /// Which component.
    pub plugin: PluginHash,
    /// Its name, for answers.
    pub plugin_name: String,
    /// Its version, for answers.
    pub plugin_version: String,
    /// SHA-256 of the config: the name of its file.
    pub config: PluginHash,
    /// When it was made.
    pub changed_time: Timestamp,
}

impl PluginRecord {
    pub(super) fn key(&self) -> Vec<u8> {
        format!("{PLUGINS}{}/{}", self.tenant, self.hash).into_bytes()
    }
}

impl DeploymentRecord {
    pub(super) fn key(&self) -> Vec<u8> {
        format!("{DEPLOYMENTS}{}/{}", self.tenant, self.name).into_bytes()
    }
}
