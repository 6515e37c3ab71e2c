//! `cargo xtask reference`: every comparison with reference answers that the project knows, through the real processes.

use crate::{build, setup, workspace};
use anyhow::{Context, Result, bail};
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use system_tests::alerts::Alert;
use system_tests::obd_drives;
use system_tests::reference::{Comparison, compare, expected_places, expected_transitions, transitions};
use system_tests::scenario::{Flow, Scenario, play};
use system_tests::{Programs, data};

/// Differences that are printed; the rest is counted.
const DIFFERENCES_SHOWN: usize = 10;

/// Compare with reference answers through the real processes: a line a file, and an error on any difference.
///
/// DIR holds recordings, zones and expected answers under the names that docs/reference-data.md lists; files that are
/// not there are skipped and said to be. Without DIR: ../shared/data, or $DROVER_REFERENCE_DATA.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the reference data are
    directory: Option<PathBuf>,
}

/// A recording, its zones, and its name in `expected_geofence.csv.gz`.
const RECORDINGS: [(&str, &str, &str); 3] = [
    ("warsaw", "gps_warsaw_bus.csv.gz", "zones_warsaw_districts.geojson.gz"),
    ("nyc", "gps_nyc_bus.csv.gz", "zones_nyc_taxi.geojson.gz"),
    ("copenhagen", "gps_copenhagen_obd.csv.gz", "zones_copenhagen.geojson.gz"),
];

/// Runs the comparisons.
pub(crate) fn run(args: &Args) -> Result<()> {
    let named = args.directory.clone().map_or_else(data::directory, |directory| Ok(Some(directory)))?;
    let Some(directory) = named else {
        bail!("there are no reference data: name a directory, or set {}", data::DATA_VARIABLE);
    };
    if !directory.is_dir() {
        bail!("{} is no directory", directory.display());
    }
    setup::ensure()?;
    let programs = build::programs()?;
    println!("{:<42} {:>9} {:>9}", "", "compared", "equal");
    let mut table = Table::default();
    geofence(&programs, &directory, &mut table)?;
    places(&programs, &directory, &mut table)?;
    obd_drives(&programs, &directory, &mut table)?;
    native(&directory, &mut table)?;
    if table.ran == 0 {
        bail!("{} holds nothing that could be compared", directory.display());
    }
    if !table.differing.is_empty() {
        bail!("{} differ from the reference", table.differing.join(", "));
    }
    println!("all equal");
    Ok(())
}

/// What is printed, a line a comparison.
#[derive(Default)]
struct Table {
    ran: usize,
    differing: Vec<String>,
}

impl Table {
    /// Prints that something is not there, if it is not.
    fn can_run(&self, name: &str, files: &[&Path]) -> bool {
        let absent = files.iter().find(|path| !path.exists());
        if let Some(absent) = absent {
            println!("{name:<42} skipped: {} is not there", absent.display());
        }
        absent.is_none()
    }

    fn add<R: Display>(&mut self, name: &str, comparison: &Comparison<R>) {
        self.ran += 1;
        println!("{name:<42} {:>9} {:>9}", comparison.compared, comparison.equal);
        show("missing", &comparison.missing);
        show("surplus", &comparison.surplus);
        if !comparison.is_exact() {
            self.differing.push(name.to_owned());
        }
    }
}

/// Enters and exits of recorded vehicles, with the rule swapped half way.
fn geofence(programs: &Programs, directory: &Path, table: &mut Table) -> Result<()> {
    let expected = directory.join("expected_geofence.csv.gz");
    for (dataset, recording, zones) in RECORDINGS {
        let name = format!("expected_geofence.csv.gz: {dataset}");
        let (recording, zones) = (directory.join(recording), directory.join(zones));
        if table.can_run(&name, &[&expected, &recording, &zones]) {
            let found = transitions(&played(programs, &name, &Scenario::reference(recording, zones))?);
            table.add(&name, &compare(&expected_transitions(directory, dataset)?, &found));
        }
    }
    Ok(())
}

