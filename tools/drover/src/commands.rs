//! The subcommands, one per file.

mod api_key;
mod audit;
mod dead_letters;
mod deploy;
mod deployment;
mod events;
mod plugin;
mod promote;
mod rollback;
mod rollout;
mod status;
mod tag;
mod vehicles;

use crate::Connection;
use crate::dev_certs;
use crate::failure::Failure;
use crate::output;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make certificates for development: an authority, one for the cloud, one per edge
    DevCerts(dev_certs::DevCerts),
    /// Make API keys
    #[command(subcommand)]
    ApiKey(api_key::ApiKey),
    /// Write rules and watch them: begin, build, test, check, preview, sign, upload, list, show, logs, cost
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Deploy a plugin with a config, or change a deployment
    Deploy(deploy::Deploy),
    /// Go back to what a deployment was before
    Rollback(rollback::Rollback),
    Promote(promote::Promote),
    Deployment(deployment::Show),
    /// Read events, or follow them as they come
    Events(events::Events),
    /// Check the record of who did what
    #[command(subcommand)]
    Audit(audit::Audit),
    /// List vehicles with their last position
    Vehicles(vehicles::Vehicles),
    Tag(tag::TagVehicle),
    /// Edges, how far behind they are, and what they run
    Status(status::Status),
    /// What an edge refused, and why
    DeadLetters(dead_letters::DeadLetters),
}

impl Command {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        match self {
            Self::DevCerts(command) => {
                for file in command.run()? {
                    output::say(&format!("wrote {}", file.display()))?;
                }
                Ok(())
            }
            Self::ApiKey(command) => command.run(),
            Self::Plugin(command) => command.run(connection).await,
            Self::Deploy(command) => command.run(connection).await,
            Self::Rollback(command) => command.run(connection).await,
            Self::Promote(command) => command.run(connection).await,
            Self::Deployment(command) => command.run(connection).await,
            Self::Events(command) => command.run(connection).await,
            Self::Audit(command) => command.run(connection).await,
            Self::Vehicles(command) => command.run(connection).await,
            Self::Tag(command) => command.run(connection).await,
            Self::Status(command) => command.run(connection).await,
            Self::DeadLetters(command) => command.run(connection).await,
        }
    }
}

/// Reads `60s`, `500ms`, `5m`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms_each: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a duration is a whole number and a unit: 500ms, 30s, 5m, 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a whole number"))?;
    // Ten years: beyond is a typing error, and clocks overflow.
    number
        .checked_mul(ms_each)
        .filter(|ms| *ms < 10 * 366 * 86_400_000)
        .map(std::time::Duration::from_millis)
        .ok_or_else(|| "too long".to_owned())
}
