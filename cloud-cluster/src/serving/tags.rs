//! `/v1/vehicles/{id}/tags`: words for a vehicle, by which deployments find it.

use super::App;
use super::auth::Caller;
use super::problem::{PlaceInError, Problem};
use crate::registry::TagError;
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use fleet_model::{Tag, Tags, VehicleId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Largest request: a vehicle's tags are few and short.
pub(crate) const REQUEST_LEN_MAX: usize = 16 * 1_024;

/// Tags for a vehicle.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagsRequest {
    /// All that it shall have; empty: none. Each has 1 to 64 letters, digits and `. _ : -`.
    #[schema(max_items = 16, example = json!(["night-bus", "electric"]))]
    tags: Vec<String>,
}

/// A vehicle's tags.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagsOfVehicle {
    vehicle: String,
    /// In their order.
    #[schema(example = json!(["electric", "night-bus"]))]
    tags: Vec<String>,
}

/// What a change of tags did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaggedVehicle {
    #[serde(flatten)]
    now: TagsOfVehicle,
    /// The deployments that are for the vehicle since this change and were not, or the other way round. Edges take it up
    /// by themselves.
    deployments: Vec<String>,
}

impl TagsRequest {
    fn tags(&self) -> Result<Tags, Problem> {
        let parse = |(place, text): (usize, &String)| {
            text.parse::<Tag>().map_err(|error| malformed(format!("/tags/{place}"), &error))
        };
        let tags: Vec<_> = self.tags.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Tags::new(tags).map_err(|error| malformed("/tags".into(), &error))
    }
}

fn malformed(pointer: String, error: &dyn std::fmt::Display) -> Problem {
    let detail = error.to_string();
    Problem::malformed_request(detail.clone()).with_errors(vec![PlaceInError { pointer, detail }])
}

impl From<TagError> for Problem {
    fn from(error: TagError) -> Self {
        match error {
            TagError::TooManyVehicles | TagError::TooLong { .. } => Problem::conflict(error.to_string()),
            TagError::Storage(error) => Problem::internal_error("changing a vehicle's tags", &error),
        }
    }
}

fn vehicle_of(path: Result<Path<String>, PathRejection>) -> Result<VehicleId, Problem> {
    let Path(id) = path?;
    VehicleId::new(&id).map_err(|error| Problem::malformed_request(error.to_string()))
}

/// Gives a vehicle other tags: these, in the place of those that it had. It may be one that has not sent a reading yet.
/// Deployments with tags are for other vehicles then, without a new revision; what is tried beside them goes on.
#[utoipa::path(put, path = "/v1/vehicles/{id}/tags", tag = "vehicles",
    params(("id" = String, Path, description = "The vehicle's id")), request_body = TagsRequest, responses(
    (status = 200, description = "It has these tags", body = TaggedVehicle),
    (status = 400, description = "Not an id, not a tag, or too many; `errors` names the place", body = Problem),
    (status = 409, description = "Too many vehicles would have tags, or edges could not be told of them", body = Problem),
))]
pub(crate) async fn put_tags(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
    body: Result<Json<TagsRequest>, JsonRejection>,
) -> Result<Json<TaggedVehicle>, Problem> {
    let tenant = caller.tenant()?;
    let vehicle = vehicle_of(path)?;
    let tags = body?.0.tags()?;
    let tagged = app.registry.tag(tenant.clone(), vehicle.clone(), tags, caller.key.clone()).await?;
    let now = TagsOfVehicle { vehicle: vehicle.to_string(), tags: tagged.tags.names() };
    let deployments = tagged.deployments.iter().map(ToString::to_string).collect();
    Ok(Json(TaggedVehicle { now, deployments }))
}

/// The tags of a vehicle, one that has not sent a reading yet too. One that has none, or that nobody knows, has an empty
/// list.
#[utoipa::path(get, path = "/v1/vehicles/{id}/tags", tag = "vehicles",
    params(("id" = String, Path, description = "The vehicle's id")), responses(
    (status = 200, description = "As they are", body = TagsOfVehicle),
    (status = 400, description = "Not an id", body = Problem),
))]
pub(crate) async fn get_tags(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<TagsOfVehicle>, Problem> {
    let tags = app.registry.vehicle_tags(caller.tenant()?);
    let vehicle = vehicle_of(path)?;
    Ok(Json(TagsOfVehicle { vehicle: vehicle.to_string(), tags: tags.of(&vehicle).names() }))
}
