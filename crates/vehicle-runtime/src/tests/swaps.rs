//! Changing rules while the fleet drives.

use super::fleet::recording;
use super::model::expected;
use super::native_rule::Counting;
use super::world::{World, counts, deploy, until};
use crate::DeployError;
use plugin_host::PluginHash;
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

/// What a fleet of one vehicle went through, with a crash before the swap forth, between the two, after the one back, or
/// none, and checkpoints before it.
async fn forth_and_back(crash_at: Option<usize>, by_breaker: bool) -> Vec<(String, String)> {
    // Six live readings and a late one: 1 to 6, 8 to 13, ...
    let recording = recording(&[0].repeat(40));
    let wide =
        if by_breaker { Counting { poison: [18, 19, 20].into(), ..Counting::wide(3) } } else { Counting::wide(3) };
    let world = World::new(1, [Counting::version(1), Counting::version(2), wide.clone()]);
    let mut runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    for (turn, block) in recording.chunks(10).enumerate() {
        if turn == 1 {
            deploy(&runtime, 2, wide.clone()).await.unwrap();
        }
        if turn == 2 && !by_breaker {
            deploy(&runtime, 3, Counting::version(2)).await.unwrap();
        }
        for reading in block.chunks(1) {
            world.take(&runtime, reading).await;
        }
        if turn == 1 && by_breaker {
            until(&runtime, |state| state.failed.is_some()).await;
        }
        if crash_at == Some(turn) {
            drop(runtime);
            runtime = world.start().await;
        }
        if turn < 2 {
            runtime.core.checkpoint().await.unwrap();
        }
    }
    runtime.shutdown().await.unwrap();
    drop(world.start().await);
    world.events().into_iter().map(|event| (event.subject, event.plugin_version)).collect()
}

#[tokio::test]
async fn going_back_over_a_state_version_takes_up_the_rows_of_before() {
    let event = |count: u32, version: &str| (format!("count-{count}"), version.to_owned());
    for crash_at in [None, Some(0), Some(1), Some(2), Some(3)] {
        // Ten readings, nine live: 9. The wide version goes on to 18, and the one before goes on from 9.
        let by_operator = forth_and_back(crash_at, false).await;
        let forth = [3, 6, 9].map(|count| event(count, "1.0.0")).into_iter();
        let wide = [12, 15, 18].map(|count| event(count, "3.0.0"));
        let back = [12, 15, 18, 21, 24].map(|count| event(count, "2.0.0"));
        let expected: Vec<_> = forth.clone().chain(wide).chain(back).collect();
        assert_eq!(by_operator, expected, "{crash_at:?}");
        // The wide version fails on its last three readings.
        let by_breaker = forth_and_back(crash_at, true).await;
        let wide = [12, 15].map(|count| event(count, "3.0.0"));
        let back = [12, 15, 18, 21, 24].map(|count| event(count, "1.0.0"));
        let expected: Vec<_> = forth.chain(wide).chain(back).collect();
        assert_eq!(by_breaker, expected, "{crash_at:?}");
    }
}

/// The breaker saw the version that failed, and then an operator was quicker.
#[tokio::test]
async fn a_change_that_comes_first_is_not_rolled_back() {
    let world = World::new(1, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    deploy(&runtime, 2, Counting::version(2)).await.unwrap();
    let failing = runtime.core.deployments.lock().running[&counts()].current.generation;
    let others = runtime.core.deploying.lock().await;
    let operator = tokio::spawn({
        let runtime = runtime.clone();
        async move { deploy(&runtime, 3, Counting::version(1)).await }
    });
    tokio::task::yield_now().await;
    let breaker = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.core.stop_failing(&counts(), failing, "it failed").await }
    });
    // Both wait in this order, which is kept.
    tokio::task::yield_now().await;
    drop(others);
    operator.await.unwrap().unwrap();
    breaker.await.unwrap();
    let state = runtime.deployments().remove(0);
    assert_eq!((state.revision, state.failed), (3, None));
}

#[tokio::test]
async fn plugins_of_a_rollback_and_of_a_replay_are_needed() {
    let recording = recording(&[0].repeat(2));
    let world = World::new(1, versions());
    let runtime = world.start().await;
    for version in 1..=2 {
        deploy(&runtime, u64::from(version), Counting::version(version)).await.unwrap();
    }
    deploy(&runtime, 3, Counting::wide(3)).await.unwrap();
    let needed = |hashes: &[u8]| hashes.iter().map(|hash| PluginHash([*hash; 32])).collect();
    assert_eq!(runtime.plugins_needed(), needed(&[1, 2, 3]), "nothing is checkpointed");
    world.take(&runtime, &recording).await;
    runtime.core.checkpoint().await.unwrap();
    assert_eq!(runtime.plugins_needed(), needed(&[2, 3]));
}
