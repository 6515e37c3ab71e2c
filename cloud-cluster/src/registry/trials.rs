//! Revisions that are tried before they are live: how a trial begins, goes on and ends.
//!
//! ```text
//!   deploy with a plan ──▶ shadow ──promote──▶ canary ──promote──▶ live
//!                             │                   │
//!                             └── rollback, another deployment, a refusal or failure on an edge ──▶ ended
//! ```
//! Either stage may be left out of the plan. A trial goes on when somebody says so, or by itself when its rule holds.

use super::deployments::DeployError;
use super::record::{DeploymentRecord, EndedTrial, TrialPlan, TrialRecord};
use super::{Registry, Revision, StorageError};
use fleet_model::{ActKind, DeploymentName, TenantId, Timestamp, TrialMode, audit};
use fleet_wire::control::TrialFigures;

/// Longest part of a trial, seconds: 30 days.
pub(crate) const STAGE_S_MAX: u64 = 30 * 24 * 3_600;

/// What all edges together say of a trial.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeenTrial {
    /// Edges on which it is tried as it is wanted.
    pub trying: usize,
    /// Edges that are connected and not there yet.
    pub pending: usize,
    /// Why an edge stopped it or would not begin, with the edge's name.
    pub refused: Option<String>,
    /// What it did, on all of them.
    pub figures: TrialFigures,
}

/// What becomes of a trial now.
#[derive(Debug, Clone, PartialEq)]
pub enum NextOfTrial {
    /// Nothing yet, and why not.
    Wait(String),
    /// Its next stage.
    Promote,
    /// It ends, and why.
    End(String),
}

/// Decides from what is seen. Pure.
#[must_use]
pub fn next_of_trial(trial: &TrialRecord, seen: &SeenTrial, now: Timestamp) -> NextOfTrial {
    if let Some(reason) = &seen.refused {
        return NextOfTrial::End(reason.clone());
    }
    let wait = |why: String| NextOfTrial::Wait(why);
    let Some(rule) = trial.plan.promote else { return wait("it goes on when it is promoted".into()) };
    let stage_s = match trial.mode {
        TrialMode::Shadow => trial.plan.shadow_s.unwrap_or_default(),
        TrialMode::Canary { .. } => trial.plan.canary_s,
    };
    let left_s = stage_s as i64 - now.since_ms(trial.since) / 1_000;
    if left_s > 0 {
        return wait(format!("{left_s} s of {stage_s} s are left"));
    }
    if seen.trying == 0 || seen.pending > 0 {
        return wait(format!("{} edges try it, {} are not ready", seen.trying, seen.pending));
    }
    if seen.figures.readings < rule.min_readings {
        return wait(format!("it was shown {} of {} readings", seen.figures.readings, rule.min_readings));
    }
    let differences = differences_percent(&seen.figures);
    if trial.mode == TrialMode::Shadow && differences > rule.max_differences_percent {
        return wait(format!(
            "{differences:.2} % of its proposals differ from the live ones, and {} % may: promote it if that is what you \
             want, or roll back",
            rule.max_differences_percent
        ));
    }
    NextOfTrial::Promote
}

/// How much of what either rule proposed the other did not, or not so; 0 without proposals.
#[must_use]
pub fn differences_percent(figures: &TrialFigures) -> f64 {
    let different = figures.changed + figures.added + figures.removed;
    let all = different + figures.same;
    if all == 0 { 0.0 } else { different as f64 * 100.0 / all as f64 }
}

impl TrialPlan {
    /// How it begins; `None` when it asks for nothing.
    #[must_use]
    pub fn first(&self) -> Option<TrialMode> {
        match (self.shadow_s, self.canary) {
            (Some(_), _) => Some(TrialMode::Shadow),
            (None, Some(share)) => Some(TrialMode::Canary { share }),
            (None, None) => None,
        }
    }

    /// What comes after; `None`: it is live.
    fn after(&self, mode: TrialMode) -> Option<TrialMode> {
        match mode {
            TrialMode::Shadow => self.canary.map(|share| TrialMode::Canary { share }),
            TrialMode::Canary { .. } => None,
        }
    }
}

