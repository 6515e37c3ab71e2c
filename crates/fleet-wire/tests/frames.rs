//! Frames: what comes out is what went in, the bytes stay as they were released, and nothing hostile gets through.
// A test may read the released bytes from disk; the crate itself may not.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use bytes::Bytes;
use fleet_model::audit::{Act, ActKind, AuditRecord, Chain, Link, Origin};
use fleet_model::event::TraceContext;
use fleet_model::{
    Event, EventClass, EventId, EventKind, PluginRef, Reading, Sequence, Timestamp, TroubleCodes, VehicleKey,
    VehicleName,
};
use fleet_wire::frame::Placement;
use fleet_wire::{
    AuditBlockV1, AuditFrame, EventBlockV1, EventFrame, FRAME_LEN_MAX, Frame, FrameError, FrameHeader, HEADER_LEN,
    ReadingBlockV1, ReadingFrame, ReadingV1, TraceV1, VehicleNameV1,
};
use proptest::prelude::*;
use std::path::Path;

const TELEMETRY: Placement = Placement {
    class: EventClass::Telemetry,
    first_offset: 41,
    epoch: 0x0102_0304_0506_0708,
    created_ms: 1_708_353_714_000,
};
const ALERTS: Placement = Placement { class: EventClass::Alerts, first_offset: 7, ..TELEMETRY };
const AUDIT: Placement = Placement { class: EventClass::Audit, first_offset: 3, ..TELEMETRY };

fn vehicle(name: &str) -> VehicleName {
    VehicleName::new("demo".parse().unwrap(), name.parse().unwrap())
}

fn trace() -> TraceContext {
    TraceContext { trace_id: [7; 16], span_id: [9; 8] }
}

