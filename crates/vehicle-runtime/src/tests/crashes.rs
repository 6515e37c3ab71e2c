//! A node may die at any instant. What it promised then must be there afterwards, once.

use super::fleet::{Admitted, recording};
use super::model::expected;
use super::native_rule::Counting;
use super::world::{World, block_on, counts, deploy, try_out};
use crate::runtime::Runtime;
use fleet_model::{Share, TrialMode};
use proptest::prelude::*;
use std::sync::Arc;

/// What happens before the next block.
#[derive(Debug, Clone, Copy)]
enum Incident {
    Nothing,
    /// The runtime is dropped with work under way, and started again over the same logs.
    Crash,
    /// The block is logged, and the crash comes before the runtime hears of it.
    CrashAfterLog,
    Checkpoint,
    /// Waits until all is durable.
    Settle,
    /// Another version of the rule, with the same state.
    Deploy,
    /// Another version in the shadow of what is live.
    Shadow,
    /// What is on trial, or else another version, decides for a part of the vehicles.
    Canary(u8),
    EndTrial,
    /// What is on trial becomes live.
    Promote,
    Shutdown,
}

fn incident() -> impl Strategy<Value = Incident> {
    prop_oneof![
        4 => Just(Incident::Nothing),
        2 => Just(Incident::Crash),
        1 => Just(Incident::CrashAfterLog),
        2 => Just(Incident::Checkpoint),
        1 => Just(Incident::Settle),
        2 => Just(Incident::Deploy),
        1 => Just(Incident::Shadow),
        2 => (1..101_u8).prop_map(Incident::Canary),
        1 => Just(Incident::EndTrial),
        1 => Just(Incident::Promote),
        1 => Just(Incident::Shutdown),
    ]
}

fn versions() -> Vec<Counting> {
    let mut versions: Vec<_> = (1..100).map(Counting::version).collect();
    versions.push(Counting::wide(200));
    versions
}

async fn restart(world: &mut World, runtime: Arc<Runtime>, workers: usize) -> Arc<Runtime> {
    drop(runtime);
    world.seen = Arc::default();
    world.config.workers = workers;
    world.start().await
}