impl DeploymentRecord {
    /// The same with `revision` on trial. The caller numbers it.
    pub(super) fn trying(self, revision: Revision, plan: TrialPlan, mode: TrialMode, now: Timestamp) -> Self {
        let last_revision = revision.revision;
        Self { trial: Some(TrialRecord { revision, plan, mode, since: now }), last_revision, ..self }
    }

    /// The same with its trial one stage on; as it is without one.
    fn promoted(mut self, now: Timestamp) -> Self {
        let Some(trial) = self.trial.take() else { return self };
        match trial.plan.after(trial.mode) {
            Some(mode) => self.trial = Some(TrialRecord { mode, since: now, ..trial }),
            None => return self.followed_by(Revision { changed_time: now, ..trial.revision }),
        }
        self
    }

    /// The same without its trial.
    pub(super) fn without_trial(mut self, reason: &str, now: Timestamp) -> Self {
        if let Some(trial) = self.trial.take() {
            let revision = trial.revision.revision;
            self.ended_trial = Some(EndedTrial { revision, reason: reason.to_owned(), time: now });
        }
        self
    }
}

impl Registry {
    /// Has the trial go on: as a canary where its plan has one and it is in the shadow, else live. `by` is the name of the
    /// caller's key.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn promote(
        &self,
        tenant: TenantId,
        name: DeploymentName,
        by: String,
    ) -> Result<DeploymentRecord, DeployError> {
        let registry = self.clone();
        let promote = tokio::spawn(async move {
            let promoted = registry.go_on(&tenant, &name, None, &by).await;
            if let Err(error) = &promoted {
                registry.change_refused(&tenant, &name, ("promotion", error), &by).await;
            }
            promoted
        });
        promote.await.map_err(StorageError::from)?
    }

    /// `as_seen`: only when it is still this stage of this revision.
    async fn go_on(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        as_seen: Option<&TrialRecord>,
        by: &str,
    ) -> Result<DeploymentRecord, DeployError> {
        let _one = self.0.changing.lock().await;
        let known = self.tried(tenant, name, as_seen)?;
        let now = (self.0.clock)();
        self.put(known.promoted(now), ActKind::DeploymentPromoted, by).await
    }

    async fn end_trial(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        (as_seen, reason): (&TrialRecord, &str),
    ) -> Result<DeploymentRecord, DeployError> {
        let _one = self.0.changing.lock().await;
        let known = self.tried(tenant, name, Some(as_seen))?;
        let now = (self.0.clock)();
        self.put(known.without_trial(reason, now), ActKind::TrialEnded, audit::DROVER).await
    }

    fn tried(
        &self,
        tenant: &TenantId,
        name: &DeploymentName,
        as_seen: Option<&TrialRecord>,
    ) -> Result<DeploymentRecord, DeployError> {
        let known = self.deployment(tenant, name).ok_or_else(|| DeployError::UnknownDeployment(name.clone()))?;
        let tried = known.trial.as_ref().filter(|trial| as_seen.is_none_or(|seen| *trial == seen));
        if tried.is_none() {
            return Err(DeployError::NothingTried(name.clone()));
        }
        Ok(known)
    }

    /// Has all trials go on or end whose time it is, by what is `seen` of them.
    pub async fn follow_trials(&self, seen: impl Fn(&DeploymentRecord, &TrialRecord) -> SeenTrial) {
        let records: Vec<_> = self.0.known.read().deployments.values().cloned().collect();
        for record in records {
            let Some(trial) = &record.trial else { continue };
            let (tenant, name, revision) = (&record.tenant, &record.name, trial.revision.revision);
            let followed = match next_of_trial(trial, &seen(&record, trial), (self.0.clock)()) {
                NextOfTrial::Wait(_) => continue,
                NextOfTrial::Promote => {
                    tracing::info!(%tenant, deployment = %name, revision, "a trial goes on: its rule holds");
                    self.go_on(tenant, name, Some(trial), audit::DROVER).await
                }
                NextOfTrial::End(reason) => {
                    tracing::warn!(%tenant, deployment = %name, revision, reason, "a trial ends");
                    self.end_trial(tenant, name, (trial, &reason)).await
                }
            };
            match followed {
                Ok(_) | Err(DeployError::NothingTried(_)) => {}
                Err(error) => {
                    tracing::error!(%tenant, deployment = %name, %error, "a trial could not go on; trying again")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Target;
    use crate::registry::record::PromotionRule;
    use fleet_model::{Depots, Place, Share};
    use plugin_host::PluginHash;

    fn revision(revision: u64) -> Revision {
        Revision {
            revision,
            plugin: PluginHash([1; 32]),
            plugin_name: "geofence".into(),
            plugin_version: "1.0.0".into(),
            config: PluginHash([2; 32]),
            changed_time: Timestamp(0),
            depots: Depots::ALL,
            target: Target::ALL,
        }
    }

    fn live() -> DeploymentRecord {
        DeploymentRecord {
            record_version: 1,
            tenant: "demo".parse().unwrap(),
            name: "zones".parse().unwrap(),
            place: Place::Edge,
            current: revision(1),
            history: Vec::new(),
            trial: None,
            ended_trial: None,
            last_revision: 1,
            changes: 1,
        }
    }

    fn plan() -> TrialPlan {
        TrialPlan {
            shadow_s: Some(600),
            canary: Some(Share::new(10).unwrap()),
            canary_s: 60,
            promote: Some(PromotionRule { max_differences_percent: 1.0, min_readings: 100 }),
        }
    }

    fn seen(readings: u64, same: u64, added: u64) -> SeenTrial {
        let figures = TrialFigures { readings, same, added, ..TrialFigures::default() };
        SeenTrial { trying: 2, pending: 0, refused: None, figures }
    }

    fn tried(plan: TrialPlan) -> DeploymentRecord {
        let mode = plan.first().unwrap();
        live().trying(revision(2), plan, mode, Timestamp(0))
    }

    #[test]
    fn a_trial_goes_from_the_shadow_over_a_canary_to_live() {
        let shadow = tried(plan());
        assert_eq!(shadow.trial.as_ref().unwrap().mode, TrialMode::Shadow);
        let canary = shadow.promoted(Timestamp(600_000));
        let trial = canary.trial.as_ref().unwrap();
        assert!(matches!(trial.mode, TrialMode::Canary { .. }) && trial.since == Timestamp(600_000));
        assert_eq!(canary.current.revision, 1);
        let live = canary.promoted(Timestamp(700_000));
        assert_eq!((live.current.revision, live.history.len(), &live.trial), (2, 1, &None));
    }

    #[test]
    fn it_waits_for_its_time_its_edges_its_readings_and_likeness() {
        let trial = tried(plan()).trial.unwrap();
        let (early, over) = (Timestamp(599_000), Timestamp(600_000));
        for (seen, now, words) in [
            (seen(100, 100, 0), early, "1 s of 600 s"),
            (SeenTrial { trying: 0, ..seen(100, 100, 0) }, over, "0 edges try it"),
            (SeenTrial { pending: 1, ..seen(100, 100, 0) }, over, "1 are not ready"),
            (seen(99, 100, 0), over, "99 of 100 readings"),
            (seen(100, 98, 2), over, "2.00 %"),
        ] {
            let next = next_of_trial(&trial, &seen, now);
            assert!(matches!(&next, NextOfTrial::Wait(why) if why.contains(words)), "{words}: {next:?}");
        }
        assert_eq!(next_of_trial(&trial, &seen(100, 99, 1), over), NextOfTrial::Promote);
        assert_eq!(next_of_trial(&trial, &seen(100, 0, 0), over), NextOfTrial::Promote, "nothing proposed is alike");
    }

    #[test]
    fn without_a_rule_nothing_goes_on_by_itself_and_a_failure_ends_it_at_once() {
        let by_hand = tried(TrialPlan { promote: None, ..plan() }).trial.unwrap();
        let later = Timestamp(i64::from(u32::MAX));
        assert!(matches!(next_of_trial(&by_hand, &seen(1_000, 1_000, 0), later), NextOfTrial::Wait(_)));
        let failed = SeenTrial { refused: Some("depot-1: it trapped".into()), ..SeenTrial::default() };
        assert_eq!(next_of_trial(&by_hand, &failed, Timestamp(0)), NextOfTrial::End("depot-1: it trapped".into()));
        let ended = tried(plan()).without_trial("it trapped", Timestamp(5));
        assert_eq!((ended.trial, ended.ended_trial.unwrap().revision, ended.last_revision), (None, 2, 2));
    }
}
