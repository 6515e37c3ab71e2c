//! A price list, and which one is valid.

use jiff::civil::Date;
use serde::Deserialize;

use crate::condition::{Condition, Facts, check_zones};
use crate::decimal::{Exact, Overflow, Rounding};
use crate::measure::{Counted, Measure, Meter, Unit};
use crate::policy::Policy;
use crate::rule::{NO_TARIFF, SECTION_MARK, TOO_MANY_ZONES, TOTAL};
use crate::segments::Segment;
use crate::windows::Day8601;
use rust_decimal::Decimal;

/// Components and policies of a tariff at most: what was charged of each is remembered in a vehicle's row.
pub const LINES_MAX: usize = 21;
/// Bytes of an id.
pub const ID_BYTES_MAX: usize = 64;
/// The line that brings a trip up to the tariff's minimum.
pub const MINIMUM: &str = "minimum";
/// The line that brings a trip down to the tariff's maximum.
pub const MAXIMUM: &str = "maximum";
/// The line of the tariff's `total_rounding`.
pub const ROUNDING: &str = "rounding";

/// A price list.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Names it in events.
    pub id: String,
    /// ISO 4217.
    pub currency: String,
    /// The first local day of trips that it is for; none: from ever.
    #[serde(default)]
    pub valid_from: Option<Day8601>,
    /// The last local day; none: for ever.
    #[serde(default)]
    pub valid_through: Option<Day8601>,
    /// Which trips it is for.
    #[serde(default)]
    pub when: Condition,
    /// Of each line.
    #[serde(default)]
    pub rounding: Rounding,
    /// Of the trip's sum, by a line of its own; none: the sum stays.
    #[serde(default)]
    pub total_rounding: Option<Rounding>,
    /// What a trip costs at least; none: no minimum.
    #[serde(default)]
    pub minimum: Option<Exact>,
    /// What a trip costs at most; none: no maximum.
    #[serde(default)]
    pub maximum: Option<Exact>,
    /// What is charged.
    #[serde(default)]
    pub components: Vec<Component>,
    /// What else is charged, or is not allowed.
    #[serde(default)]
    pub policies: Vec<Policy>,
}

/// A charge line in the making: `price + segments + rates × quantity`, or a given amount, or a percentage.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Names the charge line.
    pub id: String,
    /// The first local day on which it is charged; none: from ever.
    #[serde(default)]
    pub valid_from: Option<Day8601>,
    /// The last local day; none: for ever.
    #[serde(default)]
    pub valid_through: Option<Day8601>,
    /// Which trips it is for.
    #[serde(default)]
    pub when: Condition,
    /// What is counted.
    #[serde(default)]
    pub measure: Measure,
    /// Of the quantity.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// Of the measure `meter`.
    #[serde(default)]
    pub meter: Option<Meter>,
    /// Of the zone measures; of sections, which ones (empty: all).
    #[serde(default)]
    pub zones: Vec<String>,
    /// Of the quantity, before it is priced; none: it stays as it is.
    #[serde(default)]
    pub quantity_rounding: Option<Rounding>,
    /// Due once, whatever the quantity.
    #[serde(default)]
    pub price: Exact,
    /// Due by the quantity.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// Tables; the sum of their rates is due for each unit of the quantity, to the last digit.
    #[serde(default)]
    pub rates: Vec<RateTable>,
    /// The name of an amount that comes with the trip and is charged as it is.
    #[serde(default)]
    pub given: Option<String>,
    /// Percent of the lines in `of`.
    #[serde(default)]
    pub percent: Option<Exact>,
    /// Components and policies, for `percent`.
    #[serde(default)]
    pub of: Vec<String>,
    /// Of this line instead of the tariff's.
    #[serde(default)]
    pub rounding: Option<Rounding>,
    /// The line is at least this; none: no minimum.
    #[serde(default)]
    pub minimum: Option<Exact>,
    /// The line is at most this; none: no maximum.
    #[serde(default)]
    pub maximum: Option<Exact>,
    /// The tariff's minimum and maximum do not count it.
    #[serde(default)]
    pub outside_limits: bool,
}

/// Rates of which the first that matches is taken.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RateTable {
    /// What the rate is for: for the reader.
    pub id: String,
    /// In order.
    pub rows: Vec<RateRow>,
}

