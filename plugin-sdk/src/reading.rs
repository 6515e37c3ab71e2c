//! What a rule is told.

use crate::Reading;

/// Bit of [`Reading::status`]: the device says whether the ignition is on.
const STATUS_IGNITION_REPORTED: u32 = 1;
/// Bit of [`Reading::status`]: the ignition is on.
const STATUS_IGNITION_ON: u32 = 2;
/// Bit of [`Reading::status`]: the device says which trouble codes are active.
const STATUS_TROUBLE_CODES_REPORTED: u32 = 4;

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
            trouble_codes0: 0,
            trouble_codes1: 0,
            trouble_codes2: 0,
            trouble_codes3: 0,
        }
    }

    /// The active trouble codes, two bytes each as on the bus; `None` when the device does not say.
    #[must_use]
    pub fn trouble_codes(&self) -> Option<impl Iterator<Item = u16> + use<>> {
        let words = [self.trouble_codes0, self.trouble_codes1, self.trouble_codes2, self.trouble_codes3];
        let codes = words.into_iter().flat_map(|word| [word as u16, (word >> 16) as u16]).filter(|code| *code != 0);
        (self.status & STATUS_TROUBLE_CODES_REPORTED != 0).then_some(codes)
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
    fn trouble_codes_are_told_only_when_they_are_reported() {
        let reading = Reading { trouble_codes0: 0x0301, trouble_codes1: 0xc100 << 16, ..Reading::fix(0, 0.0, 0.0) };
        assert!(reading.trouble_codes().is_none());
        let reported = Reading { status: 4, ..reading };
        assert_eq!(reported.trouble_codes().unwrap().collect::<Vec<_>>(), [0x0301, 0xc100]);
    }

    #[test]
    fn the_ignition_is_told_only_when_it_is_reported() {
        let with = |status| Reading { status, ..Reading::fix(0, 0.0, 0.0) }.ignition();
        assert_eq!([0, 1, 2, 3].map(with), [None, Some(false), None, Some(true)]);
        assert_eq!(with(1 << 31), None, "bits of later versions");
    }
}
