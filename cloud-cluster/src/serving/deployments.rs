//! `/v1/deployments`: which component runs, with which config.

use super::App;
use super::auth::Caller;
use super::problem::{PlaceInError, Problem};
use super::status::KnownEdge;
use super::trials::{Trial, TrialRequest, TrialThatEnded};
use crate::metrics;
use crate::registry::{DeployError, DeploymentRecord, Revision, Wanted};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use fleet_model::{DeploymentName, Depots, InvalidId, Place};
use fleet_wire::control::DeploymentPhase;
use http::StatusCode;
use opentelemetry::KeyValue;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use utoipa::ToSchema;

/// Largest request: zones with 100,000 corners are 4 MB of GeoJSON.
pub(crate) const REQUEST_LEN_MAX: usize = plugin_host::CONFIG_BYTES_MAX + 4_096;

/// What shall run.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeploymentRequest {
    /// `name@version`, or the hash of a component.
    #[schema(example = "geofence@1.0.0")]
    plugin: String,
    /// For the component; it must fit the component's schema. Absent: `{}`.
    #[serde(default = "empty")]
    #[schema(value_type = Object)]
    config: serde_json::Value,
    /// `edge` or `cloud`. Absent: as it is, at first `edge`. It stays where it is: vehicles have their state there.
    #[serde(default, rename = "where")]
    #[schema(value_type = Option<String>, example = "edge")]
    place: Option<Place>,
    /// In which depots, by their edges' names; `["*"]`: in all. Absent: as it is, at first in all.
    #[serde(default)]
    depots: Option<Vec<String>>,
    /// For which vehicles; `["*"]`: for all. Absent without `tags`: as it is, at first for all.
    #[serde(default)]
    vehicles: Option<Vec<String>>,
    /// For the vehicles that have one of these tags, as they have them at any time, beside those in `vehicles`: both
    /// together. `vehicles` and `tags` replace what was before when either is there.
    #[serde(default)]
    #[schema(max_items = 16, example = json!(["night-bus"]))]
    tags: Option<Vec<String>>,
    /// Absent: it is live at once.
    #[serde(default)]
    trial: Option<TrialRequest>,
}

/// In a list: all that there are.
pub(super) const ALL: &str = "*";

impl DeploymentRequest {
    fn wanted(self) -> Result<Wanted, Problem> {
        let depots = self.depots.map(|names| match &*names {
            [all] if all == ALL => Ok(Depots::ALL),
            some => parsed("depots", some).map(Depots::only),
        });
        Ok(Wanted {
            plugin: self.plugin,
            config: self.config,
            place: self.place,
            depots: depots.transpose()?,
            target: super::target::target(self.vehicles, self.tags)?,
            trial: self.trial.map(TrialRequest::plan).transpose()?,
        })
    }
}

pub(super) fn parsed<T: FromStr<Err = InvalidId>>(field: &str, names: &[String]) -> Result<Vec<T>, Problem> {
    let wrong = |error: InvalidId| Problem::malformed_request(format!("{field}: {error}"));
    if names.is_empty() {
        return Err(Problem::malformed_request(format!("{field}: name at least one, or \"*\" for all")));
    }
    names.iter().map(|name| name.parse().map_err(wrong)).collect()
}

fn empty() -> serde_json::Value {
    serde_json::json!({})
}

/// A deployment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deployment {
    name: String,
    /// Counts changes, from 1.
    revision: u64,
    plugin: DeployedPlugin,
    #[schema(format = DateTime)]
    changed_time: String,
    /// `edge` or `cloud`.
    #[serde(rename = "where")]
    #[schema(example = "edge")]
    place: &'static str,
    /// In which depots; null: in all.
    #[schema(required)]
    depots: Option<Vec<String>>,
    /// For which vehicles by their names; null: for all.
    #[schema(required)]
    vehicles: Option<Vec<String>>,
    /// And for those that have one of these tags.
    tags: Vec<String>,
    /// How many have one now, those not heard of yet among them.
    tagged_vehicles: usize,
    /// How it fares on each edge that shall run it, or in the cloud, which is called `cloud` here.
    edges: Vec<EdgeDeployment>,
    /// What is tried beside it.
    #[schema(required)]
    trial: Option<Trial>,
    /// The last trial that did not become live.
    #[schema(required)]
    ended_trial: Option<TrialThatEnded>,
}

/// Which component.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeployedPlugin {
    hash: String,
    name: String,
    version: String,
}

