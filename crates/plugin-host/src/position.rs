//! A reading as plugins see it.
#![allow(unsafe_code)] // The list of positions is copied as bytes; the asserts below hold the reasons.

use fleet_model::reading::IGNITION_UNKNOWN;
use fleet_model::trouble_codes::CODES_MAX;
use fleet_model::{Reading, Sequence, VehicleKey};
use std::mem::{MaybeUninit, offset_of, size_of, size_of_val};
use wasmtime::component::__internal::{InterfaceType, LowerContext};
use wasmtime::component::{ComponentType, Lower};

/// Bit of [`Position::status`]: the device says whether the ignition is on.
pub(crate) const STATUS_IGNITION_REPORTED: u32 = 1;
/// Bit of [`Position::status`]: the ignition is on.
pub(crate) const STATUS_IGNITION_ON: u32 = 2;
/// Bit of [`Position::status`]: the device says which trouble codes are active.
pub(crate) const STATUS_TROUBLE_CODES_REPORTED: u32 = 4;

/// `reading` of `wit/v1.1`: 112 bytes without padding, laid out as the guest has it. A signal that was not reported is
/// NaN.
#[derive(Debug, Clone, Copy, PartialEq, ComponentType)]
#[component(record)]
#[repr(C)]
pub struct Position {
    /// The vehicle's key.
    pub vehicle: u64,
    /// Place of the reading among the vehicle's readings.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch, by the device's clock.
    #[component(name = "event-time-ms")]
    pub event_time_ms: i64,
    /// Degrees WGS 84.
    pub latitude: f64,
    /// Degrees WGS 84.
    pub longitude: f64,
    /// Metres driven in the vehicle's life.
    pub odometer: f64,
    /// Metres above the ellipsoid.
    pub altitude: f32,
    /// Degrees clockwise from true north.
    pub heading: f32,
    /// Metres per second.
    pub speed: f32,
    /// Metres, 68 %.
    #[component(name = "horizontal-accuracy")]
    pub horizontal_accuracy: f32,
    /// Hours.
    #[component(name = "engine-hours")]
    pub engine_hours: f32,
    /// Revolutions per minute.
    #[component(name = "engine-speed")]
    pub engine_speed: f32,
    /// Percent of the tank's capacity.
    #[component(name = "fuel-level")]
    pub fuel_level: f32,
    /// Percent of the traction battery's capacity.
    #[component(name = "state-of-charge")]
    pub state_of_charge: f32,
    /// Degrees Celsius.
    #[component(name = "engine-coolant-temperature")]
    pub engine_coolant_temperature: f32,
    /// Volts of the 12/24 V supply.
    #[component(name = "battery-voltage")]
    pub battery_voltage: f32,
    /// Row of this vehicle in the batch's rows.
    pub slot: u32,
    /// Bit 0: ignition is reported; bit 1: ignition is on; bit 2: trouble codes are reported.
    pub status: u32,
    /// Two trouble codes, the first in the lower half; 0 where there is none.
    #[component(name = "trouble-codes0")]
    pub trouble_codes0: u32,
    /// Two more.
    #[component(name = "trouble-codes1")]
    pub trouble_codes1: u32,
    /// Two more.
    #[component(name = "trouble-codes2")]
    pub trouble_codes2: u32,
    /// Two more.
    #[component(name = "trouble-codes3")]
    pub trouble_codes3: u32,
}

