//! Trips of New York's taxis and what their rules ask for them: `pricing_nyc_taxi_trips.csv.gz`.
//!
//! A trip is a vehicle of its own that turns its ignition on at the pickup and off at the dropoff, with the way on its
//! odometer. Tolls that somebody else has set do not come by readings and are left to the rule's own tests.

use crate::alerts::{Alert, Class};
use crate::data;
use crate::fleet::Semantics;
use crate::programs::Programs;
use crate::scenario::{Drive, Scenario};
use anyhow::{Context, Result};
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The tariff as it is shipped.
const CONFIG: &str = include_str!("../../plugins/pricing/configs/nyc_taxi.json");
/// These taxis report only at the ends of a trip, and the clocks of some lie a day apart. Seconds.
const MAX_GAP_S: u32 = 604_800;
/// Of two readings of one instant the first stands, so a trip that takes no time ends a millisecond later.
const INSTANT_MS: i64 = 1;

/// A row of the reference, with the columns that are compared.
#[derive(Debug, Deserialize)]
struct Row {
    trip_id: String,
    pickup: String,
    dropoff: String,
    distance_mi: String,
    rate_code: String,
    exp_extra_std: String,
    exp_mta_tax: String,
    exp_improvement: String,
    exp_flat_fare: String,
    fare_lo: String,
    fare_hi: String,
    m_fare: String,
    m_extra: String,
    m_mta: String,
    m_improvement: String,
}

/// A trip to be compared.
#[derive(Debug)]
struct Trip {
    id: String,
    /// Component and amount.
    exact: Vec<(&'static str, Decimal)>,
    /// What the meter shows at least and at most: the data do not say how long the taxi was slow.
    metered: Option<(Decimal, Decimal)>,
}

/// The trips of one rate code.
#[derive(Debug, Default)]
pub struct Trips {
    recording: String,
    trips: Vec<Trip>,
    /// Trips that end a millisecond after their start: they take no time by the data.
    instant: usize,
    /// Trips left out, since they end before they start.
    backwards: usize,
    /// Metered fares left out, since nobody drives so far in that time: the rule does not believe such an odometer.
    too_far: usize,
}

/// The trips of which the data say what the rules ask for, wherever that was charged, by rate code.
///
/// # Errors
/// When the file cannot be read or a row is malformed.
pub fn read(directory: &Path) -> Result<BTreeMap<String, Trips>> {
    let zone = TimeZoneDatabase::bundled().get("America/New_York").context("the time zone of New York")?;
    let mut by_code: BTreeMap<String, Trips> = BTreeMap::new();
    for row in data::records::<Row>(&directory.join("pricing_nyc_taxi_trips.csv.gz"))? {
        let trip = row.trip().with_context(|| row.trip_id.clone())?;
        if !trip.exact.is_empty() || trip.metered.is_some() {
            let trips = by_code.entry(row.rate_code.clone()).or_default();
            trips.add(&row, trip, &zone).with_context(|| row.trip_id.clone())?;
        }
    }
    Ok(by_code)
}

impl Row {
    fn trip(&self) -> Result<Trip> {
        let columns = [
            ("extra", &self.exp_extra_std, &self.m_extra),
            ("mta_tax", &self.exp_mta_tax, &self.m_mta),
            ("improvement", &self.exp_improvement, &self.m_improvement),
            ("fare", &self.exp_flat_fare, &self.m_fare),
        ];
        let mut exact = Vec::new();
        for (component, expected, _) in columns.iter().filter(|(_, expected, is)| *is == "1" && !expected.is_empty()) {
            exact.push((*component, decimal(expected)?));
        }
        let is_metered = self.m_fare == "1" && !self.fare_lo.is_empty();
        let metered = is_metered.then(|| Ok::<_, anyhow::Error>((decimal(&self.fare_lo)?, decimal(&self.fare_hi)?)));
        Ok(Trip { id: self.trip_id.clone(), exact, metered: metered.transpose()? })
    }
}

impl Trips {
    fn add(&mut self, row: &Row, mut trip: Trip, zone: &TimeZone) -> Result<()> {
        let [pickup, dropoff]: [DateTime; 2] = [row.pickup.parse()?, row.dropoff.parse()?];
        let start_ms = pickup.to_zoned(zone.clone())?.timestamp().as_millisecond();
        // As long as the clocks at its ends say, as the reference has it, also over the end of summer time.
        let ms = match i64::try_from(dropoff.duration_since(pickup).as_millis())? {
            ms if ms < 0 => {
                self.backwards += 1;
                return Ok(());
            }
            0 => {
                self.instant += 1;
                INSTANT_MS
            }
            ms => ms,
        };
        // The rule counts whole millimetres: what is cut off could be the last of a step of 0.2 mi.
        let metres = decimal(&row.distance_mi)? * Decimal::new(1_609_344, 3);
        let metres = metres.round_dp_with_strategy(3, RoundingStrategy::ToPositiveInfinity);
        // The rule's bound: 100 m/s and 1 km.
        if trip.metered.is_some() && metres > Decimal::new(ms, 1) + Decimal::ONE_THOUSAND {
            self.too_far += 1;
            trip.metered = None;
        }
        for (ms, metres, ignition) in [(start_ms, Decimal::ZERO, 1), (start_ms + ms, metres, 0)] {
            self.recording.push_str(&format!("{},{ms},40.75,-73.98,{metres},{ignition}\n", trip.id));
        }
        self.trips.push(trip);
        Ok(())
    }

