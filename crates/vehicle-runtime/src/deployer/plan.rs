//! What is to be done next so that a deployment runs as it is wanted. Pure.
//!
//! ```text
//!   not there, or another revision, or for other vehicles ──▶ Deploy
//!   there, but suspended because its plugin could not be had ──▶ Resume
//!   a trial that is not wanted ──▶ EndTrial      a trial that is, or in another way ──▶ TryOut
//! ```
//! A revision that failed on live data here is not put to work again, nor tried again.

use crate::deployment::{DeploymentState, RevisionId, SuspensionCause};
use fleet_model::{Scope, TrialMode};
use fleet_wire::control::{DeploymentSpec, TrialSpec};

/// One change of what runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Put it to work, or change what runs to it. What is on trial and is wanted now is promoted by this.
    Deploy { id: RevisionId, scope: Scope },
    /// Take up again what is suspended.
    Resume { id: RevisionId },
    /// Stop trying what is tried.
    EndTrial { id: RevisionId },
    /// Try it beside what runs, or go on in another mode.
    TryOut { id: RevisionId, mode: TrialMode },
}

impl Step {
    /// The revision that it is about.
    pub(super) fn id(&self) -> &RevisionId {
        match self {
            Self::Deploy { id, .. } | Self::Resume { id } | Self::EndTrial { id } | Self::TryOut { id, .. } => id,
        }
    }

    /// Whether it brings something to this node that was not there.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Deploy { .. } | Self::TryOut { .. })
    }
}

/// `None`: it is as it is wanted, or cannot be made so.
pub(super) fn next_step(wanted: &DeploymentSpec, running: Option<&DeploymentState>) -> Option<Step> {
    let id = id_of(wanted)?;
    let scope = wanted.vehicles.clone();
    let Some(running) = running else { return Some(Step::Deploy { id, scope }) };
    let failed = |id: &RevisionId| running.failed.as_ref() == Some(id);
    if running.id() != id && !failed(&id) {
        return Some(Step::Deploy { id, scope });
    }
    if let Some(resume) = resume(running) {
        return Some(resume);
    }
    if running.scope != scope {
        // Of what runs: another revision of it may have failed, and what was stopped is not started by this.
        let decides = running.id() == id && running.suspended.is_none();
        return Some(Step::Deploy { id, scope }).filter(|_| decides);
    }
    let tried = running.trial.as_ref();
    let to_try = wanted.trial.as_ref().filter(|_| running.id() == id && running.suspended.is_none());
    let to_try = to_try.and_then(|trial| Some((id_of_trial(trial)?, trial.mode))).filter(|(id, _)| !failed(id));
    match (tried, to_try) {
        (Some(tried), None) => Some(Step::EndTrial { id: tried.id.clone() }),
        (tried, Some((id, mode))) if tried.is_none_or(|tried| tried.id != id || tried.mode != mode) => {
            Some(Step::TryOut { id, mode })
        }
        _ => None,
    }
}

/// What is worth a retry by itself, whatever is wanted.
pub(super) fn resume(running: &DeploymentState) -> Option<Step> {
    let unavailable =
        running.suspended.as_ref().is_some_and(|suspension| suspension.cause == SuspensionCause::Unavailable);
    unavailable.then(|| Step::Resume { id: running.id() })
}

/// `None` when the cloud cannot give it out, or names no plugin.
pub(super) fn id_of(spec: &DeploymentSpec) -> Option<RevisionId> {
    Some(RevisionId::of(spec.revision, spec.plugin_hash.parse().ok()?, &spec.config))
}

