//! What an edge recorded arrives once, in the cloud's chain and with its place in the edge's, whatever is cut.

use crate::certificates::Authority;
use crate::client::{Client, message, read, reset_code};
use crate::relay::Relay;
use crate::world::{Cloud, Edge, memory, reaches};
use event_log::{EventLog, Stream};
use fleet_model::audit::{ActKind, AuditRecord, Chain};
use fleet_model::{EventClass, Timestamp};
use fleet_wire::control::{ClassReply, Code, StreamOpen};
use fleet_wire::frame::Placement;
use fleet_wire::{AuditBlockV1, AuditFrame, Frame};
use std::sync::Arc;
use vehicle_runtime::{AuditTrail, Logs, system_clock};

fn trail(logs: &Logs) -> AuditTrail {
    AuditTrail::new(logs.events.clone(), system_clock(), "edge:depot-1")
}

async fn act(trail: &AuditTrail, revision: u64) {
    let act = trail.act(ActKind::DeploymentActivated).of(&"demo".parse().unwrap()).about("zones").revision(revision);
    trail.record(vec![act]).await.unwrap();
}

fn records(log: &Arc<dyn EventLog>) -> Vec<AuditRecord> {
    let blocks = log.read(Stream::AUDIT, 0, usize::MAX).unwrap();
    let frames = blocks.into_iter().map(|block| Frame::parse(block.bytes).unwrap().into_audit().unwrap());
    let of = |frame: AuditFrame| -> Vec<AuditRecord> {
        frame.block().records.iter().map(|record| record.to_record().unwrap()).collect()
    };
    frames.flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edges_acts_arrive_once_whatever_is_cut_and_both_chains_hold() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let relay = Relay::to(cloud.address).await;
    let edge = Edge::start(&authority, memory(), relay.address);
    let trail = trail(&edge.logs);
    let mut revision = 0;
    for round in 0..3_u64 {
        edge.connected().await;
        for i in 0..40 {
            revision += 1;
            act(&trail, revision).await;
            // In the middle of the traffic, at another place each time.
            if i == 10 * round {
                relay.cut();
            }
        }
        edge.refused().await;
        relay.mend();
    }
    // One more for the edge that came for the first time.
    reaches("the acts", &cloud.logs.events, Stream::AUDIT, revision + 1).await;
    edge.acked(EventClass::Audit, revision).await;
    let mut found = records(&cloud.logs.events);
    let came = found.remove(0);
    assert_eq!(
        (came.act.act.as_str(), came.act.about.as_str(), &came.act.tenant),
        ("edge.connected", "depot-1", &None)
    );
    let made = records(&edge.logs.events);
    assert_eq!(found.len(), made.len(), "none missing, none doubled, and the edge came for the first time once");
    let (mut here, mut there) = (Chain::default(), Chain::default());
    for (number, (found, made)) in (1..).zip(found.iter().zip(&made)) {
        here.follow(found).unwrap();
        let original = found.at_origin().unwrap();
        there.follow(&original).unwrap();
        assert_eq!((&original, original.act.revision, found.id()), (made, Some(number), made.id()));
        let origin = found.origin.as_ref().unwrap();
        assert_eq!((origin.edge.as_str(), origin.epoch), ("depot-1", edge.logs.events.epoch()));
    }
    edge.stop().await;
    cloud.stop().await;
}

fn frame(first: u64, records: &[AuditRecord]) -> Vec<u8> {
    let at = Placement { class: EventClass::Audit, first_offset: first, epoch: 7, created_ms: 0 };
    AuditFrame::build(&AuditBlockV1::of(records), at).unwrap().bytes().to_vec()
}

/// The same frame over two connections, and records that are none or another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_is_acknowledged_and_what_is_anothers_is_refused() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let mut chain = Chain::default();
    let mut made = |who: &str| {
        let act = fleet_model::Act::new(Timestamp(1_000), ActKind::DeploymentActivated, who);
        chain.seal(act.of(&"demo".parse().unwrap()), None)
    };
    let good: Vec<_> = (0..5).map(|_| made("edge:depot-1")).collect();
    let mut altered = made("edge:depot-1");
    altered.act.about = "something else".into();
    let anothers = made("edge:depot-2");
    let open = message(&StreamOpen::Class { class: EventClass::Audit, epoch: 7, first: 0 });
    for life in 0..2 {
        let (client, _control, _answers) = Client::welcomed(&authority, cloud.address).await;
        let (mut send, mut recv) = client.open(&open).await;
        let ClassReply::Resume { next } = read(&mut recv).await else { panic!("refused") };
        assert_eq!(next, (life == 1).then_some(5));
        let mut ack = [0; 8];
        send.write_all(&frame(0, &good)).await.unwrap();
        recv.read_exact(&mut ack).await.unwrap();
        assert_eq!(u64::from_le_bytes(ack), 5);
        send.write_all(&frame(5, std::slice::from_ref(&anothers))).await.unwrap();
        assert_eq!(reset_code(&mut recv).await, Some(Code::BadFrame));
    }
    // A record that was changed on the edge is evidence: it is kept as it came, and shows.
    let (client, _control, _answers) = Client::welcomed(&authority, cloud.address).await;
    let (mut send, mut recv) = client.open(&open).await;
    assert!(matches!(read(&mut recv).await, ClassReply::Resume { next: Some(5) }));
    send.write_all(&frame(5, &[altered])).await.unwrap();
    let mut ack = [0; 8];
    recv.read_exact(&mut ack).await.unwrap();
    assert_eq!(u64::from_le_bytes(ack), 6);
    let found = records(&cloud.logs.events);
    assert_eq!(found.len(), 7, "one for the edge, five, and the changed one");
    assert!(found.iter().all(AuditRecord::is_whole), "the cloud's own chain holds over it");
    let whole: Vec<_> = found.iter().filter_map(AuditRecord::at_origin).map(|record| record.is_whole()).collect();
    assert_eq!(whole, [true, true, true, true, true, false]);
    cloud.stop().await;
}
