//! The description of the API.

use crate::client::Version;
use crate::cloud::Cloud;
use std::path::Path;

/// `DROVER_WRITE_DOCS=1 cargo test -p drover-cloud openapi` writes the file anew.
#[tokio::test]
async fn the_description_is_served_and_documented_as_the_code_has_it() {
    let cloud = Cloud::start().await;
    let served =
        String::from_utf8(cloud.get(Version::Http2, "/openapi.json").no_key().send().await.bytes().await).unwrap();
    assert_eq!(served, drover_cloud::serving::openapi_json());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("DROVER_WRITE_DOCS").is_some() {
        std::fs::write(&path, &served).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(documented == served, "docs/openapi.json is old: run this test with DROVER_WRITE_DOCS=1");
    let api: serde_json::Value = serde_json::from_str(&served).unwrap();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<_> = api["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in [
        "/v1/vehicles",
        "/v1/vehicles/{id}",
        "/v1/vehicles/{id}/tags",
        "/v1/events",
        "/v1/events/stream",
        "/v1/plugins",
        "/v1/plugins/{name}",
        "/v1/plugins/{name}/logs",
        "/v1/plugins/{name}/cost",
        "/v1/deployments",
        "/v1/deployments/{name}",
        "/v1/deployments/{name}/rollback",
        "/v1/status",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(paths.contains(&path), "{path}");
    }
}
