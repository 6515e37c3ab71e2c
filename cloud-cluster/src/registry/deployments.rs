//! Deployments: a component put to work under a name, with a config.

use super::publishing::PublishError;
use super::record::{DeploymentRecord, PluginRecord, Revision, VERSION};
use super::{DEPLOYMENTS_PER_TENANT_MAX, HISTORY_MAX, Registry, StorageError};
use fleet_model::{DeploymentName, TenantId};
use fleet_wire::control::DEPLOYMENTS_LEN_MAX;
use plugin_host::{ConfigError, ConfigProblem, PluginHash};
use serde_json::Value;

/// Why a deployment stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// No component of this tenant is called so.
    #[error("you have no component {0:?}: give name@version or the hash of one that you uploaded")]
    UnknownPlugin(String),
    /// The config breaks the component's schema, in these places.
    #[error("the config breaks the schema of {plugin}")]
    Schema {
        /// Which component.
        plugin: String,
        /// Where and how.
        problems: Vec<ConfigProblem>,
    },
    /// The config is too large, or the component itself refused it.
    #[error("{plugin} refuses the config: {what}")]
    Config {
        /// Which component.
        plugin: String,
        /// In its words.
        what: String,
    },
    /// No such deployment.
    #[error("you have no deployment {0}")]
    UnknownDeployment(DeploymentName),
    /// There is no revision before this one.
    #[error("{0} has no revision before this one")]
    NothingBefore(DeploymentName),
    /// The tenant has as many as it may, or all tenants together have as much as edges can be told.
    #[error(
        "there would be too many deployments: you may have {DEPLOYMENTS_PER_TENANT_MAX}, and those of all tenants \
         together {DEPLOYMENTS_LEN_MAX} bytes with their configs; make configs smaller"
    )]
    TooMany,
    /// Worth a retry when storage works again.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a change did.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The deployment as it is now.
    pub record: DeploymentRecord,
    /// It was not there before.
    pub created: bool,
}

