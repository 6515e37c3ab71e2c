//! What a reading says, by the names that a config uses, and comparisons with it.

use plugin_sdk::Reading;
use serde::Deserialize;

/// A signal that a config may name.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Metres per second.
    Speed,
    /// Metres.
    Odometer,
    /// Metres.
    Altitude,
    /// Hours.
    EngineHours,
    /// Revolutions per minute.
    EngineSpeed,
    /// Percent.
    FuelLevel,
    /// Percent.
    StateOfCharge,
    /// Degrees Celsius.
    EngineCoolantTemperature,
    /// Volts.
    BatteryVoltage,
    /// 1 on, 0 off.
    Ignition,
}

/// No signal is further from 0. What is was not measured, and sums and squares of the rest stay numbers: a NaN that
/// arithmetic makes may have other bits on another machine, and rows must not.
pub const PLAUSIBLE_MAX: f64 = 1e12;

/// All signals with their names.
pub const SIGNALS: [(Signal, &str); 10] = [
    (Signal::Speed, "speed"),
    (Signal::Odometer, "odometer"),
    (Signal::Altitude, "altitude"),
    (Signal::EngineHours, "engine_hours"),
    (Signal::EngineSpeed, "engine_speed"),
    (Signal::FuelLevel, "fuel_level"),
    (Signal::StateOfCharge, "state_of_charge"),
    (Signal::EngineCoolantTemperature, "engine_coolant_temperature"),
    (Signal::BatteryVoltage, "battery_voltage"),
    (Signal::Ignition, "ignition"),
];

impl Signal {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        SIGNALS.iter().find(|it| it.0 == self).map_or("", |it| it.1)
    }

    /// The signal of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        SIGNALS.iter().find(|it| it.1 == name).map(|it| it.0)
    }

    /// What the reading says; NaN when it was not reported or can't be (see [`PLAUSIBLE_MAX`]).
    #[inline]
    #[must_use]
    pub fn of(self, reading: &Reading) -> f64 {
        let value = match self {
            Self::Speed => f64::from(reading.speed),
            Self::Odometer => reading.odometer,
            Self::Altitude => f64::from(reading.altitude),
            Self::EngineHours => f64::from(reading.engine_hours),
            Self::EngineSpeed => f64::from(reading.engine_speed),
            Self::FuelLevel => f64::from(reading.fuel_level),
            Self::StateOfCharge => f64::from(reading.state_of_charge),
            Self::EngineCoolantTemperature => f64::from(reading.engine_coolant_temperature),
            Self::BatteryVoltage => f64::from(reading.battery_voltage),
            Self::Ignition => reading.ignition().map_or(f64::NAN, |on| f64::from(u8::from(on))),
        };
        if value.abs() <= PLAUSIBLE_MAX { value } else { f64::NAN }
    }

    /// A number in the precision in which readings carry this signal: a limit of 11.4 must be the 11.4 of a reading,
    /// which is 11.39999962 once it is widened.
    #[must_use]
    pub fn rounded(self, value: f64) -> f64 {
        match self {
            Self::Odometer => value,
            _ => f64::from(value as f32),
        }
    }

    /// A value of this signal for people: the shortest decimal that stands for it (11.4, not 11.39999962).
    #[must_use]
    pub fn shown(self, value: f64) -> f64 {
        match self {
            Self::Odometer => value,
            _ => (value as f32).to_string().parse().unwrap_or(value),
        }
    }
}

/// How a signal is compared.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Below.
    #[serde(rename = "<")]
    Below,
    /// At most.
    #[serde(rename = "<=")]
    AtMost,
    /// Above.
    #[serde(rename = ">")]
    Above,
    /// At least.
    #[serde(rename = ">=")]
    AtLeast,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
    /// Reported, and not equal.
    #[serde(rename = "!=")]
    NotEqual,
}

/// A comparison of a signal with a number, as written.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// What is compared.
    pub signal: Signal,
    /// How.
    pub is: Comparison,
    /// With what, in the signal's unit.
    pub value: f64,
}

impl Condition {
    /// Ready to be compared: its number in the signal's precision.
    #[must_use]
    pub fn ready(self) -> Self {
        Self { value: self.signal.rounded(self.value), ..self }
    }

    /// Whether the reading fulfils it. A signal that was not reported fulfils nothing.
    #[inline]
    #[must_use]
    pub fn holds(&self, reading: &Reading) -> bool {
        let value = self.signal.of(reading);
        match self.is {
            Comparison::Below => value < self.value,
            Comparison::AtMost => value <= self.value,
            Comparison::Above => value > self.value,
            Comparison::AtLeast => value >= self.value,
            Comparison::Equal => value == self.value,
            Comparison::NotEqual => !value.is_nan() && value != self.value,
        }
    }
}

/// Whether the reading fulfils all of them. None asks nothing.
#[inline]
#[must_use]
pub fn all_hold(conditions: &[Condition], reading: &Reading) -> bool {
    conditions.iter().all(|it| it.holds(reading))
}

/// Whether the reading reports every signal that they compare.
#[must_use]
pub fn all_reported(conditions: &[Condition], reading: &Reading) -> bool {
    conditions.iter().all(|it| !it.signal.of(reading).is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_number_that_readings_carry() {
        let reading = Reading { battery_voltage: 11.4, ..Reading::fix(0, 0.0, 0.0) };
        let condition = |is| Condition { signal: Signal::BatteryVoltage, is, value: 11.4 }.ready();
        assert!(condition(Comparison::AtLeast).holds(&reading) && condition(Comparison::Equal).holds(&reading));
        assert!(!condition(Comparison::Below).holds(&reading));
        assert_eq!(Signal::BatteryVoltage.shown(f64::from(11.4_f32)), 11.4);
    }

    #[test]
    fn what_was_not_reported_fulfils_nothing() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let reading = Reading { speed: value, ..Reading::fix(0, 0.0, 0.0) };
            for is in [
                Comparison::Below,
                Comparison::AtMost,
                Comparison::Above,
                Comparison::AtLeast,
                Comparison::Equal,
                Comparison::NotEqual,
            ] {
                assert!(!Condition { signal: Signal::Speed, is, value: 5.0 }.holds(&reading), "{is:?} {value}");
            }
        }
        assert!(all_hold(&[], &Reading::fix(0, 0.0, 0.0)));
    }

    #[test]
    fn names_are_those_of_a_config() {
        for (signal, name) in SIGNALS {
            assert_eq!(serde_json::from_str::<Signal>(&format!("{name:?}")).unwrap(), signal);
            assert_eq!((signal.name(), Signal::by_name(name)), (name, Some(signal)));
        }
    }
}
