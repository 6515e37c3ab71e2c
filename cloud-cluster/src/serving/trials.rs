//! Trials of deployments, as they are asked for and answered.

use super::App;
use super::deployments::DeployedPlugin;
use super::problem::Problem;
use crate::registry::{
    DeploymentRecord, EndedTrial, NextOfTrial, PromotionRule, STAGE_S_MAX, SeenTrial, TrialPlan, TrialRecord,
    differences_percent, next_of_trial,
};
use crate::serving::status::{Edges, KnownEdge};
use fleet_model::{Share, TrialMode};
use fleet_wire::control::{DeploymentPhase, TrialStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Differences that are shown.
const DIFFERENCES_SHOWN_MAX: usize = 20;

/// How a revision is tried before it is live: at least one of `shadow_s` and `canary_percent`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialRequest {
    /// In the shadow for so long, seconds: it sees what the live rule sees, what it proposes is compared, and nothing of it
    /// becomes an event.
    #[serde(default)]
    shadow_s: Option<u64>,
    /// Then it decides for this share of the vehicles, 1 to 100.
    #[serde(default)]
    canary_percent: Option<u8>,
    /// For so long, seconds.
    #[serde(default)]
    canary_s: u64,
    /// It goes on by itself when a stage's time is over and this holds. Without it, when you say so.
    #[serde(default)]
    promote: Option<PromotionRequest>,
}

/// When a trial goes on by itself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromotionRequest {
    /// Of all that was proposed in the shadow, so many percent may differ, 0 to 100.
    max_differences_percent: f64,
    /// So many readings it must have been shown.
    #[serde(default = "some_readings")]
    min_readings: u64,
}

fn some_readings() -> u64 {
    1
}

impl TrialRequest {
    pub(crate) fn plan(self) -> Result<TrialPlan, Problem> {
        let wrong = |what: String| Problem::malformed_request(what);
        let canary = self.canary_percent.map(Share::new).transpose();
        let canary = canary.map_err(|error| wrong(format!("trial.canary_percent: {error}")))?;
        if self.shadow_s.is_none() && canary.is_none() {
            return Err(wrong("trial: give shadow_s, canary_percent, or both".into()));
        }
        if self.shadow_s.unwrap_or_default().max(self.canary_s) > STAGE_S_MAX {
            return Err(wrong(format!("trial: a stage may last {STAGE_S_MAX} s")));
        }
        let promote = self.promote.map(|rule| {
            let PromotionRequest { max_differences_percent, min_readings } = rule;
            if !(0.0..=100.0).contains(&max_differences_percent) {
                return Err(wrong("trial.promote.max_differences_percent: 0 to 100".into()));
            }
            Ok(PromotionRule { max_differences_percent, min_readings })
        });
        Ok(TrialPlan { shadow_s: self.shadow_s, canary, canary_s: self.canary_s, promote: promote.transpose()? })
    }
}

/// A revision on trial beside the live one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trial {
    revision: u64,
    plugin: DeployedPlugin,
    /// `shadow` or `canary`.
    stage: &'static str,
    /// Of the vehicles; null in the shadow.
    #[schema(required)]
    canary_percent: Option<u8>,
    /// Since when it is tried in this way.
    #[schema(format = DateTime)]
    since: String,
    /// Why it does not go on yet.
    #[schema(required)]
    waiting_for: Option<String>,
    /// What it did on all edges together, since it began or they did.
    figures: TrialFigures,
    /// How it fares on each edge that said something about it.
    edges: Vec<EdgeTrial>,
}

/// What a trial did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialFigures {
    /// Readings that it was shown.
    readings: u64,
    /// Batches on which it failed.
    failures: u64,
    /// As a canary: events that it decided.
    events: u64,
    /// In the shadow: proposals that the live rule made as well.
    same: u64,
    /// The same event with another time, figure or details.
    changed: u64,
    /// Proposals that only it made.
    added: u64,
    /// Events that only the live rule made.
    removed: u64,
    /// Of all proposals: those that differ.
    differences_percent: f64,
    /// The newest differences in words.
    differences: Vec<String>,
}

