//! `drover-edge`: runs in the depot, between the vehicles and the cloud.

use anyhow::Context;
use clap::Parser;
use drover_edge::config::Config;
use drover_edge::node::{self, Node};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for a config file that is wrong.
const EXIT_CONFIG: u8 = 2;

/// The edge node of Drover: takes readings from vehicles, decides with plugins, keeps everything until the cloud has it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 ended well, 1 stopped by a failure, 2 the config is wrong.\n\
    A config to start from: deploy/edge.sample.toml"
)]
struct Arguments {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only say whether the config is right.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    plugin_host::run_compiler_if_asked();
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.check_config {
        println!("ok");
        return ExitCode::SUCCESS;
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("drover-edge stops: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let observed = observability::init("drover-edge", env!("CARGO_PKG_VERSION"), &config.observability)?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let logs = node::open_logs(&config.data_dir)?;
        let node = Node::start(config, logs, Some(observed.clone())).await?;
        node.run_until(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    observed.shutdown();
    ended
}
