//! Whether this process lives, whether it is ready, and its metrics.

use super::App;
use super::auth::Caller;
use super::problem::Problem;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// Prometheus' text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()), responses(
    (status = 200, description = "It does", body = String, content_type = "text/plain"),
))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The process is ready for requests: the vehicles are back, and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()), responses(
    (status = 200, description = "It is", body = String, content_type = "text/plain"),
    (status = 503, description = "It is not", body = Problem),
))]
pub(crate) async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    if app.shutdown.is_cancelled() { Err(Problem::not_ready("stopping").retry_after(5)) } else { Ok("ready\n") }
}

/// Metrics for Prometheus. For operators, unless the configuration opens them.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
    (status = 403, description = "Not an operator's key", body = Problem),
))]
pub(crate) async fn metrics(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    if !app.open_metrics {
        let (mut parts, _) = request.into_parts();
        Caller::from_request_parts(&mut parts, &app).await?.operator()?;
    }
    Ok(([(CONTENT_TYPE, METRICS_TEXT)], (app.metrics_text)()).into_response())
}
