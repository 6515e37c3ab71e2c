//! Suspending deployments, and taking them up again.
//!
//! A suspended deployment's readings are applied to its vehicles but not shown to its rule; its rows stay. It is a
//! change like any other, stored and replayed at its offset. It happens where a rule cannot run: its plugin is not to
//! be had at a start, no instance of it can be made, or it kept failing and there is nothing to go back to.

use crate::deployment::{Activation, Suspension, SuspensionCause};
use crate::error::{DeployError, RuntimeError};
use crate::keys::DeploymentKey;
use crate::metrics::Metrics;
use crate::plugin::{PluginRule, RuleSource};
use crate::runtime::{Core, Runtime};
use crate::swap::Change;
use fleet_model::{DeploymentName, TenantId};
use plugin_host::ConfiguredPlugin;
use std::sync::Arc;

impl Suspension {
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self { cause: SuspensionCause::Unavailable, reason: reason.into() }
    }
}

impl Runtime {
    /// Takes a suspended deployment up again, with its rows as they stayed. `plugin` is its component with its config.
    /// Nothing happens when it is not suspended any more.
    ///
    /// # Errors
    /// See [`DeployError`]; it stays suspended.
    pub async fn resume(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        plugin: ConfiguredPlugin,
    ) -> Result<(), DeployError> {
        self.core.resume((tenant.clone(), name.clone()), Arc::new(PluginRule::of(plugin))).await
    }
}

impl Core {
    pub(crate) async fn resume(&self, key: DeploymentKey, rule: Arc<dyn RuleSource>) -> Result<(), DeployError> {
        let current = self.deployments.lock().running.get(&key).map(|running| running.current.clone());
        let Some(current) = current else {
            return Err(DeployError::Unknown { tenant: key.0.to_string(), name: key.1.to_string() });
        };
        if current.suspended.is_none() {
            return Ok(());
        }
        if current.rule.facts().hash != rule.facts().hash {
            return Err(DeployError::Superseded);
        }
        let change = Change::to(key, current.revision, current.config, rule, current.scope);
        let change = Change { failed: current.failed, failed_because: current.failed_because, ..change };
        self.change(Change { only_after: Some(current.generation), ..change }).await.map(|_| ())
    }

    /// Suspends a deployment between two blocks, if activation `generation` still runs.
    pub(crate) async fn suspend(
        &self,
        key: &DeploymentKey,
        generation: u64,
        suspension: Suspension,
    ) -> Result<(), DeployError> {
        let _one = self.deploying.lock().await;
        let (running, next) = {
            let mut deployments = self.deployments.lock();
            let running = deployments.running.get(key).filter(|running| running.current.generation == generation);
            let Some(running) = running.cloned() else { return Err(DeployError::Superseded) };
            (running, deployments.take_generation())
        };
        let reason = suspension.reason.clone();
        let mut activation = running.current.clone();
        activation.generation = next;
        activation.suspended = Some(suspension);
        activation.swap = None;
        activation.trial = None;
        let instances = self.workers.iter().map(|_| None).collect();
        self.swap_at_front(&mut activation, Some(&running), Some(instances), None).await?;
        tracing::error!(tenant = %key.0, deployment = %key.1, reason,
            "a deployment is suspended: its readings are kept and applied, but its rule does not see them");
        self.metrics.suspensions.add(1, &Metrics::deployment(key));
        Ok(())
    }

    /// As [`Core::suspend`], where nobody waits for an answer.
    pub(crate) async fn suspend_or_log(&self, key: &DeploymentKey, generation: u64, suspension: Suspension) {
        let (tenant, deployment) = key;
        match self.suspend(key, generation, suspension).await {
            Ok(()) | Err(DeployError::Superseded | DeployError::Runtime(RuntimeError::Closed)) => {}
            Err(error) => tracing::error!(%tenant, %deployment, %error, "a deployment could not be suspended"),
        }
    }

    /// The breaker of a deployment opened: it is stopped.
    pub(crate) async fn stop_failing(&self, key: &DeploymentKey, generation: u64, why: &str) {
        let runs = |activation: &Activation| {
            activation.generation == generation || activation.trial_generation() == Some(generation)
        };
        // Each worker tells it, and the first one is enough.
        if self.deployments.lock().running.get(key).is_some_and(|running| runs(&running.current)) {
            self.metrics.breaker.add(1, &Metrics::deployment(key));
            self.stop(key, generation, why).await;
        }
    }

    /// Back to what ran before a deployment, or else it is suspended. On trial: its trial ends.
    pub(crate) async fn stop(&self, key: &DeploymentKey, generation: u64, why: &str) {
        let (tenant, deployment) = key;
        if self.stop_failing_trial(key, generation, why).await {
            return;
        }
        let running = self.deployments.lock().running.get(key).cloned();
        let Some(running) = running.filter(|running| running.current.generation == generation) else { return };
        let mut reason = format!("{why}; no version ran before it");
        if let Some(previous) = running.previous {
            let (name, version) = previous.title();
            tracing::error!(%tenant, %deployment, plugin = name, version,
                why, "a plugin is stopped: going back to the version that ran before");
            let back = Change {
                failed: Some(running.current.id()),
                failed_because: Some(why.into()),
                // An operator's change may come first, and is not to be undone.
                only_after: Some(generation),
                ..Change::to(key.clone(), previous.revision, previous.config, previous.rule, previous.scope)
            };
            match self.change(back).await {
                Ok(_) | Err(DeployError::Superseded | DeployError::Runtime(RuntimeError::Closed)) => return,
                Err(error) => reason = format!("{why}; and the version before: {error}"),
            }
        }
        self.suspend_or_log(key, generation, Suspension { cause: SuspensionCause::Failed, reason }).await;
    }
}
