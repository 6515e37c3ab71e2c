//! Actors and plugins that fail, and what else must not notice.

use super::fleet::{Admitted, block, recording, vehicle};
use super::model::{expected, expected_without};
use super::native_rule::Counting;
use super::world::{World, deploy, until};
use crate::{RevisionId, dead_letter};
use fleet_model::Sequence;
use plugin_host::PluginHash;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn letters(world: &World) -> Vec<(String, String, Option<String>)> {
    let letters = dead_letter::read(world.logs.events.as_ref(), 0, 1_000).unwrap();
    letters.into_iter().map(|(_, letter)| (letter.stage, letter.reason, letter.vehicle)).collect()
}

fn of(stage: &str, number: u32) -> (String, String, Option<String>) {
    (stage.into(), "poison".into(), Some(vehicle(number).vehicle.to_string()))
}

async fn run(world: &World, recording: &[Admitted], block_len: usize) {
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    for block in recording.chunks(block_len) {
        world.take(&runtime, block).await;
    }
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_actor_that_panics_once_loses_nothing() {
    let recording = recording(&[0, 1, 3, 4].repeat(25));
    let mut world = World::new(2, [Counting::version(1)]);
    let armed = AtomicBool::new(true);
    let key = vehicle(1).key;
    world.fault = Some(Arc::new(move |vehicle, sequence| {
        assert!(vehicle != key || sequence != Sequence(5) || !armed.swap(false, Ordering::Relaxed), "injected");
    }));
    run(&world, &recording, 40).await;
    assert_eq!(world.result(), expected(&recording));
    assert_eq!(letters(&world), []);
}

#[tokio::test]
async fn a_reading_that_fails_its_actor_is_set_aside_and_the_vehicle_goes_on() {
    let recording = recording(&[0, 1, 3, 4].repeat(25));
    let mut world = World::new(2, [Counting::version(1)]);
    let poison = BTreeSet::from([(1, 5), (1, 6), (1, 9), (4, 25)]);
    let keys: BTreeSet<_> = poison.iter().map(|(number, sequence)| (vehicle(*number).key, *sequence)).collect();
    world.fault = Some(Arc::new(move |vehicle, sequence| {
        assert!(!keys.contains(&(vehicle, sequence.0)), "injected");
    }));
    run(&world, &recording, 40).await;
    let is_poison = |admitted: &Admitted| poison.contains(&(admitted.vehicle, admitted.sequence.0));
    assert_eq!(world.result(), expected_without(&recording, is_poison, |_| false));
    let mut found = letters(&world);
    found.sort();
    assert_eq!(found, [of("actor", 1), of("actor", 1), of("actor", 1), of("actor", 4)]);
    // A replay finds the same letters again and does not repeat them.
    drop(world.start().await);
    assert_eq!(letters(&world).len(), 4);
}

#[tokio::test]
async fn poison_letters_are_not_repeated_by_a_replay() {
    let recording = recording(&[0, 1].repeat(10));
    let mut world = World::new(1, [Counting::poisoned(1, &[4])]);
    let key = vehicle(1).key;
    world.fault = Some(Arc::new(move |vehicle, sequence| {
        assert!(vehicle != key || sequence != Sequence(5), "injected");
    }));
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::poisoned(1, &[4])).await.unwrap();
    world.take(&runtime, &recording).await;
    world.settled(&runtime).await;
    let before = letters(&world);
    assert_eq!(before.len(), 3);
    drop(runtime);
    let runtime = world.start().await;
    world.settled(&runtime).await;
    assert_eq!(letters(&world), before);
}

