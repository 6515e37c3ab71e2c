//! Components: uploaded, checked, kept.

use super::record::{PluginRecord, VERSION};
use super::signers::SignatureError;
use super::{CHECKS_WAITING_MAX, PLUGINS_PER_TENANT_MAX, Registry, StorageError};
use bytes::Bytes;
use fleet_model::TenantId;
use plugin_host::{LoadError, Plugin, PluginHash};

/// Why a component is not in the registry.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It did not pass its checks. Not worth a retry with the same bytes.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// It is not signed as it must be.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Another component has its name and version.
    #[error("{name}@{version} is already another component ({hash}): give this one another version")]
    Taken {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The one that is there.
        hash: PluginHash,
    },
    /// The tenant has as many as it may.
    #[error("you have {PLUGINS_PER_TENANT_MAX} components, which is the limit")]
    TooMany,
    /// Worth a retry.
    #[error("{CHECKS_WAITING_MAX} components wait to be checked already; try again in a moment")]
    Busy,
    /// Worth a retry when storage works again.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Registry {
    /// Checks a component and its signature (base64url), and keeps it. The second part of the answer says whether it is
    /// new. `by` is the name of the caller's key.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub async fn upload(
        &self,
        tenant: TenantId,
        wasm: Bytes,
        signature: Option<String>,
        by: String,
    ) -> Result<(PluginRecord, bool), UploadError> {
        let registry = self.clone();
        // On a task of its own: a client that goes away does not stop it between its commit and what memory says.
        let upload = tokio::spawn(async move {
            let hash = PluginHash::of(&wasm);
            let uploaded = registry.check_and_keep(&tenant, wasm, signature, &by).await;
            if let Err(error) = &uploaded {
                registry.upload_refused(&tenant, hash, error, &by).await;
            }
            uploaded
        });
        upload.await.map_err(StorageError::from)?
    }

    async fn check_and_keep(
        &self,
        tenant: &TenantId,
        wasm: Bytes,
        signature: Option<String>,
        by: &str,
    ) -> Result<(PluginRecord, bool), UploadError> {
        let hash = PluginHash::of(&wasm);
        // Before anything of it is read.
        let signed_by = self.0.signers.check(tenant, &wasm, signature.as_deref())?;
        if let Some(known) = self.plugin(tenant, hash) {
            // It passed its checks before. Its file may have been lost since: these are its bytes.
            self.keep(wasm).await?;
            return Ok((known, false));
        }
        let plugin = self.checked(wasm.clone()).await?;
        let descriptor = plugin.descriptor();
        let record = PluginRecord {
            record_version: VERSION,
            tenant: tenant.clone(),
            hash,
            name: descriptor.name.clone(),
            version: descriptor.version.clone(),
            kind: descriptor.kind,
            size: wasm.len() as u64,
            uploaded_time: (self.0.clock)(),
            signed_by,
            uploaded_by: Some(by.to_owned()),
        };
        let _one = self.0.changing.lock().await;
        let mine = self.plugins(tenant);
        if let Some(same) = mine.iter().find(|known| known.hash == hash) {
            return Ok((same.clone(), false));
        }
        if let Some(other) = mine.iter().find(|known| known.name == record.name && known.version == record.version) {
            return Err(UploadError::Taken { name: record.name, version: record.version, hash: other.hash });
        }
        if mine.len() >= PLUGINS_PER_TENANT_MAX {
            return Err(UploadError::TooMany);
        }
        self.keep(wasm).await?;
        self.commit(record.key(), &record, self.uploaded(&record, by)).await?;
        self.0.known.write().plugins.insert((tenant.clone(), hash), record.clone());
        Ok((record, true))
    }

    /// Durable when it returns; does nothing when the file is there and whole.
    async fn keep(&self, wasm: Bytes) -> Result<(), StorageError> {
        let registry = self.clone();
        tokio::task::spawn_blocking(move || registry.0.components.put(&wasm)).await??;
        Ok(())
    }

    pub(super) async fn checked(&self, wasm: Bytes) -> Result<Plugin, UploadError> {
        let _waiting = self.0.checks_waiting.try_acquire().map_err(|_| UploadError::Busy)?;
        let _checking = self.0.checks.acquire().await.map_err(|_| UploadError::Busy)?;
        let engine = self.0.engine.clone();
        let loaded = tokio::task::spawn_blocking(move || engine.load(&wasm)).await;
        Ok(loaded.map_err(StorageError::from)??)
    }

    /// A kept component, ready to be configured. Waits for its turn: it may have to be compiled again.
    pub(super) async fn load(&self, hash: PluginHash) -> Result<Plugin, StorageError> {
        // The semaphores are never closed.
        let _waiting = self.0.checks_waiting.acquire().await;
        let _checking = self.0.checks.acquire().await;
        let registry = self.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            let wrong = |what: String| StorageError::Record { key: format!("plugin {hash}"), what };
            let wasm = registry.0.components.get(hash)?.ok_or_else(|| wrong("its file is missing".into()))?;
            registry.0.engine.load(&wasm).map_err(|error| wrong(error.to_string()))
        });
        loaded.await?
    }

    /// The components of a tenant.
    #[must_use]
    pub fn plugins(&self, tenant: &TenantId) -> Vec<PluginRecord> {
        let known = self.0.known.read();
        known.plugins.values().filter(|record| record.tenant == *tenant).cloned().collect()
    }

    /// One component of a tenant.
    #[must_use]
    pub fn plugin(&self, tenant: &TenantId, hash: PluginHash) -> Option<PluginRecord> {
        self.0.known.read().plugins.get(&(tenant.clone(), hash)).cloned()
    }

    /// The bytes of a component, whoever's it is, for edges that shall run it. Blocks for the disk.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn component(&self, hash: PluginHash) -> Result<Option<Bytes>, StorageError> {
        Ok(self.0.components.get(hash)?.map(Bytes::from))
    }
}
