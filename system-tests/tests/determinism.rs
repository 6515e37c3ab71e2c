//! A rule says the same wherever and whenever it sees the same readings: in the depot, in the cloud over the cloud's own
//! log, and in the depot of another fleet that gets them in other messages.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use system_tests::fleet::{DEPLOYMENT, Setup};
use system_tests::scenario::{Flow, Scenario, play};
use system_tests::{Fleet, Programs, data, obd_drives, taxi_trips};

/// Events that a preview lists.
const LISTED_MAX: usize = 100;
/// Previews that are looked at event by event, of as many vehicles as a list holds: each goes over the whole log.
const LISTS_MAX: usize = 10;

fn says_the_same_everywhere(programs: &Programs, scenario: &Scenario) -> Result<()> {
    let (depot, another) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let here = played(programs, scenario, depot.path())?;
    ensure!(!here.is_empty(), "nothing was decided");
    derived_in_the_cloud(programs, scenario, depot.path(), &here)?;
    // Other sessions and other messages: batches are cut elsewhere.
    let arguments = ["--sessions", "3", "--readings-per-message", "40"].map(str::to_owned).to_vec();
    let there = played(programs, &Scenario { replay_arguments: arguments, ..scenario.clone() }, another.path())?;
    let (here, there) = (lasting(&here)?, lasting(&there)?);
    let differing = here.iter().zip(&there).find(|(here, there)| here != there);
    ensure!(differing.is_none() && here.len() == there.len(), "{differing:#?}, {} and {}", here.len(), there.len());
    Ok(())
}

/// Plays, and answers the lines that the partner got.
fn played(programs: &Programs, scenario: &Scenario, directory: &Path) -> Result<Vec<String>> {
    let outcome = play(programs, scenario, directory, &|_| {}, &mut |_, _| Ok(Flow::On))?;
    outcome.check_promises()?;
    let lines = std::fs::read_to_string(directory.join("alerts.ndjson"))?;
    Ok(lines.lines().map(str::to_owned).collect())
}

/// The lines without what depends on when they were received and stored, in an order of their own.
fn lasting(lines: &[String]) -> Result<Vec<String>> {
    let cut = |line: &str, name: &str| -> Result<String> {
        let (before, rest) =
            line.split_once(&format!("\"{name}\":\"")).with_context(|| format!("no {name}: {line}"))?;
        let (_, after) = rest.split_once('"').with_context(|| line.to_owned())?;
        Ok(format!("{before}{after}"))
    };
    let mut lasting: Vec<String> =
        lines.iter().map(|line| cut(&cut(line, "received_time")?, "cursor")).collect::<Result<_>>()?;
    lasting.sort();
    Ok(lasting)
}

/// Starts the fleet anew, and lets its cloud derive the events from its log.
fn derived_in_the_cloud(programs: &Programs, scenario: &Scenario, directory: &Path, lines: &[String]) -> Result<()> {
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let fleet = Fleet::start(programs.clone(), directory, Setup::new(scenario.semantics))?;
    let preview = |more: &[&str]| -> Result<Value> {
        let mut command = fleet.drover();
        command.args(["plugin", "preview"]).arg(scenario.plugin.clone().unwrap_or_else(|| programs.geofence()));
        command.arg("--config").arg(directory.join("rule.json")).arg("--json").args(more);
        Ok(serde_json::from_str(&fleet.run(&mut command)?)?)
    };

    let against = preview(&["--against", DEPLOYMENT])?;
    let differing = ["added", "removed", "moved", "changed"].map(|name| &against[name]["count"]);
    ensure!(differing == [&json!(0); 4], "{against}");
    ensure!(against["same"] == events.len(), "{} here, {} in the cloud", events.len(), against["same"]);
    ensure!(against["candidate"]["failed"] == 0, "{against}");
    for event in &events {
        ensure!(event["plugin"]["hash"] == against["candidate"]["hash"], "{event}");
    }

    let lists = lists(&events);
    ensure!(!lists.is_empty(), "no vehicle has so few events that a preview lists them all");
    for (vehicles, expected) in lists {
        let arguments: Vec<&str> = vehicles.iter().flat_map(|vehicle| ["--vehicle", *vehicle]).collect();
        let derived = preview(&arguments)?;
        let listed = derived["added"]["first"].as_array().context("a list")?;
        let mut derived: Vec<String> = listed.iter().map(what_it_says).collect();
        derived.sort();
        ensure!(derived == expected, "{derived:#?}\n{expected:#?}");
    }
    fleet.stop()
}

/// Vehicles whose events together fit into a list, and these events. One that has more alone is only counted.
fn lists(events: &[Value]) -> Vec<(Vec<&str>, Vec<String>)> {
    let mut by_vehicle: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for event in events {
        by_vehicle.entry(event["vehicle"].as_str().unwrap_or_default()).or_default().push(what_it_says(event));
    }
    let mut lists: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for (vehicle, events) in by_vehicle.into_iter().filter(|(_, events)| events.len() <= LISTED_MAX) {
        match lists.last_mut().filter(|(_, listed)| listed.len() + events.len() <= LISTED_MAX) {
            Some((vehicles, listed)) => {
                vehicles.push(vehicle);
                listed.extend(events);
            }
            None => lists.push((vec![vehicle], events)),
        }
    }
    lists.truncate(LISTS_MAX);
    lists.iter_mut().for_each(|(_, listed)| listed.sort());
    lists
}

/// What a preview tells of an event, too.
fn what_it_says(event: &Value) -> String {
    ["type", "vehicle", "event_time", "subject", "value", "details"].map(|name| event[name].to_string()).join(" ")
}

fn geofence(recording: &str, zones: &str) -> Result<()> {
    let Some(directory) = data::directory_or_skip()? else { return Ok(()) };
    let scenario = Scenario { swap: None, ..Scenario::reference(directory.join(recording), directory.join(zones)) };
    says_the_same_everywhere(&Programs::beside_this_test()?, &scenario)
}

#[test]
fn the_geofence_over_warsaws_buses() -> Result<()> {
    geofence("gps_warsaw_bus.csv.gz", "zones_warsaw_districts.geojson.gz")
}

#[test]
fn the_geofence_over_new_yorks_buses() -> Result<()> {
    geofence("gps_nyc_bus.csv.gz", "zones_nyc_taxi.geojson.gz")
}

#[test]
fn the_geofence_over_copenhagens_cars() -> Result<()> {
    geofence("gps_copenhagen_obd.csv.gz", "zones_copenhagen.geojson.gz")
}

#[test]
fn maintenance_over_a_cars_drives() -> Result<()> {
    let Some(directory) = data::directory_or_skip()? else { return Ok(()) };
    let (programs, scratch) = (Programs::beside_this_test()?, tempfile::tempdir()?);
    says_the_same_everywhere(&programs, &obd_drives::scenario(&programs, &directory, scratch.path())?)
}

#[test]
fn pricing_over_new_yorks_taxis() -> Result<()> {
    let Some(directory) = data::directory_or_skip()? else { return Ok(()) };
    let (programs, scratch) = (Programs::beside_this_test()?, tempfile::tempdir()?);
    for (rate_code, trips) in taxi_trips::read(&directory)? {
        says_the_same_everywhere(&programs, &trips.scenario(&programs, &rate_code, scratch.path())?)?;
    }
    Ok(())
}
