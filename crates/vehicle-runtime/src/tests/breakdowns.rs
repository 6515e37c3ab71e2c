//! When a worker or the log gives up: whoever waits is told, nothing hangs, and a restart takes up the rest.

use super::fleet::recording;
use super::model::expected;
use super::native_rule::Counting;
use super::world::{World, deploy};
use crate::RuntimeError;
use bytes::Bytes;
use event_log::{
    Append, Block, Bounds, Commit, CommitError, EventLog, MemoryLog, Offset, ReadError, RedbLog, Source, Stream, Ticket,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Refuses every commit of events once it is told to.
struct Stubborn {
    log: Arc<dyn EventLog>,
    refuses: Arc<AtomicBool>,
}

impl EventLog for Stubborn {
    fn submit(&self, mut commit: Commit) -> Ticket {
        if self.refuses.load(Ordering::Relaxed) && !commit.appends.is_empty() {
            commit.appends.push(Append { stream: Stream::ALERTS, count: 0, bytes: Bytes::new(), source: None });
        }
        self.log.submit(commit)
    }
    fn read(&self, stream: Stream, from: Offset, bytes_max: usize) -> Result<Vec<Block>, ReadError> {
        self.log.read(stream, from, bytes_max)
    }
    fn bounds(&self, stream: Stream) -> Bounds {
        self.log.bounds(stream)
    }
    fn subscribe(&self, stream: Stream) -> tokio::sync::watch::Receiver<Offset> {
        self.log.subscribe(stream)
    }
    fn watermark(&self, source: &Source) -> Result<Option<(u64, Offset)>, ReadError> {
        self.log.watermark(source)
    }
    fn snapshot(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.log.snapshot(key)
    }
    fn snapshots(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Bytes)>, ReadError> {
        self.log.snapshots(prefix)
    }
    fn trim(&self, stream: Stream, before: Offset) -> Result<Offset, CommitError> {
        self.log.trim(stream, before)
    }
    fn epoch(&self) -> u64 {
        self.log.epoch()
    }
}

#[tokio::test]
async fn a_log_that_refuses_events_stops_the_runtime_and_loses_none() {
    let recording = recording(&[0, 1, 3].repeat(100));
    let mut world = World::new(2, [Counting::version(1)]);
    let refuses = Arc::new(AtomicBool::new(false));
    let log = world.logs.events.clone();
    world.logs.events = Arc::new(Stubborn { log, refuses: refuses.clone() });
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    for (turn, block) in recording.chunks(3).enumerate() {
        refuses.store(turn >= 10, Ordering::Relaxed);
        let frame = super::fleet::block(block);
        let first = world.log(&frame).await;
        if runtime.apply(first, frame).await.is_err() {
            break;
        }
    }
    // It returns, though it will never get there.
    runtime.settled(300).await;
    assert!(runtime.applied() < 300);
    let taken = world.logs.telemetry.bounds(Stream::TELEMETRY).next as usize;
    for block in recording[taken..].chunks(3) {
        world.log(&super::fleet::block(block)).await;
    }
    let refused = runtime.apply(taken as u64, super::fleet::block(&recording[..3])).await;
    assert!(matches!(refused, Err(RuntimeError::Broken(_))), "{refused:?}");
    let checkpoint = runtime.core.checkpoint().await;
    assert!(matches!(checkpoint, Err(RuntimeError::Broken(_))), "events below it are not durable: {checkpoint:?}");
    assert!(matches!(runtime.shutdown().await, Err(RuntimeError::Broken(_))));
    refuses.store(false, Ordering::Relaxed);
    let runtime = world.start().await;
    assert_eq!(world.result(), expected(&recording));
    drop(runtime);
}

#[tokio::test]
async fn a_worker_that_dies_says_so_to_whoever_waits() {
    let world = World::new(1, []);
    let runtime = world.start().await;
    runtime.core.kill_worker(0);
    let recording = recording(&[0].repeat(4));
    let (first, later) = recording.split_at(1);
    let frame = super::fleet::block(first);
    let at = world.log(&frame).await;
    // Whether it is taken depends on how far the worker's end has come; applied it will not be.
    let _ = runtime.apply(at, frame).await;
    runtime.settled(1).await;
    assert_eq!(runtime.applied(), 0);
    let frame = super::fleet::block(later);
    let at = world.log(&frame).await;
    let refused = runtime.apply(at, frame).await;
    assert!(matches!(refused, Err(RuntimeError::Broken(_))), "{refused:?}");
    drop(runtime);
    let runtime = world.start().await;
    assert_eq!(runtime.applied(), 4);
    assert_eq!(world.result().states, expected(&recording).states);
}

#[tokio::test]
async fn the_files_of_a_dropped_runtime_can_be_opened_again() {
    let recording = recording(&[0, 1, 3].repeat(60));
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(2, [Counting::version(1)]);
    for (turn, readings) in recording.chunks(45).enumerate() {
        let none: Arc<dyn EventLog> = Arc::new(MemoryLog::new());
        world.logs.telemetry = none.clone();
        world.logs.events = none;
        let open = |name: &str| RedbLog::open(&folder.path().join(name), Default::default()).unwrap();
        world.logs.telemetry = Arc::new(open("telemetry.redb"));
        world.logs.events = Arc::new(open("events.redb"));
        let runtime = world.start().await;
        if turn == 0 {
            deploy(&runtime, 1, Counting::version(1)).await.unwrap();
        }
        for block in readings.chunks(9) {
            world.take(&runtime, block).await;
        }
        match turn {
            1 => runtime.core.checkpoint().await.unwrap(),
            3 => runtime.shutdown().await.unwrap(),
            _ => {}
        }
    }
    assert_eq!(world.result(), expected(&recording));
}
