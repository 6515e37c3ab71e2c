//! What a device says about its vehicle at one instant.

use crate::time::Timestamp;
use crate::trouble_codes::TroubleCodes;

/// A fix with signals. Plain data, laid out so that it copies as it is from block to actor to plugin.
///
/// A signal that was not reported is NaN (`engine_hours` and `odometer` too); the accessors turn that into `None`.
/// Names follow COVESA VSS and GTFS-realtime.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// When the device says it was, by its clock.
    pub event_time: Timestamp,
    /// When we received it, by ours.
    pub received_time: Timestamp,
    /// Degrees WGS 84, -90 to 90.
    pub latitude: f64,
    /// Degrees WGS 84, -180 to 180.
    pub longitude: f64,
    /// Distance driven in the vehicle's life, metres.
    pub odometer: f64,
    /// Height above the ellipsoid, metres.
    pub altitude: f32,
    /// Degrees clockwise from true north, 0 to 360.
    pub heading: f32,
    /// Metres per second.
    pub speed: f32,
    /// Radius of 68 % confidence of the position, metres.
    pub horizontal_accuracy: f32,
    /// Hours the engine has run in its life.
    pub engine_hours: f32,
    /// Revolutions per minute.
    pub engine_speed: f32,
    /// Fuel in the tank, percent of its capacity.
    pub fuel_level: f32,
    /// Charge of the traction battery, percent.
    pub state_of_charge: f32,
    /// Degrees Celsius.
    pub engine_coolant_temperature: f32,
    /// Voltage of the 12/24 V supply, volts.
    pub battery_voltage: f32,
    /// 1 on, 0 off, 255 not reported.
    pub ignition: u8,
    /// Diagnostic trouble codes that are active.
    pub trouble_codes: TroubleCodes,
}

/// Two readings are equal when they say the same, unreported signals (NaN) included.
impl PartialEq for Reading {
    fn eq(&self, other: &Self) -> bool {
        let times = |r: &Self| (r.event_time, r.received_time);
        times(self) == times(other) && self.words() == other.words()
    }
}

/// `ignition` when the device did not say.
pub const IGNITION_UNKNOWN: u8 = 255;

impl Reading {
    /// A bare fix: every signal unreported.
    #[must_use]
    pub fn fix(event_time: Timestamp, received_time: Timestamp, latitude: f64, longitude: f64) -> Self {
        Self {
            event_time,
            received_time,
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
            ignition: IGNITION_UNKNOWN,
            trouble_codes: TroubleCodes::NOT_REPORTED,
        }
    }

    /// A fingerprint of everything the device said except the time, for telling a repeat from another reading of the
    /// same instant. Stored with vehicles' snapshots: never change it without a new snapshot version.
    #[must_use]
    pub fn content_hash(&self) -> u32 {
        let mixed = self.words().iter().fold(0x9e37_79b9_7f4a_7c15_u64, |hash, word| {
            let x = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
            x ^ (x >> 32)
        });
        (mixed ^ (mixed >> 29)) as u32
    }

    /// Everything but the times, bit by bit.
    fn words(&self) -> [u64; 11] {
        let pair = |a: f32, b: f32| u64::from(a.to_bits()) << 32 | u64::from(b.to_bits());
        let [a, b, c, d, e, f, g, h] = self.trouble_codes.words().map(u64::from);
        [
            self.latitude.to_bits(),
            self.longitude.to_bits(),
            self.odometer.to_bits(),
            pair(self.altitude, self.heading),
            pair(self.speed, self.horizontal_accuracy),
            pair(self.engine_hours, self.engine_speed),
            pair(self.fuel_level, self.state_of_charge),
            pair(self.engine_coolant_temperature, self.battery_voltage),
            u64::from(self.ignition),
            a << 48 | b << 32 | c << 16 | d,
            e << 48 | f << 32 | g << 16 | h,
        ]
    }
}

/// `None` when a signal was not reported.
#[must_use]
pub fn reported(signal: f32) -> Option<f32> {
    (!signal.is_nan()).then_some(signal)
}

/// `None` when a signal was not reported.
#[must_use]
pub fn reported_f64(signal: f64) -> Option<f64> {
    (!signal.is_nan()).then_some(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_hash_sees_every_signal_but_no_time() {
        let base = Reading::fix(Timestamp(1), Timestamp(2), 52.2, 21.0);
        let later = Reading { event_time: Timestamp(9), received_time: Timestamp(9), ..base };
        assert_eq!(base.content_hash(), later.content_hash());
        let changed = [
            Reading { latitude: 52.3, ..base },
            Reading { longitude: 21.1, ..base },
            Reading { odometer: 1.0, ..base },
            Reading { altitude: 1.0, ..base },
            Reading { heading: 1.0, ..base },
            Reading { speed: 1.0, ..base },
            Reading { horizontal_accuracy: 1.0, ..base },
            Reading { engine_hours: 1.0, ..base },
            Reading { engine_speed: 1.0, ..base },
            Reading { fuel_level: 1.0, ..base },
            Reading { state_of_charge: 1.0, ..base },
            Reading { engine_coolant_temperature: 1.0, ..base },
            Reading { battery_voltage: 1.0, ..base },
            Reading { ignition: 1, ..base },
            Reading { trouble_codes: TroubleCodes::NONE, ..base },
        ];
        for other in changed {
            assert_ne!(base.content_hash(), other.content_hash(), "{other:?}");
        }
    }

    #[test]
    fn the_content_hash_is_stable_across_releases() {
        let reading = Reading { speed: 12.5, ignition: 1, ..Reading::fix(Timestamp(0), Timestamp(0), 52.2, 21.0) };
        assert_eq!(reading.content_hash(), 1963229747);
    }
}
