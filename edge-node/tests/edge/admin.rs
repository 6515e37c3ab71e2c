//! The operator's door.

use crate::client::{Client, get, post, topic};
use crate::started::Edge;
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::Qos;

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_page_says_what_was_counted_and_refused() {
    let edge = Edge::start().await;
    let admin = edge.addresses.admin;
    assert_eq!(get(admin, "/healthz").await.status, 200);
    assert_eq!(get(admin, "/readyz").await.status, 200);
    assert_eq!(get(admin, "/metrics").await.status, 200);
    assert_eq!(get(admin, "/other").await.status, 404);

    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V3_1_1, "box").await;
    device.publish_fix("bus-1", 2_000).await;
    device.puback().await;
    device.publish_fix("bus-1", 1_000).await;
    device.puback().await;
    for payload in ["{", "[]", "{", "5"] {
        device.publish(&topic("bus-1"), payload.as_bytes(), Qos::AtLeastOnce).await;
        device.puback().await;
    }
    assert_eq!(post(edge.addresses.http.unwrap(), "").await.status, 400);

    let status = get(admin, "/v1/status").await.json();
    assert_eq!((status["edge"].as_str(), &status["uplink"]), (Some("depot-1"), &serde_json::Value::Null));
    let counters = &status["counters"];
    assert_eq!((&counters["admitted"], &counters["late"], &counters["vehicles"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(counters["refused"], serde_json::json!({"malformed_json": 3, "wrong_shape": 2}));
    assert_eq!((&status["streams"][0]["class"], &status["streams"][0]["next"]), (&"telemetry".into(), &2.into()));

    let page = get(admin, "/v1/dead-letters?limit=2").await.json();
    assert_eq!((page["dead_letters"].as_array().unwrap().len(), &page["more"]), (2, &true.into()));
    let rest = get(admin, &format!("/v1/dead-letters?after={}", page["next"])).await.json();
    assert_eq!((rest["dead_letters"].as_array().unwrap().len(), &rest["more"]), (3, &false.into()));
    let malformed = get(admin, "/v1/dead-letters?reason=malformed_json").await.json();
    assert_eq!(malformed["dead_letters"].as_array().unwrap().len(), 3);
    assert_eq!(malformed["dead_letters"][0]["vehicle"], "bus-1");
    let size = |letter: &serde_json::Value| (letter["payload_len"].as_u64().unwrap(), letter["truncated"] == true);
    assert_eq!(size(&malformed["dead_letters"][0]), (1, false));
    assert_eq!(post(edge.addresses.http.unwrap(), &"{".repeat(5_000)).await.status, 400);
    let malformed = get(admin, "/v1/dead-letters?reason=malformed_json").await.json();
    assert_eq!(size(&malformed["dead_letters"][3]), (5_000, true));
    let refused = get(admin, "/v1/dead-letters?reason=bad").await;
    assert!(refused.status == 400 && refused.body.contains("null_position"), "{refused:?}");
    assert_eq!(get(admin, "/v1/dead-letters?limit=x").await.status, 400);
    edge.end().await;
}
