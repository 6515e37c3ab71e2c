//! Cut links, restarted ends, another life of the edge's log.

use crate::certificates::Authority;
use crate::relay::Relay;
use crate::world::{
    Applied, Cloud, Edge, Shelf, append_alerts, append_readings, assert_once_and_in_order, memory, reaches, redb,
    sequences,
};
use event_log::Stream;
use fleet_model::EventClass;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_again_and_again_loses_and_doubles_nothing() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let relay = Relay::to(cloud.address).await;
    let edge = Edge::start(&authority, memory(), relay.address);
    let (mut readings, mut alerts) = (0, 0);
    for round in 0..4_u64 {
        edge.connected().await;
        for i in 0..60 {
            append_readings(&edge.logs, 10).await;
            append_alerts(&edge.logs, 1).await;
            (readings, alerts) = (readings + 10, alerts + 1);
            // In the middle of the traffic, at another place each time.
            if i == 10 * round {
                relay.cut();
            }
        }
        edge.refused().await;
        relay.mend();
    }
    reaches("telemetry", &cloud.logs.telemetry, Stream::TELEMETRY, readings).await;
    reaches("alerts", &cloud.logs.events, Stream::ALERTS, alerts).await;
    assert_once_and_in_order(&cloud.logs.telemetry, Stream::TELEMETRY, readings);
    assert_once_and_in_order(&cloud.logs.events, Stream::ALERTS, alerts);
    edge.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_restart_with_their_files_and_go_on() {
    let authority = Authority::new();
    let (edge_dir, cloud_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let applied = Applied::new();
    let mut cloud = Cloud::start_at(
        &authority,
        redb(cloud_dir.path()),
        "127.0.0.1:0".parse().unwrap(),
        applied.clone(),
        Shelf::default(),
    )
    .await;
    let address = cloud.address;
    let mut edge = Edge::start(&authority, redb(edge_dir.path()), address);
    let mut sent = 0;
    for round in 0..6 {
        for _ in 0..20 {
            append_readings(&edge.logs, 50).await;
            sent += 50;
        }
        // Somewhere in the middle of what was just written.
        reaches("some", &cloud.logs.telemetry, Stream::TELEMETRY, sent - 700).await;
        if round % 2 == 0 {
            drop(cloud.stop().await);
            append_readings(&edge.logs, 50).await;
            sent += 50;
            cloud =
                Cloud::start_at(&authority, redb(cloud_dir.path()), address, applied.clone(), Shelf::default()).await;
        } else {
            drop(edge.stop().await);
            edge = Edge::start(&authority, redb(edge_dir.path()), address);
        }
    }
    reaches("all", &cloud.logs.telemetry, Stream::TELEMETRY, sent).await;
    assert_once_and_in_order(&cloud.logs.telemetry, Stream::TELEMETRY, sent);
    applied.reaches(sent).await;
    edge.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_with_a_new_log_starts_a_new_count() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    for life in 1..=2 {
        let edge = Edge::start(&authority, memory(), cloud.address);
        append_readings(&edge.logs, 30).await;
        reaches("this life's readings", &cloud.logs.telemetry, Stream::TELEMETRY, 30 * life).await;
        edge.stop().await;
    }
    let twice: Vec<u64> = (0..30).chain(0..30).collect();
    assert_eq!(sequences(&cloud.logs.telemetry, Stream::TELEMETRY), twice);
    cloud.stop().await;
}

/// A disk swapped back, a standby box, a copied certificate: what the cloud has of a log it has still, though another
/// log came in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_comes_back_with_a_log_it_had_before_goes_on_there() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let (first, second) = (memory(), memory());
    let mut stored = 0;
    for logs in [&first, &second, &first, &second] {
        append_readings(logs, 30).await;
        append_alerts(logs, 3).await;
        let edge = Edge::start(&authority, logs.clone(), cloud.address);
        stored += 30;
        reaches("this life's readings", &cloud.logs.telemetry, Stream::TELEMETRY, stored).await;
        reaches("its alerts", &cloud.logs.events, Stream::ALERTS, stored / 10).await;
        // Everything of this life, however often it was here.
        edge.acked(EventClass::Telemetry, logs.telemetry.bounds(Stream::TELEMETRY).next).await;
        edge.acked(EventClass::Alerts, logs.events.bounds(Stream::ALERTS).next).await;
        edge.stop().await;
    }
    let each_once: Vec<u64> = [0..30, 0..30, 30..60, 30..60].into_iter().flatten().collect();
    assert_eq!(sequences(&cloud.logs.telemetry, Stream::TELEMETRY), each_once);
    assert_eq!(cloud.logs.events.bounds(Stream::ALERTS).next, 12);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_lost_its_data_gets_everything_again() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let address = cloud.address;
    let edge = Edge::start(&authority, memory(), address);
    append_readings(&edge.logs, 30).await;
    reaches("before", &cloud.logs.telemetry, Stream::TELEMETRY, 30).await;
    cloud.stop().await;
    let cloud = Cloud::start_at(&authority, memory(), address, Applied::new(), Shelf::default()).await;
    append_readings(&edge.logs, 30).await;
    reaches("after", &cloud.logs.telemetry, Stream::TELEMETRY, 60).await;
    assert_once_and_in_order(&cloud.logs.telemetry, Stream::TELEMETRY, 60);
    edge.stop().await;
    cloud.stop().await;
}
