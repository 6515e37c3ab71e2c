//! Which plugins run for whom, since when.

use crate::keys::DeploymentKey;
use crate::plugin::RuleSource;
use crate::record_format::DeploymentRecord;
use event_log::Offset;
use fleet_model::{DeploymentName, PluginRef, TenantId};
use plugin_host::{ConfiguredPlugin, PluginHash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A plugin to be put to work.
#[derive(Clone)]
pub struct Deployment {
    /// Whose vehicles it sees.
    pub tenant: TenantId,
    /// Under which name.
    pub name: DeploymentName,
    /// The tenant's count of changes to this deployment.
    pub revision: u64,
    /// The config that `plugin` was made with.
    pub config: serde_json::Value,
    /// The plugin.
    pub plugin: ConfiguredPlugin,
}

/// What a swap did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SwapReport {
    /// Name and version of the plugin that ran before, if one did.
    pub from: Option<(String, String)>,
    /// Name and version of the plugin that runs now.
    pub to: (String, String),
    /// Batches that came while the swap went on and waited for it.
    pub batches_delayed: u64,
    /// The slowest of them, from hand-in to applied, ms; 0 when none waited.
    pub slowest_batch_ms: f64,
    /// From the start of the swap until every worker had changed, ms.
    pub swap_ms: f64,
}

/// A deployment as it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentState {
    /// Whose.
    pub tenant: TenantId,
    /// Its name.
    pub name: DeploymentName,
    /// The revision that runs.
    pub revision: u64,
    /// The component.
    pub plugin_hash: PluginHash,
    /// The plugin's own name.
    pub plugin_name: String,
    /// Its version.
    pub plugin_version: String,
    /// Its config.
    pub config: serde_json::Value,
    /// Readings from this offset on see it.
    pub active_from: Offset,
    /// The breaker brought this revision back after a newer one failed.
    pub rolled_back: bool,
    /// What the last swap did; `None` after a restart.
    pub swap: Option<SwapReport>,
}

/// One revision put to work at one offset.
#[derive(Clone)]
pub(crate) struct Activation {
    pub key: DeploymentKey,
    pub generation: u64,
    pub revision: u64,
    pub active_from: Offset,
    pub rows_since: u64,
    pub config: serde_json::Value,
    pub rule: Arc<dyn RuleSource>,
    pub rolled_back: bool,
    pub swap: Option<SwapReport>,
}

impl Activation {
    pub(crate) fn record(&self) -> DeploymentRecord {
        DeploymentRecord {
            tenant: self.key.0.to_string(),
            name: self.key.1.to_string(),
            generation: self.generation,
            revision: self.revision,
            active_from: self.active_from,
            rows_since: self.rows_since,
            plugin_hash: self.rule.facts().hash,
            config: self.config.to_string(),
            retired: false,
            rolled_back: self.rolled_back,
        }
    }

    pub(crate) fn plugin_ref(&self) -> PluginRef {
        let facts = self.rule.facts();
        PluginRef { deployment: self.key.1.to_string(), name: facts.name.clone(), version: facts.version.clone() }
    }

    pub(crate) fn title(&self) -> (String, String) {
        let facts = self.rule.facts();
        (facts.name.clone(), facts.version.clone())
    }

    pub(crate) fn state(&self) -> DeploymentState {
        let facts = self.rule.facts();
        DeploymentState {
            tenant: self.key.0.clone(),
            name: self.key.1.clone(),
            revision: self.revision,
            plugin_hash: PluginHash(facts.hash),
            plugin_name: facts.name.clone(),
            plugin_version: facts.version.clone(),
            config: self.config.clone(),
            active_from: self.active_from,
            rolled_back: self.rolled_back,
            swap: self.swap.clone(),
        }
    }
}

/// What runs, what ran before, and what is stored about it.
#[derive(Default)]
pub(crate) struct Deployments {
    /// The next activation's number.
    pub next_generation: u64,
    pub running: BTreeMap<DeploymentKey, Running>,
    /// Every stored activation or end.
    pub stored: Vec<Stored>,
}

/// A deployment and the one it replaced.
pub(crate) struct Running {
    pub current: Activation,
    pub previous: Option<Activation>,
}

/// A stored activation, or the end of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub key: DeploymentKey,
    pub generation: u64,
    pub rows_since: u64,
    pub retired: bool,
}

impl Stored {
    pub(crate) fn of(key: &DeploymentKey, record: &DeploymentRecord) -> Self {
        Self { key: key.clone(), generation: record.generation, rows_since: record.rows_since, retired: record.retired }
    }
}

impl Deployments {
    pub(crate) fn take_generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation
    }

    /// Records that no replay needs from a checkpoint on that knows changes up to `generation`, and no rollback. They
    /// are forgotten here.
    pub(crate) fn take_outdated(&mut self, checkpoint: u64) -> Vec<Stored> {
        let mut outdated = Vec::new();
        let all = std::mem::take(&mut self.stored);
        for stored in &all {
            let later = |other: &&Stored| {
                other.key == stored.key && other.generation > stored.generation && other.generation <= checkpoint
            };
            let followers = all.iter().filter(later).count();
            let ended = stored.retired && stored.generation <= checkpoint;
            // One that was followed once is what a rollback goes back to, unless the deployment ended.
            let ended_later = all.iter().filter(later).any(|other| other.retired);
            if ended || ended_later || followers > 1 {
                outdated.push(stored.clone());
            } else {
                self.stored.push(stored.clone());
            }
        }
        outdated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str, generation: u64, retired: bool) -> Stored {
        Stored { key: ("demo".parse().unwrap(), name.parse().unwrap()), generation, rows_since: 1, retired }
    }

    #[test]
    fn what_a_replay_or_a_rollback_needs_is_kept() {
        let all = vec![
            stored("a", 1, false),
            stored("a", 2, false),
            stored("a", 3, false),
            stored("b", 4, false),
            stored("b", 5, true),
            stored("a", 6, false),
            stored("c", 7, false),
            stored("c", 8, true),
        ];
        let mut deployments = Deployments { stored: all.clone(), ..Default::default() };
        let outdated = deployments.take_outdated(5);
        assert_eq!(outdated, [all[0].clone(), all[3].clone(), all[4].clone()]);
        assert_eq!(deployments.stored.len(), 5);
    }
}