    /// The trips through the pricing rule for cars of this rate code; recording and config are written into `scratch`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn scenario(&self, programs: &Programs, rate_code: &str, scratch: &Path) -> Result<Scenario> {
        let mut tariff: Value = serde_json::from_str(CONFIG).context("the shipped tariff is not JSON")?;
        tariff["trip"]["max_gap_s"] = json!(MAX_GAP_S);
        tariff["vehicle_classes"] = json!([{"id": "taxi", "attributes": {"rate_code": rate_code}}]);
        tariff["vehicle_class"] = json!("taxi");
        let (recording, config) = (scratch.join("trips.csv"), scratch.join("tariff.json"));
        let rows = "vehicle,ts_ms,lat,lon,odometer_m,ignition\n".to_owned() + &self.recording;
        std::fs::write(&recording, rows).with_context(|| format!("write {}", recording.display()))?;
        std::fs::write(&config, tariff.to_string()).with_context(|| format!("write {}", config.display()))?;
        Ok(Scenario {
            plugin: Some(programs.pricing()),
            config: Some(config),
            class: Class::Billing,
            semantics: Semantics::Plain,
            speed: "max".to_owned(),
            ..Scenario::new(Drive::Recording { recording, zones: None })
        })
    }

    /// What is counted, and what readings cannot say.
    #[must_use]
    pub fn remark(&self) -> String {
        let notes = [
            (self.instant, "of no time end 1 ms later"),
            (self.backwards, "end before they start: left out"),
            (self.too_far, "go too far for their time: metered fare left out"),
        ];
        let mut remark = format!("components of {} trips", self.trips.len());
        for (count, note) in notes.iter().filter(|(count, _)| *count > 0) {
            remark.push_str(&format!("; {count} {note}"));
        }
        remark
    }

    /// Trip, component, amount or its bounds: a line each.
    #[must_use]
    pub fn expected(&self) -> Vec<String> {
        let lines = self.trips.iter().flat_map(|trip| {
            let exact = trip.exact.iter().map(|(component, amount)| exact_line(trip, component, *amount));
            exact.chain(trip.metered.map(|bounds| metered_line(trip, bounds)))
        });
        lines.collect()
    }

    /// The same from what a partner received. A line of nothing is not charged; a trip of which nothing was charged has
    /// no lines at all.
    ///
    /// # Errors
    /// When a charge has no amount.
    pub fn found(&self, charges: &[Alert]) -> Result<Vec<String>> {
        let mut amounts: HashMap<&str, HashMap<&str, Decimal>> = HashMap::new();
        for charge in charges {
            let amount = charge.details["amount"].as_str().unwrap_or_default();
            let amount = data::decimal(amount).with_context(|| format!("the amount of {charge:?}"))?;
            *amounts.entry(&charge.vehicle).or_default().entry(&charge.subject).or_default() += amount;
        }
        let mut lines = Vec::new();
        for trip in &self.trips {
            let Some(amounts) = amounts.get(trip.id.as_str()) else { continue };
            let amount = |component: &str| amounts.get(component).copied().unwrap_or_default();
            lines.extend(trip.exact.iter().map(|(component, _)| exact_line(trip, component, amount(component))));
            lines.extend(trip.metered.map(|(least, most)| match amount("fare") {
                fare if fare < least || fare > most => exact_line(trip, "fare", fare),
                _ => metered_line(trip, (least, most)),
            }));
        }
        Ok(lines)
    }
}

