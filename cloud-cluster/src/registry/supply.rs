//! Components for the rules that run in the cloud itself.

use super::Registry;
use plugin_host::{ConfiguredPlugin, PluginHash};
use serde_json::Value;
use vehicle_runtime::{PluginSource, PluginSupply, SupplyError};

impl PluginSource for Registry {
    fn plugin(&self, hash: PluginHash, config: &Value) -> Result<ConfiguredPlugin, String> {
        let found = self.component(hash).map_err(|error| error.to_string())?;
        let wasm = found.ok_or_else(|| format!("the file of the component {hash} is missing"))?;
        let plugin = self.0.engine.load(&wasm).map_err(|error| error.to_string())?;
        plugin.configure(config).map_err(|error| error.to_string())
    }
}

impl PluginSupply for Registry {
    /// Waits for its turn, as uploads and previews do.
    async fn configured(&self, hash: PluginHash, config: &Value) -> Result<ConfiguredPlugin, SupplyError> {
        let later = |error: &dyn std::fmt::Display| SupplyError::Later(error.to_string());
        let (plugin, config) = (self.load(hash).await.map_err(|error| later(&error))?, config.clone());
        let configured = tokio::task::spawn_blocking(move || plugin.configure(&config)).await;
        let configured = configured.map_err(|error| later(&error))?;
        configured.map_err(|error| SupplyError::of(error.is_passing(), &error))
    }

    /// What was uploaded stays.
    async fn keep_only(&self, _in_use: Vec<PluginHash>) {}
}
