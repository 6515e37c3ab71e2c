//! `/v1/plugins/{name}`: one plugin with all its versions, and where it is at work.

use super::App;
use super::auth::Caller;
use super::deployments::phase;
use super::plugins::Plugin;
use super::problem::Problem;
use crate::registry::PluginRecord;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use fleet_model::TenantId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A plugin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginPage {
    #[schema(example = "geofence")]
    name: String,
    /// All versions that were uploaded, newest upload first.
    versions: Vec<PluginVersion>,
    /// The version of which `config_schema` is.
    #[schema(example = "1.0.0")]
    schema_of: String,
    /// JSON Schema 2020-12 of its config.
    #[schema(value_type = Object)]
    config_schema: serde_json::Value,
    /// Where it is at work, by name.
    deployments: Vec<DeploymentOfPlugin>,
}

/// A version of a plugin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginVersion {
    #[serde(flatten)]
    plugin: Plugin,
    /// The API key that uploaded it; null when that was not noted yet.
    #[schema(required)]
    uploaded_by: Option<String>,
}

/// A deployment that runs a plugin.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeploymentOfPlugin {
    name: String,
    revision: u64,
    version: String,
    hash: String,
    /// What each edge says of it.
    edges: Vec<EdgeOfPlugin>,
}

/// How it fares on an edge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeOfPlugin {
    edge: String,
    /// The revision that the edge speaks of.
    revision: u64,
    /// `loading`, `active` or `refused`.
    #[schema(example = "active")]
    state: &'static str,
    /// Why it was refused or taken back: a budget is named, with what was measured.
    #[schema(required)]
    error: Option<String>,
}

/// Of which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PluginQuery {
    /// The version of which to show the config schema. Default: the one uploaded last.
    #[param(example = "1.0.0")]
    version: Option<String>,
}

/// The versions of one of the caller's plugins, newest upload first; another tenant's are not there.
pub(super) fn versions_of(app: &App, tenant: &TenantId, name: &str) -> Result<Vec<PluginRecord>, Problem> {
    let mut found = app.registry.plugins(tenant);
    found.retain(|record| record.name == name);
    if found.is_empty() {
        return Err(Problem::unknown_plugin(format!("you have no plugin {name:?}; `GET /v1/plugins` lists yours")));
    }
    found.sort_by(|a, b| (b.uploaded_time, &b.version).cmp(&(a.uploaded_time, &a.version)));
    Ok(found)
}

/// One plugin: its versions, its config schema, and where it is at work.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "The plugin's own name"), PluginQuery), responses(
    (status = 200, description = "As it is", body = PluginPage),
    (status = 404, description = "Not one of your plugins, or not one of its versions", body = Problem),
))]
pub(crate) async fn get_plugin(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<PluginQuery>, QueryRejection>,
) -> Result<Json<PluginPage>, Problem> {
    let (Path(name), Query(query)) = (path?, query?);
    let tenant = caller.tenant()?;
    let versions = versions_of(&app, tenant, &name)?;
    let shown = match &query.version {
        None => versions.first(),
        Some(version) => versions.iter().find(|record| record.version == *version),
    };
    let unknown =
        || Problem::unknown_plugin(format!("{name} has no version {}", query.version.as_deref().unwrap_or("")));
    let shown = shown.ok_or_else(unknown)?;
    let schema = app.registry.config_schema(shown.hash).await;
    let config_schema = schema.map_err(|error| Problem::internal_error("reading the config schema", &error))?;
    let schema_of = shown.version.clone();
    let deployments = deployments_of(&app, tenant, &name);
    let version =
        |record: PluginRecord| PluginVersion { uploaded_by: record.uploaded_by.clone(), plugin: record.into() };
    let versions = versions.into_iter().map(version).collect();
    Ok(Json(PluginPage { name, versions, schema_of, config_schema, deployments }))
}

fn deployments_of(app: &App, tenant: &TenantId, plugin: &str) -> Vec<DeploymentOfPlugin> {
    let edges = app.edges.edges();
    let of = app.registry.deployments_of(tenant).into_iter().filter(|record| record.current.plugin_name == plugin);
    let shown = of.map(|record| {
        let said = edges.iter().filter(|edge| edge.serves(tenant)).flat_map(|edge| {
            let own = edge.status.deployments.iter();
            let own = own.filter(|said| said.tenant == *tenant && said.name == record.name);
            own.map(|said| EdgeOfPlugin {
                edge: edge.edge.clone(),
                revision: said.revision,
                state: phase(said.state),
                error: said.error.clone(),
            })
        });
        DeploymentOfPlugin {
            name: record.name.to_string(),
            revision: record.current.revision,
            version: record.current.plugin_version,
            hash: record.current.plugin.to_string(),
            edges: said.collect(),
        }
    });
    shown.collect()
}
