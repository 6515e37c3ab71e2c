//! A new revision on trial beside the one that is live: in its shadow, or as its canary.
//!
//! ```text
//!             start                      mode                       promote: deploy what is on trial
//!   (none) ──────────▶ Shadow ──────────────────────▶ Canary ──────────────────────────────▶ (live)
//!                        │      end, or it failed        │
//!                        └───────────▶ (none) ◀──────────┘
//! ```
//! Its rows begin as the live ones stand. For a vehicle goes on what decided for it: when a canary takes a vehicle over
//! it begins with the live row, and when the trial ends its row goes back, if both rules lay out rows alike; if they do
//! not, the live rule has the row of when it last decided.

use crate::deployment::{Activation, RevisionId};
use crate::error::DeployError;
use crate::keys::DeploymentKey;
use crate::plugin::{PluginRule, RuleFacts, RuleSource};
use crate::rows_plan::Instances;
use crate::runtime::{Core, Runtime};
use crate::swap::start_instances;
use crate::worker::{Job, TrialChange, TrialRows};
use fleet_model::{DeploymentName, Scope, TenantId, TrialMode};
use parking_lot::Mutex;
use plugin_host::{ConfiguredPlugin, PluginHash};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// Differences that are kept to be shown; the newest stay.
const DIFFERENCES_KEPT_MAX: usize = 20;

/// A revision to be tried.
#[derive(Clone)]
pub struct Trial {
    /// The tenant's count, as of deployments.
    pub revision: u64,
    /// The config that `plugin` was made with.
    pub config: serde_json::Value,
    /// The plugin.
    pub plugin: ConfiguredPlugin,
    /// How.
    pub mode: TrialMode,
}

/// A trial as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialState {
    /// What is tried.
    pub id: RevisionId,
    /// The plugin's own name.
    pub plugin_name: String,
    /// Its version.
    pub plugin_version: String,
    /// How.
    pub mode: TrialMode,
    /// What it did.
    pub counts: TrialCounts,
}

/// What a trial did since it began on this node, or since the node's last start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrialCounts {
    /// Readings that it was shown.
    pub readings: u64,
    /// Batches on which it failed.
    pub failures: u64,
    /// As a canary: events that it decided.
    pub events: u64,
    /// In the shadow: proposals that the live rule made as well.
    pub same: u64,
    /// The same event with another time, figure or details.
    pub changed: u64,
    /// Proposals that only it made.
    pub added: u64,
    /// Events that only the live rule made.
    pub removed: u64,
    /// The newest differences in words, oldest first.
    pub differences: Vec<String>,
}

/// Where the workers count.
#[derive(Debug, Default)]
pub(crate) struct TrialFigures {
    pub readings: AtomicU64,
    pub failures: AtomicU64,
    pub events: AtomicU64,
    pub same: AtomicU64,
    pub changed: AtomicU64,
    pub added: AtomicU64,
    pub removed: AtomicU64,
    differences: Mutex<VecDeque<String>>,
}

impl TrialFigures {
    pub(crate) fn difference(&self, words: String) {
        let mut differences = self.differences.lock();
        if differences.len() == DIFFERENCES_KEPT_MAX {
            differences.pop_front();
        }
        differences.push_back(words);
    }

    fn read(&self) -> TrialCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrialCounts {
            readings: of(&self.readings),
            failures: of(&self.failures),
            events: of(&self.events),
            same: of(&self.same),
            changed: of(&self.changed),
            added: of(&self.added),
            removed: of(&self.removed),
            differences: self.differences.lock().iter().cloned().collect(),
        }
    }
}

/// A revision on trial: part of an [`Activation`].
#[derive(Clone)]
pub(crate) struct TrialPart {
    /// As if it were live, with a generation of its own: that of its beginning, whatever becomes of the live one.
    pub activation: Arc<Activation>,
    pub mode: TrialMode,
    pub figures: Arc<TrialFigures>,
}

impl TrialPart {
    /// The same for these vehicles.
    pub(crate) fn for_vehicles(&self, scope: &Scope) -> Self {
        let activation = Activation { scope: scope.clone(), ..(*self.activation).clone() };
        Self { activation: Arc::new(activation), ..self.clone() }
    }

    pub(crate) fn state(&self) -> TrialState {
        let (plugin_name, plugin_version) = self.activation.title();
        TrialState {
            id: self.activation.id(),
            plugin_name,
            plugin_version,
            mode: self.mode,
            counts: self.figures.read(),
        }
    }
}

