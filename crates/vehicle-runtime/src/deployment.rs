//! Which plugins run for whom, since when.

use crate::keys::DeploymentKey;
use crate::plugin::RuleSource;
use crate::record_format::{DeploymentRecord, TrialRecord};
use crate::trial::{TrialPart, TrialState};
use event_log::Offset;
use fleet_model::{DeploymentName, PluginRef, Scope, TenantId};
use plugin_host::{ConfiguredPlugin, PluginHash};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
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
    /// The vehicles that it decides for.
    pub scope: Scope,
}

/// What a revision is. The number alone does not say it: a cloud that lost its data counts from one again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionId {
    /// The tenant's count.
    pub revision: u64,
    /// The component.
    pub plugin_hash: PluginHash,
    /// SHA-256 of the config as compact JSON.
    pub config_hash: [u8; 32],
}

impl RevisionId {
    /// The identity of a revision with this content.
    #[must_use]
    pub fn of(revision: u64, plugin_hash: PluginHash, config: &serde_json::Value) -> Self {
        Self { revision, plugin_hash, config_hash: Self::hash_of(config) }
    }

    pub(crate) fn hash_of(config: &serde_json::Value) -> [u8; 32] {
        Sha256::digest(config.to_string()).into()
    }
}

/// Why a deployment is suspended: readings are applied to its vehicles but not shown to its rule, and its rows stay as
/// they were. What it misses meanwhile is said in `docs/adr/0002-checkpoints-and-replay.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Whether it is worth taking it up again.
    pub cause: SuspensionCause,
    /// What happened, for the operator.
    pub reason: String,
}

/// Whether it is worth taking a suspended deployment up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuspensionCause {
    /// Its plugin cannot be had or started here: worth a retry, [`Runtime::resume`](crate::Runtime::resume).
    Unavailable,
    /// It kept failing on live data and nothing ran before it: not worth a retry, another revision is needed.
    Failed,
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
    /// SHA-256 of the config as compact JSON.
    pub config_hash: [u8; 32],
    /// Readings from this offset on see it, or are kept from it when it is suspended.
    pub active_from: Offset,
    /// The breaker brought this revision back after that one failed.
    pub failed: Option<RevisionId>,
    /// Why it failed, in words; forgotten at a restart, the audit record has it.
    pub failed_because: Option<String>,
    /// It decides nothing.
    pub suspended: Option<Suspension>,
    /// What the last swap did; `None` after a restart.
    pub swap: Option<SwapReport>,
    /// The vehicles that it decides for.
    pub scope: Scope,
    /// What is tried beside it.
    pub trial: Option<TrialState>,
}

impl DeploymentState {
    /// What runs, or would if it were not suspended.
    #[must_use]
    pub fn id(&self) -> RevisionId {
        RevisionId { revision: self.revision, plugin_hash: self.plugin_hash, config_hash: self.config_hash }
    }
}

/// One revision put to work, or suspended, at one offset.
#[derive(Clone)]
pub(crate) struct Activation {
    pub key: DeploymentKey,
    pub generation: u64,
    pub revision: u64,
    pub active_from: Offset,
    pub rows_since: u64,
    pub config: serde_json::Value,
    pub config_hash: [u8; 32],
    pub rule: Arc<dyn RuleSource>,
    pub failed: Option<RevisionId>,
    pub failed_because: Option<Arc<str>>,
    pub suspended: Option<Suspension>,
    pub swap: Option<SwapReport>,
    pub scope: Scope,
    pub trial: Option<TrialPart>,
}

/// Which rows an activation works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowsShape {
    /// The activation with which they began.
    pub since: u64,
    pub state_version: u32,
    pub row_bytes: u32,
}

impl Activation {
    /// `previous` is the activation that a rollback goes back to.
    pub(crate) fn record(&self, previous: Option<&Activation>) -> DeploymentRecord {
        let facts = self.rule.facts();
        DeploymentRecord {
            tenant: self.key.0.to_string(),
            name: self.key.1.to_string(),
            generation: self.generation,
            previous: previous.map(|previous| previous.generation),
            revision: self.revision,
            active_from: self.active_from,
            rows_since: self.rows_since,
            plugin_hash: facts.hash,
            plugin_name: facts.name.clone(),
            plugin_version: facts.version.clone(),
            state_version: facts.state_version,
            row_bytes: facts.row_bytes,
            config: self.config.to_string(),
            config_hash: self.config_hash,
            retired: false,
            failed: self.failed.clone(),
            suspended: self.suspended.clone(),
            scope: self.scope.clone(),
            trial: self.trial.as_ref().map(TrialRecord::of),
        }
    }

    pub(crate) fn rows_shape(&self) -> RowsShape {
        let facts = self.rule.facts();
        RowsShape { since: self.rows_since, state_version: facts.state_version, row_bytes: facts.row_bytes }
    }

    pub(crate) fn id(&self) -> RevisionId {
        let plugin_hash = PluginHash(self.rule.facts().hash);
        RevisionId { revision: self.revision, plugin_hash, config_hash: self.config_hash }
    }

