//! Nanoseconds per reading, natively, on recorded fleets:
//! `cargo run -p pricing --release --example speed -- RECORDING.csv.gz ZONES.geojson.gz`
//! (columns `vehicle`, `ts` or `ts_ms`, `lat`, `lon`). Trips are by motion, with a price for distance and waiting.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Read;
use std::time::Instant;

use flate2::read::GzDecoder;
use plugin_sdk::{Proposals, Reading, Rows, Rule};
use pricing::Pricing;

const BATCH: usize = 256;
const ROUNDS: usize = 5;
const TARIFFS: &str = r#"[{"id":"t","currency":"PLN","components":[
    {"id":"km","measure":"distance","segments":[{"rate":"1.50","interval":"1"}]},
    {"id":"wait","measure":"waiting_time","segments":[{"rate":"0.35","interval":"1","due":"prorated"}]}]}]"#;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(recording), Some(zones)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: speed RECORDING.csv.gz ZONES.geojson.gz");
        std::process::exit(2);
    };
    let zones = text(&zones);
    let config = format!(r#"{{"zones":{zones},"trip":{{"opens_by":"motion","idle_s":120}},"tariffs":{TARIFFS}}}"#);
    let mut rule = Pricing::configure(&config).unwrap();
    let (readings, vehicles) = readings(&text(&recording));
    // The best of each batch over the rounds: what other programs take from the machine does not count.
    let mut best_ns = vec![u128::MAX; readings.len().div_ceil(BATCH)];
    let mut events = 0;
    for _ in 0..ROUNDS {
        let mut rows = Rows::zeroed(vehicles, Pricing::describe().row_bytes);
        events = 0;
        for (batch, best_ns) in readings.chunks(BATCH).zip(&mut best_ns) {
            let mut proposals = Proposals::new();
            let started = Instant::now();
            rule.evaluate(batch, &mut rows, &mut proposals).unwrap();
            *best_ns = started.elapsed().as_nanos().min(*best_ns);
            events += proposals.as_slice().len();
        }
    }
    let ns = best_ns.iter().sum::<u128>() / readings.len() as u128;
    println!("{} readings of {vehicles} vehicles, {events} events: {ns} ns a reading", readings.len());
}

fn text(path: &str) -> String {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// In the order of their times, as a fleet reports.
fn readings(text: &str) -> (Vec<Reading>, usize) {
    let mut slots = HashMap::new();
    let mut readings = Vec::new();
    for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
        let row: HashMap<String, String> = row.unwrap();
        let (time, unit_ms) = match row.get("ts_ms") {
            Some(time) => (time, 1),
            None => (&row["ts"], 1_000),
        };
        let Ok(time) = time.parse::<i64>() else { continue };
        let next = slots.len() as u32;
        let slot = *slots.entry(row["vehicle"].clone()).or_insert(next);
        let fix = Reading::fix(time * unit_ms, row["lat"].parse().unwrap(), row["lon"].parse().unwrap());
        readings.push(Reading { vehicle: u64::from(slot), slot, ..fix });
    }
    readings.sort_by_key(|it| (it.event_time_ms, it.slot));
    (readings, slots.len())
}
