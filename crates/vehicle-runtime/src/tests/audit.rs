//! Acts and their records: in one commit, once, in a chain that holds.

use super::fleet::recording;
use super::native_rule::{Counting, Shelf};
use super::world::{World, acts, counts, deploy, until};
use crate::audit::AuditTrail;
use crate::{RevisionId, keys};
use bytes::Bytes;
use event_log::{
    Append, Appended, Block, Bounds, Commit, CommitError, EventLog, MemoryLog, Offset, ReadError, Snapshot, Source,
    SourcePosition, Stream, Ticket,
};
use fleet_model::audit::{Act, ActKind, Chain};
use fleet_model::{TenantId, Timestamp};
use plugin_host::PluginHash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// What was done about which revision of which component.
fn told(acts: &[Act]) -> Vec<(&str, u64, u8)> {
    acts.iter().map(|act| (act.act.as_str(), act.revision.unwrap(), act.plugin_hash.unwrap()[0])).collect()
}

#[tokio::test]
async fn swaps_the_breaker_and_ends_are_recorded_once_whatever_crashes_follow() {
    let recording = recording(&[0].repeat(40));
    let poisoned = Counting::poisoned(2, &[8, 9, 10]);
    let world = World::new(1, [Counting::version(1), poisoned.clone()]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    for reading in recording[..7].chunks(1) {
        world.take(&runtime, reading).await;
    }
    deploy(&runtime, 2, poisoned).await.unwrap();
    for reading in recording[7..20].chunks(1) {
        world.take(&runtime, reading).await;
    }
    until(&runtime, |state| state.failed.is_some()).await;
    let log = world.logs.events.clone();
    let expected = vec![
        ("deployment.activated", 1, 1),
        ("deployment.activated", 2, 2),
        ("breaker.opened", 2, 2),
        ("deployment.activated", 1, 1),
    ];
    // No checkpoint: each start replays all changes.
    drop(runtime);
    for _ in 0..2 {
        drop(world.start().await);
        assert_eq!(told(&acts(&*log)), expected);
    }
    let runtime = world.start().await;
    let (tenant, name) = counts();
    runtime.retire(&tenant, &name).await.unwrap();
    drop(runtime);
    drop(world.start().await);
    let acts = acts(&*log);
    let expected = [expected, vec![("deployment.retired", 1, 1)]].concat();
    assert_eq!(told(&acts), expected);
    assert!(acts.iter().all(|act| act.who == "edge:depot-1" && act.tenant.as_ref() == Some(&tenant)));
    assert!(acts[2].reason.contains("back to revision 1, 1.0.0"), "{}", acts[2].reason);
    let details: serde_json::Value = serde_json::from_str(&acts[1].details).unwrap();
    assert_eq!((&details["offset"], &details["from"]["version"]), (&7.into(), &"1.0.0".into()), "{details}");
}

#[tokio::test]
async fn what_is_suspended_and_resumed_is_recorded_and_a_failure_without_a_way_back() {
    let recording = recording(&[0, 1].repeat(100));
    let mut world = World::new(2, [Counting::version(1), Counting::broken(2)]);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    drop(runtime);
    let shelf = std::mem::replace(&mut world.finder, Shelf::of([]));
    for _ in 0..2 {
        drop(world.start().await);
    }
    world.finder = shelf;
    let runtime = world.start().await;
    runtime.core.resume(counts(), Counting::version(1).source()).await.unwrap();
    let (tenant, name) = counts();
    runtime.retire(&tenant, &name).await.unwrap();
    deploy(&runtime, 2, Counting::broken(2)).await.unwrap();
    for block in recording[..60].chunks(10) {
        world.take(&runtime, block).await;
    }
    until(&runtime, |state| state.suspended.is_some()).await;
    let acts = acts(&*world.logs.events);
    let expected = [
        ("deployment.activated", 1, 1),
        ("deployment.suspended", 1, 1),
        ("deployment.resumed", 1, 1),
        ("deployment.retired", 1, 1),
        ("deployment.activated", 2, 2),
        ("breaker.opened", 2, 2),
        ("deployment.suspended", 2, 2),
    ];
    assert_eq!(told(&acts), expected);
    assert!(acts[1].reason.contains("not on the shelf") && acts[6].reason.contains("no version ran before"));
}

#[tokio::test]
async fn a_refusal_is_recorded_once_until_something_else_was_put_to_work() {
    let world = World::new(1, [Counting::version(1)]);
    let (tenant, name) = counts();
    let id = |revision| RevisionId::of(revision, PluginHash([9; 32]), &serde_json::json!({}));
    let mut runtime = world.start().await;
    for (revision, reason) in [(1, "no"), (1, "no, said otherwise"), (2, "no")] {
        runtime.record_refusal(&tenant, &name, &id(revision), reason).await.unwrap();
        drop(runtime);
        runtime = world.start().await;
    }
    deploy(&runtime, 3, Counting::version(1)).await.unwrap();
    runtime.record_refusal(&tenant, &name, &id(2), "still no").await.unwrap();
    let acts = acts(&*world.logs.events);
    let refused = |revision| ("deployment.refused", revision, 9);
    assert_eq!(told(&acts), [refused(1), refused(2), ("deployment.activated", 3, 1), refused(2)]);
    assert_eq!(acts[0].reason, "no");
}

/// A log that remembers which commits held what, refuses the commit with this number, and may take its time.
struct Witness {
    log: MemoryLog,
    commits: parking_lot::Mutex<Vec<Commit>>,
    refused: AtomicUsize,
    slow: AtomicBool,
}

impl EventLog for Witness {
    fn submit(&self, mut commit: Commit) -> Ticket {
        let number = {
            let mut commits = self.commits.lock();
            commits.push(commit.clone());
            commits.len()
        };
        if number == self.refused.load(Ordering::Relaxed) {
            commit.appends.push(Append { stream: Stream::AUDIT, count: 0, bytes: Bytes::new(), source: None });
        }
        if !self.slow.load(Ordering::Relaxed) {
            return self.log.submit(commit);
        }
        // Tasks of one thread run in the order in which they were spawned.
        let (done, ticket) = tokio::sync::oneshot::channel();
        let log = self.log.clone();
        tokio::spawn(async move { done.send(log.submit(commit).durable().await) });
        Ticket::new(ticket)
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

fn witness() -> Arc<Witness> {
    Arc::new(Witness {
        log: MemoryLog::new(),
        commits: Default::default(),
        refused: AtomicUsize::new(0),
        slow: AtomicBool::new(false),
    })
}

fn trail(log: &Arc<Witness>) -> AuditTrail {
    AuditTrail::new(log.clone(), Arc::new(|| Timestamp(7)), "drover")
}

#[tokio::test]
async fn an_act_and_its_record_are_one_commit_and_a_refused_one_leaves_neither() {
    let witness = witness();
    let mut world = World::new(1, [Counting::version(1), Counting::version(2)]);
    world.logs.events = witness.clone();
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    let records_of = |commit: &Commit| {
        let activations = commit.snapshots.iter().filter(|change| change.key.starts_with(keys::DEPLOYMENTS)).count();
        (activations, commit.appends.iter().filter(|append| append.stream == Stream::AUDIT).count())
    };
    let found: Vec<_> = witness.commits.lock().iter().map(records_of).filter(|of| *of != (0, 0)).collect();
    assert_eq!(found, [(1, 1)], "the activation and its record");
    let next = witness.commits.lock().len() + 1;
    witness.refused.store(next, Ordering::Relaxed);
    deploy(&runtime, 2, Counting::version(2)).await.unwrap_err();
    assert_eq!(runtime.deployments()[0].revision, 1);
    deploy(&runtime, 2, Counting::version(2)).await.unwrap();
    let expected = [("deployment.activated", 1, 1), ("deployment.activated", 2, 2)];
    assert_eq!(told(&acts(&*witness)), expected, "the chain goes on as if nothing had been");
}

#[tokio::test]
async fn whoever_stops_waiting_for_its_commit_breaks_no_chain() {
    let log = witness();
    log.slow.store(true, Ordering::Relaxed);
    let trail = trail(&log);
    for turn in 0..20 {
        let mut recording = Box::pin(trail.record(vec![trail.act(ActKind::PreviewRun)]));
        // Handed in and not durable yet, or waiting for one of these; nobody hears the answer.
        assert!(recording.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(recording);
        if turn % 3 == 0 {
            trail.record(vec![trail.act(ActKind::EdgeConnected)]).await.unwrap();
        }
    }
    trail.record(Vec::new()).await.unwrap();
    // Each third waited for: 7; and those that were handed in just after one of these, or at the start: 8.
    assert_eq!(acts(&*log).len(), 15);
}

#[tokio::test]
async fn what_an_edge_recorded_is_taken_over_once_and_both_chains_hold() {
    let log = witness();
    let trail = trail(&log);
    let tenants = ["one", "two"].map(|name| name.parse::<TenantId>().unwrap());
    let edge = "depot-1".parse().unwrap();
    let mut there = [Chain::default(), Chain::default()];
    // Long enough for more than one frame.
    let act = |tenant: &TenantId, number: i64| {
        let act = Act::new(Timestamp(number), ActKind::DeploymentRefused, "edge:depot-1");
        act.of(tenant).refused(&"x".repeat(2_000))
    };
    let records: Vec<_> =
        (0..300).map(|number| there[number % 2].seal(act(&tenants[number % 2], number as i64), None)).collect();
    let source = Source("depot-1/audit/9".into());
    let position = |first| SourcePosition { source: source.clone(), epoch: 9, first };
    trail.record(vec![trail.act(ActKind::DeploymentChanged).of(&tenants[0])]).await.unwrap();
    let committed = trail.take_over(&edge, records[..200].to_vec(), position(0)).await.unwrap();
    assert!(committed.appended.len() > 1, "several frames");
    trail.record(vec![trail.act(ActKind::DeploymentChanged).of(&tenants[1])]).await.unwrap();
    let again = trail.take_over(&edge, records[..200].to_vec(), position(0)).await.unwrap();
    assert_eq!(again.appended, [Appended::Repeat]);
    let hole = trail.take_over(&edge, records[250..].to_vec(), position(250)).await;
    assert!(matches!(hole, Err(CommitError::Hole { expected: 200, found: 250, .. })), "{hole:?}");
    let overlap = trail.take_over(&edge, records[150..].to_vec(), position(150)).await;
    assert!(matches!(overlap, Err(CommitError::Hole { .. })), "{overlap:?}");
    trail.take_over(&edge, records[200..].to_vec(), position(200)).await.unwrap();
    assert_eq!(log.watermark(&source).unwrap(), Some((9, 300)));

    assert_eq!(acts(&*log).len(), 302, "the chains here hold");
    let mut followed = [Chain::default(), Chain::default()];
    let mut taken = 0;
    for block in log.read(Stream::AUDIT, 0, usize::MAX).unwrap() {
        let frame = fleet_wire::Frame::parse(block.bytes).unwrap().into_audit().unwrap();
        for record in frame.block().records.iter() {
            let Some(original) = record.to_record().unwrap().at_origin() else { continue };
            assert_eq!((original.id(), &original), (records[taken].id(), &records[taken]));
            followed[taken % 2].follow(&original).unwrap();
            taken += 1;
        }
    }
    assert_eq!((taken, followed), (300, there), "and those of the edge");
}

#[tokio::test]
async fn a_head_that_is_damaged_is_told_and_nothing_is_recorded_over_it() {
    let log = witness();
    let trail = trail(&log);
    let snapshots = vec![Snapshot { key: keys::audit_head(None), value: Some(Bytes::from_static(b"x")) }];
    log.submit(Commit { snapshots, ..Commit::default() }).durable().await.unwrap();
    let refused = trail.record(vec![trail.act(ActKind::PreviewRun)]).await.unwrap_err();
    assert!(refused.to_string().contains("audit/head/"), "{refused}");
    assert_eq!(log.bounds(Stream::AUDIT).next, 0);
}
