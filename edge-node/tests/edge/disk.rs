//! A disk that is full, and one that breaks.

use crate::client::{Client, get, post};
use crate::gated_log::{Disk, GatedLog};
use crate::started::{Edge, FIX, readings_of};
use drover_edge::device_link::payload::{Element, Parsed};
use drover_edge::ingest::{self, Ingest, IngestError, Parts, Payload, Running};
use drover_edge::retention::{self, RetentionConfig};
use event_log::{EventLog, MemoryLog, Stream};
use fleet_model::{AdmissionPolicy, Reading, Refusal, Sequence, Timestamp, VehicleName};
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::Packet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{AuditTrail, Logs, NoPlugins, NoSink, Runtime, RuntimeConfig, system_clock};

/// A commit fails after admission has given out a sequence and remembered the reading. What the device sends again must
/// be news, with the same sequence, or it would be acknowledged and lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_and_loses_nothing() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    let mut device = Client::demo(address, Version::V5_0, "box").await;
    device.publish_fix("bus-1", 1_000).await;
    assert_eq!(device.puback().await.1, 0);

    edge.telemetry.set(Disk::IsFull);
    for time in [2_000, 3_000, 4_000] {
        device.publish_fix("bus-1", time).await;
    }
    assert_eq!(device.disconnected().await, 0x97, "no PUBACK");
    let answer = post(edge.addresses.http.unwrap(), &format!(r#"{{"vehicle":"bus-1","event_time_ms":9,{FIX}}}"#)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after:") && answer.body.contains("no space in the test"), "{answer:?}");
    assert_eq!(edge.readings().len(), 1);

    edge.telemetry.set(Disk::Works);
    let mut unacknowledged = vec![2_000, 3_000, 4_000];
    while !unacknowledged.is_empty() {
        let mut device = Client::demo(address, Version::V3_1_1, "box").await;
        for time in &unacknowledged {
            device.publish_fix("bus-1", *time).await;
        }
        // Acknowledged is a beginning of what was sent: after the first refusal nothing of a connection is taken.
        while let Some(packet) = device.next().await {
            assert!(matches!(packet, Packet::V3_1_1Puback(_)), "{packet:?}");
            unacknowledged.remove(0);
            if unacknowledged.is_empty() {
                break;
            }
        }
    }
    let stored: Vec<_> = edge.readings().iter().map(|(_, sequence, r)| (*sequence, r.event_time.0)).collect();
    assert_eq!(stored, [(Sequence(1), 1_000), (Sequence(2), 2_000), (Sequence(3), 3_000), (Sequence(4), 4_000)]);
    let status = get(edge.addresses.admin, "/v1/status").await.json();
    assert_eq!(status["counters"]["repeats"], 0, "{status}");
    assert_eq!(status["counters"]["admitted"], 4, "{status}");
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_dead_letter_a_refused_payload_is_not_acknowledged() {
    let edge = Edge::start().await;
    edge.events.set(Disk::IsFull);
    let answer = post(edge.addresses.http.unwrap(), "{").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    edge.events.set(Disk::Works);
    let answer = post(edge.addresses.http.unwrap(), "{").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(edge.dead_letters().len(), 1);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_log_stops_the_node_and_nobody_is_acknowledged() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    edge.telemetry.set(Disk::Breaks);
    device.publish_fix("bus-1", 1_000).await;
    assert_eq!(device.disconnected().await, 0x8b, "no PUBACK");
    let said = edge.failure().await;
    assert!(said.contains("telemetry log failed") && said.contains("broken by the test"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_another_reason_is_not_called_a_full_disk() {
    let edge = Edge::start().await;
    edge.telemetry.set(Disk::Refuses);
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    device.publish_fix("bus-1", 1_000).await;
    let goodbye = device.next().await;
    let Some(Packet::V5_0Disconnect(goodbye)) = goodbye else { panic!("{goodbye:?}") };
    assert_eq!(goodbye.reason_code().map(|code| code as u8), Some(0x80));
    let told = format!("{:?}", goodbye.props());
    assert!(told.contains("7 bytes with 1 records cannot be stored"), "{told}");
    let answer = post(edge.addresses.http.unwrap(), &format!(r#"{{"vehicle":"bus-1","event_time_ms":9,{FIX}}}"#)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains("not_stored") && answer.body.contains("7 bytes with 1 records"), "{answer:?}");
    edge.telemetry.set(Disk::Works);
    edge.end().await;
}

/// Ingest without doors, on the one thread of the test: nothing of it runs before the test waits.
struct Inside {
    ingest: Ingest,
    running: Running,
    runtime: Arc<Runtime>,
    telemetry: Arc<GatedLog>,
    events: Arc<GatedLog>,
}

impl Inside {
    async fn start() -> Self {
        let log = || GatedLog::new(Arc::new(MemoryLog::new()));
        let (telemetry, events) = (log(), log());
        let logs = Logs { telemetry: telemetry.clone(), events: events.clone() };
        let (config, clock) = (RuntimeConfig { workers: 1, ..Default::default() }, system_clock());
        let audit = AuditTrail::new(logs.events.clone(), clock.clone(), "edge:depot-1");
        let started = Runtime::start(config, logs.clone(), Arc::new(NoSink), Arc::new(NoPlugins), clock.clone(), audit);
        let runtime = started.await.unwrap();
        let policy = AdmissionPolicy::default();
        let parts = Parts {
            logs,
            runtime: runtime.clone(),
            policy,
            checkpoint_readings: 200_000,
            clock,
            counts: Arc::default(),
        };
        let (ingest, running) = ingest::start(parts).await.unwrap();
        Self { ingest, running, runtime, telemetry, events }
    }

    async fn end(mut self) {
        drop(self.ingest);
        self.running.ended().await.unwrap();
        self.runtime.shutdown().await.unwrap();
    }
}

fn fix(vehicle: &str, event_time: i64) -> Vec<Payload> {
    let vehicle = Arc::new(VehicleName::new("demo".parse().unwrap(), vehicle.parse().unwrap()));
    let reading = Reading::fix(Timestamp(event_time), Timestamp(0), 52.2, 21.0);
    let elements = vec![Element { index: 0, vehicle, reading }];
    vec![payload(Parsed { elements, refused: Vec::new() })]
}

fn payload(parsed: Parsed) -> Payload {
    Payload { tenant: None, vehicle: None, raw: bytes::Bytes::new(), parsed, trace: None }
}

/// A connection sends 1,000 and 2,000. The first is refused a moment before the disk works again, the second a moment
/// after: taken, it would stand before what is sent again.
#[tokio::test]
async fn what_waited_behind_a_refused_request_is_not_taken_when_the_disk_works_again() {
    let inside = Inside::start().await;
    let refused = inside.ingest.lane();
    inside.telemetry.set(Disk::IsFull);
    let first = refused.submit(fix("bus-1", 1_000)).await.unwrap().await.unwrap();
    assert!(matches!(first, Err(IngestError::Full(_))), "{first:?}");
    inside.telemetry.set(Disk::Works);
    // Somebody else is taken again.
    while inside.ingest.submit(fix("bus-2", 1_000)).await.unwrap().await.unwrap().is_err() {}
    let second = refused.submit(fix("bus-1", 2_000)).await.unwrap().await.unwrap();
    assert!(matches!(second, Err(IngestError::Full(_))), "{second:?}");

    let lane = inside.ingest.lane();
    for time in [1_000, 2_000] {
        let again = lane.submit(fix("bus-1", time)).await.unwrap().await.unwrap().unwrap();
        assert_eq!((again[0].admitted, again[0].late), (1, 0));
    }
    assert_eq!(readings_of(&*inside.telemetry).len(), 3);
    // Ingest ends with the last way in.
    drop((refused, lane));
    inside.end().await;
}

#[tokio::test]
async fn without_dead_letters_only_what_has_some_is_not_acknowledged() {
    let inside = Inside::start().await;
    inside.events.set(Disk::IsFull);
    // Both wait before the builder runs: they share a batch.
    let good = inside.ingest.submit(fix("bus-1", 1_000)).await.unwrap();
    let refused = payload(Parsed::refused_whole(Refusal::MalformedJson, "in the test".into()));
    let bad = inside.ingest.submit(vec![refused]).await.unwrap();
    let good = good.await.unwrap();
    assert_eq!(good.map(|outcomes| outcomes[0].admitted), Ok(1));
    let bad = bad.await.unwrap();
    assert!(matches!(bad, Err(IngestError::Full(_))), "{bad:?}");
    inside.events.set(Disk::Works);
    inside.end().await;
}

/// Killed between telling of what is shed and removing it.
#[tokio::test]
async fn what_was_told_of_is_removed_by_the_next_start_and_not_told_of_again() {
    let inside = Inside::start().await;
    for second in 1..=5 {
        inside.ingest.submit(fix("bus-1", second * 1_000)).await.unwrap().await.unwrap().unwrap();
    }
    inside.runtime.record_shed(Vec::new(), 3).await.unwrap();
    let logs = Logs { telemetry: inside.telemetry.clone(), events: inside.events.clone() };
    let (config, clock) = (RetentionConfig::default(), system_clock());
    let parts = retention::Parts { logs, runtime: inside.runtime.clone(), config, clock, uplink: None };
    let ends = CancellationToken::new();
    let keeps = tokio::spawn(retention::run(parts, ends.clone()));
    let trimmed = async {
        while inside.telemetry.bounds(Stream::TELEMETRY).first < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trimmed).await.unwrap();
    ends.cancel();
    keeps.await.unwrap();
    assert_eq!(inside.telemetry.bounds(Stream::TELEMETRY).first, 3);
    assert_eq!(inside.events.bounds(Stream::ALERTS).next, 0);
    inside.end().await;
}
