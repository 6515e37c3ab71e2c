//! Vehicles' tags, and deployments that are for vehicles by their tags.

use crate::client::{ALL, Version};
use crate::cloud::{Cloud, OPERATOR_KEY, OTHER_KEY};
use crate::guest::Guest;
use crate::rules::upload;
use fleet_model::{Scope, TrialMode};
use http::Method;
use serde_json::{Value, json};

async fn put(cloud: &Cloud, path: &str, body: &Value) -> (u16, Value) {
    let answer = cloud.call(Version::Http2, Method::PUT, path).json(body).send().await;
    (answer.status.as_u16(), answer.json().await)
}

async fn tag(cloud: &Cloud, vehicle: &str, tags: &[&str]) -> Value {
    let (status, tagged) = put(cloud, &format!("/v1/vehicles/{vehicle}/tags"), &json!({ "tags": tags })).await;
    assert_eq!(status, 200, "{tagged}");
    tagged
}

async fn deploy(cloud: &Cloud, body: &Value) -> (u16, Value) {
    put(cloud, "/v1/deployments/zones", body).await
}

async fn get(cloud: &Cloud, path: &str) -> Value {
    cloud.get(Version::Http3, path).send().await.json().await
}

async fn with_two_versions() -> Cloud {
    let cloud = Cloud::start().await;
    for version in ["1.0.0", "1.1.0"] {
        let wasm = Guest { version, ..Guest::default() }.component();
        assert_eq!(upload(&cloud, Version::Http2, wasm).await.0, 201);
    }
    cloud
}

/// For whom edges are told that the only deployment is.
fn told(cloud: &Cloud) -> Scope {
    cloud.registry.deployments().borrow().deployments[0].vehicles.clone()
}

fn only(vehicles: &[&str]) -> Scope {
    Scope::only(vehicles.iter().map(|vehicle| vehicle.parse().unwrap()))
}

#[tokio::test]
async fn tags_are_given_replaced_and_taken_away_also_of_a_vehicle_not_heard_of_yet() {
    let cloud = Cloud::start().await;
    let tagged = tag(&cloud, "bus-1", &["night-bus", "electric", "night-bus"]).await;
    assert_eq!(tagged, json!({"vehicle": "bus-1", "tags": ["electric", "night-bus"], "deployments": []}));
    assert_eq!(cloud.get(Version::Http1, "/v1/vehicles/bus-1").send().await.status, 404, "it has sent no reading");
    let known = json!({"vehicle": "bus-1", "tags": ["electric", "night-bus"]});
    assert_eq!(get(&cloud, "/v1/vehicles/bus-1/tags").await, known);
    assert_eq!(get(&cloud, "/v1/vehicles/bus-9/tags").await, json!({"vehicle": "bus-9", "tags": []}));
    cloud.seen("demo", "bus-1", 0);
    assert_eq!(get(&cloud, "/v1/vehicles/bus-1").await["tags"], known["tags"]);
    tag(&cloud, "bus-1", &["airport"]).await;
    assert_eq!(get(&cloud, "/v1/vehicles").await["vehicles"][0]["tags"], json!(["airport"]));
    tag(&cloud, "bus-1", &[]).await;
    assert_eq!(get(&cloud, "/v1/vehicles/bus-1").await["tags"], json!([]));
    let acts = get(&cloud, "/v1/events?class=audit").await;
    let acts: Vec<_> = acts["events"].as_array().unwrap().iter().map(|act| (&act["type"], &act["about"])).collect();
    assert_eq!(acts, [(&json!("vehicle.tagged"), &json!("bus-1")); 3]);
}

