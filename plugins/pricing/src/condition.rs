//! When something applies: time, place and what the vehicle is.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde::Deserialize;

use crate::decimal::Exact;
use crate::usage::Trip;
use crate::windows::{Day8601, Window, Zone};

/// Everything that is written must hold; an empty condition always holds.
#[derive(Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// Any of them holds the instant; empty: no matter.
    pub windows: Vec<Window>,
    /// Which instant the windows and dates look at.
    pub at: Instant,
    /// Local dates on which it does not apply, such as holidays.
    pub except_dates: Vec<Day8601>,
    /// Local dates to which it is limited; empty: no matter.
    pub only_dates: Vec<Day8601>,
    /// The trip opened in any of these zones; empty: no matter.
    pub starts_in: Vec<String>,
    /// The trip closed in any of these zones; empty: no matter.
    pub ends_in: Vec<String>,
    /// The trip was in any of these zones; empty: no matter.
    pub passes: Vec<String>,
    /// Attributes of the trip or the vehicle's class. One that is not known fails its test.
    pub attributes: BTreeMap<String, Test>,
}

/// An instant of a trip, or of a section for what is charged by section.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Instant {
    /// When the trip opened; for sections, when the vehicle came into it.
    #[default]
    Start,
    /// When the trip closed.
    End,
}

/// What an attribute must be. Everything that is written must hold.
#[derive(Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Test {
    /// One of these texts; none: no matter.
    #[serde(rename = "in")]
    pub one_of: Option<Vec<String>>,
    /// A decimal, not below.
    pub at_least: Option<Exact>,
    /// A decimal above.
    pub above: Option<Exact>,
    /// A decimal, not above.
    pub at_most: Option<Exact>,
    /// A decimal below.
    pub below: Option<Exact>,
}

/// What conditions look at.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The trip.
    pub trip: &'a Trip,
    /// The class's attributes.
    pub class: &'a BTreeMap<String, String>,
    /// See [`Instant::Start`].
    pub start: DateTime,
    /// See [`Instant::End`].
    pub end: DateTime,
}

impl Condition {
    /// Checks what the types do not. `known` says whether there is a zone with this id.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(&self, at: &str, known: &impl Fn(&str) -> bool) -> Result<(), String> {
        for (index, window) in self.windows.iter().enumerate() {
            window.check(&format!("{at}.windows[{index}]"))?;
        }
        let lists = [("starts_in", &self.starts_in), ("ends_in", &self.ends_in), ("passes", &self.passes)];
        for (field, zones) in lists {
            check_zones(&format!("{at}.{field}"), zones, known)?;
        }
        for (name, test) in &self.attributes {
            if *test == Test::default() {
                return Err(format!("{at}.attributes.{name}: tests nothing"));
            }
        }
        Ok(())
    }

    /// True when all of it holds.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        let local = match self.at {
            Instant::Start => facts.start,
            Instant::End => facts.end,
        };
        let listed = |dates: &[Day8601]| dates.iter().any(|date| date.0 == local.date());
        let zones = |ids: &[String], test: fn(&crate::usage::ZoneUse) -> bool| {
            ids.is_empty() || facts.trip.zones.iter().any(|it| test(it) && ids.contains(&it.zone))
        };
        (self.windows.is_empty() || self.windows.iter().any(|window| window.holds(local)))
            && !listed(&self.except_dates)
            && (self.only_dates.is_empty() || listed(&self.only_dates))
            && zones(&self.starts_in, |it| it.started_in)
            && zones(&self.ends_in, |it| it.ended_in)
            && zones(&self.passes, |_| true)
            && self.attributes.iter().all(|(name, test)| facts.attribute(name).is_some_and(|value| test.holds(value)))
    }
}

