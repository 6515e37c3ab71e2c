//! `/v1/plugins`: components that may be deployed.

use super::App;
use super::auth::Caller;
use super::problem::Problem;
use crate::metrics;
use crate::registry::{PluginRecord, UploadError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use opentelemetry::KeyValue;
use plugin_host::{CompileError, LoadError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Largest upload.
pub(crate) const UPLOAD_LEN_MAX: usize = plugin_host::UPLOAD_BYTES_MAX;
/// The media type of a component.
const WASM: &str = "application/wasm";
/// When to upload again, seconds.
const RETRY_AFTER_S: u32 = 5;

/// A component.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plugin {
    /// SHA-256 of the component.
    hash: String,
    #[schema(example = "geofence")]
    name: String,
    #[schema(example = "1.0.0")]
    version: String,
    /// What it decides: geofence, pricing or maintenance.
    kind: &'static str,
    /// Bytes.
    size: u64,
    #[schema(format = DateTime)]
    uploaded_time: String,
    /// The key that signed it; null when it was not signed.
    #[schema(required)]
    signed_by: Option<String>,
}

/// All your components.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plugins {
    plugins: Vec<Plugin>,
}

impl From<PluginRecord> for Plugin {
    fn from(record: PluginRecord) -> Self {
        Self {
            hash: record.hash.to_string(),
            name: record.name,
            version: record.version,
            kind: record.kind.as_str(),
            size: record.size,
            uploaded_time: record.uploaded_time.to_rfc3339(),
            signed_by: record.signed_by,
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match &error {
            UploadError::Refused(LoadError::TooLarge { .. }) => Problem::too_large(error.to_string()),
            UploadError::Refused(LoadError::Compile(CompileError::Process(_))) => {
                Problem::not_working(error.to_string()).retry_after(RETRY_AFTER_S)
            }
            UploadError::Refused(_) => Problem::plugin_refused(error.to_string()),
            UploadError::Signature(_) => Problem::signature_refused(error.to_string()),
            UploadError::Taken { .. } | UploadError::TooMany => Problem::conflict(error.to_string()),
            UploadError::Busy => Problem::overloaded(error.to_string()).retry_after(RETRY_AFTER_S),
            UploadError::Storage(_) => Problem::internal_error("storing the component", &error),
        }
    }
}

/// What belongs to an upload.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// The component's signature: Ed25519 over `drover plugin v1`, a line feed, and the component; base64url without
    /// padding. A tenant's config says whether it is needed, and whose keys count.
    signature: Option<String>,
}

/// Uploads a component. It is checked, not yet put to work.
#[utoipa::path(post, path = "/v1/plugins", tag = "plugins", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "A WebAssembly component"),
    responses(
    (status = 201, description = "Kept", body = Plugin),
    (status = 200, description = "It was there already", body = Plugin),
    (status = 403, description = "It is not signed as this tenant's components must be", body = Problem),
    (status = 409, description = "Another component has this name and version", body = Problem),
    (status = 413, description = "Too large", body = Problem),
    (status = 422, description = "Refused; `detail` names the import or what else is wrong", body = Problem),
    (status = 503, description = "Too many wait to be checked, or the check itself does not work; try again", body = Problem),
))]
pub(crate) async fn upload_plugin(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Plugin>), Problem> {
    let tenant = caller.tenant()?;
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind != WASM {
        return Err(Problem::wrong_media_type(format!("send a component with Content-Type: {WASM}, not {kind:?}")));
    }
    let Query(query) = query?;
    let uploaded = app.registry.upload(tenant.clone(), body?, query.signature, caller.key.clone()).await;
    let result = if uploaded.is_ok() { "kept" } else { "refused" };
    metrics::plugin_uploads().add(1, &[KeyValue::new("result", result)]);
    let (record, created) = uploaded?;
    Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, Json(record.into())))
}

/// Your components.
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", responses(
    (status = 200, description = "All of them", body = Plugins),
))]
pub(crate) async fn list_plugins(State(app): State<App>, caller: Caller) -> Result<Json<Plugins>, Problem> {
    let plugins = app.registry.plugins(caller.tenant()?).into_iter().map(Plugin::from).collect();
    Ok(Json(Plugins { plugins }))
}
