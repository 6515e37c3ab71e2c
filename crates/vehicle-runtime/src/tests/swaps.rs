//! Changing rules while the fleet drives.

use super::fleet::recording;
use super::model::expected;
use super::native_rule::Counting;
use super::world::{World, deploy};
use crate::DeployError;
use std::sync::Arc;

fn versions() -> [Counting; 4] {
    let mut other = Counting::version(9);
    other.facts.name = "other".into();
    [Counting::version(1), Counting::version(2), Counting::wide(3), other]
}

#[tokio::test]
async fn a_swap_in_the_middle_loses_and_doubles_nothing() {
    let recording = recording(&[0, 1, 3, 4, 6].repeat(200));
    let world = Arc::new(World::new(2, versions()));
    let runtime = world.start().await;
    let first = deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    assert_eq!((first.from, first.to.1.as_str()), (None, "1.0.0"));
    // Blocks keep coming while the versions change.
    let feeder = {
        let (world, runtime, recording) = (world.clone(), runtime.clone(), recording.clone());
        tokio::spawn(async move {
            for block in recording.chunks(10) {
                world.take(&runtime, block).await;
                tokio::task::yield_now().await;
            }
        })
    };
    let second = deploy(&runtime, 2, Counting::version(2)).await.unwrap();
    assert_eq!(second.from.unwrap().1, "1.0.0");
    let third = deploy(&runtime, 3, Counting::wide(3)).await.unwrap();
    assert_eq!(third.to.1, "3.0.0");
    feeder.await.unwrap();
    let state = runtime.deployments().remove(0);
    assert_eq!((state.revision, state.swap.unwrap().to), (3, third.to));
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
    // Each vehicle saw the versions in their order.
    for vehicle in ["BUS-0", "BUS-1", "BUS-3"] {
        let events = world.events();
        let of_vehicle: Vec<_> = events.iter().filter(|event| event.vehicle == vehicle).collect();
        assert!(of_vehicle.is_sorted_by_key(|event| (event.sequence, &event.plugin_version)));
        assert!(of_vehicle.is_sorted_by_key(|event| &event.plugin_version));
    }
}

#[tokio::test]
async fn a_version_that_cannot_read_the_state_is_refused_and_the_old_one_stays() {
    let recording = recording(&[0, 1].repeat(30));
    let mut narrow = Counting::wide(4);
    narrow.migrates = false;
    let world = World::new(2, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..30]).await;
    let refused = deploy(&runtime, 2, narrow).await.unwrap_err();
    assert!(matches!(&refused, DeployError::Migrate { from_state: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("it reads only its own rows"), "{refused}");
    assert_eq!(runtime.deployments()[0].revision, 1);
    world.take(&runtime, &recording[30..]).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn another_plugin_under_the_same_name_starts_at_zero() {
    let recording = recording(&[0].repeat(8));
    let world = World::new(1, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..2]).await;
    let [.., other] = versions();
    deploy(&runtime, 2, other).await.unwrap();
    // Two readings with the first rule and two with the second: neither comes to three.
    world.take(&runtime, &recording[2..4]).await;
    world.settled(&runtime).await;
    assert_eq!(world.events().len(), 0);
    world.take(&runtime, &recording[4..5]).await;
    world.settled(&runtime).await;
    assert_eq!(world.events()[0].subject, "count-3");
    drop(runtime);
    let runtime = world.start().await;
    assert_eq!(runtime.deployments()[0].plugin_name, "other");
    assert_eq!(world.result().events.len(), 1);
}
