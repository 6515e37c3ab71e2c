//! Against charges of the real world and answers made with other software.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use pricing::charge::{Charge, charge};
use pricing::config::Config;
use pricing::usage::{Section, Trip};
use rust_decimal::Decimal;

use crate::{LKW_MAUT, NYC, skipped};

type Row = HashMap<String, String>;

/// None, and a word about it, when the data are not there.
fn table(name: &str) -> Option<Vec<Row>> {
    let directory = match std::env::var_os("DROVER_REFERENCE_DATA") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    let path = directory.join(name);
    if !path.is_file() {
        skipped::note(skipped::REFERENCE_DATA, "set DROVER_REFERENCE_DATA to their directory");
        return None;
    }
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    Some(csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.unwrap()).collect())
}

/// A decimal of the data; some were written by software with binary floating point, as 0.80000000000000004.
fn decimal(text: &str) -> Decimal {
    text.parse::<Decimal>().unwrap().round_dp(4)
}

fn instant_ms(text: &str, zone: &TimeZone) -> i64 {
    let local: DateTime = text.parse().unwrap();
    local.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond()
}

/// A trip of the data. It lasts as long as the clocks at its ends say, which is how the reference's bounds were made: a
/// trip over the end of summer time would otherwise have an hour that they lack.
fn taxi_trip(row: &Row, zone: &TimeZone) -> Trip {
    let attribute = |name: &str, column: &str| (name.to_owned(), row[column].clone());
    let start_ms = instant_ms(&row["pickup"], zone);
    let clock = |column: &str| row[column].parse::<DateTime>().unwrap();
    let clock_ms = clock("dropoff").duration_since(clock("pickup")).as_millis() as i64;
    Trip {
        start_ms,
        end_ms: start_ms + clock_ms.max(0),
        distance_m: decimal(&row["distance_mi"]) * Decimal::new(1_609_344, 3),
        attributes: BTreeMap::from([
            attribute("rate_code", "rate_code"),
            attribute("service", "service"),
            attribute("pickup_zone", "pu_zone"),
            attribute("dropoff_zone", "do_zone"),
        ]),
        given: BTreeMap::from([("tolls".to_owned(), decimal(&row["tolls"]))]),
        ..Trip::default()
    }
}

/// Every component of which the data say what the rules of New York ask for, wherever that was charged.
#[test]
fn taxi_trips_of_new_york() {
    let Some(rows) = table("pricing_nyc_taxi_trips.csv.gz") else { return };
    let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
    let config = Config::parse(NYC).unwrap();
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in &rows {
        let Some(made) = charge(&config, &taxi_trip(row, &zone)).unwrap() else { continue };
        let columns = [
            ("extra", "exp_extra_std", "m_extra", "extra"),
            ("mta_tax", "exp_mta_tax", "m_mta", "mta_tax"),
            ("improvement", "exp_improvement", "m_improvement", "improvement"),
            ("fare", "exp_flat_fare", "m_fare", "fare"),
        ];
        for (component, expected, matches, charged) in columns {
            if row[matches] != "1" || row[expected].is_empty() {
                continue;
            }
            *compared.entry(expected).or_default() += 1;
            let amount = made.amount(component);
            let charged = if row[charged].is_empty() { Decimal::ZERO } else { decimal(&row[charged]) };
            if amount != decimal(&row[expected]) || amount != charged {
                wrong.push(format!("{} {component}: {amount}, not {}", row["trip_id"], row[expected]));
            }
        }
        *compared.entry("tolls").or_default() += 1;
        if made.amount("tolls") != decimal(&row["tolls"]) {
            wrong.push(format!("{} tolls: {}, not {}", row["trip_id"], made.amount("tolls"), row["tolls"]));
        }
    }
    println!("components compared: {compared:?}, wrong: {}", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared["exp_extra_std"] > 1_000 && compared["exp_flat_fare"] > 10);
}

