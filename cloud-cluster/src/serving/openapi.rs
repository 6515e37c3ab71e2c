//! The description of the API, made from the handlers.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Drover",
        description = "A fleet's live data. The same routes over HTTP/3, HTTP/2 and HTTP/1.1, on one port number. \
            Errors are problem+json (RFC 9457)."
    ),
    components(schemas(super::event_feed::Event<'_>)),
    modifiers(&ApiKey),
    security(("api_key" = [])),
    tags(
        (name = "events", description = "What was derived from readings"),
        (name = "vehicles", description = "Where each vehicle is and what it last said"),
        (name = "plugins", description = "WebAssembly components that decide"),
        (name = "deployments", description = "Which component runs, with which config"),
        (name = "operations", description = "For whoever runs Drover"),
    )
)]
pub(crate) struct Description;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        api.components.get_or_insert_default().add_security_scheme("api_key", scheme);
    }
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", security(()), responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json"),
))]
pub(crate) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], super::openapi_json()).into_response()
}
