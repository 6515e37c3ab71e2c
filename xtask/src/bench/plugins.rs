//! The benchmarks of rules that cargo runs.

use super::cargo_bench;
use crate::{build, plugin_build, workspace};
use anyhow::Result;
use std::path::Path;

pub(super) fn positions(figures: &Path) -> Result<()> {
    println!("positions: the geofence component against the same code native, in pairs");
    let component = plugin_build::build_plugin(&build::drover("release", "release")?, "geofence", None)?;
    workspace::run(cargo_bench("geofence", figures)?.env("DROVER_GEOFENCE", component))
}

/// One that starts a fleet.
pub(super) fn fleet(name: &str, figures: &Path) -> Result<()> {
    build::release_programs()?;
    println!("{name}:");
    workspace::run(&mut cargo_bench(name, figures)?)
}
