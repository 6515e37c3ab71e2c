//! The rule as the host sees it: batches in, proposals out.

use std::fmt::Write as _;

use geo::Point;
use plugin_sdk::{Description, Proposal, Proposals, Reading, Rows, Rule, log};
use rust_decimal::Decimal;

use crate::charge::{self, Charge, Line, PLACES};
use crate::config::{Config, SCHEMA};
use crate::state::{OpenTrip, ROW_BYTES, State, VERSION, ZONES_MAX, fits};
use crate::tariff::{MAXIMUM, MINIMUM, ROUNDING, Tariff};
use crate::trip::{Fix, Machine, Sink, Step};
use crate::usage::Trip;

/// Codes of the kinds of events.
pub mod kind {
    /// Something costs this much: final.
    pub const CHARGE_LINE: u32 = 1;
    /// Something that was charged costs this much more or less.
    pub const CHARGE_ADJUSTED: u32 = 2;
    /// A trip was out of the bounds of a policy, or could not be judged.
    pub const POLICY_VIOLATION: u32 = 3;
}

/// The subject of the violation of a trip for which no tariff is valid.
pub const NO_TARIFF: &str = "no-tariff";
/// The subject of the violation of a trip that touched more zones than a row has slots.
pub const TOO_MANY_ZONES: &str = "too-many-zones";
/// The subject of an adjustment of a whole trip, where its lines can't be compared.
pub const TOTAL: &str = "total";

/// Stands between component and section in the subject of a section's line; no component's id has it.
pub const SECTION_MARK: char = '/';

/// The pricing rule with its config.
pub struct Pricing {
    config: Config,
    /// Kept between readings to save allocations.
    covering: Vec<u32>,
    has_warned: bool,
}

impl Rule for Pricing {
    fn describe() -> Description {
        // A rebuilt plugin may call itself by another version.
        let version = option_env!("DROVER_PLUGIN_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"));
        Description::pricing("pricing", version).with_state(VERSION, ROW_BYTES as u32).with_config(SCHEMA)
    }

    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { config: Config::parse(config)?, covering: Vec::new(), has_warned: false })
    }

    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, reading) in readings.iter().enumerate() {
            let place = Point::new(reading.longitude, reading.latitude);
            // A fix that is not usable leaves everything as it is. An accuracy that was not reported is NaN, and passes.
            let too_vague = f64::from(reading.horizontal_accuracy) > self.config.trip.max_accuracy_m;
            if too_vague || !place.x().is_finite() || !place.y().is_finite() {
                continue;
            }
            let row = rows.of(reading);
            let mut state = State::read(row)?;
            self.config.zones.find_covering(place, &mut self.covering);
            let fix = Fix {
                time_ms: reading.event_time_ms,
                latitude: reading.latitude,
                longitude: reading.longitude,
                odometer: reading.odometer,
                speed: reading.speed,
                ignition: reading.ignition(),
                covering: &self.covering,
            };
            let machine =
                Machine { settings: &self.config.trip, zones: &self.config.zones, config_key: self.config.key };
            let mut cashier = Cashier { config: &self.config, index, reading, proposals, overflowed: false };
            machine.apply(&mut state, &fix, &mut cashier)?;
            if cashier.overflowed && !self.has_warned {
                self.has_warned = true;
                log::warn(&format!(
                    "a trip touched more than {ZONES_MAX} zones: vehicle {}, reading {}; this is said once",
                    reading.vehicle, reading.sequence
                ));
            }
            state.write(row);
        }
        Ok(())
    }
}

/// Turns what has happened into proposals.
struct Cashier<'a> {
    config: &'a Config,
    index: usize,
    reading: &'a Reading,
    proposals: &'a mut Proposals,
    overflowed: bool,
}

impl Sink for Cashier<'_> {
    fn take(&mut self, step: Step, open: &mut OpenTrip) -> Result<(), String> {
        match step {
            Step::Section { trip, section, left_ms } => {
                // Without a tariff the closing tells so, once for the whole trip.
                let Some(index) = self.tariff_of(open, &trip) else { return Ok(()) };
                let tariff = &self.config.tariffs[index];
                for line in charge::section_lines(self.config, index, &trip, &section)? {
                    self.propose_line(tariff, &trip, &line, left_ms);
                }
                Ok(())
            }
            Step::Closed { trip } => {
                if open.overflowed {
                    self.overflowed = true;
                    self.propose_violation(&trip, TOO_MANY_ZONES, "");
                }
                match self.tariff_of(open, &trip) {
                    Some(index) => self.settle(index, &trip, open),
                    None => {
                        self.propose_violation(&trip, NO_TARIFF, "");
                        Ok(())
                    }
                }
            }
        }
    }
}

