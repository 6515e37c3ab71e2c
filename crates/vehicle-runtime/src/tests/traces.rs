//! A traced reading hands its context on to the events it causes.

use super::fleet::{self, recording};
use super::native_rule::{Counting, EVERY};
use super::world::{World, deploy};
use event_log::Stream;
use fleet_model::Sequence;
use fleet_model::event::TraceContext;
use fleet_wire::Frame;
use fleet_wire::block::{ReadingBlockV1, ReadingV1, TraceV1, VehicleNameV1};

#[tokio::test]
async fn events_carry_the_trace_of_their_reading() {
    let trace = TraceContext { trace_id: [7; 16], span_id: [9; 8] };
    let world = World::new(2, []);
    let runtime = world.start().await;
    deploy(&runtime, 1, Counting::version(1)).await.unwrap();
    // Two vehicles; the reading of the second that comes to an event is traced, that of the first is not.
    let mut block = ReadingBlockV1::default();
    for number in [0, 1] {
        block.vehicles.push(VehicleNameV1::of(&fleet::vehicle(number)));
    }
    for (index, admitted) in recording(&[0, 1].repeat(EVERY as usize)).iter().enumerate() {
        block.readings.push(ReadingV1::of(admitted.vehicle, admitted.sequence, &admitted.reading));
        if admitted.vehicle == 1 && admitted.sequence == Sequence(u64::from(EVERY)) {
            block.traces.push(TraceV1::of(index as u32, trace));
        }
    }
    let frame = fleet::frame(&block);
    let first = world.log(&frame).await;
    runtime.apply(first, frame).await.unwrap();
    world.settled(&runtime).await;
    let mut traced = Vec::new();
    for block in world.logs.events.read(Stream::ALERTS, 0, 1 << 20).unwrap() {
        let frame = Frame::parse(block.bytes).unwrap().into_events().unwrap();
        let events = frame.block();
        traced.extend(events.traces.iter().map(|found| {
            let event = &events.events[found.record.to_native() as usize];
            (events.vehicles[event.vehicle.to_native() as usize].vehicle.to_string(), found.context())
        }));
    }
    assert_eq!(traced, [("BUS-1".to_owned(), trace)]);
}