/// A trial on an edge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeTrial {
    edge: String,
    /// `pending`, `loading`, `active` or `refused`.
    state: &'static str,
    /// Why it was refused.
    #[schema(required)]
    error: Option<String>,
}

/// A trial that did not become live.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialThatEnded {
    revision: u64,
    reason: String,
    #[schema(format = DateTime)]
    time: String,
}

impl From<&EndedTrial> for TrialThatEnded {
    fn from(ended: &EndedTrial) -> Self {
        Self { revision: ended.revision, reason: ended.reason.clone(), time: ended.time.to_rfc3339() }
    }
}

/// What those who shall run its deployment said of this stage of this trial.
fn told(edges: &dyn Edges, record: &DeploymentRecord, trial: &TrialRecord) -> Vec<(KnownEdge, Option<TrialStatus>)> {
    let of_edge = |edge: KnownEdge| {
        let said = edge.said(record).and_then(|said| said.trial.clone());
        let said = said.filter(|said| said.revision == trial.revision.revision && said.mode == trial.mode);
        (edge, said)
    };
    edges.of(record).into_iter().map(of_edge).collect()
}

/// What all edges together say of a trial.
pub(crate) fn seen(edges: &dyn Edges, record: &DeploymentRecord, trial: &TrialRecord) -> SeenTrial {
    let mut seen = SeenTrial::default();
    for (edge, said) in told(edges, record, trial) {
        let Some(said) = said else {
            seen.pending += usize::from(edge.connected);
            continue;
        };
        match said.state {
            DeploymentPhase::Active => seen.trying += 1,
            DeploymentPhase::Refused => {
                let why = said.error.as_deref().unwrap_or("it does not say why");
                seen.refused.get_or_insert_with(|| format!("{}: {why}", edge.edge));
            }
            DeploymentPhase::Loading | DeploymentPhase::Unknown => seen.pending += usize::from(edge.connected),
        }
        let (all, its) = (&mut seen.figures, said.figures);
        for (sum, its) in [
            (&mut all.readings, its.readings),
            (&mut all.failures, its.failures),
            (&mut all.events, its.events),
            (&mut all.same, its.same),
            (&mut all.changed, its.changed),
            (&mut all.added, its.added),
            (&mut all.removed, its.removed),
        ] {
            *sum += its;
        }
        all.differences.extend(its.differences);
    }
    seen
}

/// A stage as the API writes it.
pub(crate) fn stage(mode: TrialMode) -> &'static str {
    match mode {
        TrialMode::Shadow => "shadow",
        TrialMode::Canary { .. } => "canary",
    }
}

impl Trial {
    pub(crate) fn of(app: &App, record: &DeploymentRecord) -> Option<Self> {
        let trial = record.trial.as_ref()?;
        let seen = seen(&*app.edges, record, trial);
        let waiting_for = match next_of_trial(trial, &seen, (app.clock)()) {
            NextOfTrial::Wait(why) => Some(why),
            NextOfTrial::Promote | NextOfTrial::End(_) => None,
        };
        let canary_percent = match trial.mode {
            TrialMode::Shadow => None,
            TrialMode::Canary { share } => Some(share.percent()),
        };
        let edges = told(&*app.edges, record, trial).into_iter().map(|(edge, said)| EdgeTrial {
            edge: edge.edge,
            state: said.as_ref().map_or("pending", |said| super::deployments::phase(said.state)),
            error: said.and_then(|said| said.error),
        });
        let figures = seen.figures;
        Some(Self {
            revision: trial.revision.revision,
            plugin: (&trial.revision).into(),
            stage: stage(trial.mode),
            canary_percent,
            since: trial.since.to_rfc3339(),
            waiting_for,
            edges: edges.collect(),
            figures: TrialFigures {
                differences_percent: differences_percent(&figures),
                readings: figures.readings,
                failures: figures.failures,
                events: figures.events,
                same: figures.same,
                changed: figures.changed,
                added: figures.added,
                removed: figures.removed,
                differences: figures.differences.into_iter().take(DIFFERENCES_SHOWN_MAX).collect(),
            },
        })
    }
}
