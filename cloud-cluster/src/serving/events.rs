//! `/v1/events`: events from a cursor, page by page.

use super::App;
use super::audit_line::AuditEvent;
use super::auth::Caller;
use super::event_feed::Filter;
use super::event_line::{Event, ReadingEvent};
use super::problem::Problem;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use fleet_model::{EventClass, VehicleId};
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Events in an answer when the caller does not say.
const LIMIT_DEFAULT: usize = 100;
/// Events in an answer at most.
pub(crate) const LIMIT_MAX: usize = 1_000;
/// Stretches of the log that one request looks through; a sparse filter gets fewer events and `more`.
const STRETCHES_MAX: usize = 16;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Class of events: `telemetry` (readings), `alerts` (the default), `billing` or `audit` (who did what; an operator's
    /// key without a tenant reads all of these). Each has cursors of its own.
    #[param(example = "alerts")]
    class: Option<String>,
    /// Only events of this vehicle. Acts are of none.
    vehicle: Option<String>,
    /// A cursor, from an event or from `next`: only what comes after it. Absent: from the oldest event that is kept.
    /// `now`: only what is new.
    after: Option<String>,
    /// At most so many events; 1 to 1,000, default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "describes the answer, which is put together from lines that are there already")]
pub(crate) struct EventPage<'e> {
    events: Vec<AnyEvent<'e>>,
    /// Give it as `after` for the next page.
    next: String,
    /// Whether more is there right now.
    more: bool,
}

/// An event of whichever class was asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes the lines, which are written one class at a time")]
pub(crate) enum AnyEvent<'e> {
    /// Class alerts or billing.
    Derived(Event<'e>),
    /// Class audit.
    Act(AuditEvent<'e>),
    /// Class telemetry.
    Reading(ReadingEvent<'e>),
}

/// The class a query asks for, for lists and for streams.
pub(crate) fn class(asked: Option<&str>) -> Result<EventClass, Problem> {
    asked.map_or(Ok(EventClass::Alerts), |class| {
        class.parse().map_err(|error: String| Problem::malformed_request(error))
    })
}

/// The filter of a query, for lists and for streams.
pub(crate) fn filter(caller: &Caller, class: EventClass, vehicle: Option<&str>) -> Result<Filter, Problem> {
    let vehicle =
        vehicle.map(VehicleId::new).transpose().map_err(|error| Problem::malformed_request(error.to_string()))?;
    if class != EventClass::Audit {
        return Ok(Filter { tenant: Some(caller.tenant()?.clone()), vehicle });
    }
    if vehicle.is_some() {
        return Err(Problem::malformed_request("acts are of no vehicle: leave out vehicle, or ask for another class"));
    }
    Ok(Filter { tenant: caller.tenant_or_all()?.cloned(), vehicle })
}

/// Events from a cursor.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventsQuery), responses(
    (status = 200, description = "Events in the order in which they arrived", body = EventPage<'_>),
    (status = 410, description = "The cursor is too old; `oldest` is the first that is left", body = Problem),
))]
pub(crate) async fn list_events(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let class = class(query.class.as_deref())?;
    let filter = filter(&caller, class, query.vehicle.as_deref())?;
    let feed = app.feeds.of(class);
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::malformed_request(format!("limit is 1 to {LIMIT_MAX}")));
    }
    let mut next = feed.start(query.after.as_deref())?;
    let end = feed.next();
    let mut body = Vec::from(b"{\"events\":[");
    let mut count = 0;
    for _ in 0..STRETCHES_MAX {
        if next >= end || count == limit {
            break;
        }
        let stretch = feed.stretch(next).await?;
        let mut selected = stretch.select(&filter, next);
        next = loop {
            let Some(event) = selected.next() else { break stretch.next() };
            if count > 0 {
                body.push(b',');
            }
            body.extend_from_slice(event.line.trim_ascii_end());
            count += 1;
            if count == limit {
                break event.next;
            }
        };
    }
    let more = next < feed.next();
    body.extend_from_slice(format!("],\"next\":\"{}\",\"more\":{more}}}", feed.cursor(next)).as_bytes());
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}
