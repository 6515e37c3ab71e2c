//! What is counted of a trip, and in which unit.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::decimal::{Exact, Overflow, Rounding};
use crate::usage::{METRES_MAX, MILLISECONDS_MAX, Trip};

/// Milliseconds in a minute, the unit of a meter's waiting time.
const MS_PER_MINUTE: i64 = 60_000;

/// A counted thing.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The trip itself: 1.
    #[default]
    Trip,
    /// What was driven.
    Distance,
    /// From opening to closing.
    Duration,
    /// The part of the duration that was slow.
    WaitingTime,
    /// The part of the duration that was not.
    MovingTime,
    /// Distance and waiting time on one counter, as a taxi has it.
    Meter,
    /// What was driven in the zones named.
    ZoneDistance,
    /// Time spent in the zones named.
    ZoneTime,
    /// How often the trip came into the zones named.
    ZonePasses,
    /// The length of each toll section passed, one line each.
    Section,
    /// The highest speed of the trip, or in the zones named.
    TopSpeed,
}

/// A unit. The default is the first that fits the measure.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Kilometres: the default of distances.
    Km,
    /// International miles of 1,609.344 m.
    Mi,
    /// Metres.
    M,
    /// Minutes: the default of times.
    Min,
    /// Seconds.
    S,
    /// Hours.
    H,
    /// Kilometres per hour: the default of speeds.
    Kph,
    /// International miles per hour.
    Mph,
    /// Trips, passes, steps of a meter: the only one of counts.
    Count,
}

/// How far and how long a step of a taximeter is.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// The distance of a step, in `unit`; above 0.
    pub distance: Exact,
    /// Of the distance.
    #[serde(default = "kilometres")]
    pub unit: Unit,
    /// The waiting time of a step, in minutes; above 0.
    pub waiting_min: Exact,
}

fn kilometres() -> Unit {
    Unit::Km
}

/// What is counted, whole: a measure, its unit, and what belongs to some of them.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Which.
    pub measure: Measure,
    /// In which unit; none: the measure's default.
    pub unit: Option<Unit>,
    /// Of [`Measure::Meter`].
    pub meter: Option<&'a Meter>,
    /// Of the zone measures, and of [`Measure::TopSpeed`] if not empty.
    pub zones: &'a [String],
}

/// A quantity as a fraction, so that nothing is lost before an amount is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    /// Not negative.
    pub numerator: Decimal,
    /// Above 0.
    pub denominator: Decimal,
}

impl Quantity {
    /// A whole or decimal quantity.
    #[must_use]
    pub fn of(value: Decimal) -> Self {
        Self { numerator: value, denominator: Decimal::ONE }
    }

    /// True when it is at least this much.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn is_at_least(&self, bound: Decimal) -> Result<bool, Overflow> {
        Ok(self.numerator >= bound.checked_mul(self.denominator).ok_or(Overflow)?)
    }

    /// True when it is at most this much.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn is_at_most(&self, bound: Decimal) -> Result<bool, Overflow> {
        Ok(self.numerator <= bound.checked_mul(self.denominator).ok_or(Overflow)?)
    }

    /// Rounded.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn rounded(&self, rounding: &Rounding) -> Result<Self, Overflow> {
        rounding.fraction(self.numerator, self.denominator).map(Self::of)
    }

    /// For people: to six decimals, without trailing zeros.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn to_decimal(&self) -> Result<Decimal, Overflow> {
        let value = self.numerator.checked_div(self.denominator).ok_or(Overflow)?;
        Ok(value.round_dp(6).normalize())
    }
}

