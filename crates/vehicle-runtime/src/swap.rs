//! Changing what runs, while readings come in.
//!
//! ```text
//!   instances built | front held: rows migrated at the barrier (if needed), record durable, swap cast | blocks go on
//! ```
//! The record says from which offset the new activation sees readings. It is durable before any worker changes, so a
//! replay changes at the same offset. While the front is held the workers finish what they have.

use crate::acts;
use crate::deployment::{Activation, Deployment, RevisionId, Running, Stored, SwapReport};
use crate::error::{DeployError, RuntimeError};
use crate::keys::{self, DeploymentKey};
use crate::plugin::{PluginRule, RuleSource};
use crate::record_format::{DeploymentRecord, encode};
use crate::rows_plan::Instances;
use crate::runtime::{Core, Runtime};
use crate::trial::trial_instances;
use crate::worker::{Job, RowsChange, Swap, TrialChange};
use event_log::{Commit, Snapshot};
use fleet_model::{Act, ActKind, DeploymentName, Scope, TenantId};
use plugin_host::PluginHash;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a swap's figures wait for the blocks that it delayed.
const FIGURES_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a deployment shall change to.
pub(crate) struct Change {
    pub key: DeploymentKey,
    pub revision: u64,
    pub config: serde_json::Value,
    pub rule: Arc<dyn RuleSource>,
    pub scope: Scope,
    /// The revision that failed and gives way to this one.
    pub failed: Option<RevisionId>,
    /// Why it did.
    pub failed_because: Option<Arc<str>>,
    /// Only if this activation still runs when it is this change's turn.
    pub only_after: Option<u64>,
}

impl Change {
    /// To this rule, whatever runs.
    pub(crate) fn to(
        key: DeploymentKey,
        revision: u64,
        config: serde_json::Value,
        rule: Arc<dyn RuleSource>,
        scope: Scope,
    ) -> Self {
        Self { key, revision, config, rule, scope, failed: None, failed_because: None, only_after: None }
    }
}

impl Runtime {
    /// Puts a plugin to work, or changes a deployment that runs, between two blocks. When it returns, the change is
    /// durable and every worker has changed. The state of the vehicles is kept when the plugin's name and state
    /// version are those of the running one, migrated when only the name is, and begins at zero otherwise. Going back
    /// to what ran before takes up the state that it had when it was replaced. A trial beside it ends; when it is what
    /// was on trial that is deployed, each vehicle goes on with the state of whoever decided for it. What runs already
    /// may be deployed for other vehicles: then a trial goes on, for those.
    ///
    /// # Errors
    /// See [`DeployError`]; what ran before still runs.
    pub async fn deploy(&self, deployment: Deployment) -> Result<SwapReport, DeployError> {
        let Deployment { tenant, name, revision, config, plugin, scope } = deployment;
        let rule = Arc::new(PluginRule::of(plugin));
        self.core.change(Change::to((tenant, name), revision, config, rule, scope)).await
    }

    /// Ends a deployment between two blocks. Its rows are forgotten.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn retire(&self, tenant: &TenantId, name: &DeploymentName) -> Result<(), DeployError> {
        let core = &self.core;
        let key = (tenant.clone(), name.clone());
        let _one = core.deploying.lock().await;
        let (mut record, act) = {
            let mut deployments = core.deployments.lock();
            let Some(running) = deployments.running.get(&key) else {
                return Err(DeployError::Unknown { tenant: tenant.to_string(), name: name.to_string() });
            };
            let mut record = running.current.record(None);
            let act = acts::about(&core.audit, ActKind::DeploymentRetired, &running.current);
            record.generation = deployments.take_generation();
            (record, act)
        };
        let mut done = Vec::new();
        {
            let mut front = core.front.lock().await;
            if front.closed {
                return Err(RuntimeError::Closed.into());
            }
            record.active_from = front.next;
            record.retired = true;
            core.store(&key, &record, vec![act]).await?;
            front.generation = record.generation;
            core.cast_all(|| {
                let (sender, receiver) = oneshot::channel();
                done.push(receiver);
                Job::Retire { key: key.clone(), done: sender }
            });
            core.deployments.lock().running.remove(&key);
        }
        core.changed.send_replace(());
        for done in done {
            done.await.map_err(|_| core.gone())?;
        }
        Ok(())
    }
}