/// A metered fare depends on how long the taxi was slow, which the data do not say: they have the least and the most.
#[test]
fn metered_fares_of_new_york() {
    let Some(rows) = table("pricing_nyc_taxi_trips.csv.gz") else { return };
    let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
    let config = Config::parse(NYC).unwrap();
    let most = Config::parse(MOST).unwrap();
    let (mut compared, mut exact, mut wrong) = (0, 0, Vec::new());
    for row in rows.iter().filter(|row| row["m_fare"] == "1" && !row["fare_lo"].is_empty()) {
        compared += 1;
        let fare = |config: &Config, trip: &Trip| charge(config, trip).unwrap().unwrap().amount("fare");
        let never_slow = taxi_trip(row, &zone);
        let slow_for = |waiting_ms| Trip { waiting_ms, ..never_slow.clone() };
        let duration_ms = never_slow.duration_ms();
        let (low, high) = (decimal(&row["fare_lo"]), decimal(&row["fare_hi"]));
        if fare(&config, &never_slow) != low {
            wrong.push(format!("{}: {} when never slow, not {low}", row["trip_id"], fare(&config, &never_slow)));
        }
        if fare(&most, &slow_for(duration_ms)) != high {
            wrong.push(format!("{}: {} at most, not {high}", row["trip_id"], fare(&most, &slow_for(duration_ms))));
        }
        let charged = decimal(&row["fare"]);
        let always = fare(&config, &slow_for(duration_ms));
        if always < low || always > high || charged < low || charged > high {
            wrong.push(format!("{}: {always} and {charged} are not in {low} to {high}", row["trip_id"]));
        }
        // The fare rises with the slow time: is there one that gives the fare that was charged?
        let (mut from, mut to) = (0, duration_ms);
        while from < to {
            let middle = (from + to) / 2;
            if fare(&config, &slow_for(middle)) < charged { from = middle + 1 } else { to = middle }
        }
        exact += usize::from(fare(&config, &slow_for(from)) == charged);
    }
    println!(
        "metered fares compared: {compared}, exact for some slow time: {exact}, outside the bounds: {}",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(exact * 100 >= compared * 99, "{exact} of {compared}");
}

/// The reference's upper bound: every step begun counts, and one more.
const MOST: &str = r#"{"time_zone": "America/New_York", "tariffs": [
    {"id": "2009", "currency": "USD", "valid_through": "2012-09-03", "components": [
        {"id": "fare", "measure": "meter", "meter": {"distance": "0.2", "unit": "mi", "waiting_min": "1"},
         "quantity_rounding": {"mode": "up", "increment": "1"}, "price": "2.90",
         "rates": [{"id": "steps", "rows": [{"rate": "0.40"}]}]}]},
    {"id": "2012", "currency": "USD", "components": [
        {"id": "fare", "measure": "meter", "meter": {"distance": "0.2", "unit": "mi", "waiting_min": "1"},
         "quantity_rounding": {"mode": "up", "increment": "1"}, "price": "3.00",
         "rates": [{"id": "steps", "rows": [{"rate": "0.50"}]}]}]}]}"#;

/// The zones of the congestion surcharge are told by the data only through what was charged, and not always was.
#[test]
fn congestion_surcharge_of_new_york() {
    let Some(rows) = table("pricing_nyc_taxi_trips.csv.gz") else { return };
    let zone = TimeZoneDatabase::bundled().get("America/New_York").unwrap();
    let config = Config::parse(NYC).unwrap();
    let (mut compared, mut same) = (0, 0);
    for row in rows.iter().filter(|row| !row["congestion"].is_empty()) {
        if let Some(made) = charge(&config, &taxi_trip(row, &zone)).unwrap() {
            compared += 1;
            same += usize::from(made.amount("congestion") == decimal(&row["congestion"]));
        }
    }
    println!("congestion surcharge compared: {compared}, same: {same}");
    assert!(same * 100 >= compared * 97, "{same} of {compared}");
}

/// What the data's classes mean in tonnes and axles: the heaviest and the lightest of each.
fn weights_and_axles(class: &str) -> [(&'static str, &'static str); 2] {
    match class {
        "gt3.5_lt7.5t" => [("3.501", "2"), ("7.499", "3")],
        "7.5_lt12t" => [("7.5", "2"), ("11.999", "3")],
        "12_18t" => [("12", "2"), ("18", "5")],
        "gt18t_le3axles" => [("18.001", "2"), ("26", "3")],
        "gt18t_4axles" => [("18.001", "4"), ("32", "4")],
        "gt18t_ge5axles" => [("18.001", "5"), ("40", "6")],
        other => panic!("class {other}"),
    }
}

#[test]
fn truck_tolls_of_germany() {
    let Some(rows) = table("pricing_lkw_maut_expected.csv.gz") else { return };
    let config = Config::parse(LKW_MAUT).unwrap();
    let zone = TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
    let start_ms = instant_ms("2024-07-01T00:00:00", &zone);
    let (mut cases, mut sections) = (0, 0);
    for row in &rows {
        for (weight, axles) in weights_and_axles(&row["weight_axle_class"]) {
            let emission = match row["emission_class"].as_str() {
                "EURO_I_or_none" => "EURO_I",
                other => other,
            };
            let attributes = [
                ("weight_t", weight),
                ("axles", axles),
                ("emission_class", emission),
                ("co2_class", row["co2_class"].as_str()),
            ];
            let lengths = row["section_lengths_m"].split(';').map(|length| Section {
                length_m: decimal(length),
                entered_ms: start_ms,
                ..Section::default()
            });
            let trip = Trip {
                start_ms,
                end_ms: start_ms,
                sections: lengths.collect(),
                attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                ..Trip::default()
            };
            let made: Charge = charge(&config, &trip).unwrap().unwrap();
            let cents: Vec<String> =
                made.lines.iter().map(|line| (line.amount * Decimal::ONE_HUNDRED).normalize().to_string()).collect();
            assert_eq!(
                cents.join(";"),
                row["expected_section_cents"],
                "{} with {weight} t, {axles} axles",
                row["case"]
            );
            assert_eq!(made.total(), decimal(&row["expected_total_eur"]), "{}", row["case"]);
            cases += 1;
            sections += cents.len();
        }
    }
    println!("tolls compared: {cases} cases, {sections} sections, all equal");
    assert!(cases > 0);
}
