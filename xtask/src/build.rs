//! The programs and plugins that demo, tests and references run.

use crate::{plugin_build, workspace};
use anyhow::Result;
use system_tests::Programs;
use system_tests::programs::REBUILT_VERSION;

/// Builds everything that a fleet needs, in the profile that tests use.
pub(crate) fn programs() -> Result<Programs> {
    build("dev", "debug", &["--bins"])
}

/// The same and the tests with it: in one go, since tests want features of dependencies that programs alone do not,
/// and nothing should be compiled twice.
pub(crate) fn programs_and_tests() -> Result<Programs> {
    build("dev", "debug", &["--bins", "--tests"])
}

/// The programs, optimised, and the benchmarks with them.
pub(crate) fn release_programs() -> Result<Programs> {
    build("release", "release", &["--bins", "--benches"])
}

fn build(profile: &str, directory: &str, targets: &[&str]) -> Result<Programs> {
    println!("building drover-edge, drover-cloud, drover and fleet-replay (the first time takes some minutes)");
    workspace::run(workspace::cargo().args(["build", "--workspace", "--profile", profile]).args(targets))?;
    println!("building the components, and the geofence once more as {REBUILT_VERSION} for the swap");
    plugin_build::build_plugin("geofence", None)?;
    plugin_build::build_plugin("maintenance", None)?;
    plugin_build::build_plugin("pricing", None)?;
    plugin_build::build_plugin("geofence", Some(REBUILT_VERSION))?;
    println!("building the example of a rule of one's own");
    plugin_build::build_folder(&workspace::root().join(plugin_build::EXAMPLE))?;
    let programs = Programs::in_target(&workspace::target_dir()?, directory);
    programs.check()?;
    Ok(programs)
}
