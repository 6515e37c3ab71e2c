//! Lists of rules of which the first that matches wins, as in the Policy API of MDS.
//!
//! A rule *matches* by its condition alone. Its bounds then say whether the trip is in or out of them, and `applies`
//! whether the rate is due in or out. A rule without a rate that stands first is an exception: nothing is due.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::condition::{Condition, Facts, check_zones};
use crate::decimal::{Exact, Overflow};
use crate::measure::{Counted, Measure, Quantity, Unit};
use crate::tariff::check_id;
use crate::usage::MILLISECONDS_MAX;
use crate::windows::{TimeUnit, Zone, calendar_units};

/// A list of rules.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Names the charge line.
    pub id: String,
    /// In order.
    pub rules: Vec<Rule>,
    /// The tariff's minimum and maximum do not count it.
    #[serde(default)]
    pub outside_limits: bool,
}

/// A rule.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Names the rule in violations; none: its place in the list.
    #[serde(default)]
    pub id: Option<String>,
    /// Which trips it is about.
    #[serde(default)]
    pub when: Condition,
    /// What the bounds bound, and what time recurrences count if it is a time.
    #[serde(default)]
    pub measure: Measure,
    /// Of the measure and the bounds.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// Of the measure.
    #[serde(default)]
    pub zones: Vec<String>,
    /// The least that is in bounds; none: no bound.
    #[serde(default)]
    pub minimum: Option<Exact>,
    /// The most that is in bounds; none: no bound.
    #[serde(default)]
    pub maximum: Option<Exact>,
    /// Where the rate is due.
    #[serde(default)]
    pub applies: Applies,
    /// What is due each time; may be negative.
    #[serde(default)]
    pub rate: Exact,
    /// How often the rate is due.
    #[serde(default)]
    pub recurrence: Recurrence,
    /// Of the time recurrences.
    #[serde(default)]
    pub time_unit: TimeUnit,
    /// To be out of bounds is a violation, which is told.
    #[serde(default)]
    pub violation: bool,
}

/// Where a rate is due.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Applies {
    /// Between the bounds, themselves included; without bounds always.
    #[default]
    InBounds,
    /// Below the minimum or above the maximum.
    OutOfBounds,
}

/// How often a rate is due.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Recurrence {
    /// Once a trip.
    #[default]
    OnceOnMatch,
    /// For each minute, hour or day of the local calendar that was touched.
    EachTimeUnit,
    /// For each whole one that has passed.
    PerCompleteTimeUnit,
}

/// What a policy comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// The amount before rounding; 0 when no rule matched.
    pub amount: Decimal,
    /// How often the rate was due.
    pub times: Decimal,
    /// The violation, if there is one.
    pub violation: Option<Violation>,
}

/// A trip out of a rule's bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// The policy.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// How much it was.
    pub measured: Decimal,
    /// Of the measurement and the bound.
    pub unit: &'static str,
    /// The bound that was passed.
    pub bound: Decimal,
}

impl Policy {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(&self, at: &str, known: &impl Fn(&str) -> bool) -> Result<(), String> {
        if self.rules.is_empty() {
            return Err(format!("{at}.rules: is empty"));
        }
        self.rules.iter().enumerate().try_for_each(|(index, rule)| rule.check(&format!("{at}.rules[{index}]"), known))
    }

    /// What the first rule that matches comes to.
    ///
    /// # Errors
    /// When a number has too many digits.
    pub fn apply(&self, facts: &Facts<'_>, zone: &Zone) -> Result<Verdict, Overflow> {
        match self.rules.iter().enumerate().find(|(_, rule)| rule.when.holds(facts)) {
            Some((index, rule)) => rule.apply(facts, zone, &self.id, index),
            None => Ok(Verdict::default()),
        }
    }
}