fn readings() -> ReadingBlockV1 {
    let full = Reading {
        odometer: 123_456.5,
        altitude: 110.25,
        heading: 270.0,
        speed: 12.5,
        horizontal_accuracy: 4.0,
        engine_hours: 801.5,
        engine_speed: 1_450.0,
        fuel_level: 62.5,
        state_of_charge: 80.0,
        engine_coolant_temperature: 88.5,
        battery_voltage: 27.75,
        ignition: 1,
        trouble_codes: serde_json::from_str(r#"["P0301","U0100"]"#).unwrap(),
        ..Reading::fix(Timestamp(1_708_353_713_000), Timestamp(1_708_353_714_000), 52.229_75, 21.012_25)
    };
    let bare = Reading::fix(Timestamp(-1), Timestamp(1_708_353_714_000), -33.868_75, 151.209_25);
    ReadingBlockV1 {
        vehicles: vec![VehicleNameV1::of(&vehicle("WAW-1000")), VehicleNameV1::of(&vehicle("SYD-2"))],
        readings: vec![
            ReadingV1::of(0, Sequence(1), &full),
            ReadingV1::of(1, Sequence(u64::MAX), &bare),
            ReadingV1::of(0, Sequence(2), &bare),
        ],
        traces: vec![TraceV1::of(2, trace())],
    }
}

fn events() -> EventBlockV1 {
    let vehicle = vehicle("WAW-1000");
    let event = |sequence: u64, kind, subject: &str| Event {
        id: EventId::of(vehicle.key, Timestamp(sequence as i64), kind, "zones", subject),
        kind,
        vehicle: vehicle.clone(),
        sequence: Sequence(sequence),
        event_time: Timestamp(1_708_353_713_000),
        received_time: Timestamp(1_708_353_714_000),
        subject: subject.into(),
        value: 12.5,
        details: Some(r#"{"limit":"50"}"#.into()),
        plugin: PluginRef {
            deployment: "zones".into(),
            name: "geofence".into(),
            version: "1.0.0".into(),
            hash: [7; 32],
        },
        trace: (sequence == 2).then(trace),
    };
    EventBlockV1::of(&[
        event(1, EventKind::GeofenceEntered, "Śródmieście"),
        event(2, EventKind::GeofenceExited, "a name that is longer than what rkyv keeps in place"),
    ])
}

fn audit() -> Vec<AuditRecord> {
    let now = Timestamp(1_708_353_714_000);
    let whole = Act::new(now, ActKind::DeploymentActivated, "edge:depot-1")
        .of(&"demo".parse().unwrap())
        .about("zones")
        .revision(2)
        .plugin([7; 32])
        .config([8; 32])
        .because("Śródmieście")
        .details(r#"{"plugin":"geofence","version":"1.0.0"}"#);
    let link = Link { number: 4, previous: [1; 32], hash: [2; 32] };
    let edge = "depot-1".parse().unwrap();
    let origin = Origin { edge, epoch: u64::MAX, received_time: now, link };
    let mut chain = Chain::default();
    let bare = Act::new(Timestamp(0), ActKind::PluginRefused, "alice").refused("no");
    vec![chain.seal(whole, Some(origin)), chain.seal(bare, None)]
}

fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("DROVER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let released = std::fs::read(&path).unwrap();
    assert_eq!(released, bytes, "{name}: released bytes changed; that needs a new record version");
}

#[test]
fn readings_are_laid_out_as_released() {
    golden("readings_v1.frame", ReadingFrame::build(&readings(), TELEMETRY).unwrap().bytes());
}

#[test]
fn events_are_laid_out_as_released() {
    golden("events_v1.frame", EventFrame::build(&events(), ALERTS).unwrap().bytes());
}

#[test]
fn audit_records_are_laid_out_as_released() {
    golden("audit_v1.frame", AuditFrame::build(&AuditBlockV1::of(&audit()), AUDIT).unwrap().bytes());
}

#[test]
fn audit_records_come_back_as_they_were() {
    let built = AuditFrame::build(&AuditBlockV1::of(&audit()), AUDIT).unwrap();
    let parsed = Frame::parse(built.bytes().clone()).unwrap();
    assert!(parsed.clone().into_events().is_err() && parsed.clone().into_readings().is_err());
    let parsed = parsed.into_audit().unwrap();
    let records: Vec<_> = parsed.block().records.iter().map(|record| record.to_record().unwrap()).collect();
    assert_eq!(records, audit());
    assert!(records.iter().all(AuditRecord::is_whole));
}

/// What can be read need not be a record: each text, number and range is asked.
#[test]
fn what_cannot_be_an_audit_record_is_told() {
    fn origin_of(block: &mut AuditBlockV1) -> &mut fleet_wire::OriginV1 {
        block.records[0].origin.as_mut().unwrap()
    }
    type Change = fn(&mut AuditBlockV1);
    let changes: [(&str, Change); 8] = [
        ("tenant", |block| block.records[0].tenant = "a/b".into()),
        ("outcome", |block| block.records[0].outcome = 0),
        ("act", |block| block.records[0].act = "Rm -rf".into()),
        ("details", |block| block.records[0].details = "x".repeat(5_000)),
        ("time", |block| block.records[0].time = i64::MIN),
        ("edge", |block| origin_of(block).edge.clear()),
        ("received time", |block| origin_of(block).received_time = -1),
        ("number", |block| block.records[0].link.number = 0),
    ];
    for (what, change) in changes {
        let frame = Frame::parse(forged(AUDIT, 2, 3, &audit_body(change))).unwrap().into_audit().unwrap();
        let refused = frame.block().records[0].to_record().unwrap_err().to_string();
        assert!(refused.contains(what), "{what}: {refused}");
    }
}

#[test]
fn readings_come_back_as_they_were() {
    let block = readings();
    let built = ReadingFrame::build(&block, TELEMETRY).unwrap();
    let parsed = Frame::parse(built.bytes().clone()).unwrap().into_readings().unwrap();
    assert_eq!(parsed.header(), built.header());
    assert_eq!((parsed.header().first_offset, parsed.header().next_offset()), (41, 44));
    for (archived, original) in parsed.block().readings.iter().zip(&block.readings) {
        let again = ReadingV1::of(original.vehicle, archived.sequence(), &archived.reading());
        assert_eq!(format!("{again:?}"), format!("{original:?}"));
    }
    let names: Vec<_> = parsed.block().vehicles.iter().map(|v| v.to_name().unwrap()).collect();
    assert_eq!(names, [vehicle("WAW-1000"), vehicle("SYD-2")]);
    assert_eq!(names[0].key, parsed.block().vehicles[0].key());
    assert_eq!(parsed.block().traces[0].context(), trace());
}

#[test]
fn events_come_back_as_they_were() {
    let built = EventFrame::build(&events(), ALERTS).unwrap();
    let parsed = Frame::parse(built.bytes().clone()).unwrap().into_events().unwrap();
    let block = parsed.block();
    assert_eq!((block.vehicles.len(), block.plugins.len(), block.events.len()), (1, 1, 2));
    assert_eq!(&*block.events[0].subject, "Śródmieście");
    assert_eq!(block.traces[0].record.to_native(), 1);
    assert!(Frame::parse(built.bytes().clone()).unwrap().into_readings().is_err());
}

/// A frame with a body of our making and a checksum that fits.
fn forged(at: Placement, count: u32, kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = b"DRVR".to_vec();
    bytes.extend([1, at.class as u8, kind, 1]);
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(at.first_offset.to_le_bytes());
    bytes.extend(at.epoch.to_le_bytes());
    bytes.extend(at.created_ms.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Bytes {
    if bytes.len() >= HEADER_LEN {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEADER_LEN - 4]), &bytes[HEADER_LEN..]);
        bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    }
    bytes.into()
}

fn reading_body(change: impl FnOnce(&mut ReadingBlockV1)) -> Vec<u8> {
    let mut block = readings();
    change(&mut block);
    rkyv::to_bytes::<rkyv::rancor::Error>(&block).unwrap().to_vec()
}

fn event_body(change: impl FnOnce(&mut EventBlockV1)) -> Vec<u8> {
    let mut block = events();
    change(&mut block);
    rkyv::to_bytes::<rkyv::rancor::Error>(&block).unwrap().to_vec()
}

fn audit_body(change: impl FnOnce(&mut AuditBlockV1)) -> Vec<u8> {
    let mut block = AuditBlockV1::of(&audit());
    change(&mut block);
    rkyv::to_bytes::<rkyv::rancor::Error>(&block).unwrap().to_vec()
}

#[test]
fn a_block_that_contradicts_itself_is_refused_though_its_checksum_fits() {
    assert!(Frame::parse(forged(TELEMETRY, 3, 1, &reading_body(|_| ()))).is_ok());
    assert!(Frame::parse(forged(ALERTS, 2, 2, &event_body(|_| ()))).is_ok());
    let beyond = Placement { first_offset: u64::MAX - 1, ..TELEMETRY };
    let nothing = ReadingBlockV1 { readings: vec![], ..readings() };
    for (what, frame) in [
        ("count", forged(TELEMETRY, 4, 1, &reading_body(|_| ()))),
        ("empty", forged(TELEMETRY, 0, 1, &rkyv::to_bytes::<rkyv::rancor::Error>(&nothing).unwrap())),
        ("offsets", forged(beyond, 3, 1, &reading_body(|_| ()))),
        ("class of readings", forged(ALERTS, 3, 1, &reading_body(|_| ()))),
        ("dictionary", forged(TELEMETRY, 3, 1, &reading_body(|b| b.readings[1].vehicle = 2))),
        ("no dictionary", forged(TELEMETRY, 3, 1, &reading_body(|b| b.vehicles.clear()))),
        ("trace", forged(TELEMETRY, 3, 1, &reading_body(|b| b.traces[0].record = 3))),
        ("event count", forged(ALERTS, 1, 2, &event_body(|_| ()))),
        ("event vehicle", forged(ALERTS, 2, 2, &event_body(|b| b.events[0].vehicle = u32::MAX))),
        ("event plugin", forged(ALERTS, 2, 2, &event_body(|b| b.events[1].plugin = 1))),
        ("event trace", forged(ALERTS, 2, 2, &event_body(|b| b.traces[0].record = 2))),
        ("event kind", forged(ALERTS, 2, 2, &event_body(|b| b.events[0].kind = 0))),
        ("event class", forged(TELEMETRY, 2, 2, &event_body(|_| ()))),
        ("audit count", forged(AUDIT, 3, 3, &audit_body(|_| ()))),
        ("class of audit", forged(ALERTS, 2, 3, &audit_body(|_| ()))),
    ] {
        assert!(matches!(Frame::parse(frame), Err(FrameError::Inconsistent(_))), "{what}");
    }
}

#[test]
fn what_this_build_does_not_know_is_named() {
    let whole = ReadingFrame::build(&readings(), TELEMETRY).unwrap().bytes().clone();
    for (at, value, what) in
        [(4, 2, "header version"), (5, 9, "class"), (6, 0x11, "codec"), (6, 4, "record kind"), (7, 2, "record version")]
    {
        let mut bytes = whole.to_vec();
        bytes[at] = value;
        assert!(matches!(Frame::parse(sealed(bytes)), Err(FrameError::Unknown { what: w, .. }) if w == what), "{what}");
    }
    let mut long = whole.to_vec();
    long[8..12].copy_from_slice(&(FRAME_LEN_MAX as u32).to_le_bytes());
    assert!(matches!(FrameHeader::parse(&long), Err(FrameError::TooLong(_))));
    assert!(matches!(
        FrameHeader::parse(b"GET / HTTP/1.1\r\nHost: somewhere-else.example.org\r\n\r\n"),
        Err(FrameError::Magic(_))
    ));
}

#[test]
fn a_cut_frame_is_refused_at_every_length() {
    let whole = EventFrame::build(&events(), ALERTS).unwrap().bytes().clone();
    for len in 0..whole.len() {
        assert!(Frame::parse(whole.slice(..len)).is_err(), "{len}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = ReadingFrame::build(&readings(), TELEMETRY).unwrap().bytes().clone();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::parse(bytes.into()).is_err(), "bit {bit}");
    }
}

/// Reads all that a receiver would.
fn walk(frame: Frame) {
    match frame.into_readings() {
        Ok(readings) => {
            let block = readings.block();
            for reading in block.readings.iter() {
                let _ = (block.vehicles[reading.vehicle_index()].to_name(), reading.reading());
            }
        }
        Err(frame) => match frame.into_events() {
            Ok(events) => {
                let block = events.block();
                for event in block.events.iter() {
                    let _ = (&block.vehicles[event.vehicle.to_native() as usize], event.subject.len());
                    let _ = &block.plugins[event.plugin.to_native() as usize];
                }
            }
            Err(frame) => {
                let audit = frame.into_audit().unwrap();
                let _ = audit.block().records.iter().map(|record| record.to_record()).collect::<Vec<_>>();
            }
        },
    }
}

fn any_reading() -> impl Strategy<Value = Reading> {
    (any::<(i64, i64, f64, f64, f64)>(), any::<[f32; 10]>(), any::<u8>(), any::<[u16; 8]>()).prop_map(
        |((e, r, lat, lon, odo), s, ignition, codes)| Reading {
            odometer: odo,
            altitude: s[0],
            heading: s[1],
            speed: s[2],
            horizontal_accuracy: s[3],
            engine_hours: s[4],
            engine_speed: s[5],
            fuel_level: s[6],
            state_of_charge: s[7],
            engine_coolant_temperature: s[8],
            battery_voltage: s[9],
            ignition,
            trouble_codes: TroubleCodes::from_words(codes),
            ..Reading::fix(Timestamp(e), Timestamp(r), lat, lon)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_readings_come_back_bit_by_bit(readings in prop::collection::vec((0..3_u32, any::<u64>(), any_reading()), 1..300)) {
        let vehicles = ["a", "b", "c"].map(|name| VehicleNameV1::of(&vehicle(name))).to_vec();
        let records = readings.iter().map(|(v, s, r)| ReadingV1::of(*v, Sequence(*s), r)).collect();
        let built = ReadingFrame::build(&ReadingBlockV1 { vehicles, readings: records, traces: vec![] }, TELEMETRY).unwrap();
        let parsed = Frame::parse(built.bytes().clone()).unwrap().into_readings().unwrap();
        for (archived, (v, s, r)) in parsed.block().readings.iter().zip(&readings) {
            prop_assert_eq!(archived.vehicle_index(), *v as usize);
            prop_assert_eq!(archived.sequence(), Sequence(*s));
            prop_assert_eq!(archived.reading(), *r);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Frame::parse(bytes.into());
    }

    #[test]
    fn a_hostile_body_never_panics(kind in 1..4_u8, count in 0..9_u32, body in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(frame) = Frame::parse(forged([TELEMETRY, ALERTS, AUDIT][usize::from(kind) - 1], count, kind, &body)) {
            walk(frame);
        }
    }

    /// Somebody who knows the checksum changes some bytes of a good frame.
    #[test]
    fn a_tampered_body_never_panics(
        kind in 1..4_u8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (at, count, mut body) = match kind {
            1 => (TELEMETRY, 3, reading_body(|_| ())),
            2 => (ALERTS, 2, event_body(|_| ())),
            _ => (AUDIT, 2, audit_body(|_| ())),
        };
        for (place, value) in changes {
            let place = place.index(body.len());
            body[place] = value;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        if let Ok(frame) = Frame::parse(forged(at, count, kind, &body)) {
            walk(frame);
        }
    }
}

#[test]
fn a_key_is_not_believed() {
    let body = reading_body(|block| block.vehicles[0].key = 5);
    let frame = Frame::parse(forged(TELEMETRY, 3, 1, &body)).unwrap().into_readings().unwrap();
    let name = &frame.block().vehicles[0];
    assert_eq!(name.key(), VehicleKey(5));
    assert_eq!(name.to_name().unwrap().key, vehicle("WAW-1000").key);
}