impl Cashier<'_> {
    /// The tariff by which the trip was already charged, if it was, or else the one that is valid for it.
    fn tariff_of(&self, open: &OpenTrip, trip: &Trip) -> Option<usize> {
        let same_config = open.config_key == self.config.key;
        let charged = open.tariff.map(usize::from).filter(|_| same_config);
        charged.or_else(|| charge::choose(self.config, trip))
    }

    /// Charges a trip that is over, or what has changed of it since it was charged.
    fn settle(&mut self, index: usize, trip: &Trip, open: &mut OpenTrip) -> Result<(), String> {
        let config = self.config;
        let tariff = &config.tariffs[index];
        let charge = charge::trip_charge(config, index, trip)?;
        if let Some(line) = charge.lines.iter().find(|line| !fits(line.amount)) {
            return Err(format!("{}: {} is too much to be kept", line.component, line.amount));
        }
        let becomes = amounts(&charge);
        if open.tariff.is_none() {
            for line in &charge.lines {
                self.propose_line(tariff, trip, line, trip.end_ms);
            }
        } else if open.config_key == config.key {
            for place in (0..PLACES).filter(|&place| becomes[place] != open.charged[place]) {
                let component = component_at(tariff, place);
                self.propose_correction(tariff, trip, component, open.charged[place], becomes[place]);
            }
        } else {
            // Charged under another config, whose lines are no longer known: only the sums can be compared.
            let (was, sum) = (open.charged.iter().sum(), becomes.iter().sum());
            if was != sum {
                self.propose_correction(tariff, trip, TOTAL, was, sum);
            }
        }
        open.tariff = u8::try_from(index).ok();
        open.charged = becomes;
        for violation in &charge.violations {
            let mut more = String::new();
            let _ = write!(
                more,
                r#","rule":{},"measured":"{}","unit":"{}","bound":"{}""#,
                quoted(&violation.rule),
                violation.measured,
                violation.unit,
                violation.bound
            );
            self.propose_violation(trip, &violation.policy, &more);
        }
        Ok(())
    }

    fn propose_line(&mut self, tariff: &Tariff, trip: &Trip, line: &Line, time_ms: i64) {
        let mut details = self.beginning(tariff, trip, line.amount, &line.component);
        if let Some((quantity, unit)) = line.quantity {
            let _ = write!(details, r#","quantity":"{quantity}","unit":"{unit}""#);
        }
        let mut subject = line.component.clone();
        if let Some(section) = &line.section {
            let _ = write!(details, r#","section":{}"#, quoted(section));
            // The host takes two events of one reading, kind and subject for one event: a reading can pass two sections.
            subject = format!("{subject}{SECTION_MARK}{section}");
        }
        self.push(kind::CHARGE_LINE, time_ms, &subject, details);
    }

    fn propose_correction(&mut self, tariff: &Tariff, trip: &Trip, component: &str, was: Decimal, becomes: Decimal) {
        let mut details = self.beginning(tariff, trip, becomes - was, component);
        let (was, becomes) = (shown(tariff, was), shown(tariff, becomes));
        let _ = write!(details, r#","was":"{was}","becomes":"{becomes}""#);
        self.push(kind::CHARGE_ADJUSTED, trip.end_ms, component, details);
    }

    fn beginning(&self, tariff: &Tariff, trip: &Trip, amount: Decimal, component: &str) -> String {
        format!(
            r#"{{"amount":"{}","currency":"{}","component":{},"tariff":{},"trip":"{}-{}""#,
            shown(tariff, amount),
            tariff.currency,
            quoted(component),
            quoted(&tariff.id),
            self.reading.vehicle,
            trip.start_ms
        )
    }

    /// `more` is further members, each with a comma before it.
    fn propose_violation(&mut self, trip: &Trip, subject: &str, more: &str) {
        let details = format!(r#"{{"trip":"{}-{}"{more}"#, self.reading.vehicle, trip.start_ms);
        self.push(kind::POLICY_VIOLATION, trip.end_ms, subject, details);
    }

    fn push(&mut self, kind: u32, event_time_ms: i64, subject: &str, mut details: String) {
        details.push('}');
        self.proposals.push(Proposal {
            reading: self.index as u32,
            kind,
            event_time_ms,
            value: f64::NAN,
            subject: subject.to_owned(),
            details: Some(details),
        });
    }
}

/// With at least the decimals that the tariff rounds to.
fn shown(tariff: &Tariff, amount: Decimal) -> Decimal {
    let mut amount = amount.normalize();
    amount.rescale(amount.scale().max(tariff.rounding.increment.0.scale()));
    amount
}

fn amounts(charge: &Charge) -> [Decimal; PLACES] {
    let mut amounts = [Decimal::ZERO; PLACES];
    for line in &charge.lines {
        amounts[line.place] += line.amount;
    }
    amounts
}

fn component_at(tariff: &Tariff, place: usize) -> &str {
    let policies = tariff.components.len();
    match (tariff.components.get(place), place.checked_sub(policies).and_then(|it| tariff.policies.get(it))) {
        (Some(component), _) => &component.id,
        (None, Some(policy)) => &policy.id,
        (None, None) => match PLACES - place {
            3 => MINIMUM,
            2 => MAXIMUM,
            _ => ROUNDING,
        },
    }
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
