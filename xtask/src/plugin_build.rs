//! `cargo xtask build-plugins`: our plugins as components, under `<target dir>/plugins/`. `drover plugin build` does it, as
//! for anyone's.

use crate::{build, setup, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The environment variable from which a plugin takes a version other than its package's.
const VERSION_VARIABLE: &str = "DROVER_PLUGIN_VERSION";
/// The profile of the workspace's components.
const PROFILE: &str = "plugin";

/// The example that shows authors how: outside the workspace, as theirs is.
const EXAMPLE: &str = "examples/hello-geofence";

/// Build our own plugins as WebAssembly components.
///
/// They are written to <target dir>/plugins/<name>.wasm, ready for `drover deploy --plugin`. For a rule of your own there
/// is `drover plugin build`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Builds the plugins.
pub(crate) fn run(_: &Args) -> Result<()> {
    setup::ensure_wasm()?;
    let drover = build::drover("dev", "debug")?;
    for name in plugins()? {
        println!("built {}", build_plugin(&drover, &name, None)?.display());
    }
    Ok(())
}

/// Builds one plugin and returns its component. With a version it calls itself so, and lies beside the one without.
/// Cargo decides what is to be compiled; nothing is when nothing changed.
pub(crate) fn build_plugin(drover: &Path, name: &str, version: Option<&str>) -> Result<PathBuf> {
    let target = workspace::target_dir()?;
    let components = target.join("plugins");
    // A version of its own has build results of its own, else the two would take turns in being recompiled.
    let (file, build) = match version {
        None => (format!("{name}.wasm"), target),
        Some(version) => (format!("{name}-{version}.wasm"), components.join(format!("build-{version}"))),
    };
    let component = components.join(file);
    let mut command = workspace::program(drover);
    command.args(["plugin", "build", "--profile", PROFILE]).arg(workspace::root().join("plugins").join(name));
    command.arg("--target-dir").arg(build).arg("--out").arg(&component).env_remove(VERSION_VARIABLE);
    command.envs(version.map(|version| (VERSION_VARIABLE, version)));
    workspace::output(&mut command).with_context(|| format!("could not build the plugin {name}"))?;
    Ok(component)
}

/// Builds the example.
pub(crate) fn build_example(drover: &Path) -> Result<()> {
    let target = workspace::target_dir()?;
    let mut command = workspace::program(drover);
    command.args(["plugin", "build"]).arg(workspace::root().join(EXAMPLE)).arg("--target-dir").arg(&target);
    command.arg("--out").arg(target.join("plugins/hello-geofence.wasm"));
    workspace::output(&mut command).map(drop)
}

fn plugins() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace::root().join("plugins"))? {
        let entry = entry?;
        if entry.path().join("plugin.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
