//! Brings the edge node to what the cloud wants deployed. What is refused leaves the running version as it is.

mod store;

pub use store::PluginStore;
pub(crate) use store::write_atomically;

use crate::uplink::{FetchError, UplinkHandle};
use bytes::Bytes;
use fleet_model::{DeploymentName, TenantId};
use fleet_wire::control::{DeploymentPhase, DeploymentSet, DeploymentSpec, DeploymentStatus, SwapFigures};
use futures_util::future::BoxFuture;
use plugin_host::PluginHash;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{DeployError, Deployment, DeploymentState, Runtime, SwapReport};

/// First wait before a deployment that could not be tried is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Where plugins come from.
pub trait PluginFetch: Send + Sync + 'static {
    /// The plugin's bytes; the caller checks their hash.
    fn fetch<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

impl PluginFetch for UplinkHandle {
    fn fetch<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(self.fetch_plugin(hash))
    }
}

type Key = (TenantId, DeploymentName);

/// The task that brings about what the cloud wants.
pub struct Deployer {
    runtime: Arc<Runtime>,
    store: Arc<PluginStore>,
    wanted: watch::Receiver<Option<DeploymentSet>>,
    fetch: Arc<dyn PluginFetch>,
    status: watch::Sender<Vec<DeploymentStatus>>,
    /// What came of the last try of each deployment.
    tried: BTreeMap<Key, Tried>,
}

struct Tried {
    revision: u64,
    error: Option<String>,
    /// Another try may go better.
    again: bool,
}

/// Why a deployment did not come about.
enum Failure {
    /// Trying again may help: no connection, no space.
    Later(String),
    /// It will not.
    Refused(String),
}

impl Deployer {
    /// The task's parts; what is running already is reported at once.
    pub fn new(
        runtime: Arc<Runtime>,
        store: Arc<PluginStore>,
        wanted: watch::Receiver<Option<DeploymentSet>>,
        fetch: Arc<dyn PluginFetch>,
    ) -> (Self, watch::Receiver<Vec<DeploymentStatus>>) {
        let running = runtime.deployments().iter().map(of_running).collect();
        let (status, seen) = watch::channel(running);
        (Self { runtime, store, wanted, fetch, status, tried: BTreeMap::new() }, seen)
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut wanted = self.wanted.clone();
        let mut retry = RETRY_MIN;
        loop {
            let set = wanted.borrow_and_update().clone();
            let complete = match &set {
                Some(set) => {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        complete = self.bring_about(set) => complete,
                    }
                }
                // The cloud has not said anything: what ran before runs on.
                None => true,
            };
            let wait = async {
                if complete {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(retry).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    retry = RETRY_MIN;
                }
                () = wait => retry = (retry * 2).min(RETRY_MAX),
            }
        }
    }

    /// `false`: something is left to be tried again.
    async fn bring_about(&mut self, set: &DeploymentSet) -> bool {
        let wanted: BTreeMap<Key, &DeploymentSpec> =
            set.deployments.iter().map(|spec| ((spec.tenant.clone(), spec.name.clone()), spec)).collect();
        for running in self.runtime.deployments() {
            let key = (running.tenant.clone(), running.name.clone());
            if !wanted.contains_key(&key) {
                match self.runtime.retire(&key.0, &key.1).await {
                    Ok(()) => tracing::info!(tenant = %key.0, deployment = %key.1, "deployment ended"),
                    Err(error) => tracing::warn!(tenant = %key.0, deployment = %key.1, %error, "not ended"),
                }
            }
        }
        self.tried.retain(|key, tried| wanted.get(key).is_some_and(|spec| spec.revision == tried.revision));
        self.report(set);
        for (key, spec) in &wanted {
            if self.is_settled(key, spec) {
                continue;
            }
            let outcome = self.deploy(spec).await;
            let (error, again) = match outcome {
                Ok(()) => (None, false),
                Err(Failure::Later(error)) => (Some(error), true),
                Err(Failure::Refused(error)) => (Some(error), false),
            };
            if let Some(error) = &error {
                tracing::warn!(tenant = %key.0, deployment = %key.1, revision = spec.revision, error, again, "not deployed; what runs stays");
            }
            self.tried.insert(key.clone(), Tried { revision: spec.revision, error, again });
            self.report(set);
        }
        self.store.keep_only(self.in_use(set)).await;
        !self.tried.values().any(|tried| tried.again)
    }

    fn is_settled(&self, key: &Key, spec: &DeploymentSpec) -> bool {
        let runs = self.running(key).is_some_and(|running| running.revision == spec.revision);
        runs || self.tried.get(key).is_some_and(|tried| !tried.again)
    }

    fn running(&self, key: &Key) -> Option<DeploymentState> {
        self.runtime.deployments().into_iter().find(|state| (&state.tenant, &state.name) == (&key.0, &key.1))
    }

    async fn deploy(&self, spec: &DeploymentSpec) -> Result<(), Failure> {
        let hash: PluginHash = spec
            .plugin_hash
            .parse()
            .map_err(|_| Failure::Refused(format!("{:?} is no plugin hash", spec.plugin_hash)))?;
        if !self.store.has(hash) {
            let bytes = self.fetch.fetch(&spec.plugin_hash).await.map_err(|error| match error {
                FetchError::NotConnected | FetchError::Lost(_) => Failure::Later(error.to_string()),
                FetchError::Refused(_) | FetchError::TooLong(_) => Failure::Refused(error.to_string()),
            })?;
            self.store.put(hash, bytes).await.map_err(Failure::Later)?;
        }
        let plugin = self.store.configured(hash, spec.config.clone()).await.map_err(Failure::Refused)?;
        let deployment = Deployment {
            tenant: spec.tenant.clone(),
            name: spec.name.clone(),
            revision: spec.revision,
            config: spec.config.clone(),
            plugin,
        };
        let report = self.runtime.deploy(deployment).await.map_err(|error| match error {
            DeployError::Commit(event_log::CommitError::Full(_)) => Failure::Later(error.to_string()),
            _ => Failure::Refused(error.to_string()),
        })?;
        tracing::info!(
            tenant = %spec.tenant,
            deployment = %spec.name,
            revision = spec.revision,
            plugin = report.to.0,
            version = report.to.1,
            swap_ms = report.swap_ms,
            batches_delayed = report.batches_delayed,
            "deployed"
        );
        Ok(())
    }

    /// What runs and what is wanted, so that the last good versions stay on disk.
    fn in_use(&self, set: &DeploymentSet) -> Vec<PluginHash> {
        let running = self.runtime.deployments().into_iter().map(|state| state.plugin_hash);
        running.chain(set.deployments.iter().filter_map(|spec| spec.plugin_hash.parse().ok())).collect()
    }

    fn report(&self, set: &DeploymentSet) {
        let status = set
            .deployments
            .iter()
            .map(|spec| {
                let key = (spec.tenant.clone(), spec.name.clone());
                let running = self.running(&key);
                match running {
                    Some(running) if running.revision == spec.revision => of_running(&running),
                    running => not_running(spec, running.as_ref(), self.tried.get(&key)),
                }
            })
            .collect();
        self.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
    }
}