/// A rate and when it is the one.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RateRow {
    /// When.
    #[serde(default)]
    pub when: Condition,
    /// For one unit of the quantity.
    pub rate: Exact,
}

/// The first tariff, in order, that is valid on the local day of the trip's start and whose condition holds.
#[must_use]
pub fn choose(tariffs: &[Tariff], facts: &Facts<'_>) -> Option<usize> {
    tariffs.iter().position(|it| valid(it.valid_from, it.valid_through, facts.start.date()) && it.when.holds(facts))
}

fn valid(from: Option<Day8601>, through: Option<Day8601>, day: Date) -> bool {
    from.is_none_or(|it| it.0 <= day) && through.is_none_or(|it| day <= it.0)
}

impl Component {
    /// True when it is charged at all.
    #[must_use]
    pub fn applies(&self, facts: &Facts<'_>) -> bool {
        valid(self.valid_from, self.valid_through, facts.start.date()) && self.when.holds(facts)
    }

    /// What is counted.
    #[must_use]
    pub fn counted(&self) -> Counted<'_> {
        // The zones of sections choose sections; they are not counted in.
        let zones: &[String] = if self.measure == Measure::Section { &[] } else { &self.zones };
        Counted { measure: self.measure, unit: self.unit, meter: self.meter.as_ref(), zones }
    }

    /// The sum of the rates that the tables have for this.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn rate(&self, facts: &Facts<'_>) -> Result<Decimal, Overflow> {
        let mut sum = Decimal::ZERO;
        for table in &self.rates {
            if let Some(row) = table.rows.iter().find(|row| row.when.holds(facts)) {
                sum = sum.checked_add(row.rate.0).ok_or(Overflow)?;
            }
        }
        Ok(sum)
    }

    fn check(&self, at: &str, known: &impl Fn(&str) -> bool) -> Result<(), String> {
        check_days(at, self.valid_from, self.valid_through)?;
        self.when.check(&format!("{at}.when"), known)?;
        check_zones(&format!("{at}.zones"), &self.zones, known)?;
        self.counted().check(at)?;
        for (index, segment) in self.segments.iter().enumerate() {
            segment.check(&format!("{at}.segments[{index}]"))?;
        }
        for (index, table) in self.rates.iter().enumerate() {
            for (row_index, row) in table.rows.iter().enumerate() {
                row.when.check(&format!("{at}.rates[{index}].rows[{row_index}].when"), known)?;
            }
        }
        if let Some(rounding) = &self.quantity_rounding {
            rounding.check(&format!("{at}.quantity_rounding"))?;
        }
        if let Some(rounding) = &self.rounding {
            rounding.check(&format!("{at}.rounding"))?;
        }
        check_limits(at, self.minimum, self.maximum)?;
        let priced = self.price != Exact::default() || !self.segments.is_empty() || !self.rates.is_empty();
        let ways = usize::from(priced) + usize::from(self.given.is_some()) + usize::from(self.percent.is_some());
        if ways != 1 {
            return Err(format!(
                "{at}: needs either price, segments or rates, or given, or percent: it has {ways} of these"
            ));
        }
        if self.percent.is_some() == self.of.is_empty() {
            return Err(format!("{at}.of: belongs to percent, which needs it"));
        }
        if !priced && self.measure != Measure::Trip {
            return Err(format!("{at}.measure: belongs to price, segments and rates"));
        }
        Ok(())
    }
}

