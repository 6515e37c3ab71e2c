//! Small fleets: recordings, and blocks cut from them.

use fleet_model::{EventClass, Reading, Sequence, Timestamp, VehicleName};
use fleet_wire::ReadingFrame;
use fleet_wire::block::{ReadingBlockV1, ReadingV1, VehicleNameV1};
use fleet_wire::frame::Placement;
use std::collections::HashMap;

/// One admitted reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admitted {
    pub vehicle: u32,
    pub sequence: Sequence,
    pub reading: Reading,
}

/// A vehicle by its number. Every third belongs to another tenant.
pub(crate) fn vehicle(number: u32) -> VehicleName {
    let tenant = if number % 3 == 2 { "other" } else { "demo" };
    VehicleName::new(tenant.parse().unwrap(), format!("BUS-{number}").parse().unwrap())
}

/// One reading for each of these vehicles, in this order. Every seventh of a vehicle is late.
pub(crate) fn recording(vehicles: &[u32]) -> Vec<Admitted> {
    let mut last: HashMap<u32, u64> = HashMap::new();
    let admit = |(index, vehicle): (usize, &u32)| {
        let sequence = last.entry(*vehicle).or_default();
        *sequence += 1;
        let late = if sequence.is_multiple_of(7) { 2_500 } else { 0 };
        let received = Timestamp(1_000_000 + index as i64 * 1_000);
        let event_time = Timestamp(1_000_000 + *sequence as i64 * 1_000 - late);
        let reading = Reading::fix(event_time, received, 52.0 + *sequence as f64 / 1_000.0, 21.0);
        Admitted { vehicle: *vehicle, sequence: Sequence(*sequence), reading }
    };
    vehicles.iter().enumerate().map(admit).collect()
}

/// These readings as one block.
pub(crate) fn block(readings: &[Admitted]) -> ReadingFrame {
    let mut block = ReadingBlockV1::default();
    let mut known = HashMap::new();
    for admitted in readings {
        let index = *known.entry(admitted.vehicle).or_insert_with(|| {
            block.vehicles.push(VehicleNameV1::of(&vehicle(admitted.vehicle)));
            block.vehicles.len() as u32 - 1
        });
        block.readings.push(ReadingV1::of(index, admitted.sequence, &admitted.reading));
    }
    frame(&block)
}

/// The epoch of the log that counted the readings.
pub(crate) const LOG_EPOCH: u64 = 1;

pub(crate) fn frame(block: &ReadingBlockV1) -> ReadingFrame {
    let at = Placement { class: EventClass::Telemetry, first_offset: 0, epoch: LOG_EPOCH, created_ms: 0 };
    ReadingFrame::build(block, at).unwrap()
}

/// One reading for each of these vehicles as one block.
pub(crate) fn block_of(vehicles: &[u32]) -> ReadingFrame {
    block(&recording(vehicles))
}