impl Rule {
    fn counted(&self) -> Counted<'_> {
        Counted { measure: self.measure, unit: self.unit, meter: None, zones: &self.zones }
    }

    fn check(&self, at: &str, known: &impl Fn(&str) -> bool) -> Result<(), String> {
        if let Some(id) = &self.id {
            check_id(&format!("{at}.id"), id)?;
        }
        self.when.check(&format!("{at}.when"), known)?;
        check_zones(&format!("{at}.zones"), &self.zones, known)?;
        self.counted().check(at)?;
        if self.measure == Measure::Section {
            return Err(format!("{at}.measure: sections are charged by components, not by policies"));
        }
        if let (Some(minimum), Some(maximum)) = (self.minimum, self.maximum)
            && minimum > maximum
        {
            return Err(format!("{at}.maximum: {} is below minimum, {}", maximum.0, minimum.0));
        }
        let bounded = self.minimum.is_some() || self.maximum.is_some();
        if self.applies == Applies::OutOfBounds && !bounded {
            return Err(format!("{at}.applies: nothing is out of bounds without a minimum or maximum"));
        }
        if self.violation && !bounded {
            return Err(format!("{at}.violation: nothing is out of bounds without a minimum or maximum"));
        }
        Ok(())
    }

    fn apply(&self, facts: &Facts<'_>, zone: &Zone, policy: &str, index: usize) -> Result<Verdict, Overflow> {
        let quantity = self.counted().of(facts.trip)?;
        let passed = self.passed_bound(&quantity)?;
        let due = (self.applies == Applies::InBounds) == passed.is_none();
        let times = if due { self.times(facts, zone, passed)? } else { Decimal::ZERO };
        let violation = match passed.filter(|_| self.violation) {
            None => None,
            Some(bound) => Some(Violation {
                policy: policy.to_owned(),
                rule: self.id.clone().unwrap_or_else(|| index.to_string()),
                measured: quantity.to_decimal()?,
                unit: self.counted().unit().name(),
                bound,
            }),
        };
        Ok(Verdict { amount: times.checked_mul(self.rate.0).ok_or(Overflow)?, times, violation })
    }

    /// The bound that the quantity is out of.
    fn passed_bound(&self, quantity: &Quantity) -> Result<Option<Decimal>, Overflow> {
        if let Some(Exact(minimum)) = self.minimum
            && !quantity.is_at_least(minimum)?
        {
            return Ok(Some(minimum));
        }
        if let Some(Exact(maximum)) = self.maximum
            && !quantity.is_at_most(maximum)?
        {
            return Ok(Some(maximum));
        }
        Ok(None)
    }

    /// How often the rate is due. A rule about time counts from where its rate begins: beyond the maximum when it is
    /// due out of bounds, from the minimum on when it is due in bounds.
    fn times(&self, facts: &Facts<'_>, zone: &Zone, passed: Option<Decimal>) -> Result<Decimal, Overflow> {
        if self.recurrence == Recurrence::OnceOnMatch {
            return Ok(Decimal::ONE);
        }
        let trip = facts.trip;
        let (from_ms, to_ms, elapsed_ms) = if self.measure.needs_zones() {
            let from = trip.uses(&self.zones).map(|it| it.first_ms).min();
            let to = trip.uses(&self.zones).map(|it| it.last_ms).max();
            let elapsed = trip.uses(&self.zones).fold(0_i64, |sum, it| sum.saturating_add(it.inside_ms));
            let (Some(from), Some(to)) = (from, to) else { return Ok(Decimal::ZERO) };
            (from, to, elapsed)
        } else {
            let waiting = trip.waiting_ms.clamp(0, trip.duration_ms());
            let elapsed = match self.measure {
                Measure::WaitingTime => waiting,
                Measure::MovingTime => trip.duration_ms() - waiting,
                _ => trip.duration_ms(),
            };
            (trip.start_ms, trip.end_ms, elapsed)
        };
        let free_ms = if self.measure.is_time() {
            let from = match (passed, self.maximum) {
                (Some(bound), Some(Exact(maximum))) if bound == maximum => maximum,
                (Some(_), _) => Decimal::ZERO,
                (None, _) => self.minimum.unwrap_or_default().0,
            };
            let milliseconds = from.checked_mul(self.counted().unit().size()).ok_or(Overflow)?.ceil();
            i64::try_from(milliseconds).map_err(|_| Overflow)?.clamp(0, MILLISECONDS_MAX)
        } else {
            0
        };
        let times = match self.recurrence {
            Recurrence::PerCompleteTimeUnit => {
                elapsed_ms.saturating_sub(free_ms).max(0) / self.time_unit.milliseconds()
            }
            _ => calendar_units(zone, self.time_unit, from_ms.saturating_add(free_ms), to_ms),
        };
        Ok(Decimal::from(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{Trip, ZoneUse};

    /// 2024-07-01, 10:30 in UTC, a Monday.
    const START_MS: i64 = 1_719_829_800_000;
    const MINUTE_MS: i64 = 60_000;

    fn verdict(policy: &str, trip: &Trip) -> Verdict {
        let policy: Policy = serde_json::from_str(policy).unwrap();
        policy.check("p", &|_| true).unwrap();
        let zone = Zone::parse("UTC").unwrap();
        policy.apply(&Facts::new(trip, &Default::default(), &zone, trip.start_ms), &zone).unwrap()
    }

    fn lasting(minutes: i64) -> Trip {
        Trip { start_ms: START_MS, end_ms: START_MS + minutes * MINUTE_MS, ..Trip::default() }
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let policy = r#"{"id":"p","rules":[
            {"when":{"windows":[{"days":["mon"],"from":"10:00","to":"10:45"}]}},
            {"when":{"windows":[{"days":["mon"]}]},"rate":"2"},
            {"rate":"1"}]}"#;
        assert_eq!(verdict(policy, &lasting(5)).amount, Decimal::ZERO, "an exception");
        let later = |ms| Trip { start_ms: START_MS + ms, end_ms: START_MS + ms, ..Trip::default() };
        assert_eq!(verdict(policy, &later(15 * MINUTE_MS)).amount, Decimal::TWO);
        assert_eq!(verdict(policy, &later(24 * 60 * MINUTE_MS)).amount, Decimal::ONE);
    }

    #[test]
    fn what_is_over_the_maximum_is_due_out_of_bounds() {
        let policy = |recurrence: &str| {
            format!(
                r#"{{"id":"p","rules":[{{"id":"long","measure":"duration","maximum":"60","applies":"out_of_bounds",
                    "rate":"3","recurrence":"{recurrence}","violation":true}}]}}"#
            )
        };
        let ask = |recurrence, minutes| verdict(&policy(recurrence), &lasting(minutes)).times.to_string();
        let minutes = [60, 61, 120, 150, 151];
        assert_eq!(minutes.map(|it| ask("once_on_match", it)), ["0", "1", "1", "1", "1"]);
        assert_eq!(minutes.map(|it| ask("per_complete_time_unit", it)), ["0", "0", "1", "1", "1"]);
        // From 11:30 on: up to 12:00, and the hours after.
        assert_eq!(minutes.map(|it| ask("each_time_unit", it)), ["0", "1", "2", "2", "3"]);
        let violation = verdict(&policy("once_on_match"), &lasting(61)).violation.unwrap();
        assert_eq!((violation.rule.as_str(), violation.unit), ("long", "min"));
        assert_eq!((violation.measured, violation.bound), (Decimal::from(61), Decimal::from(60)));
        assert_eq!(verdict(&policy("once_on_match"), &lasting(60)).violation, None);
    }

    #[test]
    fn time_in_a_zone() {
        let policy = r#"{"id":"p","rules":[{"measure":"zone_time","zones":["a"],"minimum":"30","rate":"1.5",
            "recurrence":"per_complete_time_unit","time_unit":"minute"}]}"#;
        let inside = ZoneUse { zone: "a".to_owned(), inside_ms: 45 * MINUTE_MS, ..ZoneUse::default() };
        let trip = Trip { zones: vec![inside], ..lasting(90) };
        assert_eq!(verdict(policy, &trip).times, Decimal::from(15));
        assert_eq!(verdict(policy, &lasting(90)).times, Decimal::ZERO);
    }

    #[test]
    fn what_can_not_be_is_refused_by_field() {
        let error = |rule: &str| {
            let policy: Policy = serde_json::from_str(&format!(r#"{{"id":"p","rules":[{rule}]}}"#)).unwrap();
            policy.check("p", &|_| false).unwrap_err()
        };
        assert!(error(r#"{"applies":"out_of_bounds"}"#).starts_with("p.rules[0].applies"));
        assert!(error(r#"{"violation":true}"#).starts_with("p.rules[0].violation"));
        assert!(error(r#"{"minimum":"2","maximum":"1"}"#).starts_with("p.rules[0].maximum"));
        assert!(error(r#"{"measure":"section"}"#).starts_with("p.rules[0].measure"));
        assert!(error(r#"{"measure":"zone_time","zones":["a"]}"#).starts_with("p.rules[0].zones[0]"));
        assert!(error(r#"{"when":{"starts_in":["a"]}}"#).starts_with("p.rules[0].when.starts_in[0]"));
    }
}
