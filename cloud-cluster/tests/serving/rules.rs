//! Components and deployments.

use crate::client::{ALL, Version};
use crate::cloud::{Cloud, OTHER_KEY, Options};
use crate::skipped;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use drover_cloud::registry::{PluginKey, Registry, SIGNED_PREFIX, Signers, TenantEntry};
use event_log::EventLog;
use http::Method;
use plugin_host::{Compiler, EngineConfig, PluginEngine};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Two builds of the geofence that differ in their version, if `cargo xtask build-plugins` has made them.
pub(crate) fn geofences() -> Option<[Vec<u8>; 2]> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let folder = target.join("plugins");
    let files = std::fs::read_dir(&folder).ok().into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().into_string().unwrap_or_default());
    let newer = names.into_iter().find(|name| name.starts_with("geofence-") && name.ends_with(".wasm"));
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let found = newer.and_then(|newer| Some([read("geofence.wasm")?, read(&newer)?]));
    if found.is_none() {
        skipped::note("two builds of the geofence", "cargo xtask test makes them");
    }
    found
}

pub(crate) async fn upload(cloud: &Cloud, version: Version, wasm: Vec<u8>) -> (u16, Value) {
    let call = cloud.call(version, Method::POST, "/v1/plugins").header("content-type", "application/wasm").body(wasm);
    let answer = call.send().await;
    (answer.status.as_u16(), answer.json().await)
}

pub(crate) async fn deploy(cloud: &Cloud, name: &str, plugin: &str, config: &Value) -> (u16, Value) {
    let body = json!({"plugin": plugin, "config": config});
    let path = format!("/v1/deployments/{name}");
    let answer = cloud.call(Version::Http3, Method::PUT, path).json(&body).send().await;
    (answer.status.as_u16(), answer.json().await)
}

