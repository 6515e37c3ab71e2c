//! Errors as clients read them: problem+json (RFC 9457).

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not answered as asked.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A stable name of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:drover:problem:unknown_vehicle")]
    kind: &'static str,
    /// The kind of problem in words; the same for every occurrence.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong this time, and what to do about it.
    detail: String,
    /// Each place in the request that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<PlaceInError>,
    /// The oldest cursor that can still be read, when the one given is too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

/// One place that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PlaceInError {
    /// Where: a JSON Pointer (RFC 6901) into the request's body.
    #[schema(example = "/config/zones/features/3/geometry")]
    pub(crate) pointer: String,
    /// What is wrong there.
    pub(crate) detail: String,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $title:literal;)*) => {
        impl Problem {
            $($(#[$doc])* pub(crate) fn $name(detail: impl Into<String>) -> Self {
                Self::new(StatusCode::$status, concat!("urn:drover:problem:", stringify!($name)), $title, detail.into())
            })*
        }
    };
}

problems! {
    /// No key, or one that nobody has.
    unauthorized = UNAUTHORIZED, "An API key is needed";
    /// A key that does not cover this.
    forbidden = FORBIDDEN, "This key does not cover this";
    /// No such route.
    unknown_route = NOT_FOUND, "There is nothing here";
    /// The route has no such method.
    method_not_allowed = METHOD_NOT_ALLOWED, "This route has no such method";
    /// Not a vehicle of this tenant.
    unknown_vehicle = NOT_FOUND, "No such vehicle";
    /// Not a plugin of this tenant.
    unknown_plugin = NOT_FOUND, "No such plugin";
    /// Not a deployment of this tenant.
    unknown_deployment = NOT_FOUND, "No such deployment";
    /// A parameter, header or body that cannot be read.
    malformed_request = BAD_REQUEST, "The request cannot be read";
    /// A cursor that was not given out here.
    malformed_cursor = BAD_REQUEST, "This is no cursor";
    /// A cursor whose events are no longer kept.
    expired_cursor = GONE, "The events after this cursor are no longer kept";
    /// The data is older than the caller accepts.
    stale = SERVICE_UNAVAILABLE, "The data is older than asked for";
    /// A component that is not signed as it must be.
    signature_refused = FORBIDDEN, "The signature was refused";
    /// The component was refused.
    plugin_refused = UNPROCESSABLE_ENTITY, "The component was refused";
    /// The config does not fit the plugin's schema.
    config_refused = UNPROCESSABLE_ENTITY, "The config was refused";
    /// Something else has this name.
    conflict = CONFLICT, "This contradicts what is there";
    /// A body over its limit.
    too_large = PAYLOAD_TOO_LARGE, "The body is too large";
    /// Header fields over their limit.
    headers_too_large = REQUEST_HEADER_FIELDS_TOO_LARGE, "The header fields are too large";
    /// A body of another type.
    wrong_media_type = UNSUPPORTED_MEDIA_TYPE, "The body has the wrong type";
    /// Not the caller's fault, and it may go better later.
    not_working = SERVICE_UNAVAILABLE, "This does not work at the moment";
    /// Too much at once.
    overloaded = SERVICE_UNAVAILABLE, "Too much at once";
    /// Starting or stopping.
    not_ready = SERVICE_UNAVAILABLE, "Not ready";
    /// Our fault. The detail says no more than the caller may know.
    internal = INTERNAL_SERVER_ERROR, "Something failed here";
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: String) -> Self {
        Self { kind, title, status: status.as_u16(), detail, errors: Vec::new(), oldest: None, retry_after_s: None }
    }

    pub(crate) fn with_errors(self, errors: Vec<PlaceInError>) -> Self {
        Self { errors, ..self }
    }

    pub(crate) fn with_oldest(self, cursor: String) -> Self {
        Self { oldest: Some(cursor), ..self }
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Logs what the operator needs, answers what the caller may know.
    pub(crate) fn internal_error(doing: &'static str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, doing, "a request failed");
        Self::internal(format!("{doing} failed; the server's log says why"))
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"drover\""));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::malformed_request(rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(rejection.body_text()),
            _ => Self::malformed_request(rejection.body_text()),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(rejection.body_text()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::wrong_media_type(rejection.body_text()),
            _ => Self::malformed_request(rejection.body_text()),
        }
    }
}