impl Unit {
    /// The word in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::Km => "km",
            Unit::Mi => "mi",
            Unit::M => "m",
            Unit::Min => "min",
            Unit::S => "s",
            Unit::H => "h",
            Unit::Kph => "kph",
            Unit::Mph => "mph",
            Unit::Count => "count",
        }
    }

    /// Metres, milliseconds or km/h in one.
    pub(crate) fn size(self) -> Decimal {
        match self {
            Unit::Km => Decimal::from(1_000),
            Unit::Mi => Decimal::new(1_609_344, 3),
            Unit::Min => Decimal::from(MS_PER_MINUTE),
            Unit::S => Decimal::from(1_000),
            Unit::H => Decimal::from(60 * MS_PER_MINUTE),
            Unit::Mph => Decimal::new(1_609_344, 6),
            Unit::M | Unit::Kph | Unit::Count => Decimal::ONE,
        }
    }
}

impl Measure {
    fn units(self) -> &'static [Unit] {
        match self {
            Measure::Distance | Measure::ZoneDistance | Measure::Section => &[Unit::Km, Unit::Mi, Unit::M],
            Measure::Duration | Measure::WaitingTime | Measure::MovingTime | Measure::ZoneTime => {
                &[Unit::Min, Unit::S, Unit::H]
            }
            Measure::TopSpeed => &[Unit::Kph, Unit::Mph],
            Measure::Trip | Measure::Meter | Measure::ZonePasses => &[Unit::Count],
        }
    }

    /// True for measures that count in named zones only.
    #[must_use]
    pub fn needs_zones(self) -> bool {
        matches!(self, Measure::ZoneDistance | Measure::ZoneTime | Measure::ZonePasses)
    }

    /// True for measures of time.
    #[must_use]
    pub fn is_time(self) -> bool {
        self.units()[0] == Unit::Min
    }
}

impl Counted<'_> {
    /// The unit that is written or the default one.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit.unwrap_or(self.measure.units()[0])
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(&self, at: &str) -> Result<(), String> {
        let measure = self.measure;
        if !measure.units().contains(&self.unit()) {
            let names: Vec<_> = measure.units().iter().map(|unit| unit.name()).collect();
            return Err(format!("{at}.unit: {} is not one of {}", self.unit().name(), names.join(", ")));
        }
        match (self.meter, measure) {
            (None, Measure::Meter) => return Err(format!("{at}.meter: is missing, and the measure needs it")),
            (Some(meter), Measure::Meter) => {
                if !Measure::Distance.units().contains(&meter.unit) {
                    return Err(format!("{at}.meter.unit: {} is no unit of distances", meter.unit.name()));
                }
                for (field, value) in [("distance", meter.distance), ("waiting_min", meter.waiting_min)] {
                    if value.0 <= Decimal::ZERO {
                        return Err(format!("{at}.meter.{field}: {} is not above 0", value.0));
                    }
                }
            }
            (Some(_), _) => return Err(format!("{at}.meter: belongs to the measure meter only")),
            (None, _) => {}
        }
        if measure.needs_zones() && self.zones.is_empty() {
            return Err(format!("{at}.zones: is empty, and the measure needs zones"));
        }
        if !self.zones.is_empty() && !measure.needs_zones() && measure != Measure::TopSpeed {
            return Err(format!("{at}.zones: belongs to the zone measures and top_speed only"));
        }
        Ok(())
    }

    /// The quantity of a trip. [`Measure::Section`] is counted section by section, not here: 0.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn of(&self, trip: &Trip) -> Result<Quantity, Overflow> {
        let duration = trip.duration_ms();
        let waiting = trip.waiting_ms.clamp(0, duration);
        let numerator = match self.measure {
            Measure::Trip => Decimal::ONE,
            Measure::Distance => metres(trip.distance_m),
            Measure::Duration => Decimal::from(duration),
            Measure::WaitingTime => Decimal::from(waiting),
            Measure::MovingTime => Decimal::from(duration - waiting),
            Measure::ZoneDistance => metres(trip.uses(self.zones).map(|it| it.distance_m).sum()),
            Measure::ZoneTime => {
                let inside = trip.uses(self.zones).fold(0_i64, |sum, it| sum.saturating_add(it.inside_ms.max(0)));
                Decimal::from(inside.min(MILLISECONDS_MAX))
            }
            Measure::ZonePasses => Decimal::from(trip.uses(self.zones).map(|it| u64::from(it.passes)).sum::<u64>()),
            Measure::TopSpeed if self.zones.is_empty() => trip.top_speed_kph,
            Measure::TopSpeed => trip.uses(self.zones).map(|it| it.top_speed_kph).max().unwrap_or_default(),
            Measure::Section => Decimal::ZERO,
            Measure::Meter => return self.meter.map_or(Ok(Quantity::of(Decimal::ZERO)), |it| it.steps(trip, waiting)),
        };
        Ok(Quantity { numerator, denominator: self.unit().size() })
    }

    /// The quantity of a toll section.
    #[must_use]
    pub fn of_section(&self, length_m: Decimal) -> Quantity {
        Quantity { numerator: metres(length_m), denominator: self.unit().size() }
    }
}

