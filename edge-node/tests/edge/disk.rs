//! A disk that is full, and one that breaks.

use crate::client::{Client, get, post};
use crate::gated_log::Disk;
use crate::started::{Edge, FIX};
use fleet_model::Sequence;
use mqtt_protocol_core::mqtt::Version;

/// A commit fails after admission has given out a sequence and remembered the reading. What the device sends again must
/// be news, with the same sequence, or it would be acknowledged and lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_and_loses_nothing() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    let mut device = Client::demo(address, Version::V5_0, "box").await;
    device.publish_fix("bus-1", 1_000).await;
    assert_eq!(device.puback().await.1, 0);

    edge.telemetry.set(Disk::IsFull);
    for time in [2_000, 3_000, 4_000] {
        device.publish_fix("bus-1", time).await;
    }
    assert_eq!(device.disconnected().await, 0x97, "no PUBACK");
    let answer = post(edge.addresses.http.unwrap(), &format!(r#"{{"vehicle":"bus-1","event_time_ms":9,{FIX}}}"#)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after:"));
    assert_eq!(edge.readings().len(), 1);

    edge.telemetry.set(Disk::Works);
    let mut unacknowledged = vec![2_000, 3_000, 4_000];
    while !unacknowledged.is_empty() {
        let mut device = Client::demo(address, Version::V3_1_1, "box").await;
        for time in &unacknowledged {
            device.publish_fix("bus-1", *time).await;
        }
        while let Some(packet) = device.next().await {
            assert!(format!("{packet:?}").contains("puback"), "{packet:?}");
            unacknowledged.remove(0);
            if unacknowledged.is_empty() {
                break;
            }
        }
    }
    let stored: Vec<_> = edge.readings().iter().map(|(_, sequence, r)| (*sequence, r.event_time.0)).collect();
    assert_eq!(stored, [(Sequence(1), 1_000), (Sequence(2), 2_000), (Sequence(3), 3_000), (Sequence(4), 4_000)]);
    let status = get(edge.addresses.admin, "/v1/status").await.json();
    assert_eq!(status["counters"]["repeats"], 0, "{status}");
    assert_eq!(status["counters"]["admitted"], 4, "{status}");
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_dead_letter_a_refused_payload_is_not_acknowledged() {
    let edge = Edge::start().await;
    edge.events.set(Disk::IsFull);
    let answer = post(edge.addresses.http.unwrap(), "{").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    edge.events.set(Disk::Works);
    let answer = post(edge.addresses.http.unwrap(), "{").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(edge.dead_letters().len(), 1);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_log_stops_the_node_and_nobody_is_acknowledged() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    edge.telemetry.set(Disk::Breaks);
    device.publish_fix("bus-1", 1_000).await;
    assert_eq!(device.disconnected().await, 0x8b, "no PUBACK");
    let said = edge.failure().await;
    assert!(said.contains("telemetry log failed") && said.contains("broken by the test"), "{said}");
}
