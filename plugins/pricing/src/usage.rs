//! What a vehicle has used: the input of a charge.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

/// The metres that are counted at most; a trip of more is charged as one of this many. With it no amount overflows.
pub const METRES_MAX: u64 = 1_000_000_000;
/// The milliseconds that are counted at most: 30 years.
pub const MILLISECONDS_MAX: i64 = 1_000_000_000_000;

/// A trip from its opening to its closing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trip {
    /// Milliseconds since the Unix epoch, UTC.
    pub start_ms: i64,
    /// Milliseconds since the Unix epoch, UTC; not before the start.
    pub end_ms: i64,
    /// Metres driven.
    pub distance_m: Decimal,
    /// Milliseconds of the trip that were slower than the config's `waiting_speed_kph`.
    pub waiting_ms: i64,
    /// The highest speed, kilometres per hour.
    pub top_speed_kph: Decimal,
    /// The zones that the trip touched, toll sections excepted.
    pub zones: Vec<ZoneUse>,
    /// The toll sections that were passed, in order.
    pub sections: Vec<Section>,
    /// What is known of this trip or vehicle beyond its class; stands before the class's attributes.
    pub attributes: BTreeMap<String, String>,
    /// Amounts that somebody else has set, by name, such as the tolls of a bridge.
    pub given: BTreeMap<String, Decimal>,
}

/// What a trip did in a zone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ZoneUse {
    /// The zone's id.
    pub zone: String,
    /// The trip opened in it.
    pub started_in: bool,
    /// The trip closed in it.
    pub ended_in: bool,
    /// How often the trip was in it: 1 and more.
    pub passes: u32,
    /// Metres driven in it.
    pub distance_m: Decimal,
    /// Milliseconds spent in it.
    pub inside_ms: i64,
    /// When the vehicle was first in it, milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// When the vehicle left it last, or the trip's end.
    pub last_ms: i64,
    /// The highest speed in it, kilometres per hour.
    pub top_speed_kph: Decimal,
}

/// A toll section that was passed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// The zone's id.
    pub zone: String,
    /// The length that the tariff counts, whatever was driven in it.
    pub length_m: Decimal,
    /// When the vehicle came into it, milliseconds since the Unix epoch.
    pub entered_ms: i64,
}

impl Trip {
    /// From opening to closing, waiting included, in milliseconds: never negative.
    #[must_use]
    pub fn duration_ms(&self) -> i64 {
        self.end_ms.saturating_sub(self.start_ms).clamp(0, MILLISECONDS_MAX)
    }

    /// The uses of these zones.
    pub fn uses<'a>(&'a self, zones: &'a [String]) -> impl Iterator<Item = &'a ZoneUse> {
        self.zones.iter().filter(move |it| zones.contains(&it.zone))
    }
}

/// Metres of a measurement, to the millimetre; none below 0 or above [`METRES_MAX`]. What is no number counts as 0.
#[must_use]
pub fn decimal_metres(metres: f64) -> Decimal {
    let millimetres = (metres * 1_000.0).round().clamp(0.0, METRES_MAX as f64 * 1_000.0);
    Decimal::new(millimetres as i64, 3)
}

/// Kilometres per hour of metres per second, to a tenth; none below 0. What is no number counts as 0.
#[must_use]
pub fn decimal_kph(metres_per_second: f32) -> Decimal {
    let tenths = (f64::from(metres_per_second) * 36.0).round().clamp(0.0, 1e6);
    Decimal::new(tenths as i64, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_become_decimals_once() {
        assert_eq!(decimal_metres(12.3456).to_string(), "12.346");
        assert_eq!(decimal_metres(f64::NAN), Decimal::ZERO);
        assert_eq!(decimal_metres(f64::INFINITY), Decimal::from(METRES_MAX));
        assert_eq!(decimal_metres(-1.0), Decimal::ZERO);
        assert_eq!(decimal_kph(10.0).to_string(), "36.0");
        assert_eq!(decimal_kph(f32::NAN), Decimal::ZERO);
    }
}