impl Runtime {
    /// Begins a trial beside what runs under this name, or changes the mode of the one that goes on. A trial of another
    /// revision is ended first.
    ///
    /// # Errors
    /// See [`DeployError`]; what ran before still runs.
    pub async fn try_out(&self, tenant: &TenantId, name: &DeploymentName, trial: Trial) -> Result<(), DeployError> {
        let rule = Arc::new(PluginRule::of(trial.plugin));
        let key = (tenant.clone(), name.clone());
        self.core.try_out(&key, trial.revision, trial.config, rule, trial.mode).await
    }

    /// Ends the trial beside what runs under this name, if there is one.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn end_trial(&self, tenant: &TenantId, name: &DeploymentName) -> Result<(), DeployError> {
        let key = (tenant.clone(), name.clone());
        let trial = self.core.deployments.lock().running.get(&key).and_then(|running| running.current.trial.clone());
        match trial {
            Some(trial) => self.core.end_trial(&key, trial.activation.generation, None).await,
            None => Ok(()),
        }
    }
}

impl Core {
    pub(crate) async fn try_out(
        &self,
        key: &DeploymentKey,
        revision: u64,
        config: serde_json::Value,
        rule: Arc<dyn RuleSource>,
        mode: TrialMode,
    ) -> Result<(), DeployError> {
        let _one = self.deploying.lock().await;
        let running = self.deployments.lock().running.get(key).cloned();
        let Some(running) = running.filter(|running| running.current.suspended.is_none()) else {
            return Err(DeployError::NothingLive { name: key.1.to_string() });
        };
        self.check_memory(key, &*rule, true)?;
        let (generation, since) = {
            let mut deployments = self.deployments.lock();
            (deployments.take_generation(), deployments.take_generation())
        };
        let config_hash = RevisionId::hash_of(&config);
        let id = RevisionId { revision, plugin_hash: PluginHash(rule.facts().hash), config_hash };
        let goes_on = running.current.trial.clone().filter(|trial| trial.activation.id() == id);
        let instances = start_instances(rule.clone(), self.workers.len()).await?;
        let part = match goes_on {
            Some(trial) => TrialPart { mode, ..trial },
            None => TrialPart {
                activation: Arc::new(Activation {
                    generation: since,
                    revision,
                    rows_since: since,
                    config,
                    config_hash,
                    rule,
                    failed: None,
                    failed_because: None,
                    swap: None,
                    trial: None,
                    ..running.current.clone()
                }),
                mode,
                figures: Arc::default(),
            },
        };
        let mut activation = Activation { generation, trial: Some(part), ..running.current.clone() };
        self.swap_at_front(&mut activation, Some(&running), None, Some(instances)).await?;
        tracing::info!(tenant = %key.0, deployment = %key.1, revision, ?mode, offset = activation.active_from,
            "a revision is on trial");
        Ok(())
    }

    /// Ends the trial with this generation. `failed` when it did, with why.
    pub(crate) async fn end_trial(
        &self,
        key: &DeploymentKey,
        generation: u64,
        failed: Option<(RevisionId, &str)>,
    ) -> Result<(), DeployError> {
        let _one = self.deploying.lock().await;
        let (running, next) = {
            let mut deployments = self.deployments.lock();
            let running = deployments.running.get(key).cloned();
            let running = running.filter(|running| running.current.trial_generation() == Some(generation));
            let Some(running) = running else { return Err(DeployError::Superseded) };
            (running, deployments.take_generation())
        };
        let mut activation = Activation { generation: next, trial: None, ..running.current.clone() };
        let has_failed = failed.is_some();
        if let Some((failed, why)) = failed {
            (activation.failed, activation.failed_because) = (Some(failed), Some(why.into()));
        }
        self.swap_at_front(&mut activation, Some(&running), None, None).await?;
        tracing::info!(tenant = %key.0, deployment = %key.1, failed = has_failed, offset = activation.active_from, "a trial ended");
        Ok(())
    }