#[tokio::test]
async fn tags_that_are_none_are_refused_with_the_place() {
    let cloud = Cloud::start().await;
    let many: Vec<_> = (0..17).map(|number| format!("tag-{number}")).collect();
    for (body, pointer, words) in [
        (json!({"tags": ["a", "b c"]}), "/tags/1", "' '"),
        (json!({"tags": [""]}), "/tags/0", "empty"),
        (json!({"tags": ["x".repeat(65)]}), "/tags/0", "64"),
        (json!({"tags": ["*"]}), "/tags/0", "'*'"),
        (json!({ "tags": many }), "/tags", "at most 16"),
    ] {
        let (status, problem) = put(&cloud, "/v1/vehicles/bus-1/tags", &body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!(pointer)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{words}: {problem}");
    }
    for (path, body, status) in [
        ("/v1/vehicles/bus-1/tags", json!({}), 400),
        ("/v1/vehicles/bus-1/tags", json!({"tags": "night-bus"}), 400),
        ("/v1/vehicles/bus-1/tags", json!({"tags": [], "more": 1}), 400),
        ("/v1/vehicles/a%20b/tags", json!({"tags": []}), 400),
        ("/v1/vehicles/bus-1/tags", json!({"tags": ["x".repeat(20_000)]}), 413),
    ] {
        let (answered, problem) = put(&cloud, path, &body).await;
        assert_eq!(answered, status, "{path} {problem}");
    }
    let untyped = cloud.call(Version::Http2, Method::PUT, "/v1/vehicles/bus-1/tags").body("{}").send().await;
    assert_eq!(untyped.status, 415);
    assert_eq!(cloud.get(Version::Http2, "/v1/vehicles?tag=b%20c").send().await.status, 400);
    assert_eq!(get(&cloud, "/v1/vehicles/bus-1/tags").await["tags"], json!([]));
    assert_eq!(get(&cloud, "/v1/events?class=audit").await["events"], json!([]), "what cannot be read is no act");
}

#[tokio::test]
async fn tags_are_their_tenants_alone() {
    let cloud = Cloud::start().await;
    for tenant in ["demo", "other"] {
        cloud.seen(tenant, "bus-1", 0);
    }
    tag(&cloud, "bus-1", &["night-bus"]).await;
    for (version, key, status) in
        ALL.into_iter().zip([Some(OTHER_KEY), Some(OPERATOR_KEY), None]).map(|(version, key)| {
            (
                version,
                key,
                if key == Some(OTHER_KEY) {
                    200
                } else if key.is_some() {
                    403
                } else {
                    401
                },
            )
        })
    {
        for method in [Method::GET, Method::PUT] {
            let call =
                cloud.call(version, method.clone(), "/v1/vehicles/bus-1/tags").json(&json!({"tags": ["day-bus"]}));
            let call = match key {
                Some(key) => call.key(key),
                None => call.header("authorization", "Bearer nobody's"),
            };
            let answer = call.send().await;
            assert_eq!(answer.status, status, "{method} {key:?}");
            let answer = answer.json().await;
            if status == 200 {
                let own = if method == Method::GET { json!([]) } else { json!(["day-bus"]) };
                assert_eq!(answer["tags"], own, "{answer}");
            }
        }
    }
    assert_eq!(get(&cloud, "/v1/vehicles/bus-1").await["tags"], json!(["night-bus"]));
    let others = cloud.get(Version::Http3, "/v1/vehicles?tag=night-bus").key(OTHER_KEY).send().await.json().await;
    assert_eq!(others["vehicles"], json!([]));
}

#[tokio::test]
async fn pages_of_a_tag_give_each_vehicle_that_has_it_once_in_order() {
    let cloud = Cloud::start().await;
    let mut expected = Vec::new();
    for number in 0..40 {
        let name = format!("bus-{number:03}");
        let is_one = number % 3 == 0;
        tag(&cloud, &name, if is_one { &["night-bus", "electric"] } else { &["electric"] }).await;
        // Every tenth has not been heard of.
        if number % 10 != 0 {
            cloud.seen("demo", &name, 0);
            expected.extend(is_one.then_some(name));
        }
    }
    for (limit, version) in [1, 5, expected.len(), 1_000].into_iter().zip(ALL.into_iter().cycle()) {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/vehicles?tag=night-bus&limit={limit}{after}");
            let page = cloud.get(version, path).send().await.json().await;
            let vehicles = page["vehicles"].as_array().unwrap();
            assert!(vehicles.len() <= limit);
            seen.extend(vehicles.iter().map(|vehicle| vehicle["vehicle"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!(vehicles.len(), limit, "a page is full when another follows");
            after = format!("&after={next}");
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
    assert_eq!(get(&cloud, "/v1/vehicles?tag=nobody").await, json!({"vehicles": [], "next": null}));
}

#[tokio::test]
async fn a_deployment_is_for_who_is_named_and_who_is_tagged_until_others_are_said() {
    let cloud = with_two_versions().await;
    let (_, made) = deploy(&cloud, &json!({"plugin": "test-rule@1.0.0", "tags": ["night-bus"]})).await;
    assert_eq!(
        (&made["vehicles"], &made["tags"], &made["tagged_vehicles"]),
        (&json!([]), &json!(["night-bus"]), &json!(0))
    );
    assert_eq!(told(&cloud), only(&[]), "no vehicle has it: it is for none");
    assert_eq!(tag(&cloud, "bus-1", &["night-bus"]).await["deployments"], json!(["zones"]));
    assert_eq!(told(&cloud), only(&["bus-1"]));
    let (_, next) = deploy(&cloud, &json!({"plugin": "test-rule@1.1.0"})).await;
    assert_eq!(
        (&next["revision"], &next["tags"], &next["tagged_vehicles"]),
        (&json!(2), &json!(["night-bus"]), &json!(1))
    );
    let both = json!({"plugin": "test-rule@1.1.0", "vehicles": ["bus-7", "bus-1"], "tags": ["night-bus", "airport"]});
    let (_, both) = deploy(&cloud, &both).await;
    assert_eq!((&both["vehicles"], &both["tags"]), (&json!(["bus-1", "bus-7"]), &json!(["airport", "night-bus"])));
    tag(&cloud, "bus-2", &["airport"]).await;
    assert_eq!(told(&cloud), only(&["bus-1", "bus-2", "bus-7"]));
    let shown = get(&cloud, "/v1/deployments/zones").await;
    assert_eq!((&shown["revision"], &shown["tagged_vehicles"]), (&json!(3), &json!(2)));
    // Who names vehicles means these alone.
    let (_, named) = deploy(&cloud, &json!({"plugin": "test-rule@1.1.0", "vehicles": ["bus-7"]})).await;
    assert_eq!((&named["tags"], told(&cloud)), (&json!([]), only(&["bus-7"])));
    let (_, all) = deploy(&cloud, &json!({"plugin": "test-rule@1.1.0", "vehicles": ["*"]})).await;
    assert_eq!((&all["vehicles"], told(&cloud)), (&json!(null), Scope::ALL));
    for (wrong, words) in [
        (json!({"plugin": "test-rule@1.0.0", "tags": []}), "tags: name at least one"),
        (json!({"plugin": "test-rule@1.0.0", "tags": ["a b"]}), "tags"),
        (json!({"plugin": "test-rule@1.0.0", "tags": ["*"]}), "tags"),
        (
            json!({"plugin": "test-rule@1.0.0", "tags": (0..17).map(|n| format!("t{n}")).collect::<Vec<_>>()}),
            "at most 16",
        ),
        (json!({"plugin": "test-rule@1.0.0", "tags": ["a"], "vehicles": ["*"]}), "names all of them already"),
    ] {
        let (status, problem) = deploy(&cloud, &wrong).await;
        assert!(status == 400 && problem["detail"].as_str().unwrap().contains(words), "{status} {problem}");
    }
}

#[tokio::test]
async fn a_trial_goes_on_when_tags_change_and_is_for_the_same_target() {
    let cloud = with_two_versions().await;
    deploy(&cloud, &json!({"plugin": "test-rule@1.0.0", "tags": ["night-bus"]})).await;
    let trial = |tags: &[&str]| json!({"plugin": "test-rule@1.1.0", "tags": tags, "trial": {"shadow_s": 60}});
    assert_eq!(deploy(&cloud, &trial(&["airport"])).await.0, 409, "a trial compares the same vehicles");
    let (status, tried) = deploy(&cloud, &trial(&["night-bus"])).await;
    assert_eq!(status, 200, "{tried}");
    tag(&cloud, "bus-1", &["night-bus"]).await;
    let now = get(&cloud, "/v1/deployments/zones").await;
    assert_eq!((&now["revision"], &now["trial"]["revision"]), (&json!(1), &json!(2)), "{now}");
    assert_eq!(now["trial"]["since"], tried["trial"]["since"]);
    let spec = cloud.registry.deployments().borrow().deployments[0].clone();
    assert_eq!((&spec.vehicles, spec.trial.as_ref().unwrap().mode), (&only(&["bus-1"]), TrialMode::Shadow));
    let promoted = cloud.call(Version::Http2, Method::POST, "/v1/deployments/zones/promote").send().await.json().await;
    assert_eq!((&promoted["revision"], &promoted["tags"]), (&json!(2), &json!(["night-bus"])));
    assert_eq!(told(&cloud), only(&["bus-1"]));
}