/// `None` when it names no plugin.
pub(super) fn id_of_trial(trial: &TrialSpec) -> Option<RevisionId> {
    Some(RevisionId::of(trial.revision, trial.plugin_hash.parse().ok()?, &trial.config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Suspension;
    use crate::trial::{TrialCounts, TrialState};
    use fleet_model::{Depots, Place, Share};
    use plugin_host::PluginHash;
    use serde_json::json;

    fn hash(byte: u8) -> PluginHash {
        PluginHash([byte; 32])
    }

    fn wanted(revision: u64) -> DeploymentSpec {
        DeploymentSpec {
            tenant: "demo".parse().unwrap(),
            name: "zones".parse().unwrap(),
            revision,
            plugin_hash: hash(1).to_string(),
            plugin_name: "geofence".into(),
            plugin_version: "1.0.0".into(),
            config: json!({}),
            vehicles: Scope::ALL,
            trial: None,
            changes: 0,
            depots: Depots::ALL,
            place: Place::Edge,
        }
    }

    fn trial(revision: u64, mode: TrialMode) -> TrialSpec {
        TrialSpec {
            revision,
            plugin_hash: hash(2).to_string(),
            plugin_name: "geofence".into(),
            plugin_version: "1.1.0".into(),
            config: json!({}),
            mode,
        }
    }

    fn running(spec: &DeploymentSpec) -> DeploymentState {
        let id = id_of(spec).unwrap();
        DeploymentState {
            tenant: spec.tenant.clone(),
            name: spec.name.clone(),
            revision: id.revision,
            plugin_hash: id.plugin_hash,
            plugin_name: spec.plugin_name.clone(),
            plugin_version: spec.plugin_version.clone(),
            config: spec.config.clone(),
            config_hash: id.config_hash,
            active_from: 0,
            failed: None,
            failed_because: None,
            suspended: None,
            swap: None,
            scope: spec.vehicles.clone(),
            trial: spec.trial.as_ref().map(|trial| TrialState {
                id: id_of_trial(trial).unwrap(),
                plugin_name: trial.plugin_name.clone(),
                plugin_version: trial.plugin_version.clone(),
                mode: trial.mode,
                counts: TrialCounts::default(),
            }),
        }
    }

    fn canary() -> TrialMode {
        TrialMode::Canary { share: Share::new(10).unwrap() }
    }

    #[test]
    fn what_runs_as_it_is_wanted_is_left_alone() {
        let tried = DeploymentSpec { trial: Some(trial(2, TrialMode::Shadow)), ..wanted(1) };
        for spec in [wanted(1), tried] {
            assert_eq!(next_step(&spec, Some(&running(&spec))), None);
        }
    }

    #[test]
    fn a_new_revision_and_a_promoted_one_are_deployed() {
        let deploys = |step: Option<Step>, revision| {
            assert!(matches!(&step, Some(Step::Deploy { id, .. }) if id.revision == revision), "{step:?}");
        };
        deploys(next_step(&wanted(1), None), 1);
        deploys(next_step(&wanted(2), Some(&running(&wanted(1)))), 2);
        let tried = DeploymentSpec { trial: Some(trial(2, canary())), ..wanted(1) };
        let promoted = DeploymentSpec { plugin_hash: hash(2).to_string(), ..wanted(2) };
        deploys(next_step(&promoted, Some(&running(&tried))), 2);
        let fewer = DeploymentSpec { vehicles: Scope::only(["BUS-1".parse().unwrap()]), ..wanted(1) };
        deploys(next_step(&fewer, Some(&running(&wanted(1)))), 1);
    }

    #[test]
    fn a_trial_begins_changes_and_ends() {
        let (shadow, canary) = (Some(trial(2, TrialMode::Shadow)), Some(trial(2, canary())));
        let with = |trial: &Option<TrialSpec>| DeploymentSpec { trial: trial.clone(), ..wanted(1) };
        let mode = |step| match step {
            Some(Step::TryOut { id, mode }) if id.revision == 2 => mode,
            other => panic!("{other:?}"),
        };
        assert_eq!(mode(next_step(&with(&shadow), Some(&running(&wanted(1))))), TrialMode::Shadow);
        assert_eq!(mode(next_step(&with(&canary), Some(&running(&with(&shadow))))), canary.as_ref().unwrap().mode);
        let ends = next_step(&wanted(1), Some(&running(&with(&canary))));
        assert!(matches!(&ends, Some(Step::EndTrial { id }) if id.revision == 2), "{ends:?}");
    }

    #[test]
    fn what_failed_here_is_not_put_to_work_again() {
        let taken_back = DeploymentState { failed: id_of(&wanted(2)), ..running(&wanted(1)) };
        assert_eq!(next_step(&wanted(2), Some(&taken_back)), None);
        let tried = DeploymentSpec { trial: Some(trial(2, TrialMode::Shadow)), ..wanted(1) };
        let failed = DeploymentState { failed: id_of_trial(&trial(2, canary())), ..running(&wanted(1)) };
        assert_eq!(next_step(&tried, Some(&failed)), None);
    }

    #[test]
    fn a_suspended_one_is_resumed_when_that_may_help_and_nothing_is_tried_beside_it() {
        let suspended = |cause| DeploymentState {
            suspended: Some(Suspension { cause, reason: "no memory".into() }),
            ..running(&wanted(1))
        };
        let tried = DeploymentSpec { trial: Some(trial(2, TrialMode::Shadow)), ..wanted(1) };
        let resumed = next_step(&tried, Some(&suspended(SuspensionCause::Unavailable)));
        assert!(matches!(resumed, Some(Step::Resume { .. })), "{resumed:?}");
        assert_eq!(next_step(&tried, Some(&suspended(SuspensionCause::Failed))), None);
        let fewer = DeploymentSpec { vehicles: Scope::only([]), ..tried };
        assert_eq!(next_step(&fewer, Some(&suspended(SuspensionCause::Failed))), None);
    }

    #[test]
    fn what_cannot_be_given_out_changes_nothing() {
        let lost = wanted(2).unavailable();
        assert_eq!(next_step(&lost, Some(&running(&wanted(1)))), None);
        assert_eq!(next_step(&lost, None), None);
    }
}