/// Runs a recording, cut into blocks of these lengths, through these incidents.
async fn run(world: &mut World, recording: &[Admitted], blocks: &[(usize, Incident)]) -> Arc<Runtime> {
    let mut runtime = world.start().await;
    let mut version = 1;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    let mut rest = recording;
    for (turn, (len, incident)) in blocks.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let (block, later) = rest.split_at((*len).min(rest.len()));
        rest = later;
        let workers = turn % 3 + 1;
        match incident {
            Incident::Nothing => {}
            Incident::Crash => runtime = restart(world, runtime, workers).await,
            Incident::CrashAfterLog => {
                world.log(&super::fleet::block(block)).await;
                runtime = restart(world, runtime, workers).await;
                continue;
            }
            Incident::Checkpoint => runtime.core.checkpoint().await.unwrap(),
            Incident::Settle => world.settled(&runtime).await,
            Incident::Deploy => {
                version = (version + 1).min(99);
                deploy(&runtime, u64::from(version), Counting::version(version)).await.unwrap();
            }
            Incident::Shadow => {
                version = (version + 1).min(99);
                try_out(&runtime, version, TrialMode::Shadow).await;
            }
            Incident::Canary(percent) => {
                let share = Share::new(*percent).unwrap();
                try_out(&runtime, version, TrialMode::Canary { share }).await;
            }
            Incident::EndTrial => {
                let (tenant, name) = counts();
                runtime.end_trial(&tenant, &name).await.unwrap();
            }
            Incident::Promote => {
                if let Some(trial) = runtime.deployments()[0].trial.clone() {
                    let version = u8::try_from(trial.id.revision).unwrap();
                    deploy(&runtime, trial.id.revision, Counting::version(version)).await.unwrap();
                    assert_eq!(runtime.deployments()[0].trial, None);
                }
            }
            Incident::Shutdown => {
                runtime.shutdown().await.unwrap();
                runtime = restart(world, runtime, workers).await;
            }
        }
        world.take(&runtime, block).await;
    }
    world.settled(&runtime).await;
    runtime
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_events_do_not_depend_on_workers_or_blocks(
        vehicles in proptest::collection::vec(0..25_u32, 1..600),
        cuts in proptest::collection::vec(1..300_usize, 1..8),
        workers in 1..5_usize,
    ) {
        let recording = recording(&vehicles);
        let mut world = World::new(workers, versions());
        let blocks: Vec<_> = cuts.into_iter().map(|len| (len, Incident::Nothing)).collect();
        block_on(async {
            let runtime = run(&mut world, &recording, &blocks).await;
            runtime.shutdown().await.unwrap();
        });
        prop_assert_eq!(world.result(), expected(&recording));
    }

    #[test]
    fn every_event_is_there_once_however_often_the_node_dies(
        vehicles in proptest::collection::vec(0..8_u32, 1..300),
        blocks in proptest::collection::vec((1..20_usize, incident()), 1..24),
    ) {
        let recording = recording(&vehicles);
        let mut world = World::new(2, versions());
        block_on(async {
            let runtime = run(&mut world, &recording, &blocks).await;
            prop_assert_eq!(world.result(), expected(&recording));
            // And what is stored at the end is the same.
            runtime.shutdown().await.unwrap();
            prop_assert_eq!(runtime.checkpointed(), recording.len() as u64);
            let runtime = restart(&mut world, runtime, 1).await;
            prop_assert_eq!(world.result(), expected(&recording));
            drop(runtime);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_migration_is_replayed_where_it_was() {
    let recording = recording(&[0, 1].repeat(60));
    // The checkpoint before, at, and after the swap; and none.
    for checkpoint_at in [Some(2), Some(3), Some(4), None] {
        let mut world = World::new(2, versions());
        let mut runtime = world.start().await;
        deploy(&runtime, 1, Counting::version(1)).await.unwrap();
        for (turn, block) in recording.chunks(20).enumerate() {
            if turn == 3 {
                if checkpoint_at == Some(3) {
                    runtime.core.checkpoint().await.unwrap();
                }
                deploy(&runtime, 2, Counting::wide(200)).await.unwrap();
            }
            world.take(&runtime, block).await;
            if checkpoint_at == Some(turn) && turn != 3 {
                runtime.core.checkpoint().await.unwrap();
            }
        }
        runtime = restart(&mut world, runtime, 1).await;
        assert_eq!(world.result(), expected(&recording), "{checkpoint_at:?}");
        assert_eq!(runtime.deployments()[0].revision, 2);
    }
}

#[tokio::test]
async fn a_retired_deployment_stays_retired_and_leaves_no_rows() {
    let first = recording(&[0, 1].repeat(30));
    let mut world = World::new(2, versions());
    let mut runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &first[..30]).await;
    runtime.core.checkpoint().await.unwrap();
    assert!(!world.logs.events.snapshots(b"rows/").unwrap().is_empty());
    let (tenant, name) = ("demo".parse().unwrap(), "counts".parse().unwrap());
    runtime.retire(&tenant, &name).await.unwrap();
    assert!(matches!(runtime.retire(&tenant, &name).await, Err(crate::DeployError::Unknown { .. })));
    world.take(&runtime, &first[30..]).await;
    runtime = restart(&mut world, runtime, 2).await;
    assert!(runtime.deployments().is_empty());
    assert_eq!(world.result().events, expected(&first[..30]).events);
    runtime.shutdown().await.unwrap();
    assert!(world.logs.events.snapshots(b"rows/").unwrap().is_empty());
    assert!(world.logs.events.snapshots(b"deployment/").unwrap().is_empty());
}

#[tokio::test]
async fn another_telemetry_log_is_refused() {
    let mut world = World::new(1, versions());
    let runtime = world.start().await;
    world.take(&runtime, &recording(&[1, 2])).await;
    runtime.shutdown().await.unwrap();
    world.logs.telemetry = Arc::new(event_log::MemoryLog::new());
    assert!(matches!(world.try_start().await, Err(crate::StartError::OtherLog { .. })));
}

/// A keeper that was aborted while it waited for the workers had taken what changed from them, and the checkpoint of the
/// shutdown recorded the newest offset without it.
#[tokio::test]
async fn a_shutdown_in_the_middle_of_a_checkpoint_forgets_nothing() {
    let recording = recording(&[0, 1].repeat(10));
    let mut world = World::new(1, versions());
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = parking_lot::Mutex::new(gate);
    // The worker stands still until the test lets it go on.
    world.fault = Some(Arc::new(move |_, _| {
        let _ = gate.lock().recv();
    }));
    let mut runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    world.take(&runtime, &recording[..10]).await;
    runtime.core.checkpoint_due.notify_one();
    // On this one thread the keeper goes on to where it waits for the worker.
    while runtime.core.checkpoints.try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    let ending = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.shutdown().await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    drop(go);
    ending.await.unwrap().unwrap();
    world.fault = None;
    runtime = restart(&mut world, runtime, 1).await;
    world.take(&runtime, &recording[10..]).await;
    world.settled(&runtime).await;
    assert_eq!(world.result(), expected(&recording));
}