impl Position {
    /// What a plugin is told of `reading`, with its vehicle's state in row `slot`.
    #[must_use]
    pub fn of(vehicle: VehicleKey, sequence: Sequence, reading: &Reading, slot: u32) -> Self {
        let ignition = match reading.ignition {
            IGNITION_UNKNOWN => 0,
            0 => STATUS_IGNITION_REPORTED,
            _ => STATUS_IGNITION_REPORTED | STATUS_IGNITION_ON,
        };
        let (codes, codes_reported) = match reading.trouble_codes.reported() {
            Some(codes) => (codes.words(), STATUS_TROUBLE_CODES_REPORTED),
            None => ([0; CODES_MAX], 0),
        };
        let [a, b, c, d, e, f, g, h] = codes.map(u32::from);
        Self {
            vehicle: vehicle.0,
            sequence: sequence.0,
            event_time_ms: reading.event_time.0,
            latitude: reading.latitude,
            longitude: reading.longitude,
            odometer: reading.odometer,
            altitude: reading.altitude,
            heading: reading.heading,
            speed: reading.speed,
            horizontal_accuracy: reading.horizontal_accuracy,
            engine_hours: reading.engine_hours,
            engine_speed: reading.engine_speed,
            fuel_level: reading.fuel_level,
            state_of_charge: reading.state_of_charge,
            engine_coolant_temperature: reading.engine_coolant_temperature,
            battery_voltage: reading.battery_voltage,
            slot,
            status: ignition | codes_reported,
            trouble_codes0: a | b << 16,
            trouble_codes1: c | d << 16,
            trouble_codes2: e | f << 16,
            trouble_codes3: g | h << 16,
        }
    }
}

// The layout of the record in the guest's memory by the canonical ABI (fields in order, each aligned to its size), and
// no byte of padding in it.
const _: () = {
    assert!(size_of::<Position>() == 112 && align_of::<Position>() == 8);
    assert!(<Position as ComponentType>::SIZE32 == 112 && <Position as ComponentType>::ALIGN32 == 8);
    assert!(offset_of!(Position, vehicle) == 0 && offset_of!(Position, sequence) == 8);
    assert!(offset_of!(Position, event_time_ms) == 16 && offset_of!(Position, latitude) == 24);
    assert!(offset_of!(Position, longitude) == 32 && offset_of!(Position, odometer) == 40);
    assert!(offset_of!(Position, altitude) == 48 && offset_of!(Position, heading) == 52);
    assert!(offset_of!(Position, speed) == 56 && offset_of!(Position, horizontal_accuracy) == 60);
    assert!(offset_of!(Position, engine_hours) == 64 && offset_of!(Position, engine_speed) == 68);
    assert!(offset_of!(Position, fuel_level) == 72 && offset_of!(Position, state_of_charge) == 76);
    assert!(offset_of!(Position, engine_coolant_temperature) == 80 && offset_of!(Position, battery_voltage) == 84);
    assert!(offset_of!(Position, slot) == 88 && offset_of!(Position, status) == 92);
    assert!(offset_of!(Position, trouble_codes0) == 96 && offset_of!(Position, trouble_codes1) == 100);
    assert!(offset_of!(Position, trouble_codes2) == 104 && offset_of!(Position, trouble_codes3) == 108);
    assert!(cfg!(target_endian = "little"), "the guest's memory is little-endian");
};

fn bytes_of(positions: &[Position]) -> &[u8] {
    // SAFETY: `Position` is `repr(C)`, Copy, 112 bytes of integers and floats without padding (asserted above), so each
    // of its bytes is initialised; the slice covers exactly the memory of `positions` and borrows it.
    unsafe { std::slice::from_raw_parts(positions.as_ptr().cast::<u8>(), size_of_val(positions)) }
}

// SAFETY: the derived `ComponentType` checks that the component's record has these fields in this order, and says that
// one takes 112 bytes aligned to 8. Storing writes exactly those bytes, in the layout of the canonical ABI (asserted
// above), through a bounds-checked slice of the guest's memory. The flat form is never initialised, so it is refused.
unsafe impl Lower for Position {
    fn linear_lower_to_flat<T>(
        &self,
        _cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        _dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("a position is passed in a list"))
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        Self::linear_store_list_to_memory(cx, ty, offset, std::slice::from_ref(self))
    }

    /// One copy for the whole list: under 2 ns a position, field by field it is 34.
    fn linear_store_list_to_memory<T>(
        cx: &mut LowerContext<'_, T>,
        _ty: InterfaceType,
        offset: usize,
        items: &[Self],
    ) -> wasmtime::Result<()> {
        let bytes = bytes_of(items);
        let place = cx.as_slice_mut().get_mut(offset..).and_then(|memory| memory.get_mut(..bytes.len()));
        place.ok_or_else(|| wasmtime::Error::msg("the list does not fit the memory"))?.copy_from_slice(bytes);
        Ok(())
    }
}
