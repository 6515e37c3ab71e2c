//! Deployments for some vehicles, and revisions that are tried before they are live.

use crate::client::Version;
use crate::cloud::Cloud;
use crate::guest::Guest;
use crate::rules::upload;
use fleet_model::TrialMode;
use http::Method;
use serde_json::{Value, json};

pub(crate) async fn put(cloud: &Cloud, name: &str, body: &Value) -> (u16, Value) {
    let answer = cloud.call(Version::Http2, Method::PUT, format!("/v1/deployments/{name}")).json(body).send().await;
    (answer.status.as_u16(), answer.json().await)
}

pub(crate) async fn post(cloud: &Cloud, name: &str, what: &str) -> (u16, Value) {
    let path = format!("/v1/deployments/{name}/{what}");
    let answer = cloud.call(Version::Http2, Method::POST, path).send().await;
    (answer.status.as_u16(), answer.json().await)
}

pub(crate) async fn with_two_versions() -> Cloud {
    let cloud = Cloud::start().await;
    for version in ["1.0.0", "1.1.0"] {
        let wasm = Guest { version, ..Guest::default() }.component();
        assert_eq!(upload(&cloud, Version::Http2, wasm).await.0, 201);
    }
    cloud
}

#[tokio::test]
async fn a_revision_is_tried_promoted_twice_and_rolled_back() {
    let cloud = with_two_versions().await;
    let trial = json!({"plugin": "test-rule@1.1.0", "trial": {"shadow_s": 60, "canary_percent": 10, "canary_s": 60}});
    let (status, problem) = put(&cloud, "zones", &trial).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("deploy it without a trial first"), "{problem}");
    assert_eq!(put(&cloud, "zones", &json!({"plugin": "test-rule@1.0.0"})).await.0, 201);
    assert_eq!(post(&cloud, "zones", "promote").await.0, 409, "nothing is tried");

    let (status, tried) = put(&cloud, "zones", &trial).await;
    assert_eq!((status, &tried["revision"], &tried["trial"]["revision"]), (200, &json!(1), &json!(2)), "{tried}");
    assert_eq!((&tried["trial"]["stage"], &tried["trial"]["plugin"]["version"]), (&json!("shadow"), &json!("1.1.0")));
    assert!(tried["trial"]["waiting_for"].as_str().unwrap().contains("promoted"), "{tried}");
    let told = || cloud.registry.deployments().borrow().deployments[0].clone();
    assert_eq!((told().revision, told().trial.as_ref().unwrap().mode), (1, TrialMode::Shadow));
    let generation = cloud.registry.deployments().borrow().generation;

    let (_, canary) = post(&cloud, "zones", "promote").await;
    assert_eq!((&canary["trial"]["stage"], &canary["trial"]["canary_percent"]), (&json!("canary"), &json!(10)));
    assert!(matches!(told().trial.as_ref().unwrap().mode, TrialMode::Canary { share } if share.percent() == 10));
    assert!(cloud.registry.deployments().borrow().generation > generation, "edges are told of a change");
    let (_, live) = post(&cloud, "zones", "promote").await;
    assert_eq!(
        (&live["revision"], &live["plugin"]["version"], &live["trial"]),
        (&json!(2), &json!("1.1.0"), &json!(null))
    );

    let back = json!({"plugin": "test-rule@1.0.0", "trial": {"canary_percent": 50}});
    assert_eq!(put(&cloud, "zones", &back).await.1["trial"]["revision"], 3);
    let (status, ended) = post(&cloud, "zones", "rollback").await;
    assert_eq!((status, &ended["revision"], &ended["trial"]), (200, &json!(2), &json!(null)), "{ended}");
    assert_eq!(ended["ended_trial"]["revision"], 3);
    let (_, before) = post(&cloud, "zones", "rollback").await;
    assert_eq!(
        (&before["revision"], &before["plugin"]["version"]),
        (&json!(4), &json!("1.0.0")),
        "numbers are not used twice"
    );
}

#[tokio::test]
async fn depots_and_vehicles_stay_until_others_are_named() {
    let cloud = with_two_versions().await;
    let some = json!({"plugin": "test-rule@1.0.0", "depots": ["depot-2"], "vehicles": ["BUS-2", "BUS-1"]});
    let (_, made) = put(&cloud, "zones", &some).await;
    assert_eq!((&made["depots"], &made["vehicles"]), (&json!(["depot-2"]), &json!(["BUS-1", "BUS-2"])), "{made}");
    let next = json!({"plugin": "test-rule@1.1.0"});
    let (_, kept) = put(&cloud, "zones", &next).await;
    assert_eq!((&kept["revision"], &kept["vehicles"]), (&json!(2), &json!(["BUS-1", "BUS-2"])));
    let other = json!({"plugin": "test-rule@1.0.0", "vehicles": ["BUS-3"], "trial": {"shadow_s": 1}});
    assert_eq!(put(&cloud, "zones", &other).await.0, 409, "a trial compares the same vehicles");
    let all = json!({"plugin": "test-rule@1.1.0", "depots": ["*"], "vehicles": ["*"]});
    let (_, all) = put(&cloud, "zones", &all).await;
    assert_eq!((&all["revision"], &all["depots"], &all["vehicles"]), (&json!(3), &json!(null), &json!(null)));
    for (wrong, words) in [
        (json!({"plugin": "test-rule@1.0.0", "vehicles": []}), "name at least one"),
        (json!({"plugin": "test-rule@1.0.0", "vehicles": ["a b"]}), "vehicles"),
        (json!({"plugin": "test-rule@1.0.0", "trial": {}}), "shadow_s, canary_percent"),
        (json!({"plugin": "test-rule@1.0.0", "trial": {"canary_percent": 101}}), "1 to 100"),
    ] {
        let (status, problem) = put(&cloud, "zones", &wrong).await;
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(words), "{status} {problem}");
    }
}
