//! Rules with their configs, ready to be run here: for previews.

use super::deployments::DeployError;
use super::plugins::UploadError;
use super::{DeploymentRecord, Registry, StorageError};
use bytes::Bytes;
use fleet_model::TenantId;
use plugin_host::{ConfigError, ConfiguredPlugin, Plugin, PluginHash};
use serde_json::Value;

impl Registry {
    /// The schema of a kept component's config. Waits for its turn: the component may have to be compiled again.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn config_schema(&self, plugin: PluginHash) -> Result<Value, StorageError> {
        Ok(self.load(plugin).await?.descriptor().config_schema.clone())
    }

    /// A tenant's component, named by `name@version` or its hash, with a config.
    ///
    /// # Errors
    /// As for a deployment.
    pub async fn configured(
        &self,
        tenant: &TenantId,
        wanted: &str,
        config: Value,
    ) -> Result<ConfiguredPlugin, DeployError> {
        let plugin = self.find_plugin(tenant, wanted).ok_or_else(|| DeployError::UnknownPlugin(wanted.into()))?;
        configure(self.load(plugin.hash).await?, config).await
    }

    /// A component that is not kept, with a config.
    ///
    /// # Errors
    /// The outer: as for an upload. The inner: as for a deployment.
    pub async fn configured_unkept(
        &self,
        wasm: Bytes,
        config: Value,
    ) -> Result<Result<ConfiguredPlugin, DeployError>, UploadError> {
        let plugin = self.checked(wasm).await?;
        Ok(configure(plugin, config).await)
    }

    /// What a deployment runs now.
    ///
    /// # Errors
    /// When its files cannot be read, or its plugin cannot be made ready.
    pub async fn configured_deployment(&self, record: &DeploymentRecord) -> Result<ConfiguredPlugin, DeployError> {
        let config = self.config_of(&record.current).await?;
        configure(self.load(record.current.plugin).await?, config).await
    }
}

async fn configure(plugin: Plugin, config: Value) -> Result<ConfiguredPlugin, DeployError> {
    let label = format!("{}@{}", plugin.descriptor().name, plugin.descriptor().version);
    let configured = tokio::task::spawn_blocking(move || plugin.configure(&config)).await;
    match configured.map_err(StorageError::from)? {
        Ok(configured) => Ok(configured),
        Err(ConfigError::Schema(problems)) => Err(DeployError::Schema { plugin: label, problems }),
        Err(other) => Err(DeployError::Config { plugin: label, what: other.to_string() }),
    }
}
