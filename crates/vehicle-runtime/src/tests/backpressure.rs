//! Bounds: blocks in flight, and actors that live.

use super::fleet::{block, recording, vehicle};
use super::model::expected;
use super::native_rule::Counting;
use super::world::{World, deploy};
use crate::worker::{BLOCKS_PER_WORKER_MAX, Job};
use fleet_model::Timestamp;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;

#[tokio::test]
async fn a_worker_holds_two_blocks_and_no_more() {
    let recording = recording(&[0].repeat(10));
    let mut world = World::new(1, []);
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    // The worker stands still until the test lets it go on.
    world.fault = Some(Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let _ = gate.lock().recv();
    }));
    let runtime = world.start().await;
    for readings in recording[..BLOCKS_PER_WORKER_MAX].chunks(1) {
        world.take(&runtime, readings).await;
    }
    let third = block(&recording[2..3]);
    let first = world.log(&third).await;
    let mut applying = pin!(runtime.apply(first, third));
    let mut context = Context::from_waker(Waker::noop());
    assert!(applying.as_mut().poll(&mut context).is_pending());
    assert_eq!(runtime.applied(), 0);
    assert!(begun.load(Ordering::Relaxed) <= 1, "only one block is worked on");
    // One reading through: one block more is let in.
    go.send(()).unwrap();
    applying.await.unwrap();
    let fourth = block(&recording[3..4]);
    let mut applying = pin!(runtime.apply(3, fourth));
    assert!(matches!(applying.as_mut().poll(&mut context), Poll::Pending));
    drop(go);
    applying.await.unwrap();
    runtime.settled(4).await;
    assert_eq!(world.result().states, expected(&recording[..4]).states);
}

#[tokio::test]
async fn idle_actors_are_stopped_and_come_back_with_their_state() {
    let recording = recording(&[0, 1, 3, 4].repeat(20));
    let world = World::new(1, [Counting::version(1)]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    let live = async || {
        let (reply, answer) = oneshot::channel();
        runtime.core.cast(0, Job::CountActors(reply));
        answer.await.unwrap()
    };
    let now = Timestamp(world.now_ms.load(Ordering::Relaxed));
    let later = |s: i64| Timestamp(now.0 + s * 1_000);
    world.take(&runtime, &recording[..40]).await;
    assert_eq!(live().await, 4);
    runtime.core.passivate(later(599));
    assert_eq!(live().await, 4);
    runtime.core.passivate(later(600));
    assert_eq!(live().await, 0);
    let of_one: Vec<_> = recording[40..].iter().filter(|admitted| admitted.vehicle == 3).copied().collect();
    world.take(&runtime, &of_one).await;
    assert_eq!(live().await, 1, "only {} came back", vehicle(3).vehicle);
    let others: Vec<_> = recording[40..].iter().filter(|admitted| admitted.vehicle != 3).copied().collect();
    world.take(&runtime, &others).await;
    runtime.shutdown().await.unwrap();
    assert_eq!(world.result(), expected(&recording));
}

#[tokio::test]
async fn readings_per_second() {
    // Not a benchmark: shows in the test's output what the unoptimised build does, and that nothing is quadratic.
    let vehicles: Vec<u32> = (0..100_000).map(|i| (i * 7_919) % 2_000).collect();
    let recording = recording(&vehicles);
    let world = World::new(2, [Counting::version(1)]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    let blocks: Vec<_> = recording.chunks(1_500).map(block).collect();
    let mut placed = Vec::new();
    for block in blocks {
        placed.push((world.log(&block).await, block));
    }
    let begun = std::time::Instant::now();
    for (first, block) in placed {
        runtime.apply(first, block).await.unwrap();
    }
    world.settled(&runtime).await;
    let per_s = recording.len() as f64 / begun.elapsed().as_secs_f64();
    println!("{per_s:.0} readings/s, {} events", world.events().len());
    assert_eq!(world.result(), expected(&recording));
}
