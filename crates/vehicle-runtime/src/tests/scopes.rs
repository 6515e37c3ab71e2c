//! The vehicles that a rule is for change while it runs.

use super::fleet::{Admitted, recording, vehicle};
use super::model::{expected, expected_without};
use super::native_rule::Counting;
use super::world::{World, counts, deploy, try_rule, until};
use crate::swap::Change;
use crate::{DeploymentState, Runtime};
use fleet_model::{Scope, Share, TrialMode};

fn versions() -> [Counting; 2] {
    [Counting::version(1), Counting::wide(3)]
}

fn only(numbers: &[u32]) -> Scope {
    Scope::only(numbers.iter().map(|number| vehicle(*number).vehicle))
}

/// What runs as revision 1, for these vehicles.
async fn deploy_for(runtime: &Runtime, scope: Scope) -> DeploymentState {
    let change = Change::to(counts(), 1, serde_json::json!({}), Counting::version(1).source(), scope);
    runtime.core.change(change).await.unwrap();
    runtime.deployments().remove(0)
}

/// Readings of vehicles 0, 1 and 3 in turn: as many of each.
fn of_each(count: usize) -> Vec<Admitted> {
    recording(&[0, 1, 3].repeat(count))
}

#[tokio::test]
async fn a_vehicle_that_left_the_scope_goes_on_with_its_state_when_it_comes_back() {
    let recording = of_each(50);
    let mut world = World::new(2, versions());
    let runtime = world.start().await;
    deploy_for(&runtime, Scope::ALL).await;
    world.take(&runtime, &recording[..3 * 10]).await;
    deploy_for(&runtime, only(&[0, 3])).await;
    world.take(&runtime, &recording[3 * 10..3 * 20]).await;
    deploy_for(&runtime, only(&[])).await;
    world.take(&runtime, &recording[3 * 20..3 * 30]).await;
    drop(runtime);
    world.config.workers = 3;
    let runtime = world.start().await;
    assert_eq!(runtime.deployments()[0].scope, only(&[]), "none, not all");
    world.take(&runtime, &recording[3 * 30..3 * 40]).await;
    deploy_for(&runtime, only(&[0, 1, 3])).await;
    world.take(&runtime, &recording[3 * 40..]).await;
    runtime.shutdown().await.unwrap();
    let unseen =
        |it: &Admitted| (11..=20).contains(&it.sequence.0) && it.vehicle == 1 || (21..=40).contains(&it.sequence.0);
    assert_eq!(world.result(), expected_without(&recording, |_| false, unseen));
}

#[tokio::test]
async fn a_trial_goes_on_with_its_figures_and_rows_when_the_scope_changes() {
    let recording = of_each(60);
    for mode in [TrialMode::Shadow, TrialMode::Canary { share: Share::new(50).unwrap() }] {
        let mut world = World::new(2, versions());
        let runtime = world.start().await;
        deploy_for(&runtime, Scope::ALL).await;
        world.take(&runtime, &recording[..3 * 10]).await;
        try_rule(&runtime, 2, Counting::wide(3), mode).await.unwrap();
        world.take(&runtime, &recording[3 * 10..3 * 20]).await;
        world.settled(&runtime).await;
        let before = runtime.deployments().remove(0).trial.unwrap();
        assert!(before.counts.readings > 0);
        let after = deploy_for(&runtime, only(&[0, 3])).await;
        assert_eq!((after.scope, after.trial), (only(&[0, 3]), Some(before)), "as it was");
        world.take(&runtime, &recording[3 * 20..3 * 30]).await;
        world.settled(&runtime).await;
        let counts = runtime.deployments().remove(0).trial.unwrap().counts;
        assert_eq!((counts.added, counts.removed, counts.changed), (0, 0, 0), "{counts:?}");
        drop(runtime);
        world.config.workers = 3;
        let runtime = world.start().await;
        let back = runtime.deployments().remove(0);
        assert_eq!((back.scope, back.trial.unwrap().mode), (only(&[0, 3]), mode));
        deploy_for(&runtime, Scope::ALL).await;
        world.take(&runtime, &recording[3 * 30..3 * 45]).await;
        deploy_revision_2(&runtime).await;
        world.take(&runtime, &recording[3 * 45..]).await;
        runtime.shutdown().await.unwrap();
        let unseen = |it: &Admitted| (21..=30).contains(&it.sequence.0) && it.vehicle == 1;
        assert_eq!(world.result(), expected_without(&recording, |_| false, unseen), "{mode:?}");
    }
}

/// What was on trial goes live.
async fn deploy_revision_2(runtime: &Runtime) {
    deploy(runtime, 2, Counting::wide(3)).await.unwrap();
    assert_eq!(runtime.deployments()[0].trial, None);
}

#[tokio::test]
async fn after_a_failed_trial_and_a_change_of_scope_a_failing_version_still_goes_back_to_the_one_before() {
    let recording = of_each(90);
    // Revision 2 fails late, what is tried beside it at once.
    let late: Vec<u64> = (60..80).collect();
    let (live, tried) = (Counting::poisoned(2, &late), Counting::broken(4));
    let world = World::new(1, [Counting::version(1), live.clone(), tried.clone()]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    deploy(&runtime, 2, live.clone()).await.unwrap();
    try_rule(&runtime, 3, tried, TrialMode::Shadow).await.unwrap();
    for block in recording[..3 * 50].chunks(3) {
        world.take(&runtime, block).await;
        world.settled(&runtime).await;
    }
    let failed = until(&runtime, |state| state.trial.is_none()).await.failed;
    assert_eq!(failed.as_ref().unwrap().revision, 3);
    let change = Change::to(counts(), 2, serde_json::json!({}), live.source(), only(&[0, 1, 3]));
    runtime.core.change(change).await.unwrap();
    assert_eq!(runtime.deployments()[0].failed, failed, "what failed is not tried again");
    for block in recording[3 * 50..].chunks(3) {
        world.take(&runtime, block).await;
        world.settled(&runtime).await;
    }
    let back = until(&runtime, |state| state.revision == 1).await;
    assert_eq!(back.failed.unwrap().revision, 2);
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result().states, expected(&recording).states);
}