    /// What the workers do with the trial when `activation` follows on `running`, and with which rows it goes on. They
    /// are migrated beside the live ones when they need it; `instances` are its new ones.
    pub(crate) async fn prepare_trial(
        &self,
        activation: &Activation,
        running: Option<&Activation>,
        instances: Option<Instances>,
    ) -> Result<Vec<TrialChange>, DeployError> {
        let ended = running.and_then(|running| running.trial.as_ref());
        let rows_go_back = ended.is_some_and(|trial| alike(trial.activation.rule.facts(), activation.rule.facts()));
        let (Some(trial), Some(instances)) = (&activation.trial, instances) else {
            return Ok(self.workers.iter().map(|_| TrialChange { rows_go_back, runs: None }).collect());
        };
        let (live, facts) = (activation.rule.facts(), trial.activation.rule.facts());
        let part = |trial: &TrialPart| (trial.activation.generation, trial.mode);
        let rows = if ended.map(part) == Some(part(trial)) {
            TrialRows::Kept
        } else if alike(live, facts) {
            TrialRows::Copied
        } else if live.name == facts.name {
            TrialRows::Migrated
        } else {
            TrialRows::Zero
        };
        if rows != TrialRows::Migrated {
            let runs = instances.into_iter().map(|rule| Some((trial.clone(), rule, rows)));
            return Ok(runs.map(|runs| TrialChange { rows_go_back, runs }).collect());
        }
        self.migrate(activation, &trial.activation, activation, instances).await?;
        Ok(self.workers.iter().map(|_| TrialChange { rows_go_back, runs: Some((trial.clone(), None, rows)) }).collect())
    }

    /// A rule kept failing, and it is one on trial: the trial ends. Whether it was.
    pub(crate) async fn stop_failing_trial(&self, key: &DeploymentKey, generation: u64, reason: &str) -> bool {
        let trial = self.deployments.lock().running.get(key).and_then(|running| running.current.trial.clone());
        let Some(trial) = trial.filter(|trial| trial.activation.generation == generation) else { return false };
        let (tenant, deployment) = key;
        let (plugin, version) = trial.activation.title();
        tracing::error!(%tenant, %deployment, plugin, version, reason,
            "a plugin on trial does not do: the trial ends, and the live version decides");
        match self.end_trial(key, generation, Some((trial.activation.id(), reason))).await {
            Ok(()) | Err(DeployError::Superseded) => {}
            Err(error) => tracing::error!(%tenant, %deployment, %error, "a trial could not be ended"),
        }
        true
    }

    /// Has each worker migrate the rows of what runs, beside them.
    pub(crate) async fn migrate(
        &self,
        activation: &Activation,
        to: &Activation,
        running: &Activation,
        instances: Instances,
    ) -> Result<(), DeployError> {
        let row_bytes = to.rule.facts().row_bytes;
        let mut answers = Vec::new();
        let mut failed = None;
        for (worker, rule) in instances.into_iter().enumerate() {
            let Some(rule) = rule else {
                failed = Some("its plugin does not run here".to_owned());
                continue;
            };
            let (done, answer) = oneshot::channel();
            answers.push(answer);
            self.cast(worker, Job::Migrate { key: activation.key.clone(), rule, row_bytes, done });
        }
        for answer in answers {
            if let Err(reason) = answer.await.map_err(|_| self.gone())? {
                failed = Some(reason);
            }
        }
        let Some(reason) = failed else { return Ok(()) };
        self.drop_migrated(activation);
        let (name, version) = to.title();
        Err(DeployError::Migrate {
            plugin: format!("{name} {version}"),
            from_version: running.rule.facts().version.clone(),
            from_state: running.rule.facts().state_version,
            reason,
        })
    }
}

/// One for each worker of what is tried beside an activation. When that cannot be, nothing is tried any more: whoever
/// ordered the trial sees that it is over, and may order it again.
pub(crate) async fn trial_instances(core: &Core, activation: &mut Activation) -> Option<Instances> {
    let rule = activation.trial.as_ref()?.activation.rule.clone();
    match start_instances(rule, core.workers.len()).await {
        Ok(instances) if activation.suspended.is_none() => Some(instances),
        unavailable => {
            let reason = unavailable.err().map_or_else(|| "what is live is suspended".to_owned(), |it| it.to_string());
            tracing::warn!(tenant = %activation.key.0, deployment = %activation.key.1, reason, "a trial is over");
            activation.trial = None;
            None
        }
    }
}

/// Whether one reads the other's rows as they are.
fn alike(one: &RuleFacts, other: &RuleFacts) -> bool {
    let layout = |facts: &RuleFacts| (facts.state_version, facts.row_bytes);
    one.name == other.name && layout(one) == layout(other)
}
