//! A trip and a tariff to charge lines: no clock, no state, no binary floating point.

use rust_decimal::Decimal;

use crate::condition::Facts;
use crate::config::Config;
use crate::decimal::{Exact, Overflow, Rounding};
use crate::measure::{Measure, Quantity};
use crate::policy::Violation;
use crate::segments;
use crate::tariff::{self, Component, LINES_MAX, MAXIMUM, MINIMUM, ROUNDING, Tariff};
use crate::usage::{Section, Trip};

/// Places of a trip's lines: components and policies, and the three that the tariff itself makes.
pub const PLACES: usize = LINES_MAX + 3;

/// An amount for something.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Where the line stands among the tariff's, below [`PLACES`]: the same for the same line of every trip. A section's
    /// line has its component's.
    pub place: usize,
    /// The component, the policy or one of [`MINIMUM`], [`MAXIMUM`] and [`ROUNDING`].
    pub component: String,
    /// Rounded; in the tariff's currency.
    pub amount: Decimal,
    /// How much of it and of what unit; none where nothing was counted.
    pub quantity: Option<(Decimal, &'static str)>,
    /// The toll section, if it is one's.
    pub section: Option<String>,
}

/// What a trip costs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Charge {
    /// Index of the tariff.
    pub tariff: usize,
    /// Sections first, each with a line, then what is not 0 of the tariff's lines in their order.
    pub lines: Vec<Line>,
    /// What was out of bounds.
    pub violations: Vec<Violation>,
}

impl Charge {
    /// The sum of the lines.
    #[must_use]
    pub fn total(&self) -> Decimal {
        self.lines.iter().map(|line| line.amount).sum()
    }

    /// The sum of the lines of a component or policy.
    #[must_use]
    pub fn amount(&self, component: &str) -> Decimal {
        self.lines.iter().filter(|line| line.component == component).map(|line| line.amount).sum()
    }
}

/// Everything that a trip costs, by the tariff that is valid for it; none when there is none.
///
/// # Errors
/// When an amount has too many digits.
pub fn charge(config: &Config, trip: &Trip) -> Result<Option<Charge>, Overflow> {
    let Some(tariff) = choose(config, trip) else { return Ok(None) };
    let mut lines = Vec::new();
    for section in &trip.sections {
        lines.extend(section_lines(config, tariff, trip, section)?);
    }
    let mut charge = trip_charge(config, tariff, trip)?;
    lines.append(&mut charge.lines);
    Ok(Some(Charge { lines, ..charge }))
}

/// The tariff of a trip. A trip that is under way is judged by what it has done so far.
#[must_use]
pub fn choose(config: &Config, trip: &Trip) -> Option<usize> {
    tariff::choose(&config.tariffs, &facts(config, trip, trip.start_ms))
}

/// What a toll section costs: a line for each component that charges it, also where it is 0.
///
/// # Errors
/// When an amount has too many digits.
pub fn section_lines(config: &Config, tariff: usize, trip: &Trip, section: &Section) -> Result<Vec<Line>, Overflow> {
    let tariff = &config.tariffs[tariff];
    let facts = facts(config, trip, section.entered_ms);
    let mut lines = Vec::new();
    for (place, component) in tariff.components.iter().enumerate() {
        let counted = component.measure == Measure::Section
            && (component.zones.is_empty() || component.zones.contains(&section.zone))
            && component.applies(&facts);
        if counted {
            let quantity = component.counted().of_section(section.length_m);
            let mut line = measured(tariff, place, component, &facts, quantity)?;
            line.section = Some(section.zone.clone());
            lines.push(line);
        }
    }
    Ok(lines)
}

