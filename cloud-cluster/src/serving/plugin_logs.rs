//! `/v1/plugins/{name}/logs`: what a plugin logged on edges.

use super::App;
use super::auth::Caller;
use super::plugin::versions_of;
use super::problem::Problem;
use crate::plugin_reports::Line;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// From where.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// `next` of an answer before: only lines that came since. Absent: all that are kept.
    after: Option<String>,
}

/// Lines.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginLogs {
    /// In the order in which they came here.
    lines: Vec<PluginLine>,
    /// Give it as `after` for what comes next.
    next: String,
    /// Lines after the cursor that are not kept any more. The newest 1,000 of each plugin are kept, in memory: after a
    /// restart of the cloud there are those that edges still have, 256 of each deployment.
    missed: u64,
}

/// A line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginLine {
    /// By the edge's clock.
    #[schema(format = DateTime)]
    time: String,
    edge: String,
    deployment: String,
    /// It was on trial.
    trial: bool,
    /// Which vehicle it is about; null when the call was about several.
    #[schema(required)]
    vehicle: Option<String>,
    /// `debug`, `info` or `warn`.
    #[schema(example = "info")]
    level: String,
    /// Control characters are escaped.
    text: String,
}

impl From<Line> for PluginLine {
    fn from(line: Line) -> Self {
        Self {
            time: line.time.to_rfc3339(),
            edge: line.edge.to_string(),
            deployment: line.deployment,
            trial: line.trial,
            vehicle: line.vehicle,
            level: line.level,
            text: line.text,
        }
    }
}

/// What a plugin logged: the newest lines, kept in memory.
#[utoipa::path(get, path = "/v1/plugins/{name}/logs", tag = "plugins",
    params(("name" = String, Path, description = "The plugin's own name"), LogsQuery), responses(
    (status = 200, description = "Lines that edges sent", body = PluginLogs),
    (status = 400, description = "No cursor of these lines", body = Problem),
    (status = 404, description = "Not one of your plugins", body = Problem),
))]
pub(crate) async fn get_plugin_logs(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Json<PluginLogs>, Problem> {
    let (Path(name), Query(query)) = (path?, query?);
    let tenant = caller.tenant()?;
    versions_of(&app, tenant, &name)?;
    let page = app.plugin_reports.lines(tenant, &name, query.after.as_deref());
    let page =
        page.ok_or_else(|| Problem::malformed_cursor("give `next` of an answer before, or leave `after` out"))?;
    let lines = page.lines.into_iter().map(PluginLine::from).collect();
    Ok(Json(PluginLogs { lines, next: page.next, missed: page.missed }))
}
