//! What a rule would have done.

use crate::client::{ALL, Version};
use crate::cloud::{Cloud, OTHER_KEY};
use crate::rules::{circle, deploy, geofences, upload};
use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};

/// The status, and the last line; or the whole answer when it is no stream.
async fn preview(cloud: &Cloud, version: Version, key: &str, body: &Value) -> (u16, Value) {
    let answer = cloud.call(version, Method::POST, "/v1/previews").key(key).json(body).send().await;
    let status = answer.status.as_u16();
    let text = String::from_utf8(answer.bytes().await).unwrap();
    let last = if status == 200 { text.lines().last().unwrap() } else { &text };
    (status, serde_json::from_str(last).unwrap())
}

async fn of_demo(cloud: &Cloud, version: Version, body: &Value) -> (u16, Value) {
    preview(cloud, version, crate::cloud::DEMO_KEY, body).await
}

#[tokio::test]
async fn a_rule_is_shown_what_is_there_and_compared_with_what_is_live() {
    let Some([wasm, newer]) = geofences() else { return };
    let cloud = Cloud::start().await;
    for _ in 0..3 {
        cloud.append_readings(&[("demo", "bus-1"), ("other", "bus-1"), ("demo", "bus-2")]).await;
    }
    let (_, plugin) = upload(&cloud, Version::Http2, wasm).await;
    let label = format!("geofence@{}", plugin["version"].as_str().unwrap());
    for version in ALL {
        let body = json!({"plugin": label, "config": circle("depot", 100.0)});
        let (status, said) = of_demo(&cloud, version, &body).await;
        let said = &said["preview"];
        assert_eq!(
            (status, &said["readings"], &said["vehicles"], &said["late"]),
            (200, &json!(6), &json!(2), &json!(0))
        );
        assert_eq!(said["candidate"]["events"], json!({"geofence.entered": 2}));
        assert_eq!(
            (&said["live"], &said["added"]["count"], &said["removed"]["count"]),
            (&Value::Null, &json!(2), &json!(0))
        );
        assert_eq!(said["added"]["first"][0]["subject"], "depot");
    }
    // Against what is live: another zone beside the one that stays.
    deploy(&cloud, "zones", &label, &circle("depot", 100.0)).await;
    let mut config = circle("depot", 100.0);
    let yard = circle("yard", 50.0)["zones"]["features"][0].clone();
    config["zones"]["features"].as_array_mut().unwrap().push(yard);
    let component = base64::engine::general_purpose::STANDARD.encode(&newer);
    let body = json!({"component": component, "config": config, "against": "zones", "vehicles": ["bus-2"]});
    let (_, said) = of_demo(&cloud, Version::Http3, &body).await;
    let said = &said["preview"];
    assert_eq!((&said["same"], &said["added"]["count"], &said["removed"]["count"]), (&json!(1), &json!(1), &json!(0)));
    let added = &said["added"]["first"][0];
    assert_eq!((&added["vehicle"], &added["subject"]), (&json!("bus-2"), &json!("yard")));
    let known = cloud.registry.plugins(&"demo".parse().unwrap());
    assert_eq!(known.len(), 1, "the component is not kept");
    // The deployment's config stands in for one that is not given; nothing changes then.
    let (_, said) = of_demo(&cloud, Version::Http1, &json!({"plugin": label, "against": "zones"})).await;
    assert_eq!((&said["preview"]["same"], &said["preview"]["added"]["count"]), (&json!(2), &json!(0)));
    // A time before everything holds nothing.
    let nothing = json!({"plugin": label, "against": "zones", "to": "2001-01-01T00:00:00Z"});
    assert_eq!(of_demo(&cloud, Version::Http2, &nothing).await.1["preview"]["readings"], 0);
}

#[tokio::test]
async fn what_cannot_be_previewed_is_refused_with_the_reason() {
    let Some([wasm, _]) = geofences() else { return };
    let cloud = Cloud::start().await;
    let (_, plugin) = upload(&cloud, Version::Http2, wasm).await;
    let label = format!("geofence@{}", plugin["version"].as_str().unwrap());
    let no_wasm = base64::engine::general_purpose::STANDARD.encode("no wasm");
    for (body, status, kind) in [
        (json!({}), 400, "malformed_request"),
        (json!({"plugin": "a@1", "component": no_wasm}), 400, "malformed_request"),
        (json!({"component": "?"}), 400, "malformed_request"),
        (json!({"component": no_wasm}), 422, "plugin_refused"),
        (json!({"plugin": "a@1"}), 404, "unknown_plugin"),
        (json!({"plugin": label, "against": "nothing"}), 404, "unknown_deployment"),
        (json!({"plugin": label, "config": {"zonez": 1}}), 422, "config_refused"),
        (json!({"plugin": label, "from": "yesterday"}), 400, "malformed_request"),
        (json!({"plugin": label, "vehicles": ["a/b"]}), 400, "malformed_request"),
    ] {
        let (found, problem) = of_demo(&cloud, Version::Http3, &body).await;
        assert_eq!(
            (found, &problem["type"]),
            (status, &json!(format!("urn:drover:problem:{kind}"))),
            "{body}: {problem}"
        );
    }
    let body = json!({"plugin": label, "config": circle("depot", 1.0)});
    assert_eq!(preview(&cloud, Version::Http2, OTHER_KEY, &body).await.0, 404, "it is another tenant's");
}
