//! A version on trial beside the one that is live.

use super::fleet::{recording, vehicle};
use super::model::expected;
use super::native_rule::Counting;
use super::world::{World, counts, deploy, try_out, try_rule, until};
use crate::DeployError;
use crate::swap::Change;
use fleet_model::{Scope, Share, TrialMode};
use std::collections::BTreeSet;

fn versions() -> [Counting; 5] {
    [Counting::version(1), Counting::version(2), Counting::wide(3), Counting::broken(4), Counting::lazy(5)]
}

fn canary(percent: u8) -> TrialMode {
    TrialMode::Canary { share: Share::new(percent).unwrap() }
}

#[tokio::test]
async fn a_shadow_is_compared_and_decides_nothing() {
    let recording = recording(&[0, 1, 3, 4, 6].repeat(60));
    let world = World::new(2, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..100]).await;
    try_out(&runtime, 2, TrialMode::Shadow).await;
    world.take(&runtime, &recording[100..200]).await;
    world.settled(&runtime).await;
    let same = runtime.deployments()[0].trial.clone().unwrap();
    assert_eq!((same.id.revision, same.plugin_version.as_str(), same.mode), (2, "2.0.0", TrialMode::Shadow));
    assert!(same.counts.same > 20 && same.counts.readings > 80, "{:?}", same.counts);
    assert_eq!((same.counts.added, same.counts.removed, same.counts.changed, same.counts.events), (0, 0, 0, 0));
    // One that proposes less often.
    try_rule(&runtime, 5, Counting::lazy(5), TrialMode::Shadow).await.unwrap();
    world.take(&runtime, &recording[200..]).await;
    world.settled(&runtime).await;
    let other = runtime.deployments()[0].trial.clone().unwrap().counts;
    assert!(other.removed > 10 && other.same > 5 && other.added == 0, "{other:?}");
    assert!(other.differences.iter().all(|words| words.starts_with("removed: geofence.entered BUS-")), "{other:?}");
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
    assert!(world.events().iter().all(|event| event.plugin_version == "1.0.0"));
}

#[tokio::test]
async fn a_canary_decides_for_its_share_until_it_is_promoted() {
    let recording = recording(&[0, 1, 3, 4, 6, 7, 9, 10].repeat(60));
    let inside = |vehicle_name: &str| {
        let number = vehicle_name.trim_start_matches("BUS-").parse().unwrap();
        canary(50).decides_for(vehicle(number).key)
    };
    // The second version reads rows as they are, the third migrates them.
    for (version, text) in [(Counting::version(2), "2.0.0"), (Counting::wide(3), "3.0.0")] {
        let world = World::new(2, versions());
        let runtime = world.start().await;
        deploy(&runtime, 1, Counting::version(1)).await.unwrap();
        world.take(&runtime, &recording[..160]).await;
        world.settled(&runtime).await;
        let before = world.events().len();
        try_rule(&runtime, 2, version.clone(), TrialMode::Shadow).await.unwrap();
        world.take(&runtime, &recording[160..200]).await;
        world.settled(&runtime).await;
        let shadowed = world.events().len();
        try_rule(&runtime, 2, version.clone(), canary(50)).await.unwrap();
        world.take(&runtime, &recording[200..320]).await;
        world.settled(&runtime).await;
        let events = world.events();
        assert!(events[before..shadowed].iter().all(|event| event.plugin_version == "1.0.0"));
        let by: BTreeSet<_> =
            events[shadowed..].iter().map(|event| (inside(&event.vehicle), event.plugin_version.as_str())).collect();
        assert_eq!(by, BTreeSet::from([(false, "1.0.0"), (true, text)]));
        let counts = runtime.deployments()[0].trial.clone().unwrap().counts;
        assert_eq!(counts.events, events[shadowed..].iter().filter(|event| inside(&event.vehicle)).count() as u64);
        deploy(&runtime, 2, version.clone()).await.unwrap();
        assert_eq!(runtime.deployments()[0].trial, None);
        world.take(&runtime, &recording[320..]).await;
        runtime.shutdown().await.unwrap();
        assert_eq!(world.result(), expected(&recording), "{text}: nothing lost, nothing doubled, state carried");
    }
}

#[tokio::test]
async fn a_trial_of_what_is_live_ends_when_it_is_promoted() {
    let recording = recording(&[0, 1, 3, 4, 6, 7, 9, 10].repeat(40));
    let world = World::new(2, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..80]).await;
    try_rule(&runtime, 1, Counting::version(1), canary(50)).await.unwrap();
    world.take(&runtime, &recording[80..200]).await;
    world.settled(&runtime).await;
    assert!(runtime.deployments()[0].trial.clone().unwrap().counts.events > 0);
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    assert_eq!(runtime.deployments()[0].trial, None);
    world.take(&runtime, &recording[200..]).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn a_trial_that_fails_ends_and_the_live_version_decides_for_all_again() {
    let recording = recording(&[0, 1, 3, 4].repeat(60));
    let world = World::new(1, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..40]).await;
    try_rule(&runtime, 4, Counting::broken(4), TrialMode::Shadow).await.unwrap();
    for block in recording[40..].chunks(20) {
        world.take(&runtime, block).await;
        world.settled(&runtime).await;
    }
    let state = until(&runtime, |state| state.trial.is_none()).await;
    assert_eq!(state.failed.unwrap().revision, 4);
    assert_eq!(state.revision, 1);
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn a_trial_needs_something_live_and_readable_rows() {
    let mut narrow = Counting::wide(3);
    narrow.migrates = false;
    let world = World::new(1, versions());
    let runtime = world.start().await;
    let refused = try_rule(&runtime, 1, Counting::version(1), TrialMode::Shadow).await.unwrap_err();
    assert!(matches!(refused, DeployError::NothingLive { .. }), "{refused}");
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording(&[0, 1])).await;
    let refused = try_rule(&runtime, 2, narrow, canary(50)).await.unwrap_err();
    assert!(matches!(refused, DeployError::Migrate { .. }), "{refused}");
    assert_eq!(runtime.deployments()[0].trial, None);
}

#[tokio::test]
async fn a_rule_sees_the_vehicles_of_its_scope_alone_also_after_a_restart() {
    let recording = recording(&[0, 1, 3].repeat(40));
    let mut world = World::new(2, versions());
    let runtime = world.start().await;
    let scope = Scope::only(["BUS-1".parse().unwrap(), "BUS-9".parse().unwrap()]);
    let source = Counting::version(1).source();
    let change = Change::to(counts(), 1, serde_json::json!({}), source, scope.clone());
    runtime.core.change(change).await.unwrap();
    world.take(&runtime, &recording[..60]).await;
    drop(runtime);
    world.config.workers = 3;
    let runtime = world.start().await;
    assert_eq!(runtime.deployments()[0].scope, scope);
    world.take(&runtime, &recording[60..]).await;
    runtime.shutdown().await.unwrap();
    let (found, expected) = (world.result().events, expected(&recording).events);
    assert!(!found.is_empty());
    assert_eq!(found, expected.into_iter().filter(|(_, (vehicle, _))| vehicle == "BUS-1").collect());
}
