//! Acts: each once, in a chain that holds, for those whose affair they are.

use crate::client::{ALL, Version};
use crate::cloud::{Cloud, DEMO_KEY, NOW, OPERATOR_KEY, OTHER_KEY, Options};
use crate::rules::{circle, deploy, geofences, upload};
use drover_cloud::registry::{Signers, TenantEntry};
use event_log::{EventLog, Stream};
use fleet_model::audit::Chain;
use fleet_wire::Frame;
use http::Method;
use serde_json::{Value, json};

async fn acts(cloud: &Cloud, key: &str) -> Vec<Value> {
    let page = cloud.get(Version::Http3, "/v1/events?class=audit").key(key).send().await.json().await;
    page["events"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
}

fn kinds(acts: &[Value]) -> Vec<&str> {
    acts.iter().map(|act| act["type"].as_str().unwrap()).collect()
}

async fn upload_as(cloud: &Cloud, key: &str, wasm: Vec<u8>) -> u16 {
    let call = cloud.call(Version::Http2, Method::POST, "/v1/plugins").key(key);
    call.header("content-type", "application/wasm").body(wasm).send().await.status.as_u16()
}

#[tokio::test]
async fn what_is_refused_is_recorded_with_the_reason_for_its_tenant_alone() {
    let cloud = Cloud::start().await;
    assert_eq!(upload(&cloud, Version::Http3, b"not wasm".to_vec()).await.0, 422);
    assert_eq!(deploy(&cloud, "zones", "geofence@1.0.0", &json!({})).await.0, 404);
    let rollback = cloud.call(Version::Http2, Method::POST, "/v1/deployments/zones/rollback").send().await;
    assert_eq!(rollback.status, 404);
    // What cannot be understood is no act.
    let malformed = cloud.call(Version::Http1, Method::PUT, "/v1/deployments/zones").json(&json!([])).send().await;
    assert_eq!(malformed.status, 400);
    let told = acts(&cloud, DEMO_KEY).await;
    assert_eq!(kinds(&told), ["plugin.refused", "deployment.refused", "deployment.refused"]);
    let reasons = ["not WebAssembly", "geofence@1.0.0", "no deployment zones"];
    for ((number, act), reason) in (1..).zip(&told).zip(reasons) {
        assert_eq!((&act["tenant"], &act["who"], &act["outcome"]), (&json!("demo"), &json!("demo"), &json!("refused")));
        assert_eq!((&act["link"]["number"], &act["event_time_ms"]), (&json!(number), &json!(NOW.0)));
        assert!(act["reason"].as_str().unwrap().contains(reason), "{act}");
    }
    assert_eq!((&told[1]["about"], &told[2]["details"]), (&json!("zones"), &json!({"asked": "rollback"})));
    assert_eq!(upload_as(&cloud, OTHER_KEY, b"neither".to_vec()).await, 422);
    let theirs = acts(&cloud, OTHER_KEY).await;
    assert_eq!(kinds(&theirs), ["plugin.refused"]);
    assert_eq!(
        (&theirs[0]["tenant"], &theirs[0]["link"]["number"]),
        (&json!("other"), &json!(1)),
        "a chain of its own"
    );
    assert_eq!(acts(&cloud, OPERATOR_KEY).await.len(), 4, "an operator sees all");
    // The classes of vehicles stay a tenant's, and readers of alerts are not surprised.
    assert_eq!(cloud.get(Version::Http2, "/v1/events").key(OPERATOR_KEY).send().await.status, 403);
    let alerts = cloud.get(Version::Http2, "/v1/events").send().await.json().await;
    assert_eq!(alerts["events"], json!([]));
    let vehicle = cloud.get(Version::Http2, "/v1/events?class=audit&vehicle=bus-1").send().await;
    assert_eq!(vehicle.status, 400);
}

#[tokio::test]
async fn acts_are_followed_from_a_cursor() {
    let cloud = Cloud::start().await;
    for version in ALL {
        upload(&cloud, version, b"not wasm".to_vec()).await;
        let told = acts(&cloud, DEMO_KEY).await;
        let from = told.last().unwrap()["cursor"].as_str().unwrap().to_owned();
        let mut stream = cloud.get(version, format!("/v1/events/stream?class=audit&after={from}")).send().await;
        assert_eq!(upload_as(&cloud, OTHER_KEY, b"x".to_vec()).await, 422);
        assert_eq!(deploy(&cloud, "zones", "a@1", &json!({})).await.0, 404);
        let line: Value = serde_json::from_slice(stream.lines(1).await.trim_ascii()).unwrap();
        assert_eq!((&line["type"], &line["tenant"]), (&json!("deployment.refused"), &json!("demo")));
        let all = cloud.get(version, "/v1/events/stream?class=audit").key(OPERATOR_KEY).send().await.lines(3).await;
        assert_eq!(String::from_utf8(all).unwrap().lines().filter(|line| line.contains("audit")).count(), 3);
    }
}

#[tokio::test]
async fn a_missing_signature_is_an_act() {
    let entry = TenantEntry { name: "demo".parse().unwrap(), require_signatures: true, plugin_keys: Vec::new() };
    let cloud = Cloud::with(Options { signers: Signers::new(&[entry]).unwrap(), ..Options::default() }).await;
    assert_eq!(upload(&cloud, Version::Http3, b"anything".to_vec()).await.0, 403);
    let told = acts(&cloud, DEMO_KEY).await;
    assert_eq!(kinds(&told), ["signature.refused"]);
    let hash = plugin_host::PluginHash::of(b"anything").to_string();
    assert_eq!((&told[0]["plugin_hash"], &told[0]["outcome"]), (&json!(hash), &json!("refused")));
}

#[tokio::test]
async fn each_act_is_one_record_and_what_changes_nothing_is_none() {
    let Some([wasm, newer]) = geofences() else { return };
    let cloud = Cloud::start().await;
    let (_, plugin) = upload(&cloud, Version::Http3, wasm.clone()).await;
    upload(&cloud, Version::Http3, wasm).await;
    upload(&cloud, Version::Http3, newer).await;
    upload(&cloud, Version::Http3, b"not wasm".to_vec()).await;
    let hash = plugin["hash"].as_str().unwrap();
    for radius_m in [100.0, 100.0, 200.0] {
        deploy(&cloud, "zones", hash, &circle("a", radius_m)).await;
    }
    assert_eq!(deploy(&cloud, "zones", hash, &json!({"zones": 5})).await.0, 422);
    let preview = json!({"plugin": hash, "against": "zones"});
    let previewed = cloud.call(Version::Http3, Method::POST, "/v1/previews").json(&preview).send().await;
    assert_eq!(previewed.status, 200);
    let rollback = cloud.call(Version::Http3, Method::POST, "/v1/deployments/zones/rollback").send().await;
    assert_eq!(rollback.status, 200);

    let told = acts(&cloud, DEMO_KEY).await;
    let expected = [
        "plugin.uploaded",
        "plugin.uploaded",
        "plugin.refused",
        "deployment.changed",
        "deployment.changed",
        "deployment.refused",
        "preview.run",
        "deployment.rolled_back",
    ];
    assert_eq!(kinds(&told), expected);
    assert_eq!((&told[0]["about"], &told[0]["plugin_hash"]), (&json!("geofence"), &json!(hash)));
    assert_eq!(told[0]["details"]["version"], plugin["version"]);
    assert!(told[5]["reason"].as_str().unwrap().contains("/zones"), "{}", told[5]);
    assert_eq!((&told[6]["about"], &told[6]["details"]["against"]), (&json!("geofence"), &json!("zones")));
    let revisions: Vec<_> = [3, 4, 7].into_iter().map(|place: usize| &told[place]["revision"]).collect();
    assert_eq!(revisions, [&json!(1), &json!(2), &json!(3)]);
    assert_eq!(told[7]["config_hash"], told[3]["config_hash"], "the config of revision 1 again");
    assert!(acts(&cloud, OTHER_KEY).await.is_empty());

    // What is stored says the same as what was served, and its chain holds.
    let mut chain = Chain::default();
    let blocks = cloud.log.read(Stream::AUDIT, 0, usize::MAX).unwrap();
    let frames = blocks.into_iter().map(|block| Frame::parse(block.bytes).unwrap().into_audit().unwrap());
    let hashes: Vec<_> = frames
        .flat_map(|frame| {
            let records = frame.block().records.iter();
            records.map(|record| record.to_record().unwrap()).collect::<Vec<_>>()
        })
        .map(|record| {
            chain.follow(&record).unwrap();
            json!(hex::encode(record.link.hash))
        })
        .collect();
    assert!(hashes.iter().eq(told.iter().map(|act| &act["link"]["hash"])));
}
