//! What a restart knows.

use crate::client::{Client, get, post};
use crate::http::thousand;
use crate::started::{Edge, config, readings_of};
use drover_edge::node::{ADDRESSES_FILE, Addresses, Node, open_logs};
use event_log::MemoryLog;
use fleet_model::Sequence;
use mqtt_protocol_core::mqtt::Version;
use std::sync::Arc;

/// The node is dropped as it runs, like in a crash; its logs live on.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_acknowledged_readings_are_repeats_and_sequences_go_on() {
    let (telemetry, events) = (MemoryLog::new(), MemoryLog::new());
    let edge = Edge::start_on(Arc::new(telemetry.clone()), Arc::new(events.clone()), "").await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    for time in 1..=100 {
        device.publish_fix("bus-1", time).await;
        assert_eq!(device.puback().await.1, 0);
    }
    edge.crash().await;

    let edge = Edge::start_on(Arc::new(telemetry), Arc::new(events), "").await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    for time in 51..=150 {
        device.publish_fix("bus-1", time).await;
        assert_eq!(device.puback().await.1, 0);
    }
    let readings = edge.readings();
    let expected: Vec<_> = (1..=150).map(|n| (Sequence(n), n as i64)).collect();
    assert_eq!(readings.iter().map(|(_, s, r)| (*s, r.event_time.0)).collect::<Vec<_>>(), expected);
    let status = get(edge.addresses.admin, "/v1/status").await.json();
    assert_eq!((&status["counters"]["repeats"], &status["counters"]["vehicles"]), (&50.into(), &1.into()), "{status}");
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_repeat_is_a_repeat_however_much_came_since() {
    let (telemetry, events) = (MemoryLog::new(), MemoryLog::new());
    let edge = Edge::start_on(Arc::new(telemetry.clone()), Arc::new(events.clone()), "").await;
    for from in [0, 1_000] {
        assert_eq!(post(edge.addresses.http.unwrap(), &thousand(from)).await.json()["admitted"], 1_000);
    }
    edge.crash().await;

    let edge = Edge::start_on(Arc::new(telemetry), Arc::new(events), "").await;
    for from in [0, 1_000] {
        let body = post(edge.addresses.http.unwrap(), &thousand(from)).await.json();
        assert_eq!(body, serde_json::json!({"admitted": 0, "repeats": 1_000, "refused": []}));
    }
    assert_eq!(edge.readings().len(), 2_000);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_disk_a_node_ends_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let config = config(dir.path(), "");
        let data_dir = config.data_dir.clone();
        let node = Node::start(config, open_logs(&data_dir).unwrap(), None).await.unwrap();
        let written: Addresses =
            serde_json::from_slice(&std::fs::read(data_dir.join(ADDRESSES_FILE)).unwrap()).unwrap();
        assert_eq!(written, *node.addresses());
        let (shutdown, asked) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(node.run_until(async {
            let _ = asked.await;
        }));
        let mut device = Client::demo(written.mqtt.unwrap(), Version::V3_1_1, "box").await;
        for time in 1..=10 {
            device.publish_fix("bus-1", round * 5 + time).await;
            device.puback().await;
        }
        drop(shutdown);
        running.await.unwrap().unwrap();
    }
    let logs = open_logs(&dir.path().join("data")).unwrap();
    let readings = readings_of(&*logs.telemetry);
    let expected: Vec<_> = (1..=20).map(|n| (Sequence(n), n as i64)).collect();
    assert_eq!(readings.iter().map(|(_, s, r)| (*s, r.event_time.0)).collect::<Vec<_>>(), expected);
}
