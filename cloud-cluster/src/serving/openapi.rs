//! The description of the API, made from the handlers.

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};

/// The media type of errors.
const PROBLEM_JSON: &str = "application/problem+json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Drover",
        description = "A fleet's live data. The same routes over HTTP/3, HTTP/2 and HTTP/1.1, on one port number. \
            Errors are problem+json (RFC 9457)."
    ),
    components(schemas(super::event_line::Event<'_>, super::event_line::ReadingEvent<'_>)),
    modifiers(&ApiKey),
    security(("api_key" = [])),
    tags(
        (name = "events", description = "Readings, and what was derived from them"),
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

/// Says of every operation what is true of all: errors are problem+json, and without a key there is a 401.
pub(crate) fn complete(mut api: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for item in api.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post];
        for operation in operations.into_iter().flatten() {
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response
                    && response.content.get("application/json").is_some_and(is_problem)
                    && let Some(content) = response.content.shift_remove("application/json")
                {
                    response.content.insert(PROBLEM_JSON.into(), content);
                }
            }
            if operation.security.is_none() {
                let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                let unknown = Response::builder().description("No key, or one that nobody has");
                let unknown = unknown.content(PROBLEM_JSON, problem).build();
                operation.responses.responses.insert("401".into(), unknown.into());
            }
        }
    }
    api
}

fn is_problem(content: &RefOr<Content>) -> bool {
    let RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) = content else { return false };
    schema.ref_location.ends_with("/Problem")
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", security(()), responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json"),
))]
pub(crate) async fn openapi() -> axum::response::Response {
    ([(CONTENT_TYPE, "application/json")], super::openapi_json()).into_response()
}