/// What the trip itself costs, without its sections. Lines of 0 are left out.
///
/// # Errors
/// When an amount has too many digits.
pub fn trip_charge(config: &Config, index: usize, trip: &Trip) -> Result<Charge, Overflow> {
    let tariff = &config.tariffs[index];
    let facts = facts(config, trip, trip.start_ms);
    let mut charge = Charge { tariff: index, ..Charge::default() };
    let mut limited = Decimal::ZERO;
    let mut keep = |charge: &mut Charge, line: Line, outside_limits: bool| -> Result<(), Overflow> {
        if !outside_limits {
            limited = limited.checked_add(line.amount).ok_or(Overflow)?;
        }
        if !line.amount.is_zero() {
            charge.lines.push(line);
        }
        Ok(())
    };
    let components = || tariff.components.iter().enumerate().filter(|(_, it)| it.applies(&facts));
    for (place, component) in components().filter(|(_, it)| it.percent.is_none() && it.measure != Measure::Section) {
        let line = match &component.given {
            Some(name) => {
                let amount = trip.given.get(name).copied().unwrap_or_default();
                settled(tariff, place, component, amount, Decimal::ONE)?
            }
            None => {
                let quantity = component.counted().of(trip)?;
                measured(tariff, place, component, &facts, quantity)?
            }
        };
        keep(&mut charge, line, component.outside_limits)?;
    }
    for (number, policy) in tariff.policies.iter().enumerate() {
        let verdict = policy.apply(&facts, &config.time_zone)?;
        charge.violations.extend(verdict.violation);
        let line = Line {
            place: tariff.components.len() + number,
            component: policy.id.clone(),
            amount: tariff.rounding.apply(verdict.amount)?,
            quantity: (verdict.times > Decimal::ONE).then_some((verdict.times, "count")),
            section: None,
        };
        keep(&mut charge, line, policy.outside_limits)?;
    }
    for (place, component) in components() {
        let Some(Exact(percent)) = component.percent else { continue };
        let base: Decimal = component.of.iter().map(|id| charge.amount(id)).sum();
        let amount = base.checked_mul(percent).ok_or(Overflow)?;
        let line = settled(tariff, place, component, amount, Decimal::ONE_HUNDRED)?;
        keep(&mut charge, line, component.outside_limits)?;
    }
    close(tariff, limited, &mut charge)?;
    Ok(charge)
}

/// Brings the sum to the tariff's minimum, maximum and rounding, by lines of their own. Puts the lines in order.
fn close(tariff: &Tariff, limited: Decimal, charge: &mut Charge) -> Result<(), Overflow> {
    let own = |place: usize, name: &str, amount: Decimal| Line {
        place: LINES_MAX + place,
        component: name.to_owned(),
        amount,
        quantity: None,
        section: None,
    };
    if let Some(Exact(minimum)) = tariff.minimum.filter(|it| limited < it.0) {
        charge.lines.push(own(0, MINIMUM, minimum - limited));
    }
    if let Some(Exact(maximum)) = tariff.maximum.filter(|it| limited > it.0) {
        charge.lines.push(own(1, MAXIMUM, maximum - limited));
    }
    if let Some(rounding) = &tariff.total_rounding {
        let total = charge.total();
        let difference = rounding.apply(total)? - total;
        if !difference.is_zero() {
            charge.lines.push(own(2, ROUNDING, difference));
        }
    }
    charge.lines.sort_by_key(|line| line.place);
    Ok(())
}

/// The line of a component that counts something.
fn measured(
    tariff: &Tariff,
    place: usize,
    component: &Component,
    facts: &Facts<'_>,
    quantity: Quantity,
) -> Result<Line, Overflow> {
    let quantity = match &component.quantity_rounding {
        Some(rounding) => quantity.rounded(rounding)?,
        None => quantity,
    };
    let denominator = quantity.denominator;
    let once = component.price.0.checked_mul(denominator).ok_or(Overflow)?;
    let by_segments = segments::price(&component.segments, &quantity)?;
    let by_rates = component.rate(facts)?.checked_mul(quantity.numerator).ok_or(Overflow)?;
    let numerator = once.checked_add(by_segments).and_then(|sum| sum.checked_add(by_rates)).ok_or(Overflow)?;
    let line = settled(tariff, place, component, numerator, denominator)?;
    let counted = component.measure != Measure::Trip;
    let quantity = if counted { Some((quantity.to_decimal()?, component.counted().unit().name())) } else { None };
    Ok(Line { quantity, ..line })
}

