//! Against reference answers made with other software (shapely) from recorded fleets.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use geo::Coord;
use geofence::config::Config;
use plugin_sdk::Reading;

use crate::{new_rows, reading, rule, run, skipped};

/// None, and a word about it, when the data are not there.
fn data(name: &str) -> Option<PathBuf> {
    let directory = match std::env::var_os("DROVER_REFERENCE_DATA") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    let path = directory.join(name);
    if !path.is_file() {
        skipped::note(skipped::REFERENCE_DATA, "set DROVER_REFERENCE_DATA to their directory");
        return None;
    }
    Some(path)
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn table(path: &Path) -> Vec<HashMap<String, String>> {
    let text = text(path);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.unwrap()).collect()
}

fn config(zone_file: &Path) -> String {
    format!(r#"{{"zones":{}}}"#, text(zone_file))
}

/// A vehicle and its fixes: time in milliseconds, longitude, latitude.
type Track = (String, Vec<(i64, f64, f64)>);

/// Of each vehicle the fixes that the reference used, oldest first: no time or 0/0 is dropped, of rows with the same
/// time the first stands.
fn accepted(rows: Vec<HashMap<String, String>>) -> Vec<Track> {
    let mut vehicles: Vec<Track> = Vec::new();
    let mut index_of = HashMap::new();
    for row in rows {
        let time_ms = match (row.get("ts_ms"), row.get("ts")) {
            (Some(ms), _) => ms.parse().ok(),
            (None, Some(s)) => s.parse::<i64>().ok().map(|s| s * 1_000),
            (None, None) => panic!("no column for the time"),
        };
        let (Some(time_ms), lat, lon) = (time_ms, row["lat"].parse().unwrap(), row["lon"].parse().unwrap()) else {
            continue;
        };
        if lat == 0.0 && lon == 0.0 {
            continue;
        }
        let index = *index_of.entry(row["vehicle"].clone()).or_insert_with(|| {
            vehicles.push((row["vehicle"].clone(), Vec::new()));
            vehicles.len() - 1
        });
        vehicles[index].1.push((time_ms, lon, lat));
    }
    for (_, fixes) in &mut vehicles {
        fixes.sort_by_key(|fix| fix.0);
        fixes.dedup_by_key(|fix| fix.0);
    }
    vehicles.sort_by(|one, other| one.0.cmp(&other.0));
    vehicles
}

fn compare(dataset: &str, recording: &str, zones: &str) {
    let (Some(recording), Some(zones), Some(expected)) =
        (data(recording), data(zones), data("expected_geofence.csv.gz"))
    else {
        return;
    };
    let vehicles = accepted(table(&recording));
    let mut readings: Vec<Reading> = Vec::new();
    let mut index_of = HashMap::new();
    for (slot, (_, fixes)) in vehicles.iter().enumerate() {
        for (index, &(time_ms, lon, lat)) in fixes.iter().enumerate() {
            index_of.insert((slot as u32, time_ms), index);
            readings.push(reading(slot as u32, time_ms, lon, lat));
        }
    }
    // As a fleet reports: all vehicles mixed.
    readings.sort_by_key(|it| (it.event_time_ms, it.slot));
    let mut rows = new_rows(vehicles.len());
    let mut events = run(&mut rule(&config(&zones)), &mut rows, &readings, 256);
    events.sort_by_key(|event| event.slot);
    let got: Vec<_> = events
        .into_iter()
        .map(|event| {
            let index = index_of[&(event.slot, event.time_ms)];
            let kind = if event.entered { "enter" } else { "exit" };
            (vehicles[event.slot as usize].0.clone(), event.zone, kind.to_owned(), event.time_ms, index)
        })
        .collect();
    let expected: Vec<_> = table(&expected)
        .into_iter()
        .filter(|row| row["dataset"] == dataset)
        .map(|row| {
            let (time_ms, index) = (row["ts_ms"].parse().unwrap(), row["index"].parse().unwrap());
            (row["vehicle"].clone(), row["zone"].clone(), row["kind"].clone(), time_ms, index)
        })
        .collect();
    println!("{dataset}: {} readings, {} events, {} expected", readings.len(), got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got, expected);
    }
    assert_eq!(got.len(), expected.len());
}

#[test]
fn warsaw_buses_in_their_districts() {
    compare("warsaw", "gps_warsaw_bus.csv.gz", "zones_warsaw_districts.geojson.gz");
}

#[test]
fn new_york_buses_in_taxi_zones() {
    compare("nyc", "gps_nyc_bus.csv.gz", "zones_nyc_taxi.geojson.gz");
}

/// Two of these zones cross themselves.
#[test]
fn copenhagen_drives() {
    compare("copenhagen", "gps_copenhagen_obd.csv.gz", "zones_copenhagen.geojson.gz");
}

#[test]
fn airports_stations_and_corners() {
    let Some(expected) = data("expected_pip.csv.gz") else { return };
    let mut zones = HashMap::new();
    let mut compared = 0;
    for row in table(&expected) {
        let Some(path) = data(&format!("{}.geojson.gz", row["zone_file"])) else { continue };
        let zones =
            &zones.entry(row["zone_file"].clone()).or_insert_with(|| Config::parse(&config(&path)).unwrap()).zones;
        let mut covering = Vec::new();
        zones.find_covering(Coord { x: row["lon"].parse().unwrap(), y: row["lat"].parse().unwrap() }, &mut covering);
        let ids: Vec<&str> = covering.iter().map(|&zone| zones.id(zone)).collect();
        assert_eq!(ids.join(";"), row["zones"], "{row:?}");
        compared += 1;
    }
    println!("expected_pip: {compared} places equal");
}

/// Antarctica's base and whatever the 180th meridian cuts are fine as the files have them.
#[test]
fn zones_as_the_world_has_them_are_accepted() {
    for name in ["copenhagen", "countries_50m", "london_charge", "nyc_taxi", "warsaw_districts"] {
        let Some(path) = data(&format!("zones_{name}.geojson.gz")) else { continue };
        if let Err(error) = Config::parse(&config(&path)) {
            panic!("{name}: {error}");
        }
    }
}
