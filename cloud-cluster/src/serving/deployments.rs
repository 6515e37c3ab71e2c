//! `/v1/deployments`: which component runs, with which config.

use super::App;
use super::auth::Caller;
use super::problem::{PlaceInError, Problem};
use crate::metrics;
use crate::registry::{DeployError, DeploymentRecord, Revision};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use fleet_model::{DeploymentName, TenantId};
use fleet_wire::control::DeploymentPhase;
use http::StatusCode;
use opentelemetry::KeyValue;
use serde::{Deserialize, Serialize};
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
    /// How it fares on each edge that said something about it.
    edges: Vec<EdgeDeployment>,
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
        Self {
            name: record.name.to_string(),
            revision: record.current.revision,
            plugin: (&record.current).into(),
            changed_time: record.current.changed_time.to_rfc3339(),
            edges: edges(app, &record.tenant, &record.name, record.current.revision),
        }
    }
}

fn edges(app: &App, tenant: &TenantId, name: &DeploymentName, revision: u64) -> Vec<EdgeDeployment> {
    let of_edge = |edge: super::status::KnownEdge| {
        let said = edge.status.deployments.into_iter().find(|said| said.tenant == *tenant && said.name == *name);
        let (state, error) = match said {
            Some(said) if said.revision == revision => (phase(said.state), said.error),
            _ => ("pending", None),
        };
        EdgeDeployment { edge: edge.edge, state, error }
    };
    app.edges.edges().into_iter().filter(|edge| edge.serves(tenant)).map(of_edge).collect()
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
            DeployError::UnknownDeployment(_) => Problem::unknown_deployment(detail),
            DeployError::NothingBefore(_) | DeployError::TooMany => Problem::conflict(detail),
            DeployError::Storage(_) => Problem::internal_error("changing the deployment", &detail),
        }
    }
}

fn name_of(path: Result<Path<String>, PathRejection>) -> Result<DeploymentName, Problem> {
    let Path(name) = path?;
    DeploymentName::new(&name).map_err(|error| Problem::malformed_request(error.to_string()))
}

fn changed(act: &'static str, caller: &Caller, tenant: &TenantId, record: Result<&DeploymentRecord, &DeployError>) {
    metrics::deployment_changes().add(1, &[KeyValue::new("act", act), KeyValue::new("refused", record.is_err())]);
    match record {
        Ok(record) => {
            tracing::info!(target: "drover::audit", act, %tenant, key = caller.key, name = %record.name,
                revision = record.current.revision, plugin = %record.current.plugin, config = %record.current.config);
        }
        Err(error) => tracing::info!(target: "drover::audit", act, %tenant, key = caller.key, refused = %error),
    }
}

/// Puts a component to work, or replaces what runs under this name. What ran stays until the new one is ready, and
/// when it is refused.
#[utoipa::path(put, path = "/v1/deployments/{name}", tag = "deployments",
    params(("name" = String, Path, description = "A name of your choice")), request_body = DeploymentRequest, responses(
    (status = 200, description = "Replaced", body = Deployment),
    (status = 201, description = "New", body = Deployment),
    (status = 404, description = "No such component", body = Problem),
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
    let deployed = app.registry.deploy(tenant.clone(), name, request.plugin, request.config).await;
    changed("deployment.put", &caller, tenant, deployed.as_ref().map(|deployed| &deployed.record));
    let deployed = deployed?;
    let status = if deployed.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Deployment::of(&app, &deployed.record))))
}

/// Brings back the revision before the current one, as a new revision.
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
    let record = app.registry.rollback(tenant.clone(), name_of(path)?).await;
    changed("deployment.rollback", &caller, tenant, record.as_ref());
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
