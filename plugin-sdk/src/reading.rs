//! What a rule is told.

use crate::Reading;

/// Bit of [`Reading::status`]: the device says whether the ignition is on.
const STATUS_IGNITION_REPORTED: u32 = 1;
/// Bit of [`Reading::status`]: the ignition is on.
const STATUS_IGNITION_ON: u32 = 2;

impl Reading {
    /// A bare fix of vehicle 0 in row 0, no signal reported: for tests, which set what else they need.
    #[must_use]
    pub fn fix(event_time_ms: i64, latitude: f64, longitude: f64) -> Self {
        Self {
            vehicle: 0,
            sequence: 0,
            event_time_ms,
            latitude,
            longitude,
            odometer: f64::NAN,
            altitude: f32::NAN,
            heading: f32::NAN,
            speed: f32::NAN,
            horizontal_accuracy: f32::NAN,
            engine_hours: f32::NAN,
            engine_speed: f32::NAN,
            fuel_level: f32::NAN,
            state_of_charge: f32::NAN,
            engine_coolant_temperature: f32::NAN,
            battery_voltage: f32::NAN,
            slot: 0,
            status: 0,
            reserved0: 0,
            reserved1: 0,
            reserved2: 0,
            reserved3: 0,
        }
    }

    /// Whether the ignition is on; `None` when the device does not say.
    #[must_use]
    pub fn ignition(&self) -> Option<bool> {
        (self.status & STATUS_IGNITION_REPORTED != 0).then_some(self.status & STATUS_IGNITION_ON != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignition_is_told_only_when_it_is_reported() {
        let with = |status| Reading { status, ..Reading::fix(0, 0.0, 0.0) }.ignition();
        assert_eq!([0, 1, 2, 3].map(with), [None, Some(false), None, Some(true)]);
        assert_eq!(with(1 << 31), None, "bits of later versions");
    }
}
