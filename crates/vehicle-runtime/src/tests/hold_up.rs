//! Rules that hold up their worker, as real components in the real host: how much, and what others notice.

use super::fleet::{Admitted, recording};
use super::guest::{Guest, answer, engine_with, limits};
use super::model::expected;
use super::native_rule::Counting;
use super::world::{World, acts, deploy, until};
use crate::keys::DeploymentKey;
use crate::leash::{FAILING_CPU_MS_MAX, RESTART_CPU_MS_MAX, SEARCH_CPU_MS_MAX, TENANT_FAILING_CPU_MS_MAX};
use crate::plugin::{PluginRule, RuleFinder, RuleSource};
use crate::swap::Change;
use crate::{Runtime, SuspensionCause};
use fleet_model::{Scope, TrialMode};
use plugin_host::{InstanceLimits, Plugin};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const FOREVER: &str = "(loop $again (br $again))";
/// Two gigabytes, one MiB at a time.
const MEMORY_BOMB: &str = "(loop $again (drop (memory.grow (i32.const 16))) (br $again))";
/// A call's CPU time, as shipped, milliseconds.
const CALL_CPU_MS_MAX: u64 = 50;

/// Components by their hash, and versions of the counting rule.
#[derive(Default)]
struct Shelf {
    plugins: BTreeMap<[u8; 32], Plugin>,
    counting: BTreeMap<[u8; 32], Counting>,
}

impl Shelf {
    fn with(guests: &[Guest]) -> Arc<Self> {
        let engine = engine_with(InstanceLimits { batch_ms_max: CALL_CPU_MS_MAX, ..limits() });
        let load = |guest: &Guest| {
            let plugin = engine.load(&guest.component()).unwrap();
            (plugin.hash().0, plugin)
        };
        let counting = Counting::version(1);
        let plugins = guests.iter().map(load).collect();
        Arc::new(Self { plugins, counting: BTreeMap::from([(counting.facts.hash, counting)]) })
    }

    fn rule(&self, version: &str) -> Arc<dyn RuleSource> {
        let found = self.plugins.values().find(|plugin| plugin.descriptor().version == version).unwrap();
        Arc::new(PluginRule::of(found.configure(&json!({})).unwrap()))
    }
}

impl RuleFinder for Shelf {
    fn find(&self, hash: [u8; 32], config: &Value) -> Result<Arc<dyn RuleSource>, String> {
        match (self.plugins.get(&hash), self.counting.get(&hash)) {
            (Some(plugin), _) => Ok(Arc::new(PluginRule::of(plugin.configure(config).unwrap()))),
            (None, Some(counting)) => Ok(counting.clone().source()),
            (None, None) => Err("not on the shelf".into()),
        }
    }
}

fn evil(version: &'static str, body: &str) -> Guest {
    Guest { version, evaluate: format!("{body} {}", answer(0)), ..Guest::default() }
}

/// The neighbour: vehicles 2, 5, 8 of tenant `other`, in the one worker that there is.
fn key(name: &str) -> DeploymentKey {
    ("other".parse().unwrap(), name.parse().unwrap())
}

async fn deploy_evil(runtime: &Runtime, shelf: &Shelf, name: &str, revision: u64, version: &str) {
    let change = Change::to(key(name), revision, json!({}), shelf.rule(version), Scope::ALL);
    runtime.core.change(change).await.unwrap();
}

/// Calls of the neighbour's rules, also of the replay.
fn calls(runtime: &Runtime) -> u64 {
    let own = runtime.usage().into_iter().map(|(key, _)| key).filter(|key| key.tenant.as_str() == "other");
    let meters = own.map(|key| runtime.core.meters.of(&(key.tenant, key.deployment), &key.plugin, key.trial));
    meters.map(|meter| meter.read().batches).sum()
}

fn recorded() -> Vec<Admitted> {
    recording(&[0, 2, 1, 5, 3, 8].repeat(80))
}

/// Calls until a rule that loops in each of them is stopped. What each takes is limited and counted; it takes no less than
/// its limit, on a busy machine more, and then they are fewer.
const CALLS_MAX: u64 = 1 + (FAILING_CPU_MS_MAX - CALL_CPU_MS_MAX).div_ceil(SEARCH_CPU_MS_MAX);

