//! Budgets over time and of memory, with a clock that is moved by hand and meters that are written by hand.

use super::fleet::recording;
use super::native_rule::Counting;
use super::world::{World, acts, counts, deploy, try_out, try_rule, until};
use crate::budget_book::BudgetBook;
use crate::budgets::BudgetConfig;
use crate::metering::Proposed;
use crate::{DeployError, Runtime};
use fleet_model::{EventClass, TrialMode};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn versions() -> [Counting; 2] {
    [Counting::version(1), Counting::version(2)]
}

/// Lets what runs, or what is tried, have used so much in the last second.
fn use_up(runtime: &Runtime, on_trial: bool, cpu_ms: u64, bytes: u64) {
    let meter = runtime.core.meters.of(&counts(), "counting", on_trial);
    meter.answered(1, Duration::from_millis(cpu_ms), Proposed { events: 1, bytes }, 0);
}

async fn seconds(world: &World, runtime: &Runtime, count: u32, mut each: impl FnMut()) {
    let mut book = BudgetBook::new(60);
    runtime.core.check_budgets(&mut book).await;
    for _ in 0..count {
        each();
        world.now_ms.fetch_add(1_000, Ordering::Relaxed);
        runtime.core.check_budgets(&mut book).await;
    }
}

#[tokio::test]
async fn over_its_budget_a_version_gives_way_to_the_one_before_and_the_first_is_suspended() {
    let world = World::new(1, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    deploy(&runtime, 2, Counting::version(2)).await.unwrap();
    seconds(&world, &runtime, 55, || use_up(&runtime, false, 600, 0)).await;
    let state = until(&runtime, |state| state.failed.is_some()).await;
    assert_eq!((state.revision, state.failed.unwrap().revision), (1, 2));
    let why = state.failed_because.unwrap();
    for part in ["ms of CPU time within 60 s", "deployment_cpu_ms_per_s allows 30000", "[[budgets.tenants]]"] {
        assert!(why.contains(part), "{part}: {why}");
    }
    // The one before is cheap, but says too much.
    seconds(&world, &runtime, 61, || use_up(&runtime, false, 1, 1_100_000)).await;
    let state = until(&runtime, |state| state.suspended.is_some()).await;
    assert!(state.suspended.unwrap().reason.contains("deployment_output_bytes_per_s"));
    let opened: Vec<_> =
        acts(&*world.logs.events).into_iter().filter(|act| act.act == "breaker.opened").map(|act| act.reason).collect();
    assert_eq!(opened.len(), 2, "{opened:?}");
    assert!(opened[0].contains("deployment_cpu_ms_per_s") && opened[1].contains("output_bytes"), "{opened:?}");
}

#[tokio::test]
async fn over_its_budget_a_trial_ends_and_nothing_else() {
    let world = World::new(1, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    try_out(&runtime, 2, TrialMode::Shadow).await;
    seconds(&world, &runtime, 55, || {
        use_up(&runtime, true, 600, 0);
        use_up(&runtime, false, 100, 0);
    })
    .await;
    let state = until(&runtime, |state| state.trial.is_none()).await;
    assert_eq!((state.revision, state.suspended), (1, None));
    assert!(state.failed_because.unwrap().contains("deployment_cpu_ms_per_s"));
}

#[tokio::test]
async fn within_its_budget_nothing_happens_and_what_was_used_is_told() {
    let world = World::new(2, versions());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    let recording = recording(&[0, 1, 3].repeat(60));
    world.take(&runtime, &recording).await;
    world.settled(&runtime).await;
    seconds(&world, &runtime, 200, || use_up(&runtime, false, 499, 0)).await;
    assert_eq!(runtime.deployments()[0].suspended, None);
    let [(key, usage)] = runtime.usage().try_into().unwrap();
    assert_eq!((key.tenant.as_str(), key.deployment.as_str(), key.plugin.as_str()), ("demo", "counts", "counting"));
    let live = usage.readings - 200;
    assert!(live > 100 && live <= 180 && usage.batches > 200, "{usage:?}");
    assert_eq!(usage.events - 200, world.events().len() as u64, "{usage:?}: {:?}", EventClass::Alerts);
}

#[tokio::test]
async fn more_memory_than_a_tenant_may_have_is_refused_in_words() {
    let mut world = World::new(2, versions());
    world.config.budgets = BudgetConfig { tenant_memory_mib: 64, ..BudgetConfig::default() };
    let runtime = world.start().await;
    let of = |version: u8, mib: u64| Counting { memory_bytes_max: mib * 1_024 * 1_024, ..Counting::version(version) };
    let refused = deploy(&runtime, 1, of(1, 33)).await.unwrap_err();
    assert!(matches!(refused, DeployError::OverMemory { .. }) && !refused.is_passing());
    let said = refused.to_string();
    for part in
        ["2 instances may have 66 MiB", "other rules 0 MiB", "tenant_memory_mib allows 64", "[[budgets.tenants]]"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    deploy(&runtime, 1, of(1, 20)).await.unwrap();
    // In its place there is room, beside it there is none.
    deploy(&runtime, 2, of(2, 30)).await.unwrap();
    let refused = try_rule(&runtime, 3, of(1, 10), TrialMode::Shadow).await.unwrap_err();
    assert!(refused.to_string().contains("other rules 60 MiB"), "{refused}");
    assert_eq!(runtime.deployments()[0].revision, 2, "what ran goes on");
}
