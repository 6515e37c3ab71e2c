//! The registry: components, deployments and vehicles' tags of each tenant, durable before they are answered.
//!
//! A component's bytes and a config are files named after their hash; what refers to them is a record in the events
//! log's snapshots, committed after the files are on the disk. Edges learn of changes by [`Registry::deployments`].
//!
//! Every change is an act: its audit record is part of its commit. Refusals are recorded by themselves.
//!
//! Nothing but tags is removed yet, and a deployment cannot be taken back, only replaced.

mod acts;
mod configured;
mod deployments;
mod files;
mod plugins;
mod publishing;
mod record;
mod rows;
mod signers;
mod supply;
mod tags;
mod target;
#[cfg(test)]
mod tests;
mod trials;

pub use deployments::{Changed, DeployError, Wanted};
pub use plugins::UploadError;
pub use record::{
    DeploymentRecord, EndedTrial, PluginRecord, PromotionRule, Revision, TagsRecord, TrialPlan, TrialRecord,
};
pub use signers::{PluginKey, PublicKey, SIGNED_PREFIX, SignatureError, Signers, SignersError, TenantEntry};
pub use tags::{TAGGED_VEHICLES_PER_TENANT_MAX, TagError, Tagged};
pub use target::{Target, VehicleTags};
pub(crate) use trials::STAGE_S_MAX;
pub use trials::{NextOfTrial, SeenTrial, differences_percent, next_of_trial};

use event_log::{Commit, CommitError, EventLog, Snapshot};
use files::Files;
use fleet_model::{Act, DeploymentName, TenantId, audit};
use fleet_wire::control::EncodedSet;
use parking_lot::RwLock;
use plugin_host::{PluginEngine, PluginHash};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use vehicle_runtime::{AuditTrail, Clock};

/// Components of one tenant.
const PLUGINS_PER_TENANT_MAX: usize = 1_000;
/// Deployments of one tenant.
const DEPLOYMENTS_PER_TENANT_MAX: usize = 100;
/// Revisions that a deployment remembers.
const HISTORY_MAX: usize = 16;
/// Components that are compiled at a time, for an upload or a deployment: each may keep a core busy for seconds and have
/// a child process with gigabytes.
const CHECKS_MAX: usize = 1;
/// Uploads and deployments that wait for that; each is in memory meanwhile.
const CHECKS_WAITING_MAX: usize = 8;

/// Components and deployments. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    audit: AuditTrail,
    engine: PluginEngine,
    signers: Signers,
    clock: Clock,
    components: Files,
    configs: Files,
    known: RwLock<Known>,
    /// One change at a time, from its checks to its commit.
    changing: tokio::sync::Mutex<()>,
    checks: tokio::sync::Semaphore,
    checks_waiting: tokio::sync::Semaphore,
    published: watch::Sender<EncodedSet>,
}

#[derive(Default)]
struct Known {
    plugins: BTreeMap<(TenantId, PluginHash), PluginRecord>,
    deployments: BTreeMap<(TenantId, DeploymentName), DeploymentRecord>,
    /// Replaced as a whole, so that a page of vehicles is answered from one state of them.
    tags: BTreeMap<TenantId, Arc<VehicleTags>>,
}

/// Why something could not be stored or read back. Nothing of the change took effect.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file.
    #[error("the registry's files: {0}")]
    Files(#[from] std::io::Error),
    /// The events log, on writing.
    #[error("the events log: {0}")]
    Commit(#[from] CommitError),
    /// The events log, on reading.
    #[error("the events log: {0}")]
    Read(#[from] event_log::ReadError),
    /// A record that this build cannot read.
    #[error("the record {key} cannot be read: {what}")]
    Record {
        /// Which.
        key: String,
        /// Why.
        what: String,
    },
    /// A task of ours ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Registry {
    /// Reads what is there. Blocks for the disk. A component or config that is missing or damaged is logged and harms
    /// nothing else.
    ///
    /// # Errors
    /// When folders or records cannot be read.
    pub fn open(
        data_dir: &Path,
        log: Arc<dyn EventLog>,
        engine: PluginEngine,
        signers: Signers,
        clock: Clock,
    ) -> Result<Self, StorageError> {
        let components = Files::open(data_dir.join("plugins"), "wasm")?;
        let configs = Files::open(data_dir.join("configs"), "json")?;
        let mut known = Known::default();
        for record in records::<PluginRecord>(&*log, record::PLUGINS)? {
            if !components.contains(record.hash) {
                tracing::error!(hash = %record.hash, tenant = %record.tenant, "a component's file is missing");
            }
            known.plugins.insert((record.tenant.clone(), record.hash), record);
        }
        for record in records::<DeploymentRecord>(&*log, record::DEPLOYMENTS)? {
            known.deployments.insert((record.tenant.clone(), record.name.clone()), record.with_counts());
        }
        for record in records::<TagsRecord>(&*log, record::TAGS)? {
            let tags = known.tags.entry(record.tenant).or_default();
            Arc::make_mut(tags).set(record.vehicle, record.tags);
        }
        let registry = Self(Arc::new(Inner {
            audit: AuditTrail::new(log, clock.clone(), audit::DROVER),
            engine,
            signers,
            clock,
            components,
            configs,
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::default(),
            checks: tokio::sync::Semaphore::new(CHECKS_MAX),
            checks_waiting: tokio::sync::Semaphore::new(CHECKS_WAITING_MAX),
            published: watch::Sender::default(),
        }));
        registry.publish_all()?;
        Ok(registry)
    }

    /// A stored config. Blocks for the disk.
    fn config(&self, hash: PluginHash) -> Result<serde_json::Value, StorageError> {
        let wrong = |what: String| StorageError::Record { key: format!("config {hash}"), what };
        let bytes = self.0.configs.get(hash)?.ok_or_else(|| wrong("its file is missing".into()))?;
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
    }

    /// The trail of the events log's acts: whoever else acts on that log uses it too.
    #[must_use]
    pub fn audit(&self) -> &AuditTrail {
        &self.0.audit
    }

    /// Makes a record durable together with that of the act that it is.
    async fn commit(&self, key: Vec<u8>, record: &impl serde::Serialize, act: Act) -> Result<(), StorageError> {
        self.commit_all(vec![snapshot(key, record)?], act).await
    }

    /// The same of several records, which are one act.
    async fn commit_all(&self, snapshots: Vec<Snapshot>, act: Act) -> Result<(), StorageError> {
        self.0.audit.commit(Commit { snapshots, ..Commit::default() }, vec![act]).await?;
        Ok(())
    }
}

fn snapshot(key: Vec<u8>, record: &impl serde::Serialize) -> Result<Snapshot, StorageError> {
    let value = serde_json::to_vec(record)
        .map_err(|error| StorageError::Record { key: String::from_utf8_lossy(&key).into(), what: error.to_string() })?;
    Ok(Snapshot { key, value: Some(value.into()) })
}

fn records<T: DeserializeOwned>(log: &dyn EventLog, prefix: &str) -> Result<Vec<T>, StorageError> {
    let mut found = Vec::new();
    for (key, value) in log.snapshots(prefix.as_bytes())? {
        let key = String::from_utf8_lossy(&key).into_owned();
        let record =
            serde_json::from_slice(&value).map_err(|error| StorageError::Record { key, what: error.to_string() })?;
        found.push(record);
    }
    Ok(found)
}