fn exact_line(trip: &Trip, component: &str, amount: Decimal) -> String {
    format!("{} {component} {}", trip.id, amount.normalize())
}

fn metered_line(trip: &Trip, (least, most): (Decimal, Decimal)) -> String {
    format!("{} fare from {} to {}", trip.id, least.normalize(), most.normalize())
}

/// A decimal of the data; some were written by software with binary floating point, as 0.80000000000000004.
fn decimal(text: &str) -> Result<Decimal> {
    Ok(data::decimal(text)?.round_dp(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(change: impl FnOnce(&mut Row)) -> Row {
        let [one, half] = ["1", "0.5"].map(str::to_owned);
        let mut row = Row {
            trip_id: "trip".to_owned(),
            pickup: "2014-11-01 23:00:00".to_owned(),
            dropoff: "2014-11-02 03:00:00".to_owned(),
            distance_mi: "1.0".to_owned(),
            rate_code: one.clone(),
            exp_extra_std: half.clone(),
            exp_mta_tax: half,
            exp_improvement: "0.0".to_owned(),
            exp_flat_fare: String::new(),
            fare_lo: "4.5".to_owned(),
            fare_hi: "9".to_owned(),
            m_fare: one.clone(),
            m_extra: one.clone(),
            m_mta: "0".to_owned(),
            m_improvement: one,
        };
        change(&mut row);
        row
    }

    fn trips(row: &Row) -> Trips {
        let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
        let mut trips = Trips::default();
        trips.add(row, row.trip().unwrap(), &zone).unwrap();
        trips
    }

    fn charge(component: &str, amount: &str) -> Alert {
        let charge = json!({"id": component, "type": "charge.line", "vehicle": "trip", "subject": component,
            "details": {"amount": amount}, "event_time_ms": 0, "sequence": 2,
            "plugin": {"name": "pricing", "version": "1.0.0"}});
        serde_json::from_value(charge).unwrap()
    }

    #[test]
    fn a_trip_is_two_readings_as_far_apart_as_its_clocks_say() {
        // Summer time ends on the way.
        let trips = trips(&row(|_| ()));
        let (start, end) = (1_414_897_200_000_i64, 1_414_911_600_000_i64);
        let rows = format!("trip,{start},40.75,-73.98,0,1\ntrip,{end},40.75,-73.98,1609.344,0\n");
        assert_eq!(trips.recording, rows);
        assert_eq!(trips.remark(), "components of 1 trips");
    }

    #[test]
    fn what_readings_cannot_say_is_left_out_and_counted() {
        let backwards = trips(&row(|row| row.dropoff = "2014-11-01 22:00:00".to_owned()));
        assert_eq!((backwards.backwards, backwards.expected().len()), (1, 0));
        let too_far = trips(&row(|row| row.dropoff.clone_from(&row.pickup)));
        assert_eq!(
            too_far.remark(),
            "components of 1 trips; 1 of no time end 1 ms later; 1 go too far for their time: metered fare left out"
        );
        assert_eq!(too_far.expected(), ["trip extra 0.5", "trip improvement 0"]);
    }

    #[test]
    fn nothing_charged_is_not_the_same_as_a_line_of_nothing() {
        let trips = trips(&row(|_| ()));
        let expected = ["trip extra 0.5", "trip improvement 0", "trip fare from 4.5 to 9"];
        assert_eq!(trips.expected(), expected);
        assert_eq!(trips.found(&[charge("extra", "0.50"), charge("fare", "9.00")]).unwrap(), expected);
        assert_eq!(trips.found(&[]).unwrap(), [""; 0]);
        let dearer = trips.found(&[charge("extra", "0.50"), charge("extra", "0.50"), charge("fare", "9.01")]);
        assert_eq!(dearer.unwrap(), ["trip extra 1", "trip improvement 0", "trip fare 9.01"]);
        assert!(trips.found(&[charge("extra", "")]).is_err());
    }
}
