//! Where the edge node has its rules from: its disk, and the cloud for what is not there yet.

mod store;

pub(crate) use store::write_atomically;
pub use store::{PluginError, PluginStore};

use crate::uplink::{FetchError, UplinkHandle};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use plugin_host::{ConfiguredPlugin, PluginHash};
use std::sync::Arc;
use vehicle_runtime::{PluginSupply, SupplyError};

/// Where plugins come from that are not on the disk.
pub trait PluginFetch: Send + Sync + 'static {
    /// The plugin's bytes; the caller checks their hash.
    fn fetch<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

impl PluginFetch for UplinkHandle {
    fn fetch<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(self.fetch_plugin(hash))
    }
}

/// The edge node's plugins.
#[derive(Clone)]
pub struct EdgePlugins {
    /// Those on the disk.
    pub store: Arc<PluginStore>,
    /// For the others.
    pub fetch: Arc<dyn PluginFetch>,
}

impl PluginSupply for EdgePlugins {
    async fn configured(&self, hash: PluginHash, config: &serde_json::Value) -> Result<ConfiguredPlugin, SupplyError> {
        if !self.store.has(hash) {
            let bytes = self.fetch.fetch(&hash.to_string()).await.map_err(|error| {
                SupplyError::of(matches!(error, FetchError::NotConnected | FetchError::Lost(_)), &error)
            })?;
            self.store.put(hash, bytes).await.map_err(SupplyError::Later)?;
        }
        let configured = self.store.configured(hash, config.clone()).await;
        configured.map_err(|error| SupplyError::of(error.is_passing(), &error))
    }

    async fn keep_only(&self, in_use: Vec<PluginHash>) {
        self.store.keep_only(in_use).await;
    }
}
