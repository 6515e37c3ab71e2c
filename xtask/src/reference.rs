//! `cargo xtask reference`: every comparison with reference answers that the project knows, through the real processes.

use crate::{build, setup};
use anyhow::{Context, Result, bail};
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use system_tests::alerts::Alert;
use system_tests::reference::{Comparison, compare, expected_places, expected_transitions, transitions};
use system_tests::scenario::{Flow, Scenario, play};
use system_tests::{Programs, data, engines, obd_drives, taxi_trips, truck_tolls};
use tempfile::TempDir;

/// Differences that are printed; the rest is counted.
const DIFFERENCES_SHOWN: usize = 10;
/// Cycles by which the remaining life of engines may be wrong, as the root of the mean square.
const RMSE_MAX: f64 = 20.0;

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
    engines(&programs, &directory, &mut table)?;
    truck_tolls(&programs, &directory, &mut table)?;
    taxi_trips(&programs, &directory, &mut table)?;
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
        self.add_with(name, comparison, "");
    }

    /// The same with a remark behind the figures.
    fn add_with<R: Display>(&mut self, name: &str, comparison: &Comparison<R>, remark: &str) {
        self.ran += 1;
        let line = format!("{name:<42} {:>9} {:>9}  {remark}", comparison.compared, comparison.equal);
        println!("{}", line.trim_end());
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
    let scratch = scratch()?;
    let scenario = obd_drives::scenario(programs, directory, scratch.path())?;
    let found = obd_drives::found(&played(programs, name, &scenario)?);
    table.add(name, &compare(&obd_drives::expected(directory)?, &found));
    Ok(())
}

/// How long engines live whose end is known, through the maintenance rule: each is told at its last cycle, and how
/// wrong that is stays within a bound.
fn engines(programs: &Programs, directory: &Path, table: &mut Table) -> Result<()> {
    let name = "pdm_cmapss_fd001_rul.csv";
    if !table.can_run(name, &[&directory.join(name), &directory.join("pdm_cmapss_fd001_test.csv.gz")]) {
        return Ok(());
    }
    let scratch = scratch()?;
    let told = played(programs, name, &engines::scenario(programs, directory, scratch.path())?)?;
    let rmse = engines::rmse(directory, &told)?;
    let remark = format!("RMSE {rmse:.2} cycles, at most {RMSE_MAX}");
    table.add_with(name, &compare(&engines::expected(directory)?, &engines::found(&told)), &remark);
    // Not a number when nothing was told.
    if rmse.is_nan() || rmse >= RMSE_MAX {
        table.differing.push(format!("{name} (RMSE)"));
    }
    Ok(())
}

/// The German truck toll, with a swap of the pricing rule's config for each class of trucks.
fn truck_tolls(programs: &Programs, directory: &Path, table: &mut Table) -> Result<()> {
    let name = "pricing_lkw_maut_expected.csv.gz";
    if table.can_run(name, &[&directory.join(name)]) {
        let tolls = truck_tolls::drive(programs, directory, scratch()?.path())?;
        let remark = format!("sections and totals of {} classes, a swap each", tolls.cases);
        table.add_with(name, &compare(&tolls.expected, &tolls.found), &remark);
    }
    Ok(())
}

/// Fares of New York's taxis, by rate code.
fn taxi_trips(programs: &Programs, directory: &Path, table: &mut Table) -> Result<()> {
    let file = "pricing_nyc_taxi_trips.csv.gz";
    if !table.can_run(file, &[&directory.join(file)]) {
        return Ok(());
    }
    for (rate_code, trips) in taxi_trips::read(directory)? {
        let name = format!("{file}: rate code {rate_code}");
        let scratch = scratch()?;
        let charges = played(programs, &name, &trips.scenario(programs, &rate_code, scratch.path())?)?;
        table.add_with(&name, &compare(&trips.expected(), &trips.found(&charges)?), &trips.remark());
    }
    Ok(())
}

/// Plays through edge and cloud; what a partner received.
fn played(programs: &Programs, name: &str, scenario: &Scenario) -> Result<Vec<Alert>> {
    let scratch = scratch()?;
    let outcome = play(programs, scenario, scratch.path(), &|_| {}, &mut |_, _| Ok(Flow::On));
    let outcome = outcome.with_context(|| format!("{name}: while it was played"))?;
    outcome.check_promises().with_context(|| name.to_owned())?;
    Ok(outcome.alerts)
}

fn scratch() -> Result<TempDir> {
    tempfile::Builder::new().prefix("drover-reference-").tempdir().context("a temporary directory")
}

fn show<R: Display>(what: &str, rows: &[R]) {
    for row in rows.iter().take(DIFFERENCES_SHOWN) {
        println!("  {what}: {row}");
    }
    if rows.len() > DIFFERENCES_SHOWN {
        println!("  {what}: and {} more", rows.len() - DIFFERENCES_SHOWN);
    }
}
