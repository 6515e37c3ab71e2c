//! What the cloud tells its edges, and what they tell it.

use crate::certificates::Authority;
use crate::world::{Applied, Cloud, Edge, Shelf, memory, soon};
use bytes::Bytes;
use drover_edge::uplink::FetchError;
use fleet_model::{Depots, Place, Scope};
use fleet_wire::control::{DeploymentSet, DeploymentSpec, EdgeStatus, EncodedSet, EncodedSpec};

fn encoded(set: &DeploymentSet) -> EncodedSet {
    let specs = set.deployments.iter().map(|spec| EncodedSpec::new(spec.clone()).unwrap().into());
    EncodedSet::new(specs.collect())
}

fn set(generation: u64, hash: &str, config: serde_json::Value) -> DeploymentSet {
    let spec = DeploymentSpec {
        tenant: "demo".parse().unwrap(),
        name: "zones".parse().unwrap(),
        revision: generation,
        plugin_hash: hash.into(),
        plugin_name: "geofence".into(),
        plugin_version: "1.0.0".into(),
        config,
        vehicles: Scope::ALL,
        trial: None,
        changes: generation,
        depots: Depots::ALL,
        place: Place::Edge,
    };
    DeploymentSet { generation, deployments: vec![spec] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_are_pushed_status_comes_back_and_plugins_are_fetched() {
    let authority = Authority::new();
    let wasm = Bytes::from((0..3_000_000_u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let (deployed, other) = ("ab".repeat(32), "cd".repeat(32));
    let shelf = Shelf([(deployed.clone(), wasm.clone()), (other.clone(), Bytes::from_static(b"secret"))].into());
    let cloud = Cloud::start_at(&authority, memory(), "127.0.0.1:0".parse().unwrap(), Applied::new(), shelf).await;
    let edge = Edge::start(&authority, memory(), cloud.address);

    let mut seen = edge.handle.deployments.clone();
    soon("the first set", seen.wait_for(Option::is_some)).await.unwrap();
    // Zones of a whole country.
    let large = serde_json::json!({ "zones": "x".repeat(4_000_000) });
    cloud.deployments.send_replace(encoded(&set(7, &deployed, large.clone())));
    let generation = |g: u64| move |s: &Option<DeploymentSet>| s.as_ref().is_some_and(|s| s.generation == g);
    let found = soon("the change", seen.wait_for(generation(7))).await.unwrap().clone().unwrap();
    let mut expected = set(7, &deployed, large);
    // What counts for the cloud alone does not travel.
    expected.deployments.iter_mut().for_each(|spec| spec.changes = 0);
    assert_eq!(found, expected);

    soon("the connection", edge.handle.connected()).await;
    assert_eq!(edge.handle.fetch_plugin(&deployed).await.unwrap(), wasm);
    for hash in [other.as_str(), "", "../../etc/passwd"] {
        let refused = edge.handle.fetch_plugin(hash).await.unwrap_err();
        assert!(matches!(&refused, FetchError::Refused(why) if why.contains("no deployment")), "{refused}");
    }

    edge.status.send_replace(EdgeStatus { applied_offset: 42, ..EdgeStatus::default() });
    let mut changes = cloud.edges.changes();
    // A class is in it as soon as the cloud has said what it has of it.
    let complete = |s: &EdgeStatus| s.applied_offset == 42 && s.streams.len() == 4;
    let arrived = |_: &u64| cloud.edges.edges().iter().any(|e| e.status.as_ref().is_some_and(complete));
    soon("the status", changes.wait_for(arrived)).await.unwrap();
    assert_eq!(cloud.edges.edges()[0].software, "drover-edge test");

    edge.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_connection_a_fetch_says_so_at_once() {
    let authority = Authority::new();
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let edge = Edge::start(&authority, memory(), silent.local_addr().unwrap());
    assert!(matches!(edge.handle.fetch_plugin("00").await, Err(FetchError::NotConnected)));
    edge.stop().await;
}
