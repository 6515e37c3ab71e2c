//! Brings a node to what is wanted deployed. What is refused leaves the running version as it is.

mod plan;
mod report;

use crate::deployment::{Deployment, DeploymentState};
use crate::runtime::Runtime;
use crate::trial::Trial;
use fleet_model::{DeploymentName, TenantId};
use fleet_wire::control::{DeploymentSet, DeploymentSpec, DeploymentStatus};
use plan::{Step, next_step};
use plugin_host::{ConfiguredPlugin, PluginHash};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// First wait before a deployment that could not be tried is tried again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often it is told what trials did.
const TRIALS_TOLD_EVERY: Duration = Duration::from_secs(1);
/// Steps to bring about one deployment before the others have their turn.
const STEPS_MAX: usize = 4;

/// Where a node has its plugins from.
pub trait PluginSupply: Send + Sync + 'static {
    /// The component with its config, ready to be put to work.
    fn configured(
        &self,
        hash: PluginHash,
        config: &serde_json::Value,
    ) -> impl Future<Output = Result<ConfiguredPlugin, SupplyError>> + Send;

    /// Others than these are not needed here any more.
    fn keep_only(&self, in_use: Vec<PluginHash>) -> impl Future<Output = ()> + Send;
}

/// Why a plugin is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupplyError {
    /// Trying again may help: no connection, no space, a busy machine.
    #[error("{0}")]
    Later(String),
    /// It will not.
    #[error("{0}")]
    Refused(String),
}

type Key = (TenantId, DeploymentName);

/// The task that brings about what is wanted.
pub struct Deployer<S> {
    runtime: Arc<Runtime>,
    supply: S,
    wanted: watch::Receiver<Option<DeploymentSet>>,
    status: watch::Sender<Vec<DeploymentStatus>>,
    /// The step of each deployment that did not come about.
    tried: BTreeMap<Key, Tried>,
}

struct Tried {
    step: Step,
    error: String,
    /// Another try may go better.
    again: bool,
}