impl Registry {
    /// Makes `plugin` (`name@version` or a hash) with `config` the next revision. When it is refused, what ran before
    /// stays; when it is what runs already, nothing changes.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn deploy(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        plugin: String,
        config: Value,
    ) -> Result<Changed, DeployError> {
        let registry = self.clone();
        let deploy = tokio::spawn(async move { registry.check_and_deploy(tenant, name, &plugin, config).await });
        deploy.await.map_err(StorageError::from)?
    }

    /// Makes the revision before the current one the next one.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn rollback(&self, tenant: TenantId, name: DeploymentName) -> Result<DeploymentRecord, DeployError> {
        let registry = self.clone();
        let rollback = tokio::spawn(async move {
            let _one = registry.0.changing.lock().await;
            let known = registry.deployment(&tenant, &name);
            let known = known.ok_or_else(|| DeployError::UnknownDeployment(name.clone()))?;
            let before = known.history.last().cloned().ok_or(DeployError::NothingBefore(name))?;
            registry.put(known.next(before)).await
        });
        rollback.await.map_err(StorageError::from)?
    }

    async fn check_and_deploy(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        wanted: &str,
        config: Value,
    ) -> Result<Changed, DeployError> {
        let plugin = self.find_plugin(&tenant, wanted).ok_or_else(|| DeployError::UnknownPlugin(wanted.into()))?;
        let config = self.check_and_keep_config(&plugin, config).await?;
        let next = Revision {
            revision: 1,
            plugin: plugin.hash,
            plugin_name: plugin.name,
            plugin_version: plugin.version,
            config,
            changed_time: (self.0.clock)(),
        };
        self.change(tenant, name, next).await
    }

    /// Makes `next` the current revision, unless it is that already. What it refers to was checked and is stored.
    pub(super) async fn change(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        next: Revision,
    ) -> Result<Changed, DeployError> {
        let _one = self.0.changing.lock().await;
        let record = match self.deployment(&tenant, &name) {
            // What edges were told as damaged they take up only as a new revision.
            Some(known) if known.current.is_as(&next) && self.is_available(&tenant, &name) => {
                return Ok(Changed { record: known, created: false });
            }
            Some(known) => known.next(next),
            None if self.deployments_of(&tenant).len() >= DEPLOYMENTS_PER_TENANT_MAX => {
                return Err(DeployError::TooMany);
            }
            None => DeploymentRecord { record_version: VERSION, tenant, name, current: next, history: Vec::new() },
        };
        let created = record.history.is_empty();
        Ok(Changed { record: self.put(record).await?, created })
    }

    async fn check_and_keep_config(&self, plugin: &PluginRecord, config: Value) -> Result<PluginHash, DeployError> {
        let label = format!("{}@{}", plugin.name, plugin.version);
        let loaded = self.load(plugin.hash).await?;
        let registry = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            loaded.configure(&config)?;
            Ok::<_, ConfigError>(registry.0.configs.put(config.to_string().as_bytes()))
        });
        match checked.await.map_err(StorageError::from)? {
            Ok(kept) => Ok(kept.map_err(StorageError::from)?),
            Err(ConfigError::Schema(problems)) => Err(DeployError::Schema { plugin: label, problems }),
            Err(other) => Err(DeployError::Config { plugin: label, what: other.to_string() }),
        }
    }

    /// Stores, remembers, publishes. The caller holds `changing`. What can fail does so before the commit: a change that
    /// is durable is also told.
    async fn put(&self, mut record: DeploymentRecord) -> Result<DeploymentRecord, DeployError> {
        record.current.changed_time = (self.0.clock)();
        let (registry, next) = (self.clone(), record.clone());
        let published = tokio::task::spawn_blocking(move || registry.published_with(&next)).await;
        let published = published.map_err(StorageError::from)?.map_err(|error| match error {
            PublishError::TooLong { .. } => {
                tracing::warn!(tenant = %record.tenant, deployment = %record.name, "a deployment was refused: {error}");
                DeployError::TooMany
            }
            PublishError::Storage(error) => error.into(),
        })?;
        self.commit(record.key(), &record).await?;
        let key = (record.tenant.clone(), record.name.clone());
        self.0.known.write().deployments.insert(key, record.clone());
        self.0.published.send_replace(published);
        Ok(record)
    }

    pub(super) fn find_plugin(&self, tenant: &TenantId, wanted: &str) -> Option<PluginRecord> {
        if let Ok(hash) = wanted.parse() {
            return self.plugin(tenant, hash);
        }
        let (name, version) = wanted.split_once('@')?;
        self.plugins(tenant).into_iter().find(|known| known.name == name && known.version == version)
    }

    /// The deployments of a tenant, by name.
    #[must_use]
    pub fn deployments_of(&self, tenant: &TenantId) -> Vec<DeploymentRecord> {
        let known = self.0.known.read();
        known.deployments.values().filter(|record| record.tenant == *tenant).cloned().collect()
    }

    /// One deployment of a tenant.
    #[must_use]
    pub fn deployment(&self, tenant: &TenantId, name: &DeploymentName) -> Option<DeploymentRecord> {
        self.0.known.read().deployments.get(&(tenant.clone(), name.clone())).cloned()
    }

    /// The config of a revision.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub async fn config_of(&self, revision: &Revision) -> Result<Value, StorageError> {
        let (registry, hash) = (self.clone(), revision.config);
        tokio::task::spawn_blocking(move || registry.config(hash)).await?
    }
}

impl Revision {
    /// Whether it would decide the same.
    fn is_as(&self, other: &Self) -> bool {
        (self.plugin, self.config) == (other.plugin, other.config)
    }
}

impl DeploymentRecord {
    /// The record after a change to what `state` says.
    fn next(self, state: Revision) -> Self {
        let revision = self.current.revision + 1;
        let mut history = self.history;
        history.push(self.current);
        if history.len() > HISTORY_MAX {
            history.remove(0);
        }
        Self { current: Revision { revision, ..state }, history, ..self }
    }
}