impl Meter {
    /// Distance over the distance of a step plus waiting over the time of a step, over one denominator.
    fn steps(&self, trip: &Trip, waiting_ms: i64) -> Result<Quantity, Overflow> {
        let product = |one: Decimal, other: Decimal| one.checked_mul(other).ok_or(Overflow);
        let step_m = product(self.distance.0, self.unit.size())?;
        let step_ms = product(self.waiting_min.0, Decimal::from(MS_PER_MINUTE))?;
        let driven = product(metres(trip.distance_m), step_ms)?;
        let waited = product(Decimal::from(waiting_ms), step_m)?;
        Ok(Quantity { numerator: driven.checked_add(waited).ok_or(Overflow)?, denominator: product(step_m, step_ms)? })
    }
}

fn metres(metres: Decimal) -> Decimal {
    metres.clamp(Decimal::ZERO, Decimal::from(METRES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(measure: Measure, unit: Option<Unit>) -> Counted<'static> {
        Counted { measure, unit, meter: None, zones: &[] }
    }

    fn exact(text: &str) -> Exact {
        Exact::parse(text).unwrap()
    }

    #[test]
    fn units_are_exact() {
        let trip =
            Trip { distance_m: Decimal::new(70_811_136, 4), end_ms: 90_000, waiting_ms: 30_000, ..Trip::default() };
        let text = |measure, unit| counted(measure, unit).of(&trip).unwrap().to_decimal().unwrap().to_string();
        assert_eq!(text(Measure::Distance, Some(Unit::Mi)), "4.4");
        assert_eq!(text(Measure::Distance, None), "7.081114");
        assert_eq!(text(Measure::Duration, None), "1.5");
        assert_eq!(text(Measure::MovingTime, Some(Unit::S)), "60");
        assert_eq!(text(Measure::Trip, None), "1");
    }

    #[test]
    fn a_meter_counts_way_and_waiting_together() {
        let meter = Meter { distance: exact("0.2"), unit: Unit::Mi, waiting_min: exact("1") };
        let counted = Counted { measure: Measure::Meter, unit: None, meter: Some(&meter), zones: &[] };
        // A third of a step by distance and two thirds by time are one whole step, not 0.999.
        let third = Decimal::new(1_072_896, 4);
        let trip = Trip { distance_m: third, end_ms: 40_000, waiting_ms: 40_000, ..Trip::default() };
        let steps = counted.of(&trip).unwrap();
        assert!(steps.is_at_least(Decimal::ONE).unwrap() && steps.is_at_most(Decimal::ONE).unwrap());
    }

    #[test]
    fn a_unit_must_fit_its_measure() {
        let error = counted(Measure::Distance, Some(Unit::Min)).check("at").unwrap_err();
        assert_eq!(error, "at.unit: min is not one of km, mi, m");
        assert!(counted(Measure::ZoneTime, None).check("at").unwrap_err().starts_with("at.zones"));
        assert!(counted(Measure::Meter, None).check("at").unwrap_err().starts_with("at.meter"));
    }
}