pub(crate) fn circle(id: &str, radius_m: f64) -> Value {
    json!({"zones": {"type": "FeatureCollection", "features": [{
        "type": "Feature", "id": id, "properties": {"radius_m": radius_m},
        "geometry": {"type": "Point", "coordinates": [21.0, 52.25]},
    }]}})
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_the_reason() {
    let cloud = Cloud::start().await;
    let stranger = wat::parse_str(r#"(component (import "wasi:filesystem/types@0.2.0" (instance)))"#).unwrap();
    let empty = wat::parse_str("(component)").unwrap();
    let module = wat::parse_str("(module)").unwrap();
    for (version, (wasm, reason)) in ALL.into_iter().cycle().zip([
        (b"not wasm".to_vec(), "not WebAssembly"),
        (module, "core module"),
        (stranger, "wasi:filesystem/types@0.2.0"),
        (empty, "export"),
    ]) {
        let (status, problem) = upload(&cloud, version, wasm).await;
        assert_eq!((status, problem["type"].as_str()), (422, Some("urn:drover:problem:plugin_refused")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{reason}: {problem}");
    }
    for version in ALL {
        let (status, problem) = upload(&cloud, version, vec![0; plugin_host::UPLOAD_BYTES_MAX + 1]).await;
        assert_eq!((status, problem["type"].as_str()), (413, Some("urn:drover:problem:too_large")), "{version:?}");
    }
    let untyped = cloud.call(Version::Http2, Method::POST, "/v1/plugins").body("x").send().await;
    assert_eq!(untyped.status, 415);
    let plugins = cloud.get(Version::Http2, "/v1/plugins").send().await.json().await;
    assert_eq!(plugins, json!({"plugins": []}));
}

#[tokio::test]
async fn what_cannot_be_deployed_is_refused_with_the_place() {
    let cloud = Cloud::start().await;
    let (status, problem) = deploy(&cloud, "zones", "geofence@1.0.0", &json!({})).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (404, &json!("/plugin")));
    for (body, part) in [
        (json!({}), "plugin"),
        (json!({"plugin": 1}), "string"),
        (json!({"plugin": "a@1", "confg": {}}), "confg"),
        (json!([]), "DeploymentRequest"),
    ] {
        let answer = cloud.call(Version::Http1, Method::PUT, "/v1/deployments/zones").json(&body).send().await;
        assert_eq!(answer.status, 400, "{body}");
        let problem = answer.json().await;
        assert!(problem["detail"].as_str().unwrap().contains(part), "{part}: {problem}");
    }
    for (method, path, status) in [
        (Method::PUT, "/v1/deployments/a%20b", 400),
        (Method::GET, "/v1/deployments/zones", 404),
        (Method::POST, "/v1/deployments/zones/rollback", 404),
    ] {
        let body = json!({"plugin": "a@1"});
        assert_eq!(cloud.call(Version::Http2, method, path).json(&body).send().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_component_is_uploaded_deployed_replaced_refused_and_rolled_back() {
    let Some([wasm, newer]) = geofences() else { return };
    let cloud = Cloud::start().await;
    let (status, plugin) = upload(&cloud, Version::Http3, wasm.clone()).await;
    assert_eq!(status, 201, "{plugin}");
    assert_eq!(
        (&plugin["name"], &plugin["kind"], &plugin["size"]),
        (&json!("geofence"), &json!("geofence"), &json!(wasm.len()))
    );
    assert_eq!(upload(&cloud, Version::Http2, wasm.clone()).await, (200, plugin.clone()), "the same again");
    let (status, newer) = upload(&cloud, Version::Http1, newer).await;
    assert_eq!(status, 201, "{newer}");
    let label = |plugin: &Value| format!("geofence@{}", plugin["version"].as_str().unwrap());
    let published = cloud.registry.deployments();

    let (status, deployed) = deploy(&cloud, "zones", &label(&plugin), &circle("a", 100.0)).await;
    assert_eq!((status, &deployed["revision"], &deployed["plugin"]["hash"]), (201, &json!(1), &plugin["hash"]));
    assert_eq!(deployed["edges"], json!([{"edge": "depot-1", "state": "pending", "error": null}]));
    let (status, deployed) = deploy(&cloud, "zones", newer["hash"].as_str().unwrap(), &circle("b", 100.0)).await;
    assert_eq!((status, &deployed["revision"], &deployed["plugin"]["version"]), (200, &json!(2), &newer["version"]));

    // Refused: what runs stays.
    let mut broken = circle("c", 100.0);
    broken["exit_buffer_m"] = json!("wide");
    broken["surprise"] = json!(1);
    let (status, problem) = deploy(&cloud, "zones", &label(&plugin), &broken).await;
    assert_eq!((status, problem["type"].as_str()), (422, Some("urn:drover:problem:config_refused")), "{problem}");
    let pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    assert!(pointers.contains(&"/config/exit_buffer_m"), "all places are named: {problem}");
    assert!(problem["errors"].as_array().unwrap().len() >= 2, "all places are named: {problem}");
    let now = cloud.get(Version::Http3, "/v1/deployments/zones").send().await.json().await;
    assert_eq!((&now["revision"], &now["config"]), (&json!(2), &circle("b", 100.0)));
    assert_eq!(now["history"][0]["revision"], 1);

    let answer = cloud.call(Version::Http3, Method::POST, "/v1/deployments/zones/rollback").send().await;
    assert_eq!(answer.status, 200);
    let back = answer.json().await;
    assert_eq!((&back["revision"], &back["plugin"]["hash"]), (&json!(3), &plugin["hash"]));
    {
        let set = published.borrow();
        assert_eq!((set.generation, set.deployments.len()), (3, 1));
        let spec = &set.deployments[0];
        assert_eq!((spec.tenant.as_str(), spec.name.as_str(), spec.revision), ("demo", "zones", 3));
        assert_eq!((&json!(spec.plugin_hash), &spec.config), (&plugin["hash"], &circle("a", 100.0)));
    }

    // Another tenant sees none of it, and cannot deploy it.
    for path in ["/v1/plugins", "/v1/deployments"] {
        let list = cloud.get(Version::Http2, path).key(OTHER_KEY).send().await.json().await;
        assert_eq!(list.as_object().unwrap().values().next().unwrap(), &json!([]), "{path}");
    }
    let body = json!({"plugin": plugin["hash"], "config": circle("a", 1.0)});
    let theirs =
        cloud.call(Version::Http2, Method::PUT, "/v1/deployments/zones").key(OTHER_KEY).json(&body).send().await;
    assert_eq!(theirs.status, 404);
    let hidden = cloud.get(Version::Http2, "/v1/deployments/zones").key(OTHER_KEY).send().await;
    assert_eq!(hidden.status, 404);

    // After a restart everything is as it was.
    let engine = PluginEngine::new(EngineConfig { compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap();
    let log: Arc<dyn EventLog> = Arc::new(cloud.log.clone());
    let reopened =
        Registry::open(&cloud.data_dir, log, engine, Signers::lenient(), vehicle_runtime::system_clock()).unwrap();
    assert_eq!(*reopened.deployments().borrow(), *published.borrow());
    let tenant = "demo".parse().unwrap();
    assert_eq!(reopened.plugins(&tenant), cloud.registry.plugins(&tenant));
    assert_eq!(reopened.component(plugin["hash"].as_str().unwrap().parse().unwrap()).unwrap().unwrap(), wasm);
}

#[tokio::test]
async fn a_component_must_be_signed_by_its_tenants_key() {
    let Some([wasm, newer]) = geofences() else { return };
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public_key = STANDARD.encode(pair.public_key().as_ref()).try_into().unwrap();
    let key = PluginKey { name: "alice".into(), public_key };
    let entry = TenantEntry { name: "demo".parse().unwrap(), require_signatures: true, plugin_keys: vec![key] };
    let options = Options { signers: Signers::new(&[entry]).unwrap(), ..Options::default() };
    let cloud = Cloud::with(options).await;
    let signed = |wasm: &[u8]| URL_SAFE_NO_PAD.encode(pair.sign(&[SIGNED_PREFIX, wasm].concat()));
    let upload = async |version, signature: Option<String>, wasm: &[u8]| {
        let query = signature.map(|signature| format!("?signature={signature}")).unwrap_or_default();
        let call = cloud.call(version, Method::POST, format!("/v1/plugins{query}"));
        let answer = call.header("content-type", "application/wasm").body(wasm.to_vec()).send().await;
        (answer.status.as_u16(), answer.json().await)
    };
    for signature in [None, Some("x".to_owned()), Some(signed(&newer))] {
        let (status, problem) = upload(Version::Http3, signature, &wasm).await;
        assert_eq!((status, &problem["type"]), (403, &json!("urn:drover:problem:signature_refused")), "{problem}");
    }
    assert!(cloud.registry.plugins(&"demo".parse().unwrap()).is_empty());
    let (status, plugin) = upload(Version::Http2, Some(signed(&wasm)), &wasm).await;
    assert_eq!((status, &plugin["signed_by"]), (201, &json!("alice")), "{plugin}");
}

#[tokio::test]
async fn one_name_and_version_is_one_component() {
    let Some([wasm, _]) = geofences() else { return };
    let cloud = Cloud::start().await;
    assert_eq!(upload(&cloud, Version::Http3, wasm.clone()).await.0, 201);
    // A custom section changes the bytes and nothing else.
    let same = [wasm, vec![0, 3, 1, b'x', 0]].concat();
    let (status, problem) = upload(&cloud, Version::Http3, same).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("urn:drover:problem:conflict")), "{problem}");
}
