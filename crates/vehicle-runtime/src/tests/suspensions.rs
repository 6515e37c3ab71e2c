//! Rules that cannot run: the node goes on without them, and says so.

use super::fleet::{Admitted, recording};
use super::model::{expected, expected_without};
use super::native_rule::{Counting, Shelf};
use super::world::{World, counts, deploy, until};
use crate::{DeploymentState, SuspensionCause, dead_letter};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn cause(state: &DeploymentState) -> Option<SuspensionCause> {
    state.suspended.as_ref().map(|suspended| suspended.cause)
}

fn letters(world: &World) -> usize {
    dead_letter::read(world.logs.events.as_ref(), 0, 1_000).unwrap().len()
}

#[tokio::test]
async fn a_node_starts_without_a_plugin_and_takes_it_up_again_with_its_rows() {
    let recording = recording(&[0, 1].repeat(30));
    let mut world = World::new(2, [Counting::version(1)]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..20]).await;
    runtime.shutdown().await.unwrap();
    drop(runtime);

    let shelf = std::mem::replace(&mut world.finder, Shelf::of([]));
    let runtime = world.start().await;
    let state = runtime.deployments().remove(0);
    assert_eq!((state.revision, state.plugin_version.as_str()), (1, "1.0.0"));
    assert!(state.suspended.unwrap().reason.contains("not on the shelf"));
    world.take(&runtime, &recording[20..40]).await;
    runtime.core.checkpoint().await.unwrap();
    drop(runtime);

    // It says so until somebody takes it up again, also when the plugin is back.
    world.finder = shelf;
    let runtime = world.start().await;
    assert_eq!(cause(&runtime.deployments()[0]), Some(SuspensionCause::Unavailable));
    runtime.core.resume(counts(), Counting::version(1).source()).await.unwrap();
    assert_eq!(runtime.deployments()[0].suspended, None);
    world.take(&runtime, &recording[40..]).await;
    runtime.shutdown().await.unwrap();
    let missed = |admitted: &Admitted| (11..=20).contains(&admitted.sequence.0);
    assert_eq!(world.result(), expected_without(&recording, |_| false, missed));
}

#[tokio::test]
async fn a_plugin_that_is_back_before_the_next_checkpoint_missed_only_what_came_meanwhile() {
    let recording = recording(&[0, 1].repeat(30));
    let mut world = World::new(1, [Counting::version(1), Counting::wide(2)]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..20]).await;
    runtime.core.checkpoint().await.unwrap();
    deploy(&runtime, 2, Counting::wide(2)).await.unwrap();
    world.take(&runtime, &recording[20..40]).await;
    world.settled(&runtime).await;
    drop(runtime);

    // The change after the checkpoint cannot be made again: the rows of before wait.
    let shelf = std::mem::replace(&mut world.finder, Shelf::of([Counting::version(1)]));
    let runtime = world.start().await;
    assert_eq!(cause(&runtime.deployments()[0]), Some(SuspensionCause::Unavailable));
    drop(runtime);

    world.finder = shelf;
    let runtime = world.start().await;
    assert_eq!(world.result(), expected(&recording[..40]));
    deploy(&runtime, 2, Counting::wide(2)).await.unwrap();
    assert_eq!((runtime.deployments()[0].revision, cause(&runtime.deployments()[0])), (2, None));
    world.take(&runtime, &recording[40..]).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result().states, expected(&recording).states);
}

#[tokio::test]
async fn a_rule_that_always_fails_and_has_no_predecessor_is_suspended() {
    let recording = recording(&[0, 1].repeat(200));
    let world = World::new(2, [Counting::broken(1), Counting::version(2)]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::broken(1)).await.unwrap();
    for block in recording[..40].chunks(10) {
        world.take(&runtime, block).await;
    }
    let state = until(&runtime, |state| state.suspended.is_some()).await;
    assert_eq!((cause(&state), state.revision), (Some(SuspensionCause::Failed), 1));
    world.settled(&runtime).await;
    let before = letters(&world);
    world.take(&runtime, &recording[40..200]).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(letters(&world), before, "it is not called any more");
    assert_eq!(world.result().states, expected(&recording[..200]).states);

    // It stays so, and another revision follows it as it would a running one.
    drop(runtime);
    let runtime = world.start().await;
    assert_eq!(cause(&runtime.deployments()[0]), Some(SuspensionCause::Failed));
    deploy(&runtime, 2, Counting::version(2)).await.unwrap();
    world.take(&runtime, &recording[200..]).await;
    runtime.shutdown().await.unwrap();
    let unseen = |admitted: &Admitted| admitted.sequence.0 <= 100;
    assert_eq!(world.result(), expected_without(&recording, |_| false, unseen));
}

#[tokio::test]
async fn a_machine_that_cannot_make_an_instance_makes_no_dead_letters() {
    let recording = recording(&[0].repeat(30));
    let rule = Counting::poisoned(1, &[11]);
    let world = World::new(1, [rule.clone()]);
    let runtime = world.start().await;
    deploy(&runtime, 1, rule.clone()).await.unwrap();
    world.take(&runtime, &recording[..10]).await;
    world.settled(&runtime).await;
    // The poison kills the instance, and there is no memory for the next.
    rule.no_memory.store(true, Ordering::Relaxed);
    world.take(&runtime, &recording[10..20]).await;
    let state = until(&runtime, |state| state.suspended.is_some()).await;
    assert_eq!(cause(&state), Some(SuspensionCause::Unavailable));
    assert!(state.suspended.unwrap().reason.contains("no memory"));
    world.settled(&runtime).await;
    assert_eq!(letters(&world), 0);
    assert!(runtime.core.resume(counts(), Arc::new(rule.clone())).await.unwrap_err().is_passing());

    rule.no_memory.store(false, Ordering::Relaxed);
    runtime.core.resume(counts(), Arc::new(rule)).await.unwrap();
    world.take(&runtime, &recording[20..]).await;
    runtime.shutdown().await.unwrap();
    let missed = |admitted: &Admitted| (11..=20).contains(&admitted.sequence.0);
    assert_eq!(world.result(), expected_without(&recording, |_| false, missed));
}
