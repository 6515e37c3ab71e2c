//! `cargo xtask build-plugins`: our plugins as components.
use anyhow::Result;

/// Arguments of `cargo xtask build-plugins`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Builds the plugins.
pub(crate) fn run(_args: &Args) -> Result<()> {
    Ok(())
}