#[tokio::test]
async fn a_reading_that_fails_its_plugin_is_set_aside_and_the_others_count() {
    let recording = recording(&[0, 1, 2, 3].repeat(200));
    let world = World::new(2, [Counting::poisoned(1, &[17, 18, 150])]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::poisoned(1, &[17, 18, 150])).await.unwrap();
    world.take(&runtime, &recording).await;
    runtime.shutdown().await.unwrap();
    let is_poison = |admitted: &Admitted| [17, 18, 150].contains(&admitted.sequence.0);
    assert_eq!(world.result(), expected_without(&recording, |_| false, is_poison));
    let mut found = letters(&world);
    found.sort();
    let expected: Vec<_> = [0, 0, 0, 1, 1, 1, 3, 3, 3].into_iter().map(|number| of("plugin", number)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_gives_way_to_the_one_before() {
    let recording = recording(&[0, 1].repeat(40));
    let world = World::new(1, [Counting::version(1), Counting::poisoned(2, &[11, 12, 13])]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..10]).await;
    deploy(&runtime, 2, Counting::poisoned(2, &[11, 12, 13])).await.unwrap();
    for block in recording[10..30].chunks(2) {
        world.take(&runtime, block).await;
    }
    let state = until(&runtime, |state| state.failed.is_some()).await;
    assert_eq!((state.revision, state.plugin_version.as_str()), (1, "1.0.0"));
    for block in recording[30..].chunks(2) {
        world.take(&runtime, block).await;
    }
    runtime.shutdown().await.unwrap();
    let is_poison = |admitted: &Admitted| [11, 12, 13].contains(&admitted.sequence.0);
    assert_eq!(world.result(), expected_without(&recording, |_| false, is_poison));
    assert_eq!(world.events().last().unwrap().plugin_version, "1.0.0");
    // The way back is durable too.
    let runtime = world.start().await;
    let failed = RevisionId::of(2, PluginHash([2; 32]), &serde_json::json!({}));
    assert_eq!(runtime.deployments()[0].failed, Some(failed));
}

#[tokio::test]
async fn a_poison_letter_tells_every_signal() {
    let mut recording = recording(&[0].repeat(3));
    recording[1].reading.fuel_level = 12.5;
    recording[1].reading.ignition = 1;
    let key = vehicle(0).key;
    for stage in ["plugin", "actor"] {
        let poison: &[u64] = if stage == "plugin" { &[2] } else { &[] };
        let mut world = World::new(1, [Counting::poisoned(1, poison)]);
        if stage == "actor" {
            world.fault = Some(Arc::new(move |vehicle, sequence| {
                assert!(vehicle != key || sequence != Sequence(2), "injected");
            }));
        }
        let runtime = world.start().await;
        deploy(&runtime, 1, Counting::poisoned(1, poison)).await.unwrap();
        world.take(&runtime, &recording).await;
        runtime.shutdown().await.unwrap();
        let letters = dead_letter::read(world.logs.events.as_ref(), 0, 10).unwrap();
        let payload: serde_json::Value = serde_json::from_str(&letters[0].1.payload).unwrap();
        assert_eq!((&payload["fuel_level"], &payload["ignition"]), (&12.5.into(), &true.into()), "{stage}");
    }
}

#[tokio::test]
async fn a_block_that_comes_twice_changes_nothing() {
    let recording = recording(&[0, 1].repeat(20));
    let world = World::new(2, [Counting::version(1)]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    for _ in 0..3 {
        world.take(&runtime, &recording).await;
    }
    // And one that was applied is passed over by its offset.
    runtime.apply(0, block(&recording)).await.unwrap();
    world.settled(&runtime).await;
    assert_eq!(world.result(), expected(&recording));
    let hole = runtime.apply(121, block(&recording)).await;
    assert!(matches!(hole, Err(crate::RuntimeError::Hole { expected: 120, found: 121 })), "{hole:?}");
    runtime.shutdown().await.unwrap();
    let closed = runtime.apply(120, block(&recording)).await;
    assert!(matches!(closed, Err(crate::RuntimeError::Closed)), "{closed:?}");
}

#[tokio::test]
async fn a_sender_that_lies_about_a_key_touches_no_vehicle() {
    use fleet_wire::block::{ReadingBlockV1, ReadingV1, VehicleNameV1};
    let recording = recording(&[0, 1].repeat(4));
    let world = World::new(2, [Counting::version(1)]);
    let runtime = world.start().await;
    world.take(&runtime, &recording).await;
    let mut lie = ReadingBlockV1::default();
    for (victim, liar) in [(0, 6), (7, 8)] {
        let mut name = VehicleNameV1::of(&vehicle(liar));
        name.key = vehicle(victim).key.0;
        lie.vehicles.push(name);
        lie.readings.push(ReadingV1::of(lie.vehicles.len() as u32 - 1, Sequence(90), &recording[0].reading));
    }
    let frame = super::fleet::frame(&lie);
    let first = world.log(&frame).await;
    runtime.apply(first, frame).await.unwrap();
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result().states, expected(&recording).states);
    let reasons: Vec<_> = letters(&world).into_iter().map(|(stage, reason, _)| (stage, reason)).collect();
    assert_eq!(reasons, vec![("actor".to_owned(), "key_collision".to_owned()); 2]);
}
