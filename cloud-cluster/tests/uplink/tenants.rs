//! Edges that may speak for some tenants only. The readings of these tests are of tenant `demo`.

use crate::certificates::Authority;
use crate::client::{Client, message, read, reset_code};
use crate::world::{
    Cloud, Edge, Shelf, append_alerts, append_readings, memory, one_attempt, reaches, readings, soon, uplink_config,
};
use bytes::Bytes;
use event_log::Stream;
use fleet_model::{Depots, EventClass, Place, Scope};
use fleet_wire::control::{ClassReply, Code, DeploymentSpec, EncodedSet, EncodedSpec, StreamOpen, ToEdge};
use quinn::TransportConfig;

fn spec(tenant: &str, revision: u64) -> EncodedSpec {
    let spec = DeploymentSpec {
        tenant: tenant.parse().unwrap(),
        name: "zones".parse().unwrap(),
        revision,
        plugin_hash: hash_of(tenant),
        plugin_name: "geofence".into(),
        plugin_version: "1.0.0".into(),
        config: serde_json::json!({}),
        vehicles: Scope::ALL,
        trial: None,
        changes: revision,
        depots: Depots::ALL,
        place: Place::Edge,
    };
    EncodedSpec::new(spec).unwrap()
}

fn hash_of(tenant: &str) -> String {
    let letter = if tenant == "demo" { "ab" } else { "cd" };
    letter.repeat(32)
}

fn shelf() -> Shelf {
    Shelf(["demo", "other"].map(|tenant| (hash_of(tenant), Bytes::from(tenant.to_owned()))).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_not_listed_is_refused_with_the_reason() {
    let authority = Authority::new();
    let cloud = Cloud::start_for(&authority, memory(), shelf(), &[("depot-1", &["demo"])]).await;
    let config = one_attempt(&authority, &authority.issue("depot-2"), cloud.address);
    let stranger = Edge::start_as("depot-2", config, memory());
    let reason = stranger.refused().await;
    assert!(reason.contains("\"depot-2\" is not among the [[edges]]"), "{reason}");
    stranger.stop().await;

    let edge = Edge::start(&authority, memory(), cloud.address);
    append_readings(&edge.logs, 10).await;
    reaches("what a listed one sends", &cloud.logs.telemetry, Stream::TELEMETRY, 10).await;
    edge.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_another_tenant_are_a_bad_frame() {
    let authority = Authority::new();
    let cloud = Cloud::start_for(&authority, memory(), shelf(), &[("depot-1", &["other"])]).await;
    let (client, _control, _answers) = Client::welcomed(&authority, cloud.address).await;
    for (class, frame) in
        [(EventClass::Telemetry, readings(7, 0, 5)), (EventClass::Alerts, crate::world::alerts(7, 0, 5))]
    {
        let (mut send, mut recv) = client.open(&message(&StreamOpen::Class { class, epoch: 7, first: 0 })).await;
        assert!(matches!(read(&mut recv).await, ClassReply::Resume { next: None }));
        send.write_all(&frame).await.unwrap();
        assert_eq!(reset_code(&mut recv).await, Some(Code::BadFrame));
    }
    assert_eq!(cloud.logs.telemetry.bounds(Stream::TELEMETRY).next, 0);
    assert_eq!(cloud.logs.events.bounds(Stream::ALERTS).next, 0);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_gets_deployments_and_plugins_of_its_tenants_only() {
    let authority = Authority::new();
    let cloud = Cloud::start_for(&authority, memory(), shelf(), &[("depot-1", &["demo"])]).await;
    cloud.deployments.send_replace(EncodedSet::default().with(spec("other", 5)).with(spec("demo", 1)));
    let edge = Edge::start_with(uplink_config(&authority, &authority.issue("depot-1"), cloud.address), memory());
    let mut seen = edge.handle.deployments.clone();
    let set = soon("the set", seen.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    let tenants: Vec<_> = set.deployments.iter().map(|spec| spec.tenant.as_str()).collect();
    assert_eq!((tenants, set.generation), (vec!["demo"], 1));
    soon("the connection", edge.handle.connected()).await;
    assert_eq!(edge.handle.fetch_plugin(&hash_of("demo")).await.unwrap(), "demo");
    let refused = edge.handle.fetch_plugin(&hash_of("other")).await.unwrap_err().to_string();
    assert!(refused.contains("no deployment names it"), "{refused}");
    append_alerts(&edge.logs, 1).await;
    reaches("its own tenant's alerts", &cloud.logs.events, Stream::ALERTS, 1).await;
    edge.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_is_told_of_changes_that_are_its_own() {
    let authority = Authority::new();
    let edges: [(&str, &[&str]); 2] = [("depot-1", &["demo"]), ("depot-2", &["other"])];
    let cloud = Cloud::start_for(&authority, memory(), shelf(), &edges).await;
    let set = EncodedSet::default().with(spec("demo", 1)).with(spec("other", 1));
    cloud.deployments.send_replace(set.clone());
    let (_demo, _control, mut told_demo) = Client::welcomed(&authority, cloud.address).await;
    let default = TransportConfig::default();
    let (_other, _control, mut told_other) = Client::welcomed_as("depot-2", default, &authority, cloud.address).await;
    for told in [&mut told_demo, &mut told_other] {
        let ToEdge::Deployments(first) = read(told).await else { panic!("not deployments") };
        assert_eq!((first.generation, first.deployments.len()), (1, 1));
    }
    // When the one has heard of its change, the other has been passed over.
    let set = set.with(spec("other", 2));
    cloud.deployments.send_replace(set.clone());
    let ToEdge::Deployments(changed) = read(&mut told_other).await else { panic!("not deployments") };
    assert_eq!(changed.deployments[0].revision, 2);
    cloud.deployments.send_replace(set.with(spec("demo", 2)));
    let ToEdge::Deployments(next) = read(&mut told_demo).await else { panic!("not deployments") };
    assert_eq!(next.deployments[0].revision, 2, "the next that it hears is its own change");
    cloud.stop().await;
}
