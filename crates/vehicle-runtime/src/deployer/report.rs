//! What is told of a deployment.

use super::Tried;
use super::plan::{Step, id_of, id_of_trial};
use crate::deployment::{DeploymentState, RevisionId, SuspensionCause, SwapReport};
use crate::trial::TrialState;
use fleet_wire::control::{
    DeploymentPhase, DeploymentSpec, DeploymentStatus, SwapFigures, TrialFigures, TrialSpec, TrialStatus,
};

/// How what is wanted stands.
pub(super) fn status(
    spec: &DeploymentSpec,
    running: Option<&DeploymentState>,
    tried: Option<&Tried>,
) -> DeploymentStatus {
    match (running, id_of(spec)) {
        (Some(running), Some(id)) if running.id() == id => {
            let mut status = of_running(running);
            if let Some(Tried { step: Step::Deploy { .. }, error, again }) = tried {
                // The same for other vehicles.
                status.state = if *again { DeploymentPhase::Loading } else { DeploymentPhase::Refused };
                status.error = Some(error.clone());
            }
            if let Some(trial) = &spec.trial {
                status.trial = Some(trial_status(trial, running, tried));
            }
            status
        }
        (running, id) => not_running(spec, id, running, tried),
    }
}

fn trial_status(spec: &TrialSpec, running: &DeploymentState, tried: Option<&Tried>) -> TrialStatus {
    let id = id_of_trial(spec);
    let on_trial = running.trial.as_ref().filter(|trial| Some(&trial.id) == id.as_ref());
    let tried = tried.filter(|tried| matches!(tried.step, Step::TryOut { .. }));
    let (state, error) = match on_trial {
        Some(trial) if trial.mode == spec.mode => (DeploymentPhase::Active, None),
        _ if id.is_none() => (DeploymentPhase::Refused, Some(format!("{:?} is no plugin hash", spec.plugin_hash))),
        _ if running.failed == id => {
            let why = running.failed_because.as_deref().unwrap_or("it kept failing on live data");
            (DeploymentPhase::Refused, Some(format!("{why}; its trial ended here, and the live version decides")))
        }
        _ => phase_of(tried),
    };
    let figures = on_trial.map(|trial| of_trial(trial).figures).unwrap_or_default();
    TrialStatus { revision: spec.revision, mode: spec.mode, state, error, figures }
}

fn of_trial(trial: &TrialState) -> TrialStatus {
    let counts = trial.counts.clone();
    TrialStatus {
        revision: trial.id.revision,
        mode: trial.mode,
        state: DeploymentPhase::Active,
        error: None,
        figures: TrialFigures {
            readings: counts.readings,
            failures: counts.failures,
            events: counts.events,
            same: counts.same,
            changed: counts.changed,
            added: counts.added,
            removed: counts.removed,
            differences: counts.differences,
        },
    }
}

/// Of what was not done yet, or could not be.
fn phase_of(tried: Option<&Tried>) -> (DeploymentPhase, Option<String>) {
    let refused = tried.is_some_and(|tried| !tried.again);
    let phase = if refused { DeploymentPhase::Refused } else { DeploymentPhase::Loading };
    (phase, tried.map(|tried| tried.error.clone()))
}

pub(super) fn of_running(state: &DeploymentState) -> DeploymentStatus {
    let (phase, error) = match &state.suspended {
        None => {
            let taken_back = || match &state.failed_because {
                Some(why) => format!("a newer revision was taken back: {why}"),
                None => "a newer revision failed on live data and was taken back".to_owned(),
            };
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
        vehicles: state.scope.vehicles().map(|named| named.len() as u64),
        swap: state.swap.as_ref().map(swap_figures),
        trial: state.trial.as_ref().map(of_trial),
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
        let why = running.and_then(|state| state.failed_because.as_deref()).unwrap_or("it failed on live data");
        (DeploymentPhase::Refused, Some(format!("{why}; the version before runs again")))
    } else if !spec.is_available() {
        let error = "the cloud cannot give it out: it lost the component or its config; what ran before runs on";
        (DeploymentPhase::Loading, Some(error.to_owned()))
    } else if id.is_none() {
        (DeploymentPhase::Refused, Some(format!("{:?} is no plugin hash", spec.plugin_hash)))
    } else {
        phase_of(tried)
    };
    DeploymentStatus {
        tenant: spec.tenant.clone(),
        name: spec.name.clone(),
        revision: spec.revision,
        state: phase,
        error,
        plugin_name: spec.plugin_name.clone(),
        plugin_version: spec.plugin_version.clone(),
        vehicles: spec.vehicles.vehicles().map(|named| named.len() as u64),
        swap: None,
        trial: None,
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
