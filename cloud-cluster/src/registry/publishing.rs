//! What edges are told: the deployments of all tenants, each encoded once.
//!
//! They fit into one message to an edge. What would not fit is refused before it is committed. A deployment that cannot
//! be read from the disk at the start is told as unavailable: left out, edges would end it, and told wrongly, they would
//! change it. It harms no other deployment.

use super::record::DeploymentRecord;
use super::{Registry, StorageError};
use fleet_model::{DeploymentName, TenantId};
use fleet_wire::control::{ControlError, DEPLOYMENTS_LEN_MAX, DeploymentSpec, EncodedSet, EncodedSpec};
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
                    set.with(EncodedSpec::new(spec(record, serde_json::Value::Null).unavailable()).map_err(unwritable)?)
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

    /// Whether edges are told this deployment as it is.
    pub(super) fn is_available(&self, tenant: &TenantId, name: &DeploymentName) -> bool {
        let set = self.0.published.borrow();
        set.deployments.iter().any(|spec| (&spec.tenant, &spec.name) == (tenant, name) && spec.is_available())
    }

    fn encoded(&self, record: &DeploymentRecord) -> Result<EncodedSpec, PublishError> {
        let config = self.config(record.current.config)?;
        Ok(EncodedSpec::new(spec(record, config)).map_err(unwritable)?)
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

fn spec(record: &DeploymentRecord, config: serde_json::Value) -> DeploymentSpec {
    DeploymentSpec {
        tenant: record.tenant.clone(),
        name: record.name.clone(),
        revision: record.current.revision,
        plugin_hash: record.current.plugin.to_string(),
        plugin_name: record.current.plugin_name.clone(),
        plugin_version: record.current.plugin_version.clone(),
        config,
    }
}

fn unwritable(error: ControlError) -> StorageError {
    StorageError::Record { key: "deployment".into(), what: error.to_string() }
}
