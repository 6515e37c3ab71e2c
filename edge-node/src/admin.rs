//! The operator's door: is it well, is it ready, what did it count, what did it refuse.

use crate::problem::Problem;
use crate::status::Sources;
use crate::uplink::{ConnectionState, UplinkHandle};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use event_log::{Offset, Stream};
use fleet_model::{EdgeId, Refusal};
use fleet_wire::control::{DeploymentStatus, EdgeStatus};
use http::{HeaderValue, StatusCode, header};
use observability::Observability;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use vehicle_runtime::dead_letter::{self, DeadLetter};

/// Connections to the admin listener at once.
pub const CONNECTIONS_MAX: usize = 64;
/// Dead letters in one answer when none are asked for.
const LETTERS_DEFAULT: usize = 100;
/// Dead letters in one answer at most.
const LETTERS_MAX: usize = 1_000;
/// Dead letters looked through for one answer when a reason is asked for.
const LETTERS_SCANNED_MAX: usize = 20_000;

/// What the admin page shows.
#[derive(Clone)]
pub struct Admin {
    /// Name of this edge node.
    pub edge: EdgeId,
    /// Whether devices are let in.
    pub ready: Arc<AtomicBool>,
    /// Counts and offsets.
    pub sources: Sources,
    /// What runs.
    pub deployments: watch::Receiver<Vec<DeploymentStatus>>,
    /// The way to the cloud, when one is configured.
    pub uplink: Option<UplinkHandle>,
    /// The metrics; none in tests.
    pub observability: Option<Observability>,
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/dead-letters", get(dead_letters))
        .fallback(|| async {
            let here = "here are /healthz, /readyz, /metrics, /v1/status and /v1/dead-letters";
            Problem::new(StatusCode::NOT_FOUND, "not_found", here)
        })
        .with_state(Arc::new(admin))
}

async fn ready(State(admin): State<Arc<Admin>>) -> Result<&'static str, Problem> {
    if admin.ready.load(Ordering::Acquire) {
        Ok("ready\n")
    } else {
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "starting or ending"))
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let text = admin.observability.as_ref().map(Observability::metrics_text).unwrap_or_default();
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

#[derive(Serialize)]
struct StatusPage {
    edge: EdgeId,
    uplink: Option<ConnectionState>,
    #[serde(flatten)]
    status: EdgeStatus,
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    let uplink = admin.uplink.as_ref().map(|handle| handle.state.borrow().clone());
    let status = admin.sources.status(admin.deployments.borrow().clone(), uplink.as_ref());
    let page = StatusPage { edge: admin.edge.clone(), uplink: uplink.map(|state| state.connection), status };
    Json(page).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LettersQuery {
    after: Option<Offset>,
    limit: Option<usize>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct Letter {
    offset: Offset,
    time: String,
    time_ms: i64,
    stage: String,
    reason: String,
    detail: String,
    tenant: Option<String>,
    vehicle: Option<String>,
    payload: String,
    payload_len: u64,
    truncated: bool,
}

#[derive(Serialize)]
struct LettersPage {
    dead_letters: Vec<Letter>,
    /// Give it as `after` for what follows; the same again when nothing does yet.
    next: Offset,
    more: bool,
}

/// `after` is the offset to begin with, as `next` gave it.
async fn dead_letters(
    State(admin): State<Arc<Admin>>,
    query: Result<Query<LettersQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "query", detail);
    let Query(query) = query.map_err(|error| bad(error.body_text()))?;
    if let Some(reason) = &query.reason
        && !Refusal::ALL.iter().any(|known| known.code() == reason)
    {
        let known: Vec<_> = Refusal::ALL.iter().map(|known| known.code()).collect();
        return Err(bad(format!("unknown reason {reason:?}; there are {}", known.join(", "))));
    }
    let limit = query.limit.unwrap_or(LETTERS_DEFAULT).min(LETTERS_MAX);
    let events = Arc::clone(&admin.sources.logs.events);
    let read = tokio::task::spawn_blocking(move || {
        let scanned = if query.reason.is_some() { LETTERS_SCANNED_MAX } else { limit };
        let letters = dead_letter::read(&*events, query.after.unwrap_or(0), scanned)?;
        Ok::<_, event_log::ReadError>((letters, query, events.bounds(Stream::DEAD_LETTERS)))
    });
    let failed = |detail: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log", detail);
    let (letters, query, bounds) =
        read.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let from = query.after.unwrap_or(0).max(bounds.first);
    let mut next = from;
    let mut found = Vec::new();
    for (offset, letter) in letters {
        if found.len() == limit {
            break;
        }
        next = offset + 1;
        if query.reason.as_ref().is_none_or(|reason| *reason == letter.reason) {
            found.push(shown(offset, letter));
        }
    }
    Ok(Json(LettersPage { dead_letters: found, next, more: next < bounds.next }).into_response())
}

fn shown(offset: Offset, letter: DeadLetter) -> Letter {
    Letter {
        offset,
        time: letter.time.to_rfc3339(),
        time_ms: letter.time.0,
        stage: letter.stage,
        reason: letter.reason,
        detail: letter.detail,
        tenant: letter.tenant,
        vehicle: letter.vehicle,
        payload: letter.payload,
        payload_len: letter.payload_len,
        truncated: letter.truncated,
    }
}
