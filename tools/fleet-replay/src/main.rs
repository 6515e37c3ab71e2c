//! `fleet-replay` plays a recording, or a made-up fleet, into an edge node over MQTT, as the vehicles would.
//!
//! The core is pure: `recording` and `simulate` make readings, `message` groups them, `pacing` says when each is due,
//! `session::window` and `session::protocol` know MQTT. Thin shells around it do the I/O: `play` hands messages to
//! sessions, `session` moves bytes, `transport` connects.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod acknowledged;
mod arguments;
mod duration;
mod message;
mod pacing;
mod play;
mod progress;
mod recording;
mod session;
mod signals;
mod simulate;
#[cfg(test)]
#[path = "../../../system-tests/src/skipped.rs"]
mod skipped;
mod summary;
mod target;
mod transport;

use clap::Parser;
use std::process::ExitCode;

/// Everything was acknowledged or refused.
const EXIT_OK: u8 = 0;
/// The edge was not reachable for too long, refused the login, or a file could not be read or written.
const EXIT_FAILED: u8 = 1;
/// Interrupted by Ctrl-C before everything was acknowledged.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match run(&arguments) {
        Ok(play::Ended::Complete) => ExitCode::from(EXIT_OK),
        Ok(play::Ended::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => {
            eprintln!("fleet-replay: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(arguments: &arguments::Arguments) -> anyhow::Result<play::Ended> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        // First of all: a stop that comes while a recording is read still ends with a summary.
        let signals = signals::Signals::catch()?;
        play::play(arguments, signals).await
    });
    // A blocked name lookup must not hold up the end.
    runtime.shutdown_background();
    ended
}
