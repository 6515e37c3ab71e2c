//! Where a deployment runs: on edges or in the cloud.

use crate::cloud::Cloud;
use crate::trials::{post, put, with_two_versions};
use fleet_model::Place;
use serde_json::{Value, json};

fn told(cloud: &Cloud) -> Vec<(String, Place)> {
    let set = cloud.registry.deployments().borrow().clone();
    set.deployments.iter().map(|spec| (spec.name.to_string(), spec.place)).collect()
}

#[tokio::test]
async fn a_deployment_runs_where_it_is_made_and_stays_there() {
    let cloud = with_two_versions().await;
    let (status, made) =
        put(&cloud, "fares", &json!({"plugin": "test-rule@1.0.0", "where": "cloud", "vehicles": ["BUS-1"]})).await;
    assert_eq!((status, &made["where"], &made["vehicles"]), (201, &json!("cloud"), &json!(["BUS-1"])), "{made}");
    assert_eq!(made["edges"], json!([{"edge": "cloud", "state": "pending", "error": null}]));
    let (status, made) = put(&cloud, "zones", &json!({"plugin": "test-rule@1.0.0"})).await;
    assert_eq!((status, &made["where"], &made["edges"][0]["edge"]), (201, &json!("edge"), &json!("depot-1")));
    assert_eq!(told(&cloud), [("fares".to_owned(), Place::Cloud), ("zones".to_owned(), Place::Edge)]);

    // Left out it stays; another place is refused, and so are depots where there are none.
    let (_, newer) = put(&cloud, "fares", &json!({"plugin": "test-rule@1.1.0"})).await;
    assert_eq!((&newer["revision"], &newer["where"]), (&json!(2), &json!("cloud")), "{newer}");
    let plugin = "test-rule@1.1.0";
    let refused: [(&str, Value, u16, &str); 5] = [
        ("fares", json!({"plugin": plugin, "where": "edge"}), 409, "fares runs in the cloud"),
        ("zones", json!({"plugin": plugin, "where": "cloud"}), 409, "zones runs on edges"),
        ("fares", json!({"plugin": plugin, "depots": ["depot-1"]}), 409, "wherever it reports"),
        ("new", json!({"plugin": plugin, "where": "cloud", "depots": ["depot-1"]}), 409, "wherever it reports"),
        ("new", json!({"plugin": plugin, "where": "moon"}), 400, "edge"),
    ];
    for (name, body, expected, words) in refused {
        let (status, problem) = put(&cloud, name, &body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == expected && detail.contains(words), "{body}: {status} {detail}");
    }
    let (_, trial) = put(&cloud, "fares", &json!({"plugin": "test-rule@1.0.0", "trial": {"canary_percent": 10}})).await;
    assert_eq!(trial["trial"]["edges"], json!([{"edge": "cloud", "state": "pending", "error": null}]), "{trial}");
    assert_eq!(post(&cloud, "fares", "rollback").await.1["trial"], json!(null));
    let (_, back) = post(&cloud, "fares", "rollback").await;
    assert_eq!((&back["where"], &back["plugin"]["version"]), (&json!("cloud"), &json!("1.0.0")));
}
