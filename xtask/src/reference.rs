//! `cargo xtask reference`: every comparison with reference answers that the project knows, through the real processes.

use crate::{build, setup};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use system_tests::reference::{Comparison, Transition, compare, expected_transitions, transitions};
use system_tests::scenario::{Drive, Flow, Scenario, Swap, play};
use system_tests::{Programs, Semantics, data};

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
    let Some(directory) = args.directory.clone().or_else(data::directory) else {
        bail!("there are no reference data: name a directory, or set {}", data::DATA_VARIABLE);
    };
    if !directory.is_dir() {
        bail!("{} is no directory", directory.display());
    }
    setup::ensure()?;
    let programs = build::programs()?;
    println!("{:<24} {:>9} {:>9}", "expected_geofence", "compared", "equal");
    let mut differing = Vec::new();
    let mut ran = 0;
    for (name, recording, zones) in RECORDINGS {
        let files = [directory.join(recording), directory.join(zones), directory.join("expected_geofence.csv.gz")];
        if let Some(absent) = files.iter().find(|path| !path.exists()) {
            println!("{name:<24} skipped: {} is not there", absent.display());
            continue;
        }
        ran += 1;
        let [recording, zones, _] = files;
        let comparison = geofence(&programs, &directory, name, Drive::Recording { recording, zones })?;
        println!("{name:<24} {:>9} {:>9}", comparison.compared, comparison.equal);
        show("missing", &comparison.missing);
        show("surplus", &comparison.surplus);
        if !comparison.is_exact() {
            differing.push(name);
        }
    }
    if ran == 0 {
        bail!("{} holds nothing that could be compared", directory.display());
    }
    if !differing.is_empty() {
        bail!("{} differ from the reference", differing.join(", "));
    }
    println!("all equal");
    Ok(())
}

fn geofence(programs: &Programs, directory: &Path, name: &str, drive: Drive) -> Result<Comparison> {
    let scratch = tempfile::Builder::new().prefix("drover-reference-").tempdir().context("a temporary directory")?;
    let scenario = Scenario {
        drive,
        config: None,
        semantics: Semantics::Plain,
        speed: "max".to_owned(),
        swap: Some(Swap::Rebuilt { at_share: 0.5 }),
        replay_arguments: Vec::new(),
        cuttable: false,
    };
    let outcome = play(programs, &scenario, scratch.path(), &|_| {}, &mut |_, _| Ok(Flow::On))
        .with_context(|| format!("while {name} was played"))?;
    Ok(compare(&expected_transitions(directory, name)?, &transitions(&outcome.alerts)))
}

fn show(what: &str, rows: &[Transition]) {
    for row in rows.iter().take(DIFFERENCES_SHOWN) {
        let kind = if row.entered { "enter" } else { "exit" };
        println!("  {what}: {} {kind} {} at {}", row.vehicle, row.zone, row.ms);
    }
    if rows.len() > DIFFERENCES_SHOWN {
        println!("  {what}: and {} more", rows.len() - DIFFERENCES_SHOWN);
    }
}
