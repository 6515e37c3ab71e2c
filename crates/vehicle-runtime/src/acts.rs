//! What changes of deployments are as acts. The records are committed with the changes, where these are stored.

use crate::audit::AuditTrail;
use crate::deployment::{Activation, RevisionId, Running, SuspensionCause};
use crate::error::DeployError;
use crate::keys::{self, DeploymentKey};
use crate::record_format::{self, RefusedRecord, encode};
use crate::runtime::{Core, Runtime};
use crate::trial::TrialPart;
use event_log::{Commit, Snapshot};
use fleet_model::audit::{Act, ActKind};
use fleet_model::{DeploymentName, TenantId, TrialMode};
use serde_json::json;

/// An act of this node about an activation.
pub(crate) fn about(audit: &AuditTrail, kind: ActKind, activation: &Activation) -> Act {
    let id = activation.id();
    let act = audit.act(kind).of(&activation.key.0).about(activation.key.1.as_str()).revision(id.revision);
    let (plugin, version) = activation.title();
    let details = json!({"plugin": plugin, "version": version, "offset": activation.active_from});
    act.plugin(id.plugin_hash.0).config(id.config_hash).details(&details.to_string())
}

/// What it is that `next` follows on what runs: it is activated, resumed or suspended, perhaps since the breaker opened,
/// or a trial begins or ends beside it.
pub(crate) fn of_change(audit: &AuditTrail, next: &Activation, running: Option<&Running>) -> Vec<Act> {
    let current = running.map(|running| &running.current);
    let mut acts = Vec::new();
    if let Some(stopped) = current.and_then(|current| stopped(audit, next, current)) {
        acts.push(stopped);
    }
    let of_trial = of_trial(audit, next, current);
    let goes_on = current.is_some_and(|current| {
        next.id() == current.id() && next.scope == current.scope && next.suspended == current.suspended
    });
    if !(goes_on && of_trial.is_some()) {
        acts.push(of_live(audit, next, current));
    }
    acts.extend(of_trial);
    acts
}

fn of_live(audit: &AuditTrail, next: &Activation, current: Option<&Activation>) -> Act {
    let was_suspended = current.is_some_and(|current| current.suspended.is_some());
    let kind = match &next.suspended {
        Some(_) => ActKind::DeploymentSuspended,
        None if was_suspended && current.is_some_and(|current| current.id() == next.id()) => ActKind::DeploymentResumed,
        None => ActKind::DeploymentActivated,
    };
    let act = about(audit, kind, next);
    match (&next.suspended, current) {
        (Some(suspension), _) => act.because(&suspension.reason),
        (None, Some(current)) => {
            let ((plugin, version), from) = (next.title(), current.id());
            let details = json!({
                "plugin": plugin,
                "version": version,
                "offset": next.active_from,
                "from": {
                    "plugin": current.title().0,
                    "version": current.title().1,
                    "revision": from.revision,
                    "plugin_hash": from.plugin_hash.to_string(),
                },
            });
            act.details(&details.to_string())
        }
        (None, None) => act,
    }
}

/// The breaker opened: on what was live, or on what was on trial.
fn stopped(audit: &AuditTrail, next: &Activation, current: &Activation) -> Option<Act> {
    let failed_anew = next.failed.is_some() && next.failed != current.failed;
    let why = next.failed_because.as_deref().unwrap_or("it kept failing on live data");
    let (failed, reason) = match (&next.suspended, &current.trial) {
        (Some(suspension), _) if suspension.cause == SuspensionCause::Failed && current.suspended.is_none() => {
            (current, suspension.reason.clone())
        }
        (None, Some(trial)) if failed_anew && next.failed == Some(trial.activation.id()) => {
            (&*trial.activation, format!("{why}: its trial ends"))
        }
        (None, _) if failed_anew => {
            let back_to = format!("revision {}, {}", next.revision, next.title().1);
            (current, format!("{why}: back to {back_to}"))
        }
        _ => return None,
    };
    Some(about(audit, ActKind::BreakerOpened, failed).because(&reason))
}

fn of_trial(audit: &AuditTrail, next: &Activation, current: Option<&Activation>) -> Option<Act> {
    let before = current.and_then(|current| current.trial.as_ref());
    let now = next.trial.as_ref();
    let tried = |trial: &TrialPart| (trial.activation.id(), trial.mode);
    if before.map(tried) == now.map(tried) {
        return None;
    }
    let (kind, trial) = match (now, before) {
        (Some(trial), _) => (ActKind::TrialStarted, trial),
        (None, Some(trial)) => (ActKind::TrialEnded, trial),
        (None, None) => return None,
    };
    let (plugin, version) = trial.activation.title();
    let (mode, canary_percent) = match trial.mode {
        TrialMode::Shadow => ("shadow", None),
        TrialMode::Canary { share } => ("canary", Some(share.percent())),
    };
    let promoted = now.is_none() && trial.activation.id() == next.id();
    let details = json!({
        "plugin": plugin,
        "version": version,
        "offset": next.active_from,
        "mode": mode,
        "canary_percent": canary_percent,
        "promoted": promoted,
    });
    Some(about(audit, kind, &trial.activation).details(&details.to_string()))
}

impl Runtime {
    /// The trail of this node's acts.
    #[must_use]
    pub fn audit(&self) -> &AuditTrail {
        &self.core.audit
    }

    /// Records that this node refused a revision, once: not again when it is tried again after a restart.
    ///
    /// # Errors
    /// When it could not be recorded. Worth a retry.
    pub async fn record_refusal(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        id: &RevisionId,
        reason: &str,
    ) -> Result<(), DeployError> {
        let core = &self.core;
        let key = (tenant.clone(), name.clone());
        let _one = core.deploying.lock().await;
        let snapshot_key = keys::refused(&key);
        let record = RefusedRecord { id: id.clone() };
        if core.refused_last(&key) == Some(record.clone()) {
            return Ok(());
        }
        let act = core.audit.act(ActKind::DeploymentRefused).of(tenant).about(name.as_str()).revision(id.revision);
        let act = act.plugin(id.plugin_hash.0).config(id.config_hash).refused(reason);
        let snapshots = vec![Snapshot { key: snapshot_key, value: Some(encode(&record)) }];
        core.audit.commit(Commit { snapshots, ..Commit::default() }, vec![act]).await?;
        Ok(())
    }
}

impl Core {
    /// What was refused last. What cannot be read is not known: the refusal is recorded again.
    fn refused_last(&self, key: &DeploymentKey) -> Option<RefusedRecord> {
        let value = self.logs.events.snapshot(&keys::refused(key)).ok().flatten()?;
        record_format::decode(&value).ok()
    }
}
