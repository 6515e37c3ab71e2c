//! The programs and plugins that demo, tests and references run.

use crate::{plugin_build, workspace};
use anyhow::Result;
use std::path::PathBuf;
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

/// Only the command line, which builds components. It gets the features of the whole workspace, so that nothing is
/// compiled twice.
pub(crate) fn drover(profile: &str, directory: &str) -> Result<PathBuf> {
    workspace::run(workspace::cargo().args([
        "build",
        "--quiet",
        "--workspace",
        "--bin",
        "drover",
        "--profile",
        profile,
    ]))?;
    Ok(workspace::target_dir()?.join(directory).join("drover"))
}

fn build(profile: &str, directory: &str, targets: &[&str]) -> Result<Programs> {
    println!("building drover-edge, drover-cloud, drover and fleet-replay (the first time takes some minutes)");
    workspace::run(workspace::cargo().args(["build", "--workspace", "--profile", profile]).args(targets))?;
    println!("building the components, and the geofence once more as {REBUILT_VERSION} for the swap");
    let drover = workspace::target_dir()?.join(directory).join("drover");
    for name in ["geofence", "maintenance", "pricing"] {
        plugin_build::build_plugin(&drover, name, None)?;
    }
    plugin_build::build_plugin(&drover, "geofence", Some(REBUILT_VERSION))?;
    println!("building the example of a rule of one's own");
    plugin_build::build_example(&drover)?;
    let programs = Programs::in_target(&workspace::target_dir()?, directory);
    programs.check()?;
    Ok(programs)
}
