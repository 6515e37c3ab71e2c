//! Brings the edge node to what the cloud wants deployed. What is refused leaves the running version as it is.

mod store;

pub(crate) use store::write_atomically;
pub use store::{PluginError, PluginStore};

use crate::uplink::{FetchError, UplinkHandle};
use bytes::Bytes;
use fleet_model::{DeploymentName, TenantId};
use fleet_wire::control::{DeploymentPhase, DeploymentSet, DeploymentSpec, DeploymentStatus, SwapFigures};
use futures_util::future::BoxFuture;
use plugin_host::{ConfiguredPlugin, PluginHash};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{Deployment, DeploymentState, RevisionId, Runtime, SuspensionCause, SwapReport};

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
    id: RevisionId,
    error: Option<String>,
    /// Another try may go better.
    again: bool,
}

/// Why a deployment did not come about.
enum Failure {
    /// Trying again may help: no connection, no space, a busy machine.
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
        // The breaker, too, changes what runs.
        let mut running = self.runtime.deployments_changed();
        let mut retry = RETRY_MIN;
        loop {
            let set = wanted.borrow_and_update().clone();
            running.mark_unchanged();
            let complete = tokio::select! {
                () = shutdown.cancelled() => return,
                complete = self.bring_about(set.as_ref()) => complete,
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
                changed = running.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = wait => retry = (retry * 2).min(RETRY_MAX),
            }
        }
    }

    /// `set` is `None` while the cloud has not said anything: what ran before runs on. `false`: something is left to be
    /// tried again.
    async fn bring_about(&mut self, set: Option<&DeploymentSet>) -> bool {
        let Some(set) = set else {
            let complete = self.resume_all().await;
            self.show(self.runtime.deployments().iter().map(of_running).collect());
            return complete;
        };
        let wanted: BTreeMap<Key, &DeploymentSpec> =
            set.deployments.iter().map(|spec| ((spec.tenant.clone(), spec.name.clone()), spec)).collect();
        let mut complete = true;
        for running in self.runtime.deployments() {
            let key = (running.tenant.clone(), running.name.clone());
            if !wanted.contains_key(&key) {
                match self.runtime.retire(&key.0, &key.1).await {
                    Ok(()) => tracing::info!(tenant = %key.0, deployment = %key.1, "deployment ended"),
                    Err(error) => {
                        tracing::warn!(tenant = %key.0, deployment = %key.1, %error, "not ended; trying again");
                        complete = false;
                    }
                }
            }
        }
        self.tried.retain(|key, tried| wanted.get(key).and_then(|spec| id_of(spec)).is_some_and(|id| id == tried.id));
        self.report(set);
        for (key, spec) in &wanted {
            let Some(id) = id_of(spec) else { continue };
            if self.is_settled(key, &id) {
                continue;
            }
            let outcome = match self.running(key).filter(|running| running.id() == id) {
                Some(suspended) => self.resume(&suspended).await,
                None => self.deploy(spec, id.plugin_hash).await,
            };
            self.note(key, id, outcome);
            self.report(set);
        }
        self.store.keep_only(self.in_use(set)).await;
        complete && !self.tried.values().any(|tried| tried.again)
    }

    /// Without the cloud: what is suspended is taken up again when its plugin can be had after all.
    async fn resume_all(&mut self) -> bool {
        for running in self.runtime.deployments() {
            let key = (running.tenant.clone(), running.name.clone());
            if !self.is_settled(&key, &running.id()) {
                let outcome = self.resume(&running).await;
                self.note(&key, running.id(), outcome);
            }
        }
        !self.tried.values().any(|tried| tried.again)
    }

    fn note(&mut self, key: &Key, id: RevisionId, outcome: Result<(), Failure>) {
        let (error, again) = match outcome {
            Ok(()) => (None, false),
            Err(Failure::Later(error)) => (Some(error), true),
            Err(Failure::Refused(error)) => (Some(error), false),
        };
        if let Some(error) = &error {
            tracing::warn!(tenant = %key.0, deployment = %key.1, revision = id.revision, error, again, "not deployed; what runs stays");
        }
        self.tried.insert(key.clone(), Tried { id, error, again });
    }

    /// It runs; or it failed on live data; or it was tried, and another try will not go better.
    fn is_settled(&self, key: &Key, id: &RevisionId) -> bool {
        let running = self.running(key);
        let decided = running.is_some_and(|running| {
            let suspended = running.suspended.as_ref().map(|suspension| suspension.cause);
            running.failed.as_ref() == Some(id)
                || running.id() == *id && suspended != Some(SuspensionCause::Unavailable)
        });
        let given_up =
            self.tried.get(key).is_some_and(|tried| tried.id == *id && tried.error.is_some() && !tried.again);
        decided || given_up
    }

    fn running(&self, key: &Key) -> Option<DeploymentState> {
        self.runtime.deployments().into_iter().find(|state| (&state.tenant, &state.name) == (&key.0, &key.1))
    }

    /// The component with its config, fetched from the cloud when it is not here.
    async fn plugin(&self, hash: PluginHash, config: &serde_json::Value) -> Result<ConfiguredPlugin, Failure> {
        if !self.store.has(hash) {
            let bytes = self.fetch.fetch(&hash.to_string()).await.map_err(|error| match error {
                FetchError::NotConnected | FetchError::Lost(_) => Failure::Later(error.to_string()),
                FetchError::Refused(_) | FetchError::TooLong(_) => Failure::Refused(error.to_string()),
            })?;
            self.store.put(hash, bytes).await.map_err(Failure::Later)?;
        }
        let configured = self.store.configured(hash, config.clone()).await;
        configured.map_err(|error| Failure::of(error.is_passing(), &error))
    }

    async fn deploy(&self, spec: &DeploymentSpec, hash: PluginHash) -> Result<(), Failure> {
        let plugin = self.plugin(hash, &spec.config).await?;
        let deployment = Deployment {
            tenant: spec.tenant.clone(),
            name: spec.name.clone(),
            revision: spec.revision,
            config: spec.config.clone(),
            plugin,
        };
        let deployed = self.runtime.deploy(deployment).await;
        let report = deployed.map_err(|error| Failure::of(error.is_passing(), &error))?;
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

    async fn resume(&self, suspended: &DeploymentState) -> Result<(), Failure> {
        let plugin = self.plugin(suspended.plugin_hash, &suspended.config).await?;
        let resumed = self.runtime.resume(&suspended.tenant, &suspended.name, plugin).await;
        resumed.map_err(|error| Failure::of(error.is_passing(), &error))?;
        let (tenant, deployment) = (&suspended.tenant, &suspended.name);
        tracing::info!(%tenant, %deployment, revision = suspended.revision, "a suspended deployment is taken up again");
        Ok(())
    }

    /// What runs, what a rollback or a restart goes back to, and what is wanted: it stays on disk.
    fn in_use(&self, set: &DeploymentSet) -> Vec<PluginHash> {
        let needed = self.runtime.plugins_needed().into_iter();
        needed.chain(set.deployments.iter().filter_map(|spec| spec.plugin_hash.parse().ok())).collect()
    }

    fn report(&self, set: &DeploymentSet) {
        let status = |spec: &DeploymentSpec| {
            let key = (spec.tenant.clone(), spec.name.clone());
            let running = self.running(&key);
            match (running, id_of(spec)) {
                (Some(running), Some(id)) if running.id() == id => of_running(&running),
                (running, id) => not_running(spec, id, running.as_ref(), self.tried.get(&key)),
            }
        };
        self.show(set.deployments.iter().map(status).collect());
    }

    fn show(&self, status: Vec<DeploymentStatus>) {
        self.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
    }
}

