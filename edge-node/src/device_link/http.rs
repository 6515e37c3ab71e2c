//! `POST /v1/readings`: the same payloads as over MQTT, answered when they are durable.

use super::Door;
use super::credentials::Principal;
use super::payload::{self, Complaint, Naming, PAYLOAD_LEN_MAX, Parsed, Refused};
use crate::ingest::{IngestError, Outcome, Payload};
use crate::metrics::{INSTRUMENTS, transport};
use crate::problem::Problem;
use crate::trace;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fleet_model::{Refusal, VehicleId, VehicleName};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A body must have come by then.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Longest wait for credits before a client is told to come later.
const CREDIT_WAIT: Duration = Duration::from_millis(500);
/// When a client without credits may come again, seconds.
const RETRY_AFTER_S: u64 = 1;
/// When a client may come again after a failed commit or a shutdown, seconds.
const RETRY_AFTER_FAILED_S: u64 = 5;

/// The device link's routes.
pub fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/v1/readings", post(readings))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not_found", "readings go to POST /v1/readings") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "readings go to POST /v1/readings")
        })
        .with_state(door)
}

async fn readings(State(door): State<Arc<Door>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let principal = authenticate(&door, &headers)?;
    let raw = read(&headers, body).await?;
    INSTRUMENTS.payloads.add(1, &transport("http"));
    let trace = trace::publish("http", &principal.tenant);
    let mut naming = Named { principal: &principal, known: HashMap::new() };
    // One that is too large was not read to its end: it is refused like any other, so that it is counted and kept.
    let (raw, parsed) = match raw {
        Some(raw) => {
            let parsed = payload::parse(&raw, (door.clock)(), &mut naming);
            (raw, parsed)
        }
        None => {
            let detail = format!("a body has at most {PAYLOAD_LEN_MAX} bytes");
            (Bytes::new(), Parsed::refused_whole(Refusal::TooLarge, detail))
        }
    };
    let payload =
        Payload { tenant: Some(principal.tenant.clone()), vehicle: principal.vehicle.clone(), raw, parsed, trace };
    let submitted = tokio::time::timeout(CREDIT_WAIT, door.ingest.submit(vec![payload])).await;
    let reply = match submitted {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => return Err(unavailable(&error)),
        Err(_) => {
            let detail = "the edge node is behind: send again later";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).retry_after(RETRY_AFTER_S));
        }
    };
    let outcomes = reply.await.unwrap_or(Err(IngestError::Closed)).map_err(|error| unavailable(&error))?;
    answer(outcomes.into_iter().next().unwrap_or_default())
}

fn answer(outcome: Outcome) -> Result<Response, Problem> {
    let refused = Value::Array(outcome.refused.iter().map(refused_json).collect());
    if let Some(first) = outcome.refused.first()
        && outcome.admitted + outcome.repeats == 0
    {
        let status = match first.reason {
            Refusal::MalformedJson => StatusCode::BAD_REQUEST,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let detail = format!("nothing was admitted: {}", first.detail);
        return Err(Problem::new(status, first.reason.code(), detail).with("refused", refused));
    }
    let body = json!({"admitted": outcome.admitted, "repeats": outcome.repeats, "refused": refused});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

fn refused_json(refused: &Refused) -> Value {
    json!({"index": refused.index, "reason": refused.reason.code(), "detail": refused.detail})
}

fn unavailable(error: &IngestError) -> Problem {
    let code = match error {
        IngestError::Full(_) => "disk_full",
        IngestError::NotStored(_) => "not_stored",
        IngestError::Broken | IngestError::Closed => "shutting_down",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string()).retry_after(RETRY_AFTER_FAILED_S)
}

fn authenticate(door: &Door, headers: &HeaderMap) -> Result<Arc<Principal>, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let basic = given.and_then(|text| {
        let (scheme, encoded) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then_some(encoded.trim())
    });
    let decoded = basic.and_then(|encoded| STANDARD.decode(encoded).ok()).unwrap_or_default();
    let colon = decoded.iter().position(|byte| *byte == b':').unwrap_or(decoded.len());
    let (username, password) = decoded.split_at(colon);
    let username = std::str::from_utf8(username).unwrap_or_default();
    door.credentials.check(username, password.get(1..).unwrap_or_default()).ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorised",
            "use HTTP Basic with the device's user name and password",
        )
    })
}

/// The body; `None` when it is too large.
async fn read(headers: &HeaderMap, body: Body) -> Result<Option<Bytes>, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > PAYLOAD_LEN_MAX as u64) {
        return Ok(None);
    }
    let collected = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, PAYLOAD_LEN_MAX).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(Some(body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Ok(None),
        Ok(Err(error)) => Err(Problem::new(StatusCode::BAD_REQUEST, "body", error.to_string())),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")),
    }
}

/// Over HTTP every element names its vehicle, except for credentials of one vehicle.
struct Named<'a> {
    principal: &'a Principal,
    known: HashMap<String, Result<Arc<VehicleName>, Complaint>>,
}

impl Naming for Named<'_> {
    fn vehicle(&mut self, named: Option<&str>) -> Result<Arc<VehicleName>, Complaint> {
        let only = self.principal.vehicle.as_ref().map(VehicleId::as_str);
        let Some(text) = named.or(only) else {
            return Err((Refusal::MissingVehicle, "the element names no vehicle".into()));
        };
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let found = VehicleId::new(text)
            .map_err(|error| (Refusal::MissingVehicle, format!("/vehicle: {error}")))
            .and_then(|vehicle| {
                let name = VehicleName::new(self.principal.tenant.clone(), vehicle);
                self.principal.covers(&name).map(|()| Arc::new(name))
            });
        self.known.insert(text.to_owned(), found.clone());
        found
    }
}
