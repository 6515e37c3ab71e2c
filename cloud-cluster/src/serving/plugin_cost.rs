//! `/v1/plugins/{name}/cost`: what a plugin used on edges.

use super::App;
use super::auth::Caller;
use super::plugin::versions_of;
use super::problem::Problem;
use crate::plugin_reports::{Day, UsageSum};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use fleet_wire::control::UsageCounts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Days that are shown when the caller does not say: a month, today included.
const DAYS_DEFAULT: u32 = 30;

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CostQuery {
    /// The first day, UTC. Default: 29 days before `to`. 400 days are kept.
    #[param(format = Date, example = "2026-05-01")]
    from: Option<String>,
    /// The last day, UTC, included. Default: today.
    #[param(format = Date, example = "2026-05-31")]
    to: Option<String>,
}

/// What a plugin used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PluginCost {
    name: String,
    #[schema(format = Date)]
    from: String,
    #[schema(format = Date)]
    to: String,
    /// All days, deployments and edges together.
    total: Cost,
    /// By day, edge and deployment; those that used nothing are not there.
    days: Vec<CostOfDay>,
}

/// What was used on one day, on one edge, in one deployment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostOfDay {
    #[schema(format = Date)]
    day: String,
    edge: String,
    deployment: String,
    #[serde(flatten)]
    cost: Cost,
}

/// What was used, live and on trial.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cost {
    /// Readings that it answered.
    readings: u64,
    /// Calls.
    batches: u64,
    /// CPU time of the calls, milliseconds.
    cpu_ms: f64,
    /// Events that it proposed.
    events: u64,
    /// Bytes of these.
    event_bytes: u64,
    /// Calls without an answer.
    failures: u64,
    log_lines_kept: u64,
    /// Beyond its rate, or the quota of a call.
    log_lines_dropped: u64,
    /// The most memory that one instance had, bytes.
    memory_bytes_high: u64,
}

impl From<UsageCounts> for Cost {
    fn from(used: UsageCounts) -> Self {
        Self {
            readings: used.readings,
            batches: used.batches,
            cpu_ms: used.cpu_us as f64 / 1_000.0,
            events: used.events,
            event_bytes: used.event_bytes,
            failures: used.failures,
            log_lines_kept: used.log_lines_kept,
            log_lines_dropped: used.log_lines_dropped,
            memory_bytes_high: used.memory_bytes_high,
        }
    }
}

/// What a plugin used on edges, by day.
#[utoipa::path(get, path = "/v1/plugins/{name}/cost", tag = "plugins",
    params(("name" = String, Path, description = "The plugin's own name"), CostQuery), responses(
    (status = 200, description = "What edges told; an edge tells it every 5 s", body = PluginCost),
    (status = 400, description = "No day", body = Problem),
    (status = 404, description = "Not one of your plugins", body = Problem),
))]
pub(crate) async fn get_plugin_cost(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<CostQuery>, QueryRejection>,
) -> Result<Json<PluginCost>, Problem> {
    let (Path(name), Query(query)) = (path?, query?);
    let tenant = caller.tenant()?;
    versions_of(&app, tenant, &name)?;
    let day = |given: Option<String>, key: &str| {
        let parsed = given.map(|text| text.parse::<Day>()).transpose();
        parsed.map_err(|error| Problem::malformed_request(format!("{key}: {error}")))
    };
    let to = day(query.to, "to")?.unwrap_or_else(|| Day::of((app.clock)()));
    let from = day(query.from, "from")?.unwrap_or_else(|| to.before(DAYS_DEFAULT - 1));
    if from > to {
        return Err(Problem::malformed_request(format!("from {from} is after to {to}")));
    }
    let sums = app.plugin_reports.usage(tenant, &name, from, to);
    let total = sums.iter().fold(UsageCounts::default(), |total, sum| total.plus(&sum.used));
    let of_day = |sum: UsageSum| CostOfDay {
        day: sum.day.to_string(),
        edge: sum.edge.to_string(),
        deployment: sum.deployment,
        cost: sum.used.into(),
    };
    let days = sums.into_iter().map(of_day).collect();
    Ok(Json(PluginCost { name, from: from.to_string(), to: to.to_string(), total: total.into(), days }))
}