impl Failure {
    fn of(is_passing: bool, error: &impl std::fmt::Display) -> Self {
        if is_passing { Self::Later(error.to_string()) } else { Self::Refused(error.to_string()) }
    }
}

/// `None` when the cloud cannot give it out, or names no plugin.
fn id_of(spec: &DeploymentSpec) -> Option<RevisionId> {
    Some(RevisionId::of(spec.revision, spec.plugin_hash.parse().ok()?, &spec.config))
}

fn of_running(state: &DeploymentState) -> DeploymentStatus {
    let (phase, error) = match &state.suspended {
        None => {
            let taken_back = || "a newer revision failed on live data and was taken back".to_owned();
            (DeploymentPhase::Active, state.failed.as_ref().map(|_| taken_back()))
        }
        Some(suspension) => {
            let phase = match suspension.cause {
                SuspensionCause::Unavailable => DeploymentPhase::Loading,
                SuspensionCause::Failed => DeploymentPhase::Refused,
            };
            (phase, Some(format!("suspended, it decides nothing: {}", suspension.reason)))
        }
    };
    DeploymentStatus {
        tenant: state.tenant.clone(),
        name: state.name.clone(),
        revision: state.revision,
        state: phase,
        error,
        plugin_name: state.plugin_name.clone(),
        plugin_version: state.plugin_version.clone(),
        swap: state.swap.as_ref().map(swap_figures),
    }
}

fn not_running(
    spec: &DeploymentSpec,
    id: Option<RevisionId>,
    running: Option<&DeploymentState>,
    tried: Option<&Tried>,
) -> DeploymentStatus {
    let failed = id.is_some() && running.is_some_and(|state| state.failed == id);
    let (phase, error) = if failed {
        let error = "it failed on live data; the version before runs again".to_owned();
        (DeploymentPhase::Refused, Some(error))
    } else if !spec.is_available() {
        let error = "the cloud cannot give it out: it lost the component or its config; what ran before runs on";
        (DeploymentPhase::Loading, Some(error.to_owned()))
    } else if id.is_none() {
        (DeploymentPhase::Refused, Some(format!("{:?} is no plugin hash", spec.plugin_hash)))
    } else {
        let refused = tried.is_some_and(|tried| tried.error.is_some() && !tried.again);
        let phase = if refused { DeploymentPhase::Refused } else { DeploymentPhase::Loading };
        (phase, tried.and_then(|tried| tried.error.clone()))
    };
    DeploymentStatus {
        tenant: spec.tenant.clone(),
        name: spec.name.clone(),
        revision: spec.revision,
        state: phase,
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