impl Tariff {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(&self, at: &str, known: &impl Fn(&str) -> bool) -> Result<(), String> {
        check_id(&format!("{at}.id"), &self.id)?;
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("{at}.currency: {:?} is no code of ISO 4217", self.currency));
        }
        check_days(at, self.valid_from, self.valid_through)?;
        self.when.check(&format!("{at}.when"), known)?;
        self.rounding.check(&format!("{at}.rounding"))?;
        if let Some(rounding) = &self.total_rounding {
            rounding.check(&format!("{at}.total_rounding"))?;
        }
        check_limits(at, self.minimum, self.maximum)?;
        let lines = self.components.len() + self.policies.len();
        if lines > LINES_MAX {
            return Err(format!("{at}.components: with the policies there are {lines}, more than {LINES_MAX}"));
        }
        let mut ids: Vec<&str> = vec![MINIMUM, MAXIMUM, ROUNDING, TOTAL, NO_TARIFF, TOO_MANY_ZONES];
        for (index, component) in self.components.iter().enumerate() {
            let at = format!("{at}.components[{index}]");
            check_line_id(&format!("{at}.id"), &component.id, &mut ids)?;
            component.check(&at, known)?;
        }
        for (index, policy) in self.policies.iter().enumerate() {
            let at = format!("{at}.policies[{index}]");
            check_line_id(&format!("{at}.id"), &policy.id, &mut ids)?;
            policy.check(&at, known)?;
        }
        self.check_percentages(at)
    }

    /// A percentage is of lines that are known by then: of all that are none, and of percentages that stand before.
    fn check_percentages(&self, at: &str) -> Result<(), String> {
        for (index, component) in self.components.iter().enumerate() {
            for (place, id) in component.of.iter().enumerate() {
                let is_policy = self.policies.iter().any(|it| it.id == *id);
                let is_before = self.components.iter().enumerate().any(|(other, it)| {
                    it.id == *id && it.measure != Measure::Section && (it.percent.is_none() || other < index)
                });
                if !is_policy && !is_before {
                    return Err(format!(
                        "{at}.components[{index}].of[{place}]: {id:?} is no component (sections can't be) or policy, or a \
                         percentage that stands behind"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Checks an id.
///
/// # Errors
/// When it is empty or too long.
pub fn check_id(at: &str, id: &str) -> Result<(), String> {
    let plain = id.chars().all(|it| !it.is_control() && it != '"' && it != '\\');
    if id.is_empty() || id.len() > ID_BYTES_MAX || !plain {
        return Err(format!("{at}: {id:?} is not 1 to {ID_BYTES_MAX} bytes without quotes and control characters"));
    }
    Ok(())
}

fn check_line_id<'a>(at: &str, id: &'a str, taken: &mut Vec<&'a str>) -> Result<(), String> {
    check_id(at, id)?;
    if id.contains(SECTION_MARK) {
        return Err(format!("{at}: {id:?} has a {SECTION_MARK}, which stands before sections"));
    }
    if taken.contains(&id) {
        return Err(format!("{at}: {id:?} is taken by another line"));
    }
    taken.push(id);
    Ok(())
}

fn check_days(at: &str, from: Option<Day8601>, through: Option<Day8601>) -> Result<(), String> {
    match (from, through) {
        (Some(from), Some(through)) if through.0 < from.0 => {
            Err(format!("{at}.valid_through: {} is before valid_from, {}", through.0, from.0))
        }
        _ => Ok(()),
    }
}

fn check_limits(at: &str, minimum: Option<Exact>, maximum: Option<Exact>) -> Result<(), String> {
    match (minimum, maximum) {
        (Some(minimum), Some(maximum)) if maximum < minimum => {
            Err(format!("{at}.maximum: {} is below minimum, {}", maximum.0, minimum.0))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Trip;
    use crate::windows::Zone;

    #[test]
    fn the_first_valid_tariff_is_taken_by_local_days() {
        let tariff = |id: &str, days: &str| -> Tariff {
            serde_json::from_str(&format!(r#"{{"id":"{id}","currency":"USD"{days}}}"#)).unwrap()
        };
        let tariffs = [
            tariff("old", r#","valid_through":"2012-09-03""#),
            tariff("new", r#","valid_from":"2012-09-04","valid_through":"2012-12-31""#),
        ];
        let zone = Zone::parse("America/New_York").unwrap();
        let at = |start_ms| {
            let trip = Trip { start_ms, end_ms: start_ms, ..Trip::default() };
            choose(&tariffs, &Facts::new(&trip, &Default::default(), &zone, start_ms))
                .map(|index| tariffs[index].id.clone())
        };
        // 2012-09-04T03:59:59Z is still the third in New York.
        assert_eq!(at(1_346_731_199_999).as_deref(), Some("old"));
        assert_eq!(at(1_346_731_200_000).as_deref(), Some("new"));
        assert_eq!(at(1_400_000_000_000), None);
    }
}
