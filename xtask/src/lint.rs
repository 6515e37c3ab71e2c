//! `cargo xtask lint`: format, clippy, the arrows between crates, the purity of pure crates, dependencies' licences.

use crate::{arrows, rule_docs, setup, workspace};
use anyhow::{Context, Result};

/// Crates that must build where there is no clock, no file and no thread.
const PURE_CRATES: [&str; 2] = ["fleet-model", "fleet-wire"];

/// Check format, lints, the arrows between crates, and that pure crates build for wasm32.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs every check; the first that fails ends it.
pub(crate) fn run(_: &Args) -> Result<()> {
    setup::ensure()?;
    step("format", || workspace::run(workspace::cargo().args(["fmt", "--all", "--check"])))
        .context("`cargo fmt` mends it")?;
    step("arrows between crates", arrows::check)?;
    step("pages about rules", || rule_docs::run(&rule_docs::Args { check: true }))?;
    step("clippy", || {
        workspace::run(workspace::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step("pure crates build for wasm32", || {
        let packages = PURE_CRATES.map(|name| ["-p", name]).concat();
        workspace::run(
            workspace::cargo().args(["check", "--quiet", "--target", "wasm32-unknown-unknown"]).args(packages),
        )
    })?;
    if workspace::on_path("cargo-deny") {
        step("licences, bans and sources of dependencies", || {
            workspace::run(workspace::cargo().args(["deny", "--locked", "check", "licenses", "bans", "sources"]))
        })?;
    } else {
        println!(
            "lint: licences, bans and sources of dependencies: skipped, cargo-deny is not there (cargo install cargo-deny)"
        );
    }
    println!("lint: all good");
    Ok(())
}

fn step(what: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("lint: {what}");
    check().with_context(|| format!("lint: {what}"))
}
