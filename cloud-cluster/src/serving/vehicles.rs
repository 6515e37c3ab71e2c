//! `/v1/vehicles`: where each vehicle is and what it last said.

use super::App;
use super::auth::Caller;
use super::problem::Problem;
use super::signals::Signals;
use crate::registry::VehicleTags;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use fleet_model::{Tag, TenantId, Timestamp, VehicleId, VehicleState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Vehicles in an answer when the caller does not say.
const LIMIT_DEFAULT: usize = 100;
/// Vehicles in an answer at most.
const LIMIT_MAX: usize = 1_000;

/// Which vehicles.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VehiclesQuery {
    /// `next` of the page before.
    after: Option<String>,
    /// At most so many vehicles; 1 to 1,000, default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only vehicles with this tag.
    tag: Option<String>,
    /// Refuse the answer when a vehicle in it was last heard of longer ago, milliseconds.
    max_staleness: Option<u64>,
}

/// How old the answer may be.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct VehicleQuery {
    /// Refuse the answer when the vehicle was last heard of longer ago, milliseconds.
    max_staleness: Option<u64>,
}

/// A page of vehicles.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VehiclePage {
    vehicles: Vec<Vehicle>,
    /// Give it as `after` for the next page; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// The latest reading of a vehicle. A signal that was not reported is absent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Vehicle {
    tenant: String,
    vehicle: String,
    /// As they were given to it, in their order.
    #[schema(example = json!(["electric", "night-bus"]))]
    tags: Vec<String>,
    /// Place of the reading among the vehicle's readings.
    sequence: u64,
    /// When it was so, by the device's clock: RFC 3339, UTC, milliseconds.
    #[schema(format = DateTime)]
    event_time: String,
    event_time_ms: i64,
    /// When the edge received it.
    #[schema(format = DateTime)]
    received_time: String,
    /// How long ago `event_time` was when this was answered.
    data_age_ms: u64,
    #[serde(flatten)]
    signals: Signals,
    /// Readings of this vehicle so far.
    readings: u64,
    /// Those of them that were older than the newest when they came.
    late: u64,
}

impl Vehicle {
    /// `None` for a vehicle that has not said anything yet.
    fn of(
        (tenant, vehicle): (&TenantId, &VehicleId),
        tags: &VehicleTags,
        state: &VehicleState,
        now: Timestamp,
    ) -> Option<Self> {
        let latest = state.latest?;
        let reading = latest.reading;
        Some(Self {
            tenant: tenant.to_string(),
            vehicle: vehicle.to_string(),
            tags: tags.of(vehicle).names(),
            sequence: latest.sequence.0,
            event_time: reading.event_time.to_rfc3339(),
            event_time_ms: reading.event_time.0,
            received_time: reading.received_time.to_rfc3339(),
            data_age_ms: now.since_ms(reading.event_time).max(0) as u64,
            signals: Signals::of(&reading),
            readings: state.readings,
            late: state.late,
        })
    }

    fn fresh_enough(&self, max_staleness: Option<u64>) -> Result<(), Problem> {
        match max_staleness {
            Some(limit) if self.data_age_ms > limit => Err(Problem::stale(format!(
                "vehicle {} was last heard of {} ms ago, at {}; asked for at most {limit} ms",
                self.vehicle, self.data_age_ms, self.event_time
            ))),
            _ => Ok(()),
        }
    }
}

/// Your vehicles that have sent a reading, in the order of their ids.
#[utoipa::path(get, path = "/v1/vehicles", tag = "vehicles", params(VehiclesQuery), responses(
    (status = 200, description = "A page of vehicles", body = VehiclePage),
    (status = 503, description = "A vehicle is staler than `max_staleness`", body = Problem),
))]
pub(crate) async fn list_vehicles(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<VehiclesQuery>, QueryRejection>,
) -> Result<Json<VehiclePage>, Problem> {
    let Query(query) = query?;
    let tenant = caller.tenant()?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::malformed_request(format!("limit is 1 to {LIMIT_MAX}")));
    }
    let after = query.after.as_deref().map(VehicleId::new).transpose();
    let after = after.map_err(|_| Problem::malformed_cursor("give `next` of the page before"))?;
    let tag = query.tag.as_deref().map(Tag::new).transpose();
    let tag = tag.map_err(|error| Problem::malformed_request(error.to_string()))?;
    let tags = app.registry.vehicle_tags(tenant);
    // One more than asked for tells whether this is the last page.
    let mut page: Vec<_> = match &tag {
        None => app.latest.page(tenant, after.as_ref(), limit + 1),
        Some(tag) => {
            let tagged = tags.with(tag, after.as_ref());
            // Those that were not heard of yet are no vehicles here, as in the whole list.
            let heard_of = tagged.filter_map(|id| Some((id.clone(), app.latest.vehicle(tenant, id)?)));
            heard_of.take(limit + 1).collect()
        }
    };
    let next = (page.len() > limit).then(|| page[limit - 1].0.to_string());
    page.truncate(limit);
    let now = (app.clock)();
    let vehicles: Vec<_> = page.iter().filter_map(|(id, state)| Vehicle::of((tenant, id), &tags, state, now)).collect();
    vehicles.iter().try_for_each(|vehicle| vehicle.fresh_enough(query.max_staleness))?;
    Ok(Json(VehiclePage { vehicles, next }))
}

/// One vehicle.
#[utoipa::path(get, path = "/v1/vehicles/{id}", tag = "vehicles",
    params(("id" = String, Path, description = "The vehicle's id"), VehicleQuery), responses(
    (status = 200, description = "Its latest reading", body = Vehicle),
    (status = 404, description = "Not one of your vehicles", body = Problem),
    (status = 503, description = "Staler than `max_staleness`", body = Problem),
))]
pub(crate) async fn get_vehicle(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<VehicleQuery>, QueryRejection>,
) -> Result<Json<Vehicle>, Problem> {
    let (Path(id), Query(query)) = (path?, query?);
    let tenant = caller.tenant()?;
    let unknown = || Problem::unknown_vehicle(format!("you have no vehicle {id:?} that has sent a reading"));
    let id = VehicleId::new(&id).map_err(|_| unknown())?;
    let state = app.latest.vehicle(tenant, &id).ok_or_else(unknown)?;
    let tags = app.registry.vehicle_tags(tenant);
    let vehicle = Vehicle::of((tenant, &id), &tags, &state, (app.clock)()).ok_or_else(unknown)?;
    vehicle.fresh_enough(query.max_staleness)?;
    Ok(Json(vehicle))
}
