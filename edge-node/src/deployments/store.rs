//! Plugins on disk: what the cloud sent, under its hash. The edge node starts from here without the cloud.

use bytes::Bytes;
use plugin_host::{CompileError, ConfigError, ConfiguredPlugin, InstantiateError, LoadError, PluginEngine, PluginHash};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vehicle_runtime::PluginSource;

/// Plugins that nobody uses any more, but somebody may go back to; more are deleted, oldest first.
const UNUSED_MAX: usize = 16;

/// The folder of the plugins, and the engine that runs them.
pub struct PluginStore {
    dir: PathBuf,
    engine: PluginEngine,
}

/// Why a plugin cannot be had with its config.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The file cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file was not what its name says. It is removed, so that it is fetched again.
    #[error("{path} was damaged and is removed: its hash was another", path = .0.display())]
    Damaged(PathBuf),
    /// The component.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A defect of ours.
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl PluginError {
    /// Whether the same plugin with the same config may go better another time: what is wrong is this machine's, or on
    /// its disk.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::File { .. } | Self::Damaged(_) => true,
            Self::Load(error) => matches!(
                error,
                LoadError::Compile(CompileError::Process(_)) | LoadError::Describe(InstantiateError::TimedOut)
            ),
            Self::Config(error) => error.is_passing(),
            Self::Panicked(_) => false,
        }
    }
}

impl PluginStore {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: PathBuf, engine: PluginEngine) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir, engine })
    }

    /// Whether a plugin is here.
    #[must_use]
    pub fn has(&self, hash: PluginHash) -> bool {
        self.path(hash).exists()
    }

    /// Keeps a plugin, if it is the one that was asked for.
    ///
    /// # Errors
    /// Another hash, or the disk's refusal.
    pub async fn put(self: &Arc<Self>, hash: PluginHash, bytes: Bytes) -> Result<(), String> {
        let found = PluginHash::of(&bytes);
        if found != hash {
            return Err(format!("the cloud sent {found} when {hash} was asked for"));
        }
        let store = Arc::clone(self);
        blocking(move || {
            let path = store.path(hash);
            write_atomically(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))
        })
        .await
    }

    /// Loads and configures a plugin; compiles it when it is new.
    ///
    /// # Errors
    /// What the plugin or its config do wrong.
    pub async fn configured(
        self: &Arc<Self>,
        hash: PluginHash,
        config: serde_json::Value,
    ) -> Result<ConfiguredPlugin, PluginError> {
        let store = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || store.make(hash, &config)).await;
        made.unwrap_or_else(|error| Err(PluginError::Panicked(error.to_string())))
    }

    fn make(&self, hash: PluginHash, config: &serde_json::Value) -> Result<ConfiguredPlugin, PluginError> {
        let path = self.path(hash);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(PluginError::File { path, error }),
        };
        if PluginHash::of(&bytes) != hash {
            // Fetched again at the next try.
            let _ = std::fs::remove_file(&path);
            return Err(PluginError::Damaged(path));
        }
        Ok(self.engine.load(&bytes)?.configure(config)?)
    }

    /// Deletes what is not in use, except for the newest few.
    pub async fn keep_only(self: &Arc<Self>, in_use: Vec<PluginHash>) {
        let store = Arc::clone(self);
        let deleted = blocking(move || store.delete_unused(&in_use).map_err(|error| error.to_string())).await;
        if let Err(error) = deleted {
            tracing::debug!(error, "unused plugins were not deleted");
        }
    }

    fn delete_unused(&self, in_use: &[PluginHash]) -> std::io::Result<()> {
        let mut unused = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let hash = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if hash.is_some_and(|hash: PluginHash| !in_use.contains(&hash)) {
                unused.push((path.metadata()?.modified()?, path));
            }
        }
        unused.sort();
        for (_, path) in unused.iter().rev().skip(UNUSED_MAX) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    fn path(&self, hash: PluginHash) -> PathBuf {
        self.dir.join(format!("{hash}.wasm"))
    }
}

impl PluginSource for PluginStore {
    fn plugin(&self, hash: PluginHash, config: &serde_json::Value) -> Result<ConfiguredPlugin, String> {
        self.make(hash, config).map_err(|error| error.to_string())
    }
}

/// So that a crash leaves the whole file or none.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("it panicked: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path) -> Arc<PluginStore> {
        let engine = PluginEngine::new(plugin_host::EngineConfig::default()).unwrap();
        Arc::new(PluginStore::open(dir.join("plugins"), engine).unwrap())
    }

    #[tokio::test]
    async fn only_what_has_the_hash_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let hash = PluginHash::of(b"plugin");
        let refused = store.put(hash, Bytes::from_static(b"another")).await.unwrap_err();
        assert!(refused.contains(&hash.to_string()) && !store.has(hash));
        store.put(hash, Bytes::from_static(b"plugin")).await.unwrap();
        assert!(store.has(hash));
        assert!(store.configured(hash, serde_json::json!({})).await.is_err(), "no component");
    }

    #[tokio::test]
    async fn a_damaged_file_is_removed_so_that_it_is_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let hash = PluginHash::of(b"plugin");
        store.put(hash, Bytes::from_static(b"plugin")).await.unwrap();
        std::fs::write(store.path(hash), b"rotten").unwrap();
        assert!(store.plugin(hash, &serde_json::json!({})).err().unwrap().contains("damaged"));
        assert!(!store.has(hash));
    }

    #[tokio::test]
    async fn what_is_in_use_stays_however_old() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let hashes: Vec<_> = (0..40_u8).map(|n| PluginHash::of(&[n])).collect();
        for (n, hash) in hashes.iter().enumerate() {
            store.put(*hash, Bytes::copy_from_slice(&[n as u8])).await.unwrap();
        }
        store.keep_only(hashes[..3].to_vec()).await;
        assert!(hashes[..3].iter().all(|hash| store.has(*hash)));
        assert_eq!(hashes.iter().filter(|hash| store.has(**hash)).count(), 3 + UNUSED_MAX);
    }
}