/// How a deployment fares on an edge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeDeployment {
    edge: String,
    /// `pending` (the edge has not taken it up yet), `loading`, `active`, or `refused`: what ran before still runs.
    #[schema(example = "active")]
    state: &'static str,
    /// Why it was refused.
    #[schema(required)]
    error: Option<String>,
}

/// A deployment with its config and what it was before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentWithHistory {
    #[serde(flatten)]
    deployment: Deployment,
    #[schema(value_type = Object)]
    config: serde_json::Value,
    /// Revisions before this one, oldest first.
    history: Vec<PastRevision>,
}

/// A revision that was replaced.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PastRevision {
    revision: u64,
    plugin: DeployedPlugin,
    #[schema(format = DateTime)]
    changed_time: String,
}

/// All your deployments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deployments {
    deployments: Vec<Deployment>,
}

impl From<&Revision> for DeployedPlugin {
    fn from(revision: &Revision) -> Self {
        Self {
            hash: revision.plugin.to_string(),
            name: revision.plugin_name.clone(),
            version: revision.plugin_version.clone(),
        }
    }
}

impl From<&Revision> for PastRevision {
    fn from(revision: &Revision) -> Self {
        Self { revision: revision.revision, plugin: revision.into(), changed_time: revision.changed_time.to_rfc3339() }
    }
}

impl Deployment {
    fn of(app: &App, record: &DeploymentRecord) -> Self {
        let target = &record.current.target;
        Self {
            name: record.name.to_string(),
            revision: record.current.revision,
            plugin: (&record.current).into(),
            changed_time: record.current.changed_time.to_rfc3339(),
            place: record.place.as_str(),
            depots: record.current.depots.named().map(|some| some.iter().map(ToString::to_string).collect()),
            vehicles: target.vehicles.vehicles().map(|some| some.iter().map(ToString::to_string).collect()),
            tags: target.tags.names(),
            tagged_vehicles: app.registry.vehicle_tags(&record.tenant).with_any_of(&target.tags).count(),
            edges: edges(app, record),
            trial: Trial::of(app, record),
            ended_trial: record.ended_trial.as_ref().map(TrialThatEnded::from),
        }
    }
}

fn edges(app: &App, record: &DeploymentRecord) -> Vec<EdgeDeployment> {
    let of_edge = |edge: KnownEdge| {
        let (state, error) = match edge.said(record) {
            Some(said) if said.revision == record.current.revision => (phase(said.state), said.error.clone()),
            _ => ("pending", None),
        };
        EdgeDeployment { edge: edge.edge, state, error }
    };
    app.edges.of(record).into_iter().map(of_edge).collect()
}

/// A phase as the API writes it.
pub(crate) fn phase(phase: DeploymentPhase) -> &'static str {
    match phase {
        DeploymentPhase::Loading => "loading",
        DeploymentPhase::Active => "active",
        DeploymentPhase::Refused => "refused",
        DeploymentPhase::Unknown => "unknown",
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        let detail = error.to_string();
        let at = |pointer: &str, detail: String| PlaceInError { pointer: pointer.into(), detail };
        match error {
            DeployError::UnknownPlugin(_) => {
                Problem::unknown_plugin(detail.clone()).with_errors(vec![at("/plugin", detail)])
            }
            DeployError::Schema { problems, .. } => {
                let places = problems.into_iter();
                let places =
                    places.map(|problem| at(&format!("/config{}", problem.pointer), problem.message)).collect();
                Problem::config_refused(detail).with_errors(places)
            }
            DeployError::Config { what, .. } => Problem::config_refused(detail).with_errors(vec![at("/config", what)]),
            DeployError::Rows { .. } => {
                Problem::plugin_refused(detail.clone()).with_errors(vec![at("/plugin", detail)])
            }
            DeployError::UnknownDeployment(_) => Problem::unknown_deployment(detail),
            DeployError::NothingBefore(_)
            | DeployError::NothingLive(_)
            | DeployError::NothingTried(_)
            | DeployError::OtherTarget(_)
            | DeployError::OtherPlace { .. }
            | DeployError::DepotsInCloud
            | DeployError::TooMany => Problem::conflict(detail),
            DeployError::Storage(_) => Problem::internal_error("changing the deployment", &detail),
        }
    }
}

fn name_of(path: Result<Path<String>, PathRejection>) -> Result<DeploymentName, Problem> {
    let Path(name) = path?;
    DeploymentName::new(&name).map_err(|error| Problem::malformed_request(error.to_string()))
}

