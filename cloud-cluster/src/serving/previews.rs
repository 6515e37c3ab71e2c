//! `/v1/previews`: what a rule would have done to the readings that are there.

use super::App;
use super::auth::Caller;
use super::problem::Problem;
use crate::preview::{self, Failure, Found, Outcome, PreviewError, Progress, RuleOutcome, Selection, Sums};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use bytes::Bytes;
use fleet_model::{DeploymentName, TenantId, Timestamp, VehicleId};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use plugin_host::ConfiguredPlugin;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use utoipa::ToSchema;

/// Previews at a time: each keeps every core busy.
pub(crate) const PREVIEWS_MAX: usize = 1;
/// Largest request: a config and a component in base64.
pub(crate) const REQUEST_LEN_MAX: usize = super::deployments::REQUEST_LEN_MAX + plugin_host::UPLOAD_BYTES_MAX * 4 / 3;
/// Vehicles that may be named.
const VEHICLES_MAX: usize = 10_000;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// Events and vehicles that are listed, of each list; all are counted.
const LISTED_MAX: usize = 100;
/// When to ask again, seconds.
const RETRY_AFTER_S: u32 = 10;

/// What is to be tried, and on what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreviewRequest {
    /// `name@version`, or the hash of a component. Either this or `component`.
    #[schema(example = "geofence@1.0.0")]
    plugin: Option<String>,
    /// A component that was not uploaded, in base64. It is checked and not kept.
    component: Option<String>,
    /// For the component. Absent: the config of the deployment in `against`, or `{}`.
    #[schema(value_type = Option<Object>)]
    config: Option<serde_json::Value>,
    /// The deployment to compare with, as it is now. Absent: with nothing.
    against: Option<String>,
    /// Readings not before this, by the devices' clocks: RFC 3339. Absent: from the oldest that is kept.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Readings before this. Absent: up to the newest.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// Only these vehicles. Absent or empty: all.
    #[serde(default)]
    vehicles: Vec<String>,
}

/// A line of the answer: how far it is, or at last the result, or why there is none.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PreviewLine {
    /// Every 250 ms.
    Progress(PreviewProgress),
    /// The last line.
    Preview(Box<Preview>),
    /// The last line, when it failed.
    Problem(Problem),
}

/// How far it is.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewProgress {
    /// Readings shown to the rule so far.
    readings: u64,
    /// Share of the log that was looked at, 0 to 1.
    share: f64,
}

/// What a rule would have done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Preview {
    readings: u64,
    /// Readings left out because later ones of their vehicle had come before.
    late: u64,
    vehicles: u64,
    seconds: f64,
    readings_per_second: f64,
    /// Threads at work.
    workers: usize,
    candidate: PreviewedRule,
    #[schema(required)]
    live: Option<PreviewedRule>,
    /// Events that both have, in the same words.
    same: u64,
    added: PreviewedEvents,
    removed: PreviewedEvents,
    moved: PreviewedPairs,
    changed: PreviewedPairs,
    /// Per currency the sum of all vehicles first, then vehicles whose sums differ (at most 100 of them).
    money: Vec<PreviewedMoney>,
}

/// One of the two rules.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewedRule {
    #[schema(example = "geofence@1.0.0")]
    plugin: String,
    hash: String,
    /// Number of events by type.
    events: BTreeMap<&'static str, u64>,
    /// Time in the rule, nanoseconds per reading.
    ns_per_reading: f64,
    /// Readings that it failed on.
    failed: u64,
    /// The first of them.
    failures: Vec<Failure>,
}

/// Events that only one of them has.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewedEvents {
    count: u64,
    /// The first 100.
    first: Vec<PreviewedEvent>,
}

/// Events that both have, differently.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewedPairs {
    count: u64,
    /// The first 100.
    first: Vec<PreviewedPair>,
}

/// One event under both rules.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewedPair {
    live: PreviewedEvent,
    candidate: PreviewedEvent,
}

/// An event that a rule would have proposed.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewedEvent {
    #[serde(rename = "type")]
    kind: &'static str,
    vehicle: String,
    #[schema(format = DateTime)]
    event_time: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    details: Option<Box<RawValue>>,
}

/// Money under both rules.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewedMoney {
    /// Absent for the sum of all vehicles.
    #[serde(skip_serializing_if = "Option::is_none")]
    vehicle: Option<String>,
    currency: String,
    /// A decimal.
    live: String,
    /// A decimal.
    candidate: String,
    /// A decimal: candidate less live.
    difference: String,
}

