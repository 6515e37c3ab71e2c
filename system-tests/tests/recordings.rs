//! Real recordings through the real processes, with the rule swapped half way: exactly the reference's transitions.

use anyhow::Result;
use system_tests::obd_drives;
use system_tests::reference::{compare, expected_transitions, transitions};
use system_tests::scenario::{Flow, Scenario, play};
use system_tests::{Programs, alerts, data};

fn recording_equals_reference(name: &str, recording: &str, zones: &str) -> Result<()> {
    let Some(directory) = data::directory_or_skip()? else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let scenario = Scenario::reference(directory.join(recording), directory.join(zones));
    let programs = Programs::beside_this_test()?;
    let outcome = play(&programs, &scenario, scratch.path(), &|line| println!("{line}"), &mut |_, _| Ok(Flow::On))?;
    let comparison = compare(&expected_transitions(&directory, name)?, &transitions(&outcome.alerts));
    assert!(comparison.is_exact(), "{comparison:#?}");
    assert_eq!(alerts::doubled(&outcome.alerts), 0);
    outcome.check_promises()?;

    let versions: std::collections::BTreeSet<&str> =
        outcome.alerts.iter().map(|alert| alert.plugin.version.as_str()).collect();
    assert_eq!(versions.len(), 2, "both versions decided: {versions:?}");
    assert_eq!(outcome.report["swap"]["lost"], 0, "{}", outcome.report);
    Ok(())
}

#[test]
fn warsaw_buses() -> Result<()> {
    recording_equals_reference("warsaw", "gps_warsaw_bus.csv.gz", "zones_warsaw_districts.geojson.gz")
}

#[test]
fn new_york_buses() -> Result<()> {
    recording_equals_reference("nyc", "gps_nyc_bus.csv.gz", "zones_nyc_taxi.geojson.gz")
}

#[test]
fn copenhagen_cars() -> Result<()> {
    recording_equals_reference("copenhagen", "gps_copenhagen_obd.csv.gz", "zones_copenhagen.geojson.gz")
}

#[test]
fn a_cars_drives_and_the_runs_of_thresholds_in_them() -> Result<()> {
    let Some(directory) = data::directory_or_skip()? else { return Ok(()) };
    let (programs, scratch) = (Programs::beside_this_test()?, tempfile::tempdir()?);
    let scenario = obd_drives::scenario(&programs, &directory, scratch.path())?;
    let outcome = play(&programs, &scenario, scratch.path(), &|_| {}, &mut |_, _| Ok(Flow::On))?;
    outcome.check_promises()?;
    let comparison = compare(&obd_drives::expected(&directory)?, &obd_drives::found(&outcome.alerts));
    assert!(comparison.is_exact() && comparison.compared > 0, "{comparison:?}");
    Ok(())
}
