//! What the registry records of what it was asked for.

use super::deployments::DeployError;
use super::plugins::UploadError;
use super::record::{DeploymentRecord, PluginRecord, TagsRecord};
use super::signers::SignatureError;
use super::tags::TagError;
use super::{Registry, StorageError};
use fleet_model::audit::{self, Act, ActKind};
use fleet_model::{DeploymentName, Tags, TenantId, VehicleId};
use plugin_host::{CompileError, ConfiguredPlugin, LoadError, PluginHash};
use serde_json::json;

impl Registry {
    /// A component that is kept from now on.
    pub(super) fn uploaded(&self, record: &PluginRecord, by: &str) -> Act {
        let act = self.0.audit.act_by(ActKind::PluginUploaded, by).of(&record.tenant).about(&record.name);
        let details = json!({"version": record.version, "kind": record.kind.as_str(), "size": record.size,
            "signed_by": record.signed_by});
        act.plugin(record.hash.0).details(&details.to_string())
    }

    /// A deployment as it is from now on.
    pub(super) fn deployed(&self, kind: ActKind, record: &DeploymentRecord, by: &str) -> Act {
        // What is tried is not live yet.
        let tried =
            record.trial.as_ref().filter(|_| matches!(kind, ActKind::TrialStarted | ActKind::DeploymentPromoted));
        let current = tried.map_or(&record.current, |trial| &trial.revision);
        let act = self.0.audit.act_by(kind, by).of(&record.tenant).about(record.name.as_str());
        let mut details =
            json!({"plugin": current.plugin_name, "version": current.plugin_version, "where": record.place});
        if !current.target.tags.is_empty() {
            details["tags"] = json!(current.target.tags);
        }
        if let Some(trial) = tried {
            details["trial"] = json!(trial.mode);
        }
        if let (ActKind::TrialEnded, Some(ended)) = (kind, &record.ended_trial) {
            details = json!({"revision": ended.revision, "reason": ended.reason});
        }
        let act = act.revision(current.revision).plugin(current.plugin.0).config(current.config.0);
        act.details(&details.to_string())
    }

    /// Records that an upload was refused. What may go better another time was not refused.
    pub(super) async fn upload_refused(&self, tenant: &TenantId, hash: PluginHash, error: &UploadError, by: &str) {
        let kind = match error {
            UploadError::Busy | UploadError::Storage(_) => return,
            UploadError::Refused(LoadError::Compile(CompileError::Process(_))) => return,
            UploadError::Signature(_) => ActKind::SignatureRefused,
            UploadError::Refused(_) | UploadError::Taken { .. } | UploadError::TooMany => ActKind::PluginRefused,
        };
        let act = self.0.audit.act_by(kind, by).of(tenant).plugin(hash.0);
        let act = match error {
            UploadError::Taken { name, version, .. } => {
                act.about(name).details(&json!({"version": version}).to_string())
            }
            UploadError::Signature(SignatureError::Missing) => act.details(&json!({"signed": false}).to_string()),
            _ => act,
        };
        self.record_refusal(act.refused(&error.to_string())).await;
    }

    /// Records that a change of a deployment was refused. `asked`: for a deployment or a rollback.
    pub(super) async fn change_refused(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        (asked, error): (&str, &DeployError),
        by: &str,
    ) {
        let reason = match error {
            DeployError::Storage(_) => return,
            DeployError::Schema { problems, .. } => {
                let places = problems.iter().map(|problem| format!("{}: {}", problem.pointer, problem.message));
                format!("{error}: {}", places.collect::<Vec<_>>().join("; "))
            }
            _ => error.to_string(),
        };
        let act = self.0.audit.act_by(ActKind::DeploymentRefused, by).of(tenant).about(name.as_str());
        self.record_refusal(act.refused(&reason).details(&json!({"asked": asked}).to_string())).await;
    }

    /// A vehicle with the tags that it has from now on. `deployments` are for it now and were not, or the other way round.
    pub(super) fn tagged(&self, record: &TagsRecord, before: &Tags, deployments: &[DeploymentName], by: &str) -> Act {
        let act = self.0.audit.act_by(ActKind::VehicleTagged, by).of(&record.tenant).about(record.vehicle.as_str());
        let mut details = json!({"tags": record.tags, "before": before, "deployments": deployments});
        if details.to_string().len() > audit::DETAILS_LEN_MAX {
            // Many deployments: how many they are is better than nothing.
            details["deployments"] = json!(deployments.len());
        }
        act.details(&details.to_string())
    }

    /// Records that other tags for a vehicle were refused. What may go better another time was not refused.
    pub(super) async fn tags_refused(&self, tenant: &TenantId, vehicle: &VehicleId, error: &TagError, by: &str) {
        if matches!(error, TagError::Storage(_)) {
            return;
        }
        let act = self.0.audit.act_by(ActKind::TagsRefused, by).of(tenant).about(vehicle.as_str());
        self.record_refusal(act.refused(&error.to_string())).await;
    }

    /// Records that a rule is tried, before it is.
    ///
    /// # Errors
    /// When it cannot be recorded: then it must not be tried.
    pub async fn record_preview(
        &self,
        tenant: &TenantId,
        candidate: &ConfiguredPlugin,
        details: &serde_json::Value,
        by: &str,
    ) -> Result<(), StorageError> {
        let plugin = candidate.plugin();
        let act = self.0.audit.act_by(ActKind::PreviewRun, by).of(tenant).about(&plugin.descriptor().name);
        Ok(self.0.audit.record(vec![act.plugin(plugin.hash().0).details(&details.to_string())]).await?)
    }

    /// The refusal stands, recorded or not.
    async fn record_refusal(&self, act: Act) {
        if let Err(error) = self.0.audit.record(vec![act]).await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }
}