/// Shows readings that are there to a rule, and says what it would have done and what it would change. Nothing is stored,
/// nothing goes live.
#[utoipa::path(post, path = "/v1/previews", tag = "plugins", request_body = PreviewRequest, responses(
    (status = 200, description = "A line each 250 ms, the result in the last", body = PreviewLine,
        content_type = "application/x-ndjson"),
    (status = 404, description = "No such component or deployment", body = Problem),
    (status = 422, description = "The component or the config was refused", body = Problem),
    (status = 503, description = "Another preview runs; `Retry-After` says when to ask again", body = Problem),
))]
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    body: Result<Json<PreviewRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let tenant = caller.tenant()?.clone();
    let Json(request) = body?;
    let selection = selection(&request, &tenant)?;
    let Ok(place) = app.previews.clone().try_acquire_owned() else {
        let detail = "another preview runs, and each keeps every core busy";
        return Err(Problem::overloaded(detail).retry_after(RETRY_AFTER_S));
    };
    let told = serde_json::json!({"against": request.against, "from": request.from, "to": request.to,
        "vehicles": request.vehicles.len()});
    let (candidate, live) = rules(&app, request, &tenant).await?;
    let recorded = app.registry.record_preview(&tenant, &candidate, &told, &caller.key).await;
    recorded.map_err(|error| Problem::internal_error("recording the preview", &error))?;
    let progress = Arc::new(Progress::default());
    let log = app.logs.telemetry.clone();
    let told = [Some(&candidate), live.as_ref()].map(|rule| rule.map(title));
    let shared = progress.clone();
    let job = tokio::task::spawn_blocking(move || {
        preview::run(&*log, &selection, &candidate, live.as_ref(), &shared).map(|outcome| rendered(outcome, told))
    });
    let telling = Telling { job: Some(job), progress, _place: place };
    let lines = futures_util::stream::unfold(telling, |mut telling| async {
        telling.line().await.map(|line| (Ok::<_, std::convert::Infallible>(line), telling))
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

fn selection(request: &PreviewRequest, tenant: &TenantId) -> Result<Selection, Problem> {
    let time = |name: &str, text: &Option<String>, absent: Timestamp| match text {
        None => Ok(absent),
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map(|time| Timestamp(time.as_millisecond()))
            .map_err(|error| Problem::malformed_request(format!("{name}: {text:?} is no RFC 3339 time: {error}"))),
    };
    if request.vehicles.len() > VEHICLES_MAX {
        let found = request.vehicles.len();
        return Err(Problem::malformed_request(format!("{found} vehicles; at most {VEHICLES_MAX} may be named")));
    }
    let vehicle = |name: &String| {
        VehicleId::new(name).map_err(|error| Problem::malformed_request(format!("vehicle {name:?}: {error}")))
    };
    Ok(Selection {
        tenant: tenant.clone(),
        vehicles: request.vehicles.iter().map(vehicle).collect::<Result<_, _>>()?,
        from: time("from", &request.from, Timestamp(i64::MIN))?,
        to: time("to", &request.to, Timestamp(i64::MAX))?,
    })
}

/// The candidate, and the live rule.
async fn rules(
    app: &App,
    request: PreviewRequest,
    tenant: &TenantId,
) -> Result<(ConfiguredPlugin, Option<ConfiguredPlugin>), Problem> {
    let mut config = request.config;
    let mut live = None;
    if let Some(name) = request.against {
        let name = DeploymentName::new(&name).map_err(|error| Problem::malformed_request(error.to_string()))?;
        let record = app.registry.deployment(tenant, &name);
        let record = record.ok_or_else(|| Problem::unknown_deployment(format!("there is no deployment {name}")))?;
        live = Some(app.registry.configured_deployment(&record).await?);
        if config.is_none() {
            let stored = app.registry.config_of(&record.current).await;
            config = Some(stored.map_err(|error| Problem::internal_error("reading the config", &error))?);
        }
    }
    let config = config.unwrap_or_else(|| serde_json::json!({}));
    let candidate = match (request.plugin, request.component) {
        (Some(plugin), None) => app.registry.configured(tenant, &plugin, config).await?,
        (None, Some(base64)) => {
            let wasm = base64::engine::general_purpose::STANDARD
                .decode(base64)
                .map_err(|error| Problem::malformed_request(format!("component is not base64: {error}")))?;
            app.registry.configured_unkept(Bytes::from(wasm), config).await??
        }
        _ => return Err(Problem::malformed_request("name either a plugin or a component")),
    };
    Ok((candidate, live))
}

fn title(rule: &ConfiguredPlugin) -> (String, String) {
    let descriptor = rule.plugin().descriptor();
    (format!("{}@{}", descriptor.name, descriptor.version), rule.plugin().hash().to_string())
}

/// A preview while it runs. Dropped, when the client is gone, it ends the job.
struct Telling {
    job: Option<JoinHandle<Result<Preview, PreviewError>>>,
    progress: Arc<Progress>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.progress.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Telling {
    /// The next line; `None` after the last.
    async fn line(&mut self) -> Option<Bytes> {
        let job = self.job.as_mut()?;
        let line = match tokio::time::timeout(TELL_EVERY, job).await {
            Err(_) => PreviewLine::Progress(PreviewProgress {
                readings: self.progress.readings.load(Ordering::Relaxed),
                share: self.share(),
            }),
            Ok(ended) => {
                self.job = None;
                match ended {
                    Ok(Ok(preview)) => PreviewLine::Preview(Box::new(preview)),
                    Ok(Err(error @ (PreviewError::TooManyEvents | PreviewError::Start(_) | PreviewError::Rule(_)))) => {
                        PreviewLine::Problem(Problem::plugin_refused(error.to_string()))
                    }
                    Ok(Err(error)) => PreviewLine::Problem(Problem::internal_error("the preview", &error)),
                    Err(error) => PreviewLine::Problem(Problem::internal_error("the preview", &error)),
                }
            }
        };
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        Some(bytes.into())
    }

    fn share(&self) -> f64 {
        let all = self.progress.records_in_all.load(Ordering::Relaxed);
        let seen = self.progress.records.load(Ordering::Relaxed);
        if all == 0 { 0.0 } else { (seen as f64 / all as f64 * 1_000.0).round() / 1_000.0 }
    }
}

fn rendered(outcome: Outcome, told: [Option<(String, String)>; 2]) -> Preview {
    let seconds = outcome.elapsed.as_secs_f64();
    let [candidate, live] = told;
    let rule = |rule: RuleOutcome, told: Option<(String, String)>| {
        let (plugin, hash) = told.unwrap_or_default();
        let decided = rule.figures.decided.max(1) as f64;
        PreviewedRule {
            plugin,
            hash,
            events: rule.events,
            ns_per_reading: (rule.figures.time.as_nanos() as f64 / decided).round(),
            failed: rule.figures.failed,
            failures: rule.failures,
        }
    };
    let pairs = |pairs: Vec<(Found, Found)>| PreviewedPairs {
        count: pairs.len() as u64,
        first: pairs
            .into_iter()
            .take(LISTED_MAX)
            .map(|(live, candidate)| PreviewedPair { live: live.into(), candidate: candidate.into() })
            .collect(),
    };
    let events = |events: Vec<Found>| PreviewedEvents {
        count: events.len() as u64,
        first: events.into_iter().take(LISTED_MAX).map(PreviewedEvent::from).collect(),
    };
    let difference = outcome.difference;
    Preview {
        readings: outcome.readings,
        late: outcome.late,
        vehicles: outcome.vehicles,
        seconds,
        readings_per_second: (outcome.readings as f64 / seconds.max(1e-9)).round(),
        workers: outcome.workers,
        candidate: rule(outcome.candidate, candidate),
        live: outcome.live.map(|outcome| rule(outcome, live)),
        same: difference.same,
        added: events(difference.added),
        removed: events(difference.removed),
        moved: pairs(difference.moved),
        changed: pairs(difference.changed),
        money: listed(outcome.money),
    }
}

fn listed(money: Vec<Sums>) -> Vec<PreviewedMoney> {
    let mut vehicles = 0;
    let mut is_listed = |sums: &Sums| {
        vehicles += usize::from(sums.vehicle.is_some());
        sums.vehicle.is_none() || vehicles <= LISTED_MAX
    };
    let listed = money.into_iter().filter(|sums| is_listed(sums));
    let row = |sums: Sums| PreviewedMoney {
        difference: (sums.candidate - sums.live).to_string(),
        vehicle: sums.vehicle,
        currency: sums.currency,
        live: sums.live.to_string(),
        candidate: sums.candidate.to_string(),
    };
    listed.map(row).collect()
}

impl From<Found> for PreviewedEvent {
    fn from(found: Found) -> Self {
        Self {
            kind: found.kind.as_str(),
            vehicle: found.vehicle.vehicle.to_string(),
            event_time: found.event_time.to_rfc3339(),
            subject: found.subject,
            value: found.value.is_finite().then_some(found.value),
            details: found.details.and_then(|details| RawValue::from_string(details).ok()),
        }
    }
}