/// Checks that all these zones are in the config.
///
/// # Errors
/// The field and the zone that is not there.
pub fn check_zones(at: &str, zones: &[String], known: &impl Fn(&str) -> bool) -> Result<(), String> {
    match zones.iter().enumerate().find(|(_, zone)| !known(zone)) {
        Some((index, zone)) => Err(format!("{at}[{index}]: there is no zone {zone:?}")),
        None => Ok(()),
    }
}

impl<'a> Facts<'a> {
    /// Those of a trip, with its start or a section's as the beginning.
    #[must_use]
    pub fn new(trip: &'a Trip, class: &'a BTreeMap<String, String>, zone: &Zone, start_ms: i64) -> Self {
        Self { trip, class, start: zone.local(start_ms), end: zone.local(trip.end_ms) }
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.trip.attributes.get(name).or_else(|| self.class.get(name)).map(String::as_str)
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        let number = Exact::parse(value).ok();
        let bound = |bound: Option<Exact>, holds: fn(&Exact, &Exact) -> bool| match (bound, &number) {
            (None, _) => true,
            (Some(bound), Some(number)) => holds(number, &bound),
            (Some(_), None) => false,
        };
        self.one_of.as_ref().is_none_or(|texts| texts.iter().any(|text| text == value))
            && bound(self.at_least, Exact::ge)
            && bound(self.above, Exact::gt)
            && bound(self.at_most, Exact::le)
            && bound(self.below, Exact::lt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::ZoneUse;

    fn holds(condition: &str, trip: &Trip) -> bool {
        let condition: Condition = serde_json::from_str(condition).unwrap();
        let class = BTreeMap::from([("weight_t".to_owned(), "7.5".to_owned()), ("fuel".to_owned(), "gas".to_owned())]);
        let (start, end) = ("2024-07-05T19:00:00".parse().unwrap(), "2024-07-06T01:00:00".parse().unwrap());
        condition.holds(&Facts { trip, class: &class, start, end })
    }

    #[test]
    fn attributes_are_texts_or_decimals() {
        let trip = Trip { attributes: BTreeMap::from([("fuel".to_owned(), "diesel".to_owned())]), ..Trip::default() };
        assert!(holds(r#"{"attributes":{"weight_t":{"at_least":"7.50","below":"12"}}}"#, &trip));
        assert!(!holds(r#"{"attributes":{"weight_t":{"above":"7.5"}}}"#, &trip));
        assert!(holds(r#"{"attributes":{"fuel":{"in":["diesel","gas"]}}}"#, &trip));
        assert!(!holds(r#"{"attributes":{"fuel":{"in":["gas"]}}}"#, &trip), "the trip's own stands first");
        assert!(!holds(r#"{"attributes":{"fuel":{"at_least":"0"}}}"#, &trip), "a text is no decimal");
        assert!(!holds(r#"{"attributes":{"axles":{"at_least":"0"}}}"#, &trip), "not known");
    }

    #[test]
    fn times_and_dates_look_at_the_start_or_the_end() {
        let trip = Trip::default();
        assert!(holds("{}", &trip));
        assert!(holds(r#"{"windows":[{"from":"18:00","to":"20:00"}]}"#, &trip));
        assert!(!holds(r#"{"windows":[{"from":"18:00","to":"20:00"}],"at":"end"}"#, &trip));
        assert!(!holds(r#"{"except_dates":["2024-07-05"]}"#, &trip));
        assert!(holds(r#"{"only_dates":["2024-07-06"],"at":"end"}"#, &trip));
    }

    #[test]
    fn zones_are_where_the_trip_began_ended_or_was() {
        let in_zone = ZoneUse { zone: "a".to_owned(), started_in: true, ..ZoneUse::default() };
        let trip = Trip { zones: vec![in_zone], ..Trip::default() };
        assert!(holds(r#"{"starts_in":["a","b"],"passes":["a"]}"#, &trip));
        assert!(!holds(r#"{"ends_in":["a"]}"#, &trip));
        assert!(!holds(r#"{"passes":["b"]}"#, &trip));
    }
}