/// The line of an amount: rounded, then within the component's limits.
fn settled(
    tariff: &Tariff,
    place: usize,
    component: &Component,
    numerator: Decimal,
    denominator: Decimal,
) -> Result<Line, Overflow> {
    let rounding: &Rounding = component.rounding.as_ref().unwrap_or(&tariff.rounding);
    let mut amount = rounding.fraction(numerator, denominator)?;
    if let Some(Exact(minimum)) = component.minimum {
        amount = amount.max(minimum);
    }
    if let Some(Exact(maximum)) = component.maximum {
        amount = amount.min(maximum);
    }
    Ok(Line { place, component: component.id.clone(), amount, quantity: None, section: None })
}

fn facts<'a>(config: &'a Config, trip: &'a Trip, start_ms: i64) -> Facts<'a> {
    Facts::new(trip, config.class_attributes(), &config.time_zone, start_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge_of(tariff: &str, trip: &Trip) -> Charge {
        let config = format!(r#"{{"tariffs":[{{"id":"t","currency":"EUR",{tariff}}}]}}"#);
        charge(&Config::parse(&config).unwrap(), trip).unwrap().unwrap()
    }

    fn texts(charge: &Charge) -> Vec<(&str, String)> {
        charge.lines.iter().map(|line| (line.component.as_str(), line.amount.to_string())).collect()
    }

    fn trip(metres: i64, minutes: i64) -> Trip {
        Trip { distance_m: Decimal::from(metres), end_ms: minutes * 60_000, ..Trip::default() }
    }

    const PLAN: &str = r#""components":[
        {"id":"base","price":"1"},
        {"id":"distance","measure":"distance","segments":[{"rate":"0.333","interval":"1","due":"prorated"}]},
        {"id":"time","measure":"duration","segments":[{"start":"10","rate":"0.2","interval":"1"}]},
        {"id":"tax","percent":"19","of":["base","distance","time"]}]"#;

    #[test]
    fn a_line_for_each_component_that_is_not_0() {
        let made = charge_of(PLAN, &trip(10_500, 12));
        let lines = [("base", "1.00"), ("distance", "3.50"), ("time", "0.60"), ("tax", "0.97")];
        assert_eq!(texts(&made), lines.map(|(id, amount)| (id, amount.to_owned())));
        assert_eq!(made.lines[1].quantity, Some((Decimal::new(105, 1), "km")));
        assert_eq!(texts(&charge_of(PLAN, &trip(0, 1))), [("base", "1.00".to_owned()), ("tax", "0.19".to_owned())]);
    }

    #[test]
    fn minimum_maximum_and_rounding_are_lines() {
        let limits = format!(r#""minimum":"5","maximum":"20","total_rounding":{{"increment":"0.05"}},{PLAN}"#);
        let made = charge_of(&limits, &trip(0, 1));
        assert_eq!((made.amount(MINIMUM).to_string(), made.total().to_string()), ("3.81".into(), "5.00".into()));
        let made = charge_of(&limits, &trip(100_000, 12));
        assert!(made.amount(MAXIMUM) < Decimal::ZERO);
        assert_eq!(made.total().to_string(), "20.00");
        let made = charge_of(&limits, &trip(10_500, 12));
        assert_eq!((made.amount(ROUNDING).to_string(), made.total().to_string()), ("-0.02".into(), "6.05".into()));
    }

    #[test]
    fn given_amounts_stay_outside_where_that_is_said() {
        let tolls = r#""minimum":"5","components":[{"id":"base","price":"1"},
            {"id":"tolls","given":"tolls","outside_limits":true}]"#;
        let mut trip = trip(0, 1);
        trip.given.insert("tolls".to_owned(), Decimal::new(1_200, 2));
        let made = charge_of(tolls, &trip);
        assert_eq!((made.amount("tolls").to_string(), made.total().to_string()), ("12.00".into(), "17.00".into()));
    }

    #[test]
    fn without_a_valid_tariff_there_is_no_charge() {
        let config = r#"{"tariffs":[{"id":"t","currency":"EUR","valid_from":"1990-01-01"}]}"#;
        assert_eq!(charge(&Config::parse(config).unwrap(), &trip(0, 1)), Ok(None));
    }
}
