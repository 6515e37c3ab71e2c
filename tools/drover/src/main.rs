//! `drover`: the command line of Drover. One file per subcommand in `commands`; `client` speaks HTTP/3 and HTTP/2.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod commands;
mod dev_certs;
mod failure;
mod output;

use clap::Parser;
use commands::Command;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  export DROVER_CLOUD=https://cloud.example:8443 DROVER_API_KEY=... DROVER_CA=certs/ca.pem

  drover plugin new my-rule --kind geofence
  drover plugin test my-rule
  drover plugin preview my-rule/my-rule.wasm --config zones.json --from -24h
  drover plugin upload geofence.wasm
  drover deploy zones --plugin geofence@1.0.0 --config zones.json
  drover tag BUS-1 night-bus electric
  drover events --follow
  drover events --vehicle WAW-1000 --format ndjson > events.ndjson
  drover status
  drover rollback zones
  drover audit verify

Exit codes:
  0  done
  1  failed: an error of the server, a file, or the time ran out
  2  wrong usage or configuration
  3  refused: the server understood and said no (HTTP 4xx), or an edge refused a deployment
  4  unreachable: no connection, or it was lost";

/// Watch a fleet, and change what it decides, from the command line.
#[derive(Debug, Parser)]
#[command(name = "drover", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,

    #[command(subcommand)]
    command: Command,
}

/// How to reach the cloud.
#[derive(Debug, clap::Args)]
struct Connection {
    /// The cloud: https://host:port
    #[arg(long, global = true, value_name = "URL", env = "DROVER_CLOUD")]
    cloud: Option<String>,

    /// API key of your tenant
    #[arg(long, global = true, value_name = "KEY", env = "DROVER_API_KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// PEM file of the authority that signed the cloud's certificate; without it the system's
    #[arg(long, global = true, value_name = "FILE", env = "DROVER_CA")]
    ca: Option<PathBuf>,

    /// Use TCP (HTTP/2) at once, without trying HTTP/3 first
    #[arg(long, global = true)]
    http2: bool,
}

fn main() -> ExitCode {
    // `plugin check` and `plugin test` compile components in a child process of limited means: ourselves.
    plugin_host::run_compiler_if_asked();
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failure::Failure::Failed(error.to_string()))
        .and_then(|runtime| {
            let outcome = runtime.block_on(arguments.command.run(&arguments.connection));
            // A name lookup that hangs must not hold up the end.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(said) = failure.said() {
                eprintln!("drover: {said}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_examples_in_the_help_are_taken() {
        let examples: Vec<&str> = EXAMPLES.lines().map(str::trim).filter(|line| line.starts_with("drover ")).collect();
        assert!(examples.len() > 5);
        for example in examples {
            let words = example.split('>').next().unwrap().split_whitespace();
            Arguments::try_parse_from(words).unwrap();
        }
    }
}