fn count(act: &'static str, refused: bool) {
    metrics::deployment_changes().add(1, &[KeyValue::new("act", act), KeyValue::new("refused", refused)]);
}

/// Puts a component to work, or replaces what runs under this name. What ran stays until the new one is ready, and
/// when it is refused. With `trial` it is tried beside what runs first. A trial that goes on ends.
#[utoipa::path(put, path = "/v1/deployments/{name}", tag = "deployments",
    params(("name" = String, Path, description = "A name of your choice")), request_body = DeploymentRequest, responses(
    (status = 200, description = "Replaced", body = Deployment),
    (status = 201, description = "New", body = Deployment),
    (status = 404, description = "No such component", body = Problem),
    (status = 409, description = "Nothing runs that it could be tried beside, or it runs elsewhere", body = Problem),
    (status = 422, description = "The config does not fit; `errors` names the places", body = Problem),
))]
pub(crate) async fn put_deployment(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Result<Json<DeploymentRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Deployment>), Problem> {
    let tenant = caller.tenant()?;
    let name = name_of(path)?;
    let Json(request) = body?;
    let deployed = app.registry.deploy(tenant.clone(), name, request.wanted()?, caller.key.clone()).await;
    count("deployment.put", deployed.is_err());
    let deployed = deployed?;
    let status = if deployed.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Deployment::of(&app, &deployed.record))))
}

/// Has what is tried go on: as a canary where that was asked for and it is in the shadow, else live.
#[utoipa::path(post, path = "/v1/deployments/{name}/promote", tag = "deployments",
    params(("name" = String, Path, description = "The deployment")), responses(
    (status = 200, description = "It goes on", body = Deployment),
    (status = 404, description = "No such deployment", body = Problem),
    (status = 409, description = "Nothing is tried beside it", body = Problem),
))]
pub(crate) async fn promote_deployment(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Deployment>, Problem> {
    let tenant = caller.tenant()?;
    let record = app.registry.promote(tenant.clone(), name_of(path)?, caller.key.clone()).await;
    count("deployment.promote", record.is_err());
    Ok(Json(Deployment::of(&app, &record?)))
}

/// Ends what is tried. Without a trial, brings back the revision before the current one, as a new revision.
#[utoipa::path(post, path = "/v1/deployments/{name}/rollback", tag = "deployments",
    params(("name" = String, Path, description = "The deployment")), responses(
    (status = 200, description = "Rolled back", body = Deployment),
    (status = 404, description = "No such deployment", body = Problem),
    (status = 409, description = "There is no revision before it", body = Problem),
))]
pub(crate) async fn roll_back_deployment(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Deployment>, Problem> {
    let tenant = caller.tenant()?;
    let record = app.registry.rollback(tenant.clone(), name_of(path)?, caller.key.clone()).await;
    count("deployment.rollback", record.is_err());
    Ok(Json(Deployment::of(&app, &record?)))
}

/// Your deployments.
#[utoipa::path(get, path = "/v1/deployments", tag = "deployments", responses(
    (status = 200, description = "All of them, by name", body = Deployments),
))]
pub(crate) async fn list_deployments(State(app): State<App>, caller: Caller) -> Result<Json<Deployments>, Problem> {
    let records = app.registry.deployments_of(caller.tenant()?);
    Ok(Json(Deployments { deployments: records.iter().map(|record| Deployment::of(&app, record)).collect() }))
}

/// One deployment with its config and history.
#[utoipa::path(get, path = "/v1/deployments/{name}", tag = "deployments",
    params(("name" = String, Path, description = "The deployment")), responses(
    (status = 200, description = "As it is", body = DeploymentWithHistory),
    (status = 404, description = "No such deployment", body = Problem),
))]
pub(crate) async fn get_deployment(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<DeploymentWithHistory>, Problem> {
    let name = name_of(path)?;
    let record = app.registry.deployment(caller.tenant()?, &name);
    let record = record.ok_or_else(|| Problem::from(DeployError::UnknownDeployment(name)))?;
    let config = app.registry.config_of(&record.current).await;
    let config = config.map_err(|error| Problem::internal_error("reading the config", &error))?;
    let history = record.history.iter().map(PastRevision::from).collect();
    Ok(Json(DeploymentWithHistory { deployment: Deployment::of(&app, &record), config, history }))
}
