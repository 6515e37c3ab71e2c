//! `cargo xtask test`: every test.

use crate::{build, setup, workspace};
use anyhow::Result;

/// Run every test: unit, property and system tests. What needs reference data says so where there are none.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Builds what system tests start, then runs the tests.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    build::programs_and_tests()?;
    println!("running the tests");
    workspace::run(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(&args.filter))
}
