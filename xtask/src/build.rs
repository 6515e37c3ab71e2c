//! The programs and plugins that demo, tests and references run.

use crate::{plugin_build, workspace};
use anyhow::Result;
use system_tests::Programs;
use system_tests::programs::REBUILT_VERSION;

/// Builds everything that a fleet needs, in the profile that tests use.
pub(crate) fn programs() -> Result<Programs> {
    programs_of("dev", "debug")
}

/// The same, optimised, for benchmarks.
pub(crate) fn release_programs() -> Result<Programs> {
    programs_of("release", "release")
}

fn programs_of(profile: &str, directory: &str) -> Result<Programs> {
    println!("building drover-edge, drover-cloud, drover and fleet-replay (the first time takes some minutes)");
    // The whole workspace: with the features that its tests get, so that nothing is compiled twice.
    workspace::run(workspace::cargo().args(["build", "--workspace", "--bins", "--profile", profile]))?;
    println!("building the geofence component, and once more as {REBUILT_VERSION} for the swap");
    plugin_build::build_plugin("geofence", None)?;
    plugin_build::build_plugin("geofence", Some(REBUILT_VERSION))?;
    let programs = Programs::in_target(&workspace::target_dir()?, directory);
    programs.check()?;
    Ok(programs)
}