#[tokio::test]
async fn a_loop_costs_its_worker_little_and_its_neighbours_nothing() {
    let shelf = Shelf::with(&[evil("1.0.0", FOREVER)]);
    let recording = recorded();
    let world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    deploy_evil(&runtime, &shelf, "loops", 1, "1.0.0").await;
    // All in one block: the breaker, which counts batches, has nothing to count yet.
    world.take(&runtime, &recording[..240]).await;
    let state = until(&runtime, |state| state.tenant.as_str() == "other" && state.suspended.is_some()).await;
    let suspension = state.suspended.unwrap();
    assert_eq!(suspension.cause, SuspensionCause::Failed);
    for part in ["CPU time on one worker", "150 ms are allowed", "no version ran before it"] {
        assert!(suspension.reason.contains(part), "{}", suspension.reason);
    }
    assert!((2..=CALLS_MAX).contains(&calls(&runtime)), "{} calls", calls(&runtime));
    world.take(&runtime, &recording[240..]).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording), "the other tenant's events are complete");
    let acts = acts(&*world.logs.events);
    let opened = acts.iter().find(|act| act.act == "breaker.opened").unwrap();
    assert!(opened.reason.contains("150 ms are allowed"), "{}", opened.reason);
}

#[tokio::test]
async fn a_memory_bomb_is_stopped_and_its_neighbours_lose_nothing() {
    let shelf = Shelf::with(&[evil("1.0.0", MEMORY_BOMB)]);
    let recording = recorded();
    let world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    deploy_evil(&runtime, &shelf, "bomb", 1, "1.0.0").await;
    for block in recording.chunks(48) {
        world.take(&runtime, block).await;
    }
    until(&runtime, |state| state.tenant.as_str() == "other" && state.suspended.is_some()).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn deployed_again_and_again_it_gets_one_call_each_time_and_under_new_names_less() {
    let shelf = Shelf::with(&[evil("1.0.0", FOREVER)]);
    let recording = recorded();
    let world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    let mut blocks = recording.chunks(24);
    let mut made = Vec::new();
    for (revision, name) in ["same", "same", "same", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        let before = calls(&runtime);
        deploy_evil(&runtime, &shelf, name, revision as u64 + 1, "1.0.0").await;
        world.take(&runtime, blocks.next().unwrap()).await;
        until(&runtime, |state| state.name.as_str() == name && state.suspended.is_some()).await;
        made.push(calls(&runtime) - before);
    }
    // It was stopped: one call, and it is stopped again.
    assert_eq!(made[1..3], [1, 1], "{made:?}");
    // New names help until the tenant has lost what it may.
    assert!(made.iter().all(|calls| *calls <= CALLS_MAX), "{made:?}");
    const { assert!(3 * FAILING_CPU_MS_MAX + 2 * CALL_CPU_MS_MAX >= TENANT_FAILING_CPU_MS_MAX) };
    assert_eq!(made[5..], [1, 1, 1], "{made:?}");
    for block in blocks {
        world.take(&runtime, block).await;
    }
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn after_a_crash_before_it_was_stopped_the_replay_is_held_up_as_little() {
    let shelf = Shelf::with(&[evil("1.0.0", FOREVER)]);
    let recording = recorded();
    let mut world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    deploy_evil(&runtime, &shelf, "loops", 1, "1.0.0").await;
    drop(runtime);
    // Readings that came while nobody was there to apply them: a start takes them before anything else.
    for block in recording.chunks(48) {
        world.log(&super::fleet::block(block)).await;
    }
    world.config.workers = 1;
    let runtime = world.start().await;
    assert!((2..=CALLS_MAX).contains(&calls(&runtime)), "the replay met it, in {} calls", calls(&runtime));
    assert!(runtime.usage().iter().all(|(_, usage)| usage.batches == 0), "an earlier life told what a replay uses");
    until(&runtime, |state| state.tenant.as_str() == "other" && state.suspended.is_some()).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn a_start_that_takes_long_is_not_waited_for() {
    // It takes its time to be configured, which nobody minds off the path, and traps on every batch.
    let slow = "(local $i i32) (loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 1000000000))))";
    let configure = format!("{slow} {}", Guest::default().configure);
    let shelf = Shelf::with(&[Guest { configure, ..evil("1.0.0", "unreachable") }]);
    let recording = recorded();
    let world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    deploy_evil(&runtime, &shelf, "slow", 1, "1.0.0").await;
    for block in recording.chunks(48) {
        world.take(&runtime, block).await;
    }
    let state = until(&runtime, |state| state.tenant.as_str() == "other" && state.suspended.is_some()).await;
    let reason = state.suspended.unwrap().reason;
    assert!(reason.contains("too long") || reason.contains("another instance"), "{reason}");
    const { assert!(RESTART_CPU_MS_MAX < FAILING_CPU_MS_MAX) };
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn a_loop_on_trial_ends_its_trial_and_the_live_version_goes_on() {
    let shelf = Shelf::with(&[evil("1.0.0", ""), evil("2.0.0", FOREVER)]);
    let recording = recorded();
    let world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy_evil(&runtime, &shelf, "tried", 1, "1.0.0").await;
    let tried = key("tried");
    runtime.core.try_out(&tried, 2, json!({}), shelf.rule("2.0.0"), TrialMode::Shadow).await.unwrap();
    world.take(&runtime, &recording[..240]).await;
    let state = until(&runtime, |state| state.trial.is_none()).await;
    assert_eq!((state.revision, state.failed.map(|failed| failed.revision), state.suspended), (1, Some(2), None));
    assert!(state.failed_because.unwrap().contains("150 ms are allowed"));
    world.take(&runtime, &recording[240..]).await;
    world.settled(&runtime).await;
    let usage: BTreeMap<bool, _> = runtime.usage().into_iter().map(|(key, usage)| (key.trial, usage)).collect();
    assert!(usage[&false].readings > 200 && usage[&false].failures == 0, "{usage:?}");
    assert!(usage[&true].readings == 0 && usage[&true].failures > 0, "{usage:?}");
}

#[tokio::test]
async fn a_reading_on_which_a_rule_loops_is_found_and_the_rest_is_decided() {
    // It loops on the reading with sequence 8 alone.
    let at_eight = "(local $i i32)
        (loop $each
          (if (i64.eq (i64.load offset=8 (i32.add (local.get $positions) (i32.mul (local.get $i) (i32.const 112))))
                (i64.const 8))
            (then (loop $again (br $again))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $each (i32.lt_u (local.get $i) (local.get $count))))";
    let shelf = Shelf::with(&[evil("1.0.0", at_eight)]);
    let recording = recording(&[2].repeat(24));
    let world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy_evil(&runtime, &shelf, "picky", 1, "1.0.0").await;
    // Few at a time: a busy machine lets calls run on, and a long search would be given up.
    for block in recording.chunks(2) {
        world.take(&runtime, block).await;
    }
    world.settled(&runtime).await;
    let letters = crate::dead_letter::read(world.logs.events.as_ref(), 0, 10).unwrap();
    let usage = runtime.usage()[0].1;
    assert_eq!((letters.len(), runtime.deployments()[0].suspended.clone()), (1, None), "{usage:?}");
}

#[tokio::test]
async fn the_version_before_does_not_pay_for_the_one_that_looped() {
    // It traps on one reading.
    let at_thirty = "(if (i64.eq (i64.load offset=8 (local.get $positions)) (i64.const 30)) (then unreachable))";
    let shelf = Shelf::with(&[evil("1.0.0", at_thirty), evil("2.0.0", FOREVER)]);
    let recording = recording(&[2].repeat(60));
    let world = World::with_finder(1, shelf.clone());
    let runtime = world.start().await;
    deploy_evil(&runtime, &shelf, "zones", 1, "1.0.0").await;
    world.take(&runtime, &recording[..10]).await;
    deploy_evil(&runtime, &shelf, "zones", 2, "2.0.0").await;
    world.take(&runtime, &recording[10..20]).await;
    until(&runtime, |state| state.failed.is_some()).await;
    for block in recording[20..].chunks(1) {
        world.take(&runtime, block).await;
    }
    world.settled(&runtime).await;
    let state = &runtime.deployments()[0];
    assert_eq!((state.revision, &state.suspended), (1, &None));
    let letters = crate::dead_letter::read(world.logs.events.as_ref(), 0, 20).unwrap();
    let of_the_first = letters.iter().filter(|(_, letter)| letter.detail.contains("test-rule 1.0.0"));
    assert_eq!(of_the_first.count(), 1, "{letters:?}");
}
