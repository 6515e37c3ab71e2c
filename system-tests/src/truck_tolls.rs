//! The German truck toll of vehicle classes over real section lengths: `pricing_lkw_maut_expected.csv.gz`.
//!
//! A config says which class it is for. So there is one fleet, and the rule's config is swapped for each case before the
//! case's truck drives through its sections.

use crate::alerts::{Alert, Class};
use crate::data;
use crate::fleet::{Fleet, Semantics, Setup};
use crate::programs::Programs;
use anyhow::{Context, Result, bail, ensure};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The tariff as it is shipped.
const CONFIG: &str = include_str!("../../plugins/pricing/configs/lkw_maut.json");
/// A day on which the tariff is in force, 08:00 in Berlin, seconds since the Unix epoch.
const BEGINS_S: u64 = 1_720_677_600;
/// From one section to the next, seconds.
const SECTION_S: u64 = 60;
/// A section's zone is a circle on the road, metres. Circles stand 700 m apart; what a section costs is said by its
/// length and not by its circle.
const RADIUS_M: u32 = 100;
const PLAYED_WITHIN: Duration = Duration::from_secs(60);
const ARRIVED_WITHIN: Duration = Duration::from_secs(120);

/// A case of the reference.
#[derive(Debug, Deserialize)]
struct Case {
    case: String,
    weight_axle_class: String,
    emission_class: String,
    co2_class: String,
    /// Metres, with `;` between them.
    section_lengths_m: String,
    /// The same for what is to be paid.
    expected_section_cents: String,
    expected_total_eur: String,
}

/// What is to be paid, and what was charged: a line for each section, and one for the total of each case.
#[derive(Debug)]
pub struct Tolls {
    /// Cases, and so swaps.
    pub cases: usize,
    /// By the reference.
    pub expected: Vec<String>,
    /// By the charges that a partner reads.
    pub found: Vec<String>,
}

/// Drives every case through a fleet in `scratch`.
///
/// # Errors
/// When the file cannot be read, a row is malformed, or the fleet fails.
pub fn drive(programs: &Programs, directory: &Path, scratch: &Path) -> Result<Tolls> {
    let cases: Vec<Case> = data::records(&directory.join("pricing_lkw_maut_expected.csv.gz"))?;
    let mut fleet = Fleet::start(programs.clone(), scratch, Setup::new(Semantics::Normal))?;
    for case in &cases {
        let path = |ending: &str| scratch.join(format!("{}{ending}", case.case));
        let (config, recording) = (path(".json"), path(".csv"));
        std::fs::write(&config, case.config()?.to_string()).with_context(|| format!("write {}", config.display()))?;
        std::fs::write(&recording, case.recording()).with_context(|| format!("write {}", recording.display()))?;
        fleet.deploy(&programs.pricing(), &config).with_context(|| case.case.clone())?;
        let arguments = ["--recording", &recording.display().to_string(), "--speed", "max"];
        let mut replay = fleet.start_replay(&arguments, &path("-summary.json"))?;
        let status = replay.wait(PLAYED_WITHIN)?;
        ensure!(status.success(), "{}: fleet-replay ended with {status}:\n{}", case.case, replay.log_end());
    }
    fleet.wait_until_delivered(ARRIVED_WITHIN)?;
    let charges = fleet.events(Class::Billing)?;
    fleet.stop()?;
    let mut expected = Vec::new();
    for case in &cases {
        expected.extend(case.expected()?);
    }
    Ok(Tolls { cases: cases.len(), expected, found: found(&charges)? })
}

impl Case {
    fn lengths_m(&self) -> impl Iterator<Item = &str> {
        self.section_lengths_m.split(';')
    }

    /// The shipped tariff for this class, and the case's sections.
    fn config(&self) -> Result<Value> {
        let (weight_t, axles) = lightest_of(&self.weight_axle_class)?;
        let emission_class = if self.emission_class == "EURO_I_or_none" { "none" } else { &self.emission_class };
        let sections = self.lengths_m().enumerate().map(|(number, length_m)| {
            json!({"type": "Feature", "id": section(number),
                "properties": {"radius_m": RADIUS_M, "section_length_m": length_m},
                "geometry": {"type": "Point", "coordinates": [longitude(number + 1), LATITUDE]}})
        });
        let mut config: Value = serde_json::from_str(CONFIG).context("the shipped tariff is not JSON")?;
        config["zones"] = json!({"type": "FeatureCollection", "features": sections.collect::<Vec<_>>()});
        config["vehicle_class"] = json!("case");
        config["vehicle_classes"] = json!([{"id": "case", "attributes": {"weight_t": weight_t, "axles": axles,
            "emission_class": emission_class, "co2_class": self.co2_class}}]);
        Ok(config)
    }

    /// A truck that starts before the first section, reports once in each, and stops behind the last.
    fn recording(&self) -> String {
        let places = self.lengths_m().count() + 2;
        let rows = (0..places).map(|place| {
            let (time, longitude) = (BEGINS_S + SECTION_S * place as u64, longitude(place));
            format!("{},{time},{LATITUDE},{longitude},{}\n", self.case, u8::from(place + 1 < places))
        });
        "vehicle,ts,lat,lon,ignition\n".to_owned() + &rows.collect::<String>()
    }

    fn expected(&self) -> Result<Vec<String>> {
        let decimal = |text: &str| data::decimal(text).with_context(|| self.case.clone());
        let mut lines = Vec::new();
        for (number, cents) in self.expected_section_cents.split(';').enumerate() {
            lines.push(line(&self.case, &section(number), decimal(cents)? / Decimal::ONE_HUNDRED));
        }
        lines.push(line(&self.case, TOTAL, decimal(&self.expected_total_eur)?));
        Ok(lines)
    }
}

/// The same lines from charges.
fn found(charges: &[Alert]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut totals: BTreeMap<&str, Decimal> = BTreeMap::new();
    for charge in charges {
        let text = |name: &str| charge.details[name].as_str().with_context(|| format!("no {name}: {charge:?}"));
        let amount = data::decimal(text("amount")?).with_context(|| format!("{charge:?}"))?;
        lines.push(line(&charge.vehicle, text("section").unwrap_or(&charge.subject), amount));
        *totals.entry(&charge.vehicle).or_default() += amount;
    }
    lines.extend(totals.into_iter().map(|(case, total)| line(case, TOTAL, total)));
    Ok(lines)
}

const TOTAL: &str = "total";
/// Where the road is, degrees.
const LATITUDE: f64 = 51.0;

/// Where a place on the road is, degrees.
fn longitude(place: usize) -> f64 {
    10.0 + place as f64 / 100.0
}

fn section(number: usize) -> String {
    format!("section {}", number + 1)
}

fn line(case: &str, what: &str, euros: Decimal) -> String {
    format!("{case} {what}: {} EUR", euros.normalize())
}

/// The lightest truck of a class of the reference: tonnes and axles.
fn lightest_of(class: &str) -> Result<(&'static str, &'static str)> {
    Ok(match class {
        "gt3.5_lt7.5t" => ("3.501", "2"),
        "7.5_lt12t" => ("7.5", "2"),
        "12_18t" => ("12", "2"),
        "gt18t_le3axles" => ("18.001", "2"),
        "gt18t_4axles" => ("18.001", "4"),
        "gt18t_ge5axles" => ("18.001", "5"),
        other => bail!("the reference has a class {other:?} whose weight is not known here"),
    })
}