impl Core {
    /// Changes a deployment to another rule. See [`Runtime::deploy`].
    pub(crate) async fn change(&self, change: Change) -> Result<SwapReport, DeployError> {
        let Change { key, revision, config, rule, scope, failed, failed_because, only_after } = change;
        let _one = self.deploying.lock().await;
        let running = self.deployments.lock().running.get(&key).cloned();
        let runs = running.as_ref().map(|running| running.current.generation);
        if only_after.is_some() && only_after != runs {
            return Err(DeployError::Superseded);
        }
        self.check_memory(&key, &*rule, false)?;
        let instances = start_instances(rule.clone(), self.workers.len()).await?;
        let config_hash = RevisionId::hash_of(&config);
        let id = RevisionId { revision, plugin_hash: PluginHash(rule.facts().hash), config_hash };
        // The same for other vehicles: what is tried goes on, unless it is just that, and what failed is still known.
        let same = running.as_ref().map(|running| &running.current);
        let same = same.filter(|current| current.id() == id && current.suspended.is_none()).cloned();
        let trial = same.as_ref().and_then(|current| current.trial.as_ref());
        let trial = trial.filter(|trial| trial.activation.id() != id).map(|trial| trial.for_vehicles(&scope));
        let (failed, failed_because) = match same {
            Some(same) => (same.failed, same.failed_because),
            None => (failed, failed_because),
        };
        let generation = self.deployments.lock().take_generation();
        let mut activation = Activation {
            key,
            generation,
            revision,
            active_from: 0,
            rows_since: generation,
            config_hash,
            config,
            rule,
            failed,
            failed_because,
            suspended: None,
            swap: None,
            scope,
            trial,
        };
        let tried = trial_instances(self, &mut activation).await;
        let (delayed, mut slow) = mpsc::unbounded_channel();
        *self.swapping.lock() = Some(delayed);
        let begun = Instant::now();
        let swapped = self.swap_at_front(&mut activation, running.as_ref(), Some(instances), tried).await;
        self.swapping.lock().take();
        swapped?;
        let swap_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let mut report = SwapReport {
            from: running.as_ref().map(|running| running.current.title()),
            to: activation.title(),
            swap_ms,
            ..SwapReport::default()
        };
        // Blocks that waited go on now. The figures do not wait for ever for one whose sender has stopped polling.
        let counted = tokio::time::timeout(FIGURES_WAIT_MAX, async {
            while let Some(ms) = slow.recv().await {
                report.batches_delayed += 1;
                report.slowest_batch_ms = report.slowest_batch_ms.max(ms);
            }
        });
        if counted.await.is_err() {
            tracing::warn!("a block that waited for the swap is still not through; the swap's figures leave it out");
        }
        if let Some(running) = self.deployments.lock().running.get_mut(&activation.key) {
            running.current.swap = Some(report.clone());
        }
        self.changed.send_replace(());
        tracing::info!(tenant = %activation.key.0, deployment = %activation.key.1, plugin = report.to.0,
            version = report.to.1, revision, offset = activation.active_from, swap_ms,
            batches_delayed = report.batches_delayed, "deployment changed");
        Ok(report)
    }

    /// The change itself, between two blocks. The caller holds `deploying`. `live` and `trial` are new instances; without,
    /// what is live goes on with those that it has, and nothing is tried.
    pub(crate) async fn swap_at_front(
        &self,
        activation: &mut Activation,
        running: Option<&Running>,
        live: Option<Instances>,
        trial: Option<Instances>,
    ) -> Result<(), DeployError> {
        let swapped = {
            let mut front = self.front.lock().await;
            if front.closed {
                return Err(RuntimeError::Closed.into());
            }
            activation.active_from = front.next;
            let changes = match live {
                Some(instances) => self.prepare_rows(activation, running, instances).await?,
                None => self.workers.iter().map(|_| RowsChange::Same).collect(),
            };
            let trials = self.prepare_trial(activation, running.map(|running| &running.current), trial).await?;
            let previous = Running::behind(running, activation);
            let acts = acts::of_change(&self.audit, activation, running);
            if let Err(error) = self.store(&activation.key, &activation.record(previous.as_ref()), acts).await {
                self.drop_migrated(activation);
                return Err(error);
            }
            front.generation = activation.generation;
            self.cast_swap(activation, previous, changes, trials)
        };
        for done in swapped {
            done.await.map_err(|_| self.gone())?;
        }
        Ok(())
    }

    /// Lets every worker change after what it has in its row. What runs is noted at once.
    pub(crate) fn cast_swap(
        &self,
        activation: &Activation,
        previous: Option<Activation>,
        changes: Vec<RowsChange>,
        trials: Vec<TrialChange>,
    ) -> Vec<oneshot::Receiver<()>> {
        let mut swapped = Vec::with_capacity(changes.len());
        let shared = Arc::new(activation.clone());
        let behind = previous.as_ref().map(Activation::rows_shape).filter(|rows| rows.since != activation.rows_since);
        for (worker, (rows, trial)) in changes.into_iter().zip(trials).enumerate() {
            let (done, answer) = oneshot::channel();
            swapped.push(answer);
            self.cast(worker, Job::Swap(Box::new(Swap { activation: shared.clone(), rows, trial, behind, done })));
        }
        let running = Running { current: activation.clone(), previous };
        self.deployments.lock().running.insert(activation.key.clone(), running);
        self.changed.send_replace(());
        swapped
    }

    /// Makes a change durable together with the records of the acts that it is.
    async fn store(&self, key: &DeploymentKey, record: &DeploymentRecord, acts: Vec<Act>) -> Result<(), DeployError> {
        let snapshots = vec![
            Snapshot { key: keys::deployment(key, record.generation), value: Some(encode(record)) },
            // What is refused from here on is refused anew.
            Snapshot { key: keys::refused(key), value: None },
        ];
        self.audit.commit(Commit { snapshots, ..Default::default() }, acts).await?;
        self.deployments.lock().stored.push(Stored::of(key, record));
        Ok(())
    }
}

/// One instance for each worker, made off the path.
pub(crate) async fn start_instances(rule: Arc<dyn RuleSource>, count: usize) -> Result<Instances, DeployError> {
    let started =
        tokio::task::spawn_blocking(move || (0..count).map(|_| rule.start().map(Some)).collect::<Result<Vec<_>, _>>());
    let started = started.await.map_err(|error| DeployError::Instantiate(error.to_string()))?;
    started.map_err(DeployError::Instantiate)
}
