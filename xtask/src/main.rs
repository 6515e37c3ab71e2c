//! The one task runner of the repository: `cargo xtask <subcommand>`. A table of contents; each subcommand is a file.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arrows;
mod bench;
mod build;
mod demo;
mod lint;
mod plugin_build;
mod reference;
mod rule_docs;
mod setup;
mod test;
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
    Demo(demo::Args),
    Test(test::Args),
    Lint(lint::Args),
    Reference(reference::Args),
    RuleDocs(rule_docs::Args),
    Bench(bench::Args),
    /// Make this machine ready: the WebAssembly target and the programs that tests use. Safe to run again.
    Setup(setup::Args),
    /// Build our own plugins into components under `target/plugins/`.
    BuildPlugins(plugin_build::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Lint(args) => lint::run(&args),
        Task::Reference(args) => reference::run(&args),
        Task::RuleDocs(args) => rule_docs::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Setup(args) => setup::run(&args),
        Task::BuildPlugins(args) => plugin_build::run(&args),
    }
}