    pub(crate) fn plugin_ref(&self) -> PluginRef {
        let facts = self.rule.facts();
        PluginRef {
            deployment: self.key.1.to_string(),
            name: facts.name.clone(),
            version: facts.version.clone(),
            hash: facts.hash,
        }
    }

    pub(crate) fn trial_generation(&self) -> Option<u64> {
        self.trial.as_ref().map(|trial| trial.activation.generation)
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
            config_hash: self.config_hash,
            active_from: self.active_from,
            failed: self.failed.clone(),
            failed_because: self.failed_because.as_deref().map(str::to_owned),
            suspended: self.suspended.clone(),
            swap: self.swap.clone(),
            scope: self.scope.clone(),
            trial: self.trial.as_ref().map(TrialPart::state),
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

/// A deployment and what a rollback goes back to.
#[derive(Clone)]
pub(crate) struct Running {
    pub current: Activation,
    pub previous: Option<Activation>,
}

impl Running {
    /// What a rollback from `next` goes back to, when `next` follows on what runs.
    pub(crate) fn behind(running: Option<&Self>, next: &Activation) -> Option<Activation> {
        let running = running?;
        if next.suspended.is_some() || running.current.suspended.is_some() || next.id() == running.current.id() {
            // Nothing else decides: it is interrupted, or only for other vehicles, or something is tried beside it.
            running.previous.clone()
        } else if next.failed.is_some() {
            // What the breaker threw out is not what one goes back to.
            None
        } else {
            Some(Activation { trial: None, ..running.current.clone() })
        }
    }
}

/// A stored activation, or the end of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub key: DeploymentKey,
    pub generation: u64,
    pub previous: Option<u64>,
    /// The activations with which its rows began: those of what is live, and of what is tried.
    pub rows_since: Vec<u64>,
    /// Both their plugins.
    pub plugins: Vec<PluginHash>,
    pub retired: bool,
}

impl Stored {
    pub(crate) fn of(key: &DeploymentKey, record: &DeploymentRecord) -> Self {
        Self {
            key: key.clone(),
            generation: record.generation,
            previous: record.previous,
            rows_since: std::iter::once(record.rows_since).chain(record.trial.as_ref().map(|it| it.since)).collect(),
            plugins: [Some(record.plugin_hash), record.trial.as_ref().map(|it| it.plugin_hash)]
                .into_iter()
                .flatten()
                .map(PluginHash)
                .collect(),
            retired: record.retired,
        }
    }
}

/// The generations that a restart needs from a checkpoint that knows changes up to `checkpoint`: what was live there,
/// what came later, and what rollbacks from these go back to.
pub(crate) fn needed(all: &[Stored], checkpoint: u64) -> BTreeSet<u64> {
    let mut live: BTreeMap<&DeploymentKey, &Stored> = BTreeMap::new();
    for stored in all.iter().filter(|stored| stored.generation <= checkpoint) {
        let newest = live.entry(&stored.key).or_insert(stored);
        if newest.generation < stored.generation {
            *newest = stored;
        }
    }
    let live = live.into_values().filter(|stored| !stored.retired);
    let later = all.iter().filter(|stored| stored.generation > checkpoint);
    live.chain(later).flat_map(|stored| [Some(stored.generation), stored.previous]).flatten().collect()
}

impl Deployments {
    pub(crate) fn take_generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation
    }

    /// What is stored and not [`needed`].
    pub(crate) fn outdated(&self, checkpoint: u64) -> Vec<Stored> {
        let needed = needed(&self.stored, checkpoint);
        self.stored.iter().filter(|stored| !needed.contains(&stored.generation)).cloned().collect()
    }

    /// These are stored no longer.
    pub(crate) fn forget(&mut self, outdated: &[Stored]) {
        self.stored.retain(|stored| outdated.iter().all(|gone| gone.generation != stored.generation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str, generation: u64, previous: Option<u64>, retired: bool) -> Stored {
        let key = ("demo".parse().unwrap(), name.parse().unwrap());
        Stored { key, generation, previous, rows_since: vec![1], plugins: vec![PluginHash([0; 32])], retired }
    }

    #[test]
    fn what_a_replay_or_a_rollback_needs_is_kept() {
        let all = vec![
            stored("a", 1, None, false),
            stored("a", 2, Some(1), false),
            stored("a", 3, Some(2), false),
            stored("b", 4, None, false),
            stored("b", 5, None, true),
            stored("a", 6, Some(3), false),
            stored("c", 7, None, false),
            stored("c", 8, None, true),
        ];
        let mut deployments = Deployments { stored: all.clone(), ..Default::default() };
        let outdated = deployments.outdated(5);
        assert_eq!(outdated, [all[0].clone(), all[3].clone(), all[4].clone()]);
        deployments.forget(&outdated);
        assert_eq!(deployments.stored.len(), 5);
    }

    #[test]
    fn what_ran_before_a_suspended_deployment_is_kept() {
        let all = [stored("a", 1, None, false), stored("a", 2, Some(1), false), stored("a", 3, Some(1), false)];
        assert_eq!(needed(&all, 3), BTreeSet::from([1, 3]));
    }
}
