//! Where vehicles are.

use crate::client::{ALL, Version};
use crate::cloud::Cloud;
use serde_json::json;

#[tokio::test]
async fn a_vehicle_says_what_was_reported_and_how_old_that_is() {
    let cloud = Cloud::start().await;
    cloud.seen("demo", "bus-1", 5_000);
    let vehicle = cloud.get(Version::Http3, "/v1/vehicles/bus-1").send().await.json().await;
    let expected = json!({
        "tenant": "demo", "vehicle": "bus-1", "tags": [], "sequence": 3, "event_time": "2024-02-19T14:41:49.000Z",
        "event_time_ms": 1_708_353_709_000_i64, "received_time": "2024-02-19T14:41:49.000Z", "data_age_ms": 5_000,
        "latitude": 52.25, "longitude": 21.0, "speed": 12.5, "ignition": true, "readings": 3, "late": 1,
    });
    assert_eq!(vehicle, expected);
}

#[tokio::test]
async fn old_data_is_refused_to_who_asks_for_that() {
    let cloud = Cloud::start().await;
    cloud.seen("demo", "bus-1", 5_000);
    for (path, status) in [
        ("/v1/vehicles/bus-1?max_staleness=5000", 200),
        ("/v1/vehicles/bus-1?max_staleness=4999", 503),
        ("/v1/vehicles?max_staleness=4999", 503),
        ("/v1/vehicles?max_staleness=-1", 400),
    ] {
        assert_eq!(cloud.get(Version::Http2, path).send().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn pages_give_every_vehicle_once_in_order() {
    let cloud = Cloud::start().await;
    let names: Vec<String> = (0..57).map(|number| format!("bus-{number:03}")).collect();
    for name in &names {
        cloud.seen("demo", name, 0);
        cloud.seen("other", &format!("{name}-x"), 0);
    }
    for (limit, version) in [1, 10, 57, 58].into_iter().zip(ALL.into_iter().cycle()) {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = cloud.get(version, format!("/v1/vehicles?limit={limit}{after}")).send().await.json().await;
            let vehicles = page["vehicles"].as_array().unwrap();
            seen.extend(vehicles.iter().map(|vehicle| vehicle["vehicle"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(seen, names, "limit {limit}");
    }
}
