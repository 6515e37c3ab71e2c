//! What edges are told: the deployments of all tenants, each encoded once.
//!
//! They fit into one message to an edge. What would not fit is refused before it is committed. A deployment that cannot
//! be read from the disk at the start is told as unavailable: left out, edges would end it, and told wrongly, they would
//! change it. It harms no other deployment.

use super::record::{DeploymentRecord, TrialRecord};
use super::{Registry, StorageError};
use fleet_model::{DeploymentName, Scope, TenantId};
use fleet_wire::control::{ControlError, DEPLOYMENTS_LEN_MAX, DeploymentSpec, EncodedSet, EncodedSpec, TrialSpec};
use std::sync::Arc;
use tokio::sync::watch;

impl Registry {
    /// What edges shall run, and changes to it.
    #[must_use]
    pub fn deployments(&self) -> watch::Receiver<EncodedSet> {
        self.0.published.subscribe()
    }

    /// Puts all deployments where edges see them, at the start. Blocks for the disk.
    pub(super) fn publish_all(&self) -> Result<(), StorageError> {
        let records: Vec<_> = self.0.known.read().deployments.values().cloned().collect();
        let mut set = EncodedSet::default();
        for record in &records {
            let with = self.encoded(record).and_then(|spec| if_it_fits(&set, spec));
            set = match with {
                Ok(with) => with,
                Err(error) => {
                    tracing::error!(tenant = %record.tenant, deployment = %record.name, revision = record.current.revision, %error,
                        "a deployment is damaged: edges keep what they run of it until it is deployed again");
                    set.with(
                        EncodedSpec::new(self.spec(record, serde_json::Value::Null).unavailable())
                            .map_err(unwritable)?,
                    )
                }
            };
        }
        self.0.published.send_replace(set);
        Ok(())
    }

    /// What will be published with this record in it. Blocks for the disk.
    ///
    /// # Errors
    /// When its config cannot be read, or not all deployments would fit into a message: then it must not be committed.
    pub(super) fn published_with(&self, record: &DeploymentRecord) -> Result<EncodedSet, PublishError> {
        let spec = self.encoded(record)?;
        if_it_fits(&self.0.published.borrow(), spec)
    }

    /// What will be published when these deployments are for those vehicles and nothing else of them changes. Their configs
    /// stay as they were told: one that is damaged on the disk meanwhile holds up no change of tags. Takes the time of
    /// encoding them.
    ///
    /// # Errors
    /// When not all deployments would fit into a message: then it must not be committed.
    pub(super) fn published_for_others(
        &self,
        changed: &[(DeploymentRecord, Scope)],
    ) -> Result<EncodedSet, PublishError> {
        let told = self.0.published.borrow().clone();
        let change_of = |told: &DeploymentSpec| {
            changed.iter().find(|(record, _)| (&record.tenant, &record.name) == (&told.tenant, &told.name))
        };
        let deployments = told.deployments.iter().map(|told| match change_of(told) {
            Some((record, vehicles)) => {
                let spec = DeploymentSpec { vehicles: vehicles.clone(), changes: record.changes, ..(***told).clone() };
                Ok(Arc::new(EncodedSpec::new(spec).map_err(unwritable)?))
            }
            None => Ok(told.clone()),
        });
        let set = EncodedSet::new(deployments.collect::<Result<_, StorageError>>()?);
        match set.message_len() {
            len if len > DEPLOYMENTS_LEN_MAX => Err(PublishError::TooLong { len }),
            _ => Ok(set),
        }
    }

    /// Whether edges are told this deployment as it is.
    pub(super) fn is_available(&self, tenant: &TenantId, name: &DeploymentName) -> bool {
        let set = self.0.published.borrow();
        set.deployments.iter().any(|spec| (&spec.tenant, &spec.name) == (tenant, name) && spec.is_available())
    }

    fn encoded(&self, record: &DeploymentRecord) -> Result<EncodedSpec, PublishError> {
        let mut spec = self.spec(record, self.config(record.current.config)?);
        if let Some(trial) = &record.trial {
            let TrialRecord { revision, mode, .. } = trial;
            spec.trial = Some(TrialSpec {
                revision: revision.revision,
                plugin_hash: revision.plugin.to_string(),
                plugin_name: revision.plugin_name.clone(),
                plugin_version: revision.plugin_version.clone(),
                config: self.config(revision.config)?,
                mode: *mode,
            });
        }
        Ok(EncodedSpec::new(spec).map_err(unwritable)?)
    }

    fn spec(&self, record: &DeploymentRecord, config: serde_json::Value) -> DeploymentSpec {
        DeploymentSpec {
            tenant: record.tenant.clone(),
            name: record.name.clone(),
            revision: record.current.revision,
            plugin_hash: record.current.plugin.to_string(),
            plugin_name: record.current.plugin_name.clone(),
            plugin_version: record.current.plugin_version.clone(),
            config,
            vehicles: record.current.target.resolved(&self.vehicle_tags(&record.tenant)),
            trial: None,
            changes: record.changes,
            depots: record.current.depots.clone(),
            place: record.place,
        }
    }
}

/// Why a deployment cannot be told to edges.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("with it all deployments have {len} bytes, and {DEPLOYMENTS_LEN_MAX} fit into a message to an edge")]
    TooLong { len: usize },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn if_it_fits(set: &EncodedSet, spec: EncodedSpec) -> Result<EncodedSet, PublishError> {
    let with = set.with(spec);
    match with.message_len() {
        len if len > DEPLOYMENTS_LEN_MAX => Err(PublishError::TooLong { len }),
        _ => Ok(with),
    }
}

fn unwritable(error: ControlError) -> StorageError {
    StorageError::Record { key: "deployment".into(), what: error.to_string() }
}