fn of_running(state: &DeploymentState) -> DeploymentStatus {
    DeploymentStatus {
        tenant: state.tenant.clone(),
        name: state.name.clone(),
        revision: state.revision,
        state: DeploymentPhase::Active,
        error: state.rolled_back.then(|| "a newer revision failed on live data and was taken back".to_owned()),
        plugin_name: state.plugin_name.clone(),
        plugin_version: state.plugin_version.clone(),
        swap: state.swap.as_ref().map(swap_figures),
    }
}

fn not_running(spec: &DeploymentSpec, running: Option<&DeploymentState>, tried: Option<&Tried>) -> DeploymentStatus {
    // It was put to work and does not run any more: the breaker took it back.
    let taken_back = tried.is_some_and(|tried| tried.error.is_none()) && running.is_some_and(|state| state.rolled_back);
    let error = tried.and_then(|tried| tried.error.clone());
    let error =
        error.or_else(|| taken_back.then(|| "it failed on live data; the version before runs again".to_owned()));
    let refused = taken_back || tried.is_some_and(|tried| tried.error.is_some() && !tried.again);
    DeploymentStatus {
        tenant: spec.tenant.clone(),
        name: spec.name.clone(),
        revision: spec.revision,
        state: if refused { DeploymentPhase::Refused } else { DeploymentPhase::Loading },
        error,
        plugin_name: spec.plugin_name.clone(),
        plugin_version: spec.plugin_version.clone(),
        swap: None,
    }
}

fn swap_figures(report: &SwapReport) -> SwapFigures {
    SwapFigures {
        from_version: report.from.as_ref().map(|(_, version)| version.clone()).unwrap_or_default(),
        to_version: report.to.1.clone(),
        batches_delayed: report.batches_delayed,
        slowest_batch_ms: report.slowest_batch_ms,
        swap_ms: report.swap_ms,
    }
}
