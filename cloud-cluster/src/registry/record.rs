//! What the registry stores: small JSON records in the events log's snapshots. Components and configs are files.
//!
//! | key                               | value                |
//! |-----------------------------------|----------------------|
//! | `registry/plugin/<tenant>/<hash>` | [`PluginRecord`]     |
//! | `registry/deployment/<tenant>/<name>` | [`DeploymentRecord`] |
//! | `registry/tags/<tenant>/<vehicle>` | [`TagsRecord`], only while there are any |

use super::target::Target;
use fleet_model::{DeploymentName, Depots, Place, Share, Tags, TenantId, Timestamp, TrialMode, VehicleId};
use plugin_host::{PluginHash, PluginKind};
use serde::{Deserialize, Serialize};

/// Prefix of all keys of plugins.
pub(super) const PLUGINS: &str = "registry/plugin/";
/// Prefix of all keys of deployments.
pub(super) const DEPLOYMENTS: &str = "registry/deployment/";
/// Prefix of all keys of vehicles' tags.
pub(super) const TAGS: &str = "registry/tags/";
/// Layout of all these records.
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
    /// The API key that uploaded it, by its name then; `None` when that was not noted yet.
    #[serde(default)]
    pub uploaded_by: Option<String>,
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
    /// Where it decides. It stays there.
    #[serde(default)]
    pub place: Place,
    /// What shall run.
    pub current: Revision,
    /// What ran before, oldest first.
    pub history: Vec<Revision>,
    /// What is tried beside it.
    #[serde(default)]
    pub trial: Option<TrialRecord>,
    /// How the last trial ended that did not become live.
    #[serde(default)]
    pub ended_trial: Option<EndedTrial>,
    /// The highest revision that was ever made, tried ones among them. 0 in records of before there were trials.
    #[serde(default)]
    pub last_revision: u64,
    /// Counts changes of the record. 0 in records of before there were trials.
    #[serde(default)]
    pub changes: u64,
}

/// A revision on trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Which; for the depots and vehicles of the live one.
    pub revision: Revision,
    /// What was asked for.
    pub plan: TrialPlan,
    /// How far it is.
    #[serde(flatten)]
    pub mode: TrialMode,
    /// Since when it is tried in this way.
    pub since: Timestamp,
}

/// How a revision is to be tried before it is live. At least one of shadow and canary is asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrialPlan {
    /// So long in the shadow, at least, seconds; `None`: not at all.
    #[serde(default)]
    pub shadow_s: Option<u64>,
    /// Then for this share of the vehicles.
    #[serde(default)]
    pub canary: Option<Share>,
    /// And for so long at least, seconds.
    #[serde(default)]
    pub canary_s: u64,
    /// When it goes on by itself; `None`: when somebody says so.
    #[serde(default)]
    pub promote: Option<PromotionRule>,
}

/// When a trial goes on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PromotionRule {
    /// Of all that was proposed in the shadow, so many percent may differ.
    pub max_differences_percent: f64,
    /// So many readings it must have been shown, on all edges together.
    pub min_readings: u64,
}

/// A trial that did not become live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndedTrial {
    /// Which revision.
    pub revision: u64,
    /// Why.
    pub reason: String,
    /// When.
    pub time: Timestamp,
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
    /// In which depots.
    #[serde(default)]
    pub depots: Depots,
    /// For which vehicles.
    #[serde(flatten)]
    pub target: Target,
}

/// The tags of a vehicle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TagsRecord {
    /// 1.
    pub record_version: u32,
    /// Whose vehicle.
    pub tenant: TenantId,
    /// Which.
    pub vehicle: VehicleId,
    /// At least one.
    pub tags: Tags,
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

impl TagsRecord {
    pub(super) fn key(&self) -> Vec<u8> {
        format!("{TAGS}{}/{}", self.tenant, self.vehicle).into_bytes()
    }
}
