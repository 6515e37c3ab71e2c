//! The way of the data when nothing is in the way, and when the way is narrow.

use crate::certificates::Authority;
use crate::relay::Relay;
use crate::world::{
    Cloud, Edge, append_alerts, append_readings, assert_once_and_in_order, memory, reaches, redb, uplink_config,
};
use event_log::Stream;
use fleet_model::EventClass;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_logs_arrive_byte_for_byte_and_readings_are_applied_in_order() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let edge_logs = memory();
    // Some before the connection, some while it is there.
    for _ in 0..50 {
        append_readings(&edge_logs, 20).await;
    }
    let edge = Edge::start(&authority, edge_logs, cloud.address);
    for _ in 0..50 {
        append_readings(&edge.logs, 20).await;
        append_alerts(&edge.logs, 2).await;
    }
    reaches("telemetry", &cloud.logs.telemetry, Stream::TELEMETRY, 2_000).await;
    reaches("alerts", &cloud.logs.events, Stream::ALERTS, 100).await;
    assert_once_and_in_order(&cloud.logs.telemetry, Stream::TELEMETRY, 2_000);
    assert_once_and_in_order(&cloud.logs.events, Stream::ALERTS, 100);
    let sent = edge.logs.telemetry.read(Stream::TELEMETRY, 0, 1 << 24).unwrap();
    let stored = cloud.logs.telemetry.read(Stream::TELEMETRY, 0, 1 << 24).unwrap();
    assert!(sent.iter().map(|block| &block.bytes).eq(stored.iter().map(|block| &block.bytes)));
    assert_eq!(cloud.applied.reaches(2_000).await.len(), 100);

    edge.acked(EventClass::Telemetry, 2_000).await;
    edge.acked(EventClass::Alerts, 100).await;
    let view = &cloud.edges.edges()[0];
    assert_eq!((view.edge.as_str(), view.connected, view.received[&EventClass::Telemetry]), ("depot-1", true, 2_000));
    edge.stop().await;
    let mut changes = cloud.edges.changes();
    crate::world::soon("the edge is missed", changes.wait_for(|_| !cloud.edges.edges()[0].connected)).await.unwrap();
    cloud.stop().await;
}

/// A link of 150 KB/s with a queue of 64 packets, filled with telemetry for many seconds: an alert does not stand in
/// telemetry's queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_link_does_not_hold_up_alerts() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let relay = Relay::slow(cloud.address, 150_000).await;
    let edge_logs = memory();
    for _ in 0..400 {
        append_readings(&edge_logs, 400).await;
    }
    let mut config = uplink_config(&authority, &authority.issue("depot-1"), relay.address);
    config.telemetry_window_bytes = 256 * 1_024;
    let edge = Edge::start_with(config, edge_logs);
    reaches("telemetry flows", &cloud.logs.telemetry, Stream::TELEMETRY, 400).await;
    for alert in 1..=5 {
        append_alerts(&edge.logs, 1).await;
        reaches("the alert", &cloud.logs.events, Stream::ALERTS, alert).await;
    }
    let telemetry = cloud.logs.telemetry.bounds(Stream::TELEMETRY).next;
    assert!(telemetry < 160_000, "five alerts have overtaken {} readings", 160_000 - telemetry);
    edge.stop().await;
    cloud.stop().await;
}

/// Prints what loopback does with redb on both ends; fails only when something is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_goes_through_redb_on_both_ends() {
    let authority = Authority::new();
    let (edge_dir, cloud_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let edge_logs = redb(edge_dir.path());
    for _ in 0..150 {
        append_readings(&edge_logs, 2_000).await;
    }
    let cloud = Cloud::start(&authority, redb(cloud_dir.path())).await;
    let started = Instant::now();
    let edge = Edge::start(&authority, edge_logs, cloud.address);
    reaches("the backlog", &cloud.logs.telemetry, Stream::TELEMETRY, 300_000).await;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "300000 readings of 105 bytes, edge redb -> QUIC -> cloud redb: {seconds:.2} s, {:.0}/s",
        300_000.0 / seconds
    );
    assert_once_and_in_order(&cloud.logs.telemetry, Stream::TELEMETRY, 300_000);
    edge.stop().await;
    cloud.stop().await;
}