impl<S: PluginSupply> Deployer<S> {
    /// The task's parts; what is running already is reported at once.
    pub fn new(
        runtime: Arc<Runtime>,
        supply: S,
        wanted: watch::Receiver<Option<DeploymentSet>>,
    ) -> (Self, watch::Receiver<Vec<DeploymentStatus>>) {
        let running = runtime.deployments().iter().map(report::of_running).collect();
        let (status, seen) = watch::channel(running);
        (Self { runtime, supply, wanted, status, tried: BTreeMap::new() }, seen)
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
                () = self.tell_of_trials(set.as_ref()) => {}
            }
        }
    }

    /// Tells again and again what trials did; nothing to do without any.
    async fn tell_of_trials(&self, set: Option<&DeploymentSet>) {
        let Some(set) = set.filter(|set| set.deployments.iter().any(|spec| spec.trial.is_some())) else {
            return std::future::pending().await;
        };
        let mut interval = tokio::time::interval(TRIALS_TOLD_EVERY);
        loop {
            interval.tick().await;
            self.report(set);
        }
    }

    /// `set` is `None` while nobody has said anything: what ran before runs on. `false`: something is left to be
    /// tried again.
    async fn bring_about(&mut self, set: Option<&DeploymentSet>) -> bool {
        let Some(set) = set else {
            let complete = self.resume_all().await;
            self.show(self.runtime.deployments().iter().map(report::of_running).collect());
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
        self.tried.retain(|key, tried| {
            let spec = wanted.get(key);
            let running = self.runtime.deployments().into_iter().find(|state| is_called(state, key));
            spec.and_then(|spec| next_step(spec, running.as_ref())).is_some_and(|step| step == tried.step)
        });
        self.report(set);
        for (key, spec) in &wanted {
            for _ in 0..STEPS_MAX {
                let Some(step) = next_step(spec, self.running(key).as_ref()) else { break };
                if !self.step(key, step, Some(spec)).await {
                    break;
                }
                self.report(set);
            }
            self.report(set);
        }
        self.supply.keep_only(self.in_use(set)).await;
        complete && !self.tried.values().any(|tried| tried.again)
    }

    /// While nobody says what is wanted: what is suspended is taken up again when its plugin can be had after all.
    async fn resume_all(&mut self) -> bool {
        for running in self.runtime.deployments() {
            if let Some(step) = plan::resume(&running) {
                self.step(&(running.tenant, running.name), step, None).await;
            }
        }
        !self.tried.values().any(|tried| tried.again)
    }

    /// One step; whether it came about. What another try will not bring about is not tried again.
    async fn step(&mut self, key: &Key, step: Step, wanted: Option<&DeploymentSpec>) -> bool {
        if self.tried.get(key).is_some_and(|tried| tried.step == step && !tried.again) {
            return false;
        }
        let done = match (&step, wanted) {
            (Step::Resume { .. }, _) => self.resume(key).await,
            (Step::EndTrial { .. }, _) => self.end_trial(key).await,
            (Step::Deploy { .. }, Some(spec)) => self.deploy(spec).await,
            (Step::TryOut { .. }, Some(spec)) => self.try_out(spec).await,
            (Step::Deploy { .. } | Step::TryOut { .. }, None) => Ok(()),
        };
        let (error, mut again) = match done {
            Ok(()) => {
                self.tried.remove(key);
                return true;
            }
            Err(SupplyError::Later(error)) => (error, true),
            Err(SupplyError::Refused(error)) => (error, false),
        };
        let id = step.id();
        tracing::warn!(tenant = %key.0, deployment = %key.1, revision = id.revision, error, again, "not done; what runs stays");
        if !again
            && step.is_new()
            && let Err(unrecorded) = self.runtime.record_refusal(&key.0, &key.1, id, &error).await
        {
            // A refusal is an act: it is refused again, and recorded then.
            tracing::error!(tenant = %key.0, deployment = %key.1, %unrecorded, "a refusal could not be recorded");
            again = true;
        }
        self.tried.insert(key.clone(), Tried { step, error, again });
        false
    }

    fn running(&self, key: &Key) -> Option<DeploymentState> {
        self.runtime.deployments().into_iter().find(|state| is_called(state, key))
    }

    async fn plugin(&self, hash: &str, config: &serde_json::Value) -> Result<ConfiguredPlugin, SupplyError> {
        let hash: PluginHash = hash.parse().map_err(|_| SupplyError::Refused(format!("{hash:?} is no plugin hash")))?;
        self.supply.configured(hash, config).await
    }

    async fn deploy(&self, spec: &DeploymentSpec) -> Result<(), SupplyError> {
        let plugin = self.plugin(&spec.plugin_hash, &spec.config).await?;
        let deployment = Deployment {
            tenant: spec.tenant.clone(),
            name: spec.name.clone(),
            revision: spec.revision,
            config: spec.config.clone(),
            plugin,
            scope: spec.vehicles.clone(),
        };
        let deployed = self.runtime.deploy(deployment).await;
        let report = deployed.map_err(|error| SupplyError::of(error.is_passing(), &error))?;
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

    async fn try_out(&self, spec: &DeploymentSpec) -> Result<(), SupplyError> {
        let Some(trial) = &spec.trial else { return Ok(()) };
        let plugin = self.plugin(&trial.plugin_hash, &trial.config).await?;
        let (revision, config, mode) = (trial.revision, trial.config.clone(), trial.mode);
        let begun = self.runtime.try_out(&spec.tenant, &spec.name, Trial { revision, config, plugin, mode }).await;
        begun.map_err(|error| SupplyError::of(error.is_passing(), &error))
    }

    async fn end_trial(&self, (tenant, name): &Key) -> Result<(), SupplyError> {
        let ended = self.runtime.end_trial(tenant, name).await;
        ended.map_err(|error| SupplyError::of(error.is_passing(), &error))
    }

    async fn resume(&self, key: &Key) -> Result<(), SupplyError> {
        let Some(suspended) = self.running(key) else { return Ok(()) };
        let plugin = self.plugin(&suspended.plugin_hash.to_string(), &suspended.config).await?;
        let resumed = self.runtime.resume(&suspended.tenant, &suspended.name, plugin).await;
        resumed.map_err(|error| SupplyError::of(error.is_passing(), &error))?;
        let (tenant, deployment) = (&suspended.tenant, &suspended.name);
        tracing::info!(%tenant, %deployment, revision = suspended.revision, "a suspended deployment is taken up again");
        Ok(())
    }

    /// What runs, what a rollback or a restart goes back to, and what is wanted: it stays on disk.
    fn in_use(&self, set: &DeploymentSet) -> Vec<PluginHash> {
        let needed = self.runtime.plugins_needed().into_iter();
        let wanted = set.deployments.iter().flat_map(|spec| {
            let tried = spec.trial.as_ref().map(|trial| &trial.plugin_hash);
            [Some(&spec.plugin_hash), tried].into_iter().flatten()
        });
        needed.chain(wanted.filter_map(|hash| hash.parse().ok())).collect()
    }

    fn report(&self, set: &DeploymentSet) {
        let status = |spec: &DeploymentSpec| {
            let key = (spec.tenant.clone(), spec.name.clone());
            report::status(spec, self.running(&key).as_ref(), self.tried.get(&key))
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

impl SupplyError {
    /// By whether another try may go better.
    pub fn of(is_passing: bool, error: &impl std::fmt::Display) -> Self {
        if is_passing { Self::Later(error.to_string()) } else { Self::Refused(error.to_string()) }
    }
}

fn is_called(state: &DeploymentState, key: &Key) -> bool {
    (&state.tenant, &state.name) == (&key.0, &key.1)
}
