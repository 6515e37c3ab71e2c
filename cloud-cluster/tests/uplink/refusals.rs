//! Wrong certificates and names: a clear reason, nothing lost, and it goes on by itself when the cause is gone.

use crate::certificates::{Authority, Pair};
use crate::world::{
    Applied, Cloud, Edge, Shelf, append_readings, cloud_config, memory, one_attempt, reaches, uplink_config,
};
use drover_cloud::cloud_ingest::EdgeTenants;
use event_log::Stream;

/// Starts with `bad`, expects words in the reason, renews the certificate in place and expects the data.
async fn refused_until_renewed(authority: &Authority, bad: Pair, words: &[&str]) {
    let cloud = Cloud::start(authority, memory()).await;
    let edge = Edge::start_with(uplink_config(authority, &bad, cloud.address), memory());
    append_readings(&edge.logs, 10).await;
    let reason = edge.refused().await;
    for word in words {
        assert!(reason.contains(word), "{word:?} in {reason:?}");
    }
    assert_eq!(cloud.logs.telemetry.bounds(Stream::TELEMETRY).next, 0);
    assert_eq!(edge.logs.telemetry.bounds(Stream::TELEMETRY).next, 10, "the edge keeps buffering");

    authority.issue("depot-1").replace(&bad);
    reaches("what was kept", &cloud.logs.telemetry, Stream::TELEMETRY, 10).await;
    edge.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate() {
    let authority = Authority::new();
    let bad = authority.issue_expired("depot-1");
    refused_until_renewed(&authority, bad, &["this edge's certificate has expired", "renew uplink.certificate"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_a_stranger() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let bad = stranger.issue("depot-1");
    refused_until_renewed(&authority, bad, &["does not know who signed", "the cloud's CA"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_edge() {
    let authority = Authority::new();
    let bad = authority.issue("depot-2");
    refused_until_renewed(&authority, bad, &["calls itself \"depot-1\"", "\"depot-2\""]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_names_no_edge() {
    let authority = Authority::new();
    let bad = authority.issue("not an edge");
    refused_until_renewed(&authority, bad, &["common name is no edge"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_the_edge_does_not_trust() {
    let (authority, other) = (Authority::new(), Authority::new());
    let cloud = Cloud::start(&authority, memory()).await;
    let mut config = uplink_config(&authority, &authority.issue("depot-1"), cloud.address);
    config.ca = other.ca();
    let edge = Edge::start_with(config, memory());
    let reason = edge.refused().await;
    assert!(reason.contains("not signed by the CA in uplink.ca"), "{reason}");
    edge.stop().await;

    let mut config = uplink_config(&authority, &authority.issue("depot-1"), cloud.address);
    config.server_name = Some("elsewhere.example".into());
    let edge = Edge::start_with(config, memory());
    let reason = edge.refused().await;
    assert!(reason.contains("uplink.server_name"), "{reason}");
    edge.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_and_missing_files() {
    let authority = Authority::new();
    let pair = authority.issue("depot-1");
    // A socket that never answers.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let edge = Edge::start_with(uplink_config(&authority, &pair, silent.local_addr().unwrap()), memory());
    assert!(edge.refused().await.contains("is the cloud running"));
    edge.stop().await;

    let mut config = uplink_config(&authority, &pair, silent.local_addr().unwrap());
    config.private_key = "/nowhere/key.pem".into();
    assert!(config.check().unwrap_err().to_string().contains("uplink.private_key"));
    let edge = Edge::start_with(config, memory());
    assert!(edge.refused().await.contains("uplink.private_key"));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_edge_twice_the_newer_stays() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    // So that the two do not throw each other out for the rest of the test.
    let config = one_attempt(&authority, &authority.issue("depot-1"), cloud.address);
    let first = Edge::start_with(config.clone(), memory());
    first.connected().await;
    let second = Edge::start_with(config, memory());
    let reason = first.refused().await;
    assert!(reason.contains("certificate was copied"), "{reason}");
    first.stop().await;
    second.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_is_full() {
    let authority = Authority::new();
    let mut config = cloud_config(&authority, &authority.issue("drover-cloud"), "127.0.0.1:0".parse().unwrap());
    config.connections_max = 1;
    let cloud = Cloud::start_with(config, EdgeTenants::default(), memory(), Applied::new(), Shelf::default()).await;
    let first = Edge::start(&authority, memory(), cloud.address);
    first.connected().await;
    let config = uplink_config(&authority, &authority.issue("depot-2"), cloud.address);
    let second = Edge::start_as("depot-2", config, memory());
    let reason = second.refused().await;
    assert!(reason.contains("takes no more connections"), "{reason}");
    first.stop().await;
    second.connected().await;
    second.stop().await;
    cloud.stop().await;
}
