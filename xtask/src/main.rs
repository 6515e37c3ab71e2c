//! The one task runner of the repository: `cargo xtask <subcommand>`. A table of contents; each subcommand is a file.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod plugin_build;
mod setup;
mod workspace;

use clap::{Parser, Subcommand};

/// Tasks of the Drover repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make this machine ready: the WebAssembly target and the programs that tests use. Safe to run again.
    Setup(setup::Args),
    /// Build our own plugins into components under `target/plugins/`.
    BuildPlugins(plugin_build::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Setup(args) => setup::run(&args),
        Task::BuildPlugins(args) => plugin_build::run(&args),
    }
}
