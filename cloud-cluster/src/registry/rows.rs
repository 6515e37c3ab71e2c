//! Whether a component can take over the state that vehicles have from what runs under the same name: refused here, at the
//! deployment, and not by each edge at its swap.

use super::deployments::DeployError;
use super::record::PluginRecord;
use super::{Registry, StorageError};
use fleet_model::{DeploymentName, TenantId};
use plugin_host::{Descriptor, MigrationError};
use serde_json::Value;

impl Registry {
    /// Edges keep the rows of a plugin of the same name and state version, go back to those of before, and have others
    /// migrated; another plugin begins with none. What is wrong with the config is for others to say.
    ///
    /// # Errors
    /// When its rows would have to be migrated, and it does not do it.
    pub(super) async fn check_rows(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        next: &PluginRecord,
        config: &Value,
    ) -> Result<(), DeployError> {
        let Some(known) = self.deployment(tenant, name) else { return Ok(()) };
        let running = known.current;
        if running.plugin == next.hash || running.plugin_name != next.name {
            return Ok(());
        }
        // What runs may have been lost or damaged: its successor is then what mends it, and edges decide.
        let Ok(old) = self.load(running.plugin).await else { return Ok(()) };
        let new = self.load(next.hash).await?;
        let (from, to) = (old.descriptor(), new.descriptor());
        let same_rows = |other: &Descriptor| (other.state_version, other.row_bytes) == (to.state_version, to.row_bytes);
        if same_rows(from) {
            return Ok(());
        }
        // Edges take up again what they kept of the one before.
        if from.state_version > to.state_version
            && let Some(before) = known.history.last().filter(|before| before.plugin_name == next.name)
            && self.load(before.plugin).await.is_ok_and(|before| same_rows(before.descriptor()))
        {
            return Ok(());
        }
        let (from_version, row_bytes, config) = (from.state_version, from.row_bytes, config.clone());
        let checked = tokio::task::spawn_blocking(move || match new.configure(&config) {
            Ok(configured) => configured.check_migration(from_version, row_bytes),
            Err(_) => Ok(()),
        });
        checked.await.map_err(StorageError::from)?.map_err(|why: MigrationError| DeployError::Rows {
            plugin: format!("{}@{}", next.name, next.version),
            running: format!("{}@{}", running.plugin_name, running.plugin_version),
            why,
        })
    }
}
