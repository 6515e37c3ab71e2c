//! What a partner reads does not depend on the version of HTTP.

use crate::client::{ALL, Version};
use crate::cloud::Cloud;
use http::Method;

#[tokio::test]
async fn every_version_of_http_gives_the_same_bytes() {
    let cloud = Cloud::start().await;
    cloud.append_many(100).await;
    cloud.seen("demo", "bus-1", 5_000);
    let mut streamed = Vec::new();
    for version in ALL {
        streamed.push(cloud.get(version, "/v1/events/stream").send().await.lines(50).await);
    }
    assert_eq!(streamed[0].iter().filter(|byte| **byte == b'\n').count(), 50);
    assert_eq!(streamed[0], streamed[1]);
    assert_eq!(streamed[0], streamed[2]);
    for path in
        ["/v1/events?limit=30", "/v1/vehicles", "/v1/vehicles/bus-1", "/openapi.json", "/v1/vehicles/nobody", "/x"]
    {
        let mut answers = Vec::new();
        for version in ALL {
            let answer = cloud.get(version, path).send().await;
            let content_type = answer.headers["content-type"].clone();
            answers.push((answer.status, content_type, answer.headers["content-length"].clone(), answer.bytes().await));
        }
        assert_eq!(answers[0], answers[1], "{path}");
        assert_eq!(answers[0], answers[2], "{path}");
    }
}

#[tokio::test]
async fn tcp_answers_lead_to_http3() {
    let cloud = Cloud::start().await;
    for version in ALL {
        let answer = cloud.get(version, "/healthz").no_key().send().await;
        assert_eq!(answer.status, 200);
        let alt_svc = answer.headers.get("alt-svc").map(|value| value.to_str().unwrap().to_owned());
        let expected = format!("h3=\":{}\"; ma=86400", cloud.address.port());
        assert_eq!(alt_svc, (version != Version::Http3).then_some(expected));
    }
}

#[tokio::test]
async fn a_head_request_has_no_body() {
    let cloud = Cloud::start().await;
    for version in ALL {
        let answer = cloud.call(version, Method::HEAD, "/healthz").send().await;
        assert_eq!((answer.status.as_u16(), answer.bytes().await), (200, Vec::new()), "{version:?}");
    }
}

#[tokio::test]
async fn an_event_has_the_promised_fields() {
    let cloud = Cloud::start().await;
    cloud.append(&[("demo", "bus-7")]).await;
    let line = cloud.get(Version::Http3, "/v1/events/stream").send().await.lines(1).await;
    let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
    let cursor = event["cursor"].as_str().unwrap();
    let expected = serde_json::json!({
        "id": event["id"], "class": "alerts", "type": "geofence.entered", "tenant": "demo", "vehicle": "bus-7",
        "event_time": "2024-02-19T14:41:54.000Z", "event_time_ms": 1_708_353_714_000_i64,
        "received_time": "2024-02-19T14:41:54.001Z", "zone": "Śródmieście \"1\"",
        "subject": "Śródmieście \"1\"", "sequence": 0, "cursor": cursor,
        "plugin": {"deployment": "zones", "name": "geofence", "version": "1.0.0", "hash": "07".repeat(32)},
    });
    assert_eq!(event, expected);
    assert_eq!(event["id"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_reading_has_the_promised_fields() {
    let cloud = Cloud::start().await;
    cloud.append_readings(&[("demo", "bus-7")]).await;
    let page = cloud.get(Version::Http3, "/v1/events?class=telemetry").send().await.json().await;
    let reading = &page["events"][0];
    let expected = serde_json::json!({
        "id": reading["id"], "class": "telemetry", "type": "reading", "tenant": "demo", "vehicle": "bus-7",
        "event_time": "2024-02-19T14:41:54.000Z", "event_time_ms": 1_708_353_714_000_i64,
        "received_time": "2024-02-19T14:41:54.001Z", "latitude": 52.25, "longitude": 21.0, "speed": 12.5,
        "sequence": 0, "cursor": page["next"],
    });
    assert_eq!(reading, &expected);
    assert_eq!(reading["id"].as_str().unwrap().len(), 32);
}
