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
    let packages = ["drover-edge", "drover-cloud", "drover", "fleet-replay"].map(|name| ["-p", name]).concat();
    workspace::run(workspace::cargo().args(["build", "--profile", profile, "--bins"]).args(packages))?;
    println!("building the geofence component, twice: 0.1.0, and {REBUILT_VERSION} for the swap");
    plugin_build::build_plugin("geofence", None)?;
    plugin_build::build_plugin("geofence", Some(REBUILT_VERSION))?;
    let programs = Programs::in_target(&workspace::target_dir()?, directory);
    programs.check()?;
    Ok(programs)
}
