//! A block while it grows.

use fleet_model::event::TraceContext;
use fleet_model::{Reading, Sequence, VehicleKey, VehicleName};
use fleet_wire::block::{ReadingBlockV1, ReadingV1, TraceV1, VehicleNameV1};
use fleet_wire::frame::{FRAME_LEN_MAX, HEADER_LEN};
use hashbrown::HashMap;

/// Most readings in a block.
pub(super) const BLOCK_READINGS_MAX: usize = 2_000;
/// Bytes of a reading as rkyv lays it out.
const READING_LEN: usize = 121;
/// Bytes of a vehicle's dictionary entry without the two names.
const VEHICLE_LEN: usize = 24;
/// Bytes of a trace context.
const TRACE_LEN: usize = 28;
/// Bytes of the three lists' heads, with room to spare.
const LISTS_LEN: usize = 64;

/// Readings that will be one block.
#[derive(Debug, Default)]
pub(super) struct Draft {
    block: ReadingBlockV1,
    index: HashMap<VehicleKey, u32>,
    names_len: usize,
}

impl Draft {
    /// Readings in it.
    pub(super) fn len(&self) -> usize {
        self.block.readings.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.block.readings.is_empty()
    }

    /// Whether one more reading of this vehicle fits.
    pub(super) fn has_room_for(&self, name: &VehicleName) -> bool {
        let grown = self.frame_len() + READING_LEN + TRACE_LEN + VEHICLE_LEN + name_len(name);
        self.len() < BLOCK_READINGS_MAX && grown <= FRAME_LEN_MAX
    }

    /// Adds an admitted reading.
    pub(super) fn push(
        &mut self,
        name: &VehicleName,
        sequence: Sequence,
        reading: &Reading,
        trace: Option<TraceContext>,
    ) {
        let vehicle = *self.index.entry(name.key).or_insert_with(|| {
            self.block.vehicles.push(VehicleNameV1::of(name));
            self.names_len += name_len(name);
            self.block.vehicles.len() as u32 - 1
        });
        if let Some(trace) = trace {
            self.block.traces.push(TraceV1::of(self.block.readings.len() as u32, trace));
        }
        self.block.readings.push(ReadingV1::of(vehicle, sequence, reading));
    }

    /// The block so far.
    pub(super) fn block(&self) -> &ReadingBlockV1 {
        &self.block
    }

    /// Starts the next block, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.block.vehicles.clear();
        self.block.readings.clear();
        self.block.traces.clear();
        self.index.clear();
        self.names_len = 0;
    }

    /// An upper bound.
    fn frame_len(&self) -> usize {
        HEADER_LEN
            + LISTS_LEN
            + self.block.readings.len() * READING_LEN
            + self.block.traces.len() * TRACE_LEN
            + self.block.vehicles.len() * VEHICLE_LEN
            + self.names_len
    }
}

fn name_len(name: &VehicleName) -> usize {
    name.tenant.as_str().len() + name.vehicle.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::{EventClass, Timestamp};
    use fleet_wire::frame::{Placement, ReadingFrame};
    use proptest::prelude::*;

    const AT: Placement = Placement { class: EventClass::Telemetry, first_offset: 0, epoch: 1, created_ms: 0 };

    fn fill(draft: &mut Draft, vehicles: usize, name_len: usize, traced: bool) {
        let trace = traced.then_some(TraceContext { trace_id: [1; 16], span_id: [2; 8] });
        for number in 0.. {
            let vehicle = format!("{:0>name_len$}", number % vehicles);
            let tenant = "t".repeat(name_len);
            let name = VehicleName::new(tenant.parse().unwrap(), vehicle.parse().unwrap());
            if !draft.has_room_for(&name) {
                break;
            }
            let reading = Reading::fix(Timestamp(number as i64), Timestamp(0), 1.0, 2.0);
            draft.push(&name, Sequence(1), &reading, trace);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_full_draft_is_always_a_frame(vehicles in 1..3_000_usize, name_len in 4..=64_usize, traced: bool) {
            let mut draft = Draft::default();
            fill(&mut draft, vehicles, name_len, traced);
            prop_assert!(draft.len() >= 500, "{}", draft.len());
            let frame = ReadingFrame::build(draft.block(), AT);
            prop_assert!(frame.is_ok(), "{:?}", frame.err());
            prop_assert!(frame.unwrap().bytes().len() <= draft.frame_len());
        }
    }

    #[test]
    fn a_cleared_draft_has_forgotten_its_vehicles() {
        let mut draft = Draft::default();
        fill(&mut draft, 3, 8, true);
        draft.clear();
        fill(&mut draft, 1, 8, false);
        assert_eq!((draft.block().vehicles.len(), draft.len()), (1, BLOCK_READINGS_MAX));
    }
}