/// Zones that cover places: each place is a vehicle that reports once.
fn places(programs: &Programs, directory: &Path, table: &mut Table) -> Result<()> {
    if !table.can_run("expected_pip.csv.gz", &[&directory.join("expected_pip.csv.gz")]) {
        return Ok(());
    }
    for (zone_file, places) in expected_places(directory)? {
        let name = format!("expected_pip.csv.gz: {zone_file}");
        let zones = directory.join(format!("{zone_file}.geojson.gz"));
        if table.can_run(&name, &[&zones]) {
            let mut recording = tempfile::Builder::new().suffix(".csv").tempfile().context("a temporary file")?;
            recording.write_all(places.recording.as_bytes()).context("write a temporary file")?;
            let scenario = Scenario { swap: None, ..Scenario::reference(recording.path().to_owned(), zones) };
            let found = transitions(&played(programs, &name, &scenario)?);
            table.add(&name, &compare(&places.expected, &found));
        }
    }
    Ok(())
}

/// Runs of thresholds in drives recorded from a car, through the maintenance rule.
fn obd_drives(programs: &Programs, directory: &Path, table: &mut Table) -> Result<()> {
    let name = "expected_obd_rules.csv";
    if !table.can_run(name, &[&directory.join(name), &directory.join("obd_carobd.csv.gz")]) {
        return Ok(());
    }
    let scratch = tempfile::Builder::new().prefix("drover-reference-").tempdir().context("a temporary directory")?;
    let scenario = obd_drives::scenario(programs, directory, scratch.path())?;
    let found = obd_drives::found(&played(programs, name, &scenario)?);
    table.add(name, &compare(&obd_drives::expected(directory)?, &found));
    Ok(())
}

/// What no partner is told in the reference's terms - how long an engine lives, what a section costs - is compared with
/// what the rule's own code says, by the rule's tests.
fn native(directory: &Path, table: &mut Table) -> Result<()> {
    let comparisons = [
        ("pdm_cmapss_fd001_rul.csv", "pdm_cmapss_fd001_test.csv.gz", "maintenance", "remaining_life_of", "RMSE"),
        ("pricing_lkw_maut_expected.csv.gz", "pricing_lkw_maut_rates.csv", "pricing", "truck_tolls", "compared"),
        ("pricing_nyc_taxi_trips.csv.gz", "pricing_nyc_taxi_trips.csv.gz", "pricing", "of_new_york", "compared"),
    ];
    for (name, other, test, filter, told) in comparisons {
        if !table.can_run(name, &[&directory.join(name), &directory.join(other)]) {
            continue;
        }
        let mut cargo = workspace::cargo();
        cargo.args(["test", "--quiet", "--workspace", "--test", test, filter, "--", "--nocapture", "--test-threads=1"]);
        let said = workspace::output(cargo.env(data::DATA_VARIABLE, directory))?;
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(told)).collect();
        anyhow::ensure!(!lines.is_empty(), "{name}: the test of {test} says nothing of {told}");
        for line in lines {
            println!("{name:<42} {}", line.trim_start_matches('.'));
        }
        table.ran += 1;
    }
    Ok(())
}

/// Plays through edge and cloud; what a partner received.
fn played(programs: &Programs, name: &str, scenario: &Scenario) -> Result<Vec<Alert>> {
    let scratch = tempfile::Builder::new().prefix("drover-reference-").tempdir().context("a temporary directory")?;
    let outcome = play(programs, scenario, scratch.path(), &|_| {}, &mut |_, _| Ok(Flow::On));
    let outcome = outcome.with_context(|| format!("{name}: while it was played"))?;
    outcome.check_promises().with_context(|| name.to_owned())?;
    Ok(outcome.alerts)
}

fn show<R: Display>(what: &str, rows: &[R]) {
    for row in rows.iter().take(DIFFERENCES_SHOWN) {
        println!("  {what}: {row}");
    }
    if rows.len() > DIFFERENCES_SHOWN {
        println!("  {what}: and {} more", rows.len() - DIFFERENCES_SHOWN);
    }
}
