//! `drover-cloud`: takes in what edges send, serves it to partners, keeps the rules.

use anyhow::Context;
use clap::Parser;
use drover_cloud::cloud::Cloud;
use drover_cloud::config::CloudConfig;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for a bad configuration.
const BAD_CONFIG: u8 = 2;

/// The cloud of Drover: takes in what edges send, serves it to partners, keeps the rules.
///
/// Exit codes: 0 stopped as asked, 1 failed, 2 bad configuration or arguments.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration; deploy/cloud.sample.toml explains every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only try the configuration: says "ok", or the line, the key and what is allowed.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    plugin_host::run_compiler_if_asked();
    let arguments = Arguments::parse();
    let config = match CloudConfig::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if let Err(error) = config.check() {
        eprintln!("{}: {error}", arguments.config.display());
        return ExitCode::from(BAD_CONFIG);
    }
    if arguments.check_config {
        println!("ok");
        return ExitCode::SUCCESS;
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drover-cloud: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: CloudConfig) -> anyhow::Result<()> {
    // The one provider: a dependency that brings another must not choose it by accident.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start tokio")?;
    let observability = observability::init("drover-cloud", env!("CARGO_PKG_VERSION"), &config.observability)?;
    let ended = tokio.block_on(async {
        let shutdown = on_signal().context("listen for signals")?;
        let cloud = Cloud::start(config, observability.clone()).await?;
        cloud.run(shutdown).await?;
        anyhow::Ok(())
    });
    if let Err(error) = &ended {
        tracing::error!(error = format!("{error:#}"), "the cloud failed");
    }
    tokio.shutdown_timeout(std::time::Duration::from_secs(1));
    observability.shutdown();
    ended
}

/// Cancelled by SIGTERM and SIGINT.
fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let asked = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        asked.cancel();
    });
    Ok(token)
}
