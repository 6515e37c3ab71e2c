//! The command line.

use crate::message::READINGS_PER_MESSAGE_MAX;
use crate::pacing::Speed;
use crate::session::MqttVersion;
use crate::target::Target;
use clap::{ArgGroup, Parser};
use fleet_model::TenantId;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const SESSIONS_MAX: u16 = 4_096;
const VEHICLES_MAX: u32 = 100_000;

const EXAMPLES: &str = "\
Examples:
  A made-up fleet of 500 for half a minute:
    fleet-replay --simulate 500 --for 30s --tenant demo --to mqtt://fleet:secret@127.0.0.1:1883

  The zones of its town, to deploy a geofence with:
    fleet-replay --simulate 500 --zones-out zones.geojson

  A recorded day, ten times as fast, one session per vehicle as real devices do:
    fleet-replay --recording buses.csv.gz --speed 10 --sessions per-vehicle --tenant demo --to mqtt://fleet:secret@127.0.0.1:1883

  As fast as the edge acknowledges, over TLS, with proof of what was acknowledged:
    fleet-replay --recording buses.csv.gz --speed max --tenant demo \\
      --to mqtts://fleet:secret@edge.depot:8883 --ca ca.pem \\
      --summary summary.json --acknowledged acknowledged.ndjson

A recording is CSV or CSV.gz with a header. Columns, found by name: vehicle, lat, lon, and ts (seconds) or ts_ms;
optional: altitude_m, heading_deg, accuracy_m, speed_kmh, odometer_m or odometer_km, engine_hours, rpm, coolant_c,
module_voltage_v, fuel_level_pct, state_of_charge_pct, ignition (0 or 1), dtc (P0301;U0100, or none); raw_time (sent as
it is where the time is empty); poll_first (rows are then played in the order of the polls, by vehicle within one;
otherwise in file order). An empty cell says nothing.

A lost connection is built up again, and everything not acknowledged is sent again in its order. A vehicle keeps to one
session, so its readings arrive in order.

Exit codes: 0 all acknowledged or refused (QoS 0: all sent), 1 failed, 2 wrong usage, 130 interrupted.";

/// Plays a recording, or a made-up fleet, into an edge node over MQTT.
#[derive(Debug, Parser)]
#[command(name = "fleet-replay", version, after_help = EXAMPLES)]
#[command(group = ArgGroup::new("source").required(true).args(["recording", "simulate"]))]
pub(crate) struct Arguments {
    /// A recording: CSV, gzipped or not
    #[arg(long, value_name = "FILE")]
    pub(crate) recording: Option<PathBuf>,

    /// Simulate this many vehicles in a made-up town
    #[arg(long, value_name = "VEHICLES", value_parser = clap::value_parser!(u32).range(1..=i64::from(VEHICLES_MAX)))]
    pub(crate) simulate: Option<u32>,

    /// The same seed makes the same town and the same drives
    #[arg(long, value_name = "NUMBER", default_value_t = 1, conflicts_with = "recording")]
    pub(crate) seed: u64,

    /// Simulate for this long; without it until Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::duration::parse, conflicts_with = "recording")]
    pub(crate) duration: Option<Duration>,

    /// How often a simulated vehicle reports
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = crate::duration::parse, conflicts_with = "recording")]
    pub(crate) every: Duration,

    /// Write the zones of the simulated town as GeoJSON; without --to, do only that
    #[arg(long, value_name = "FILE", requires = "simulate")]
    pub(crate) zones_out: Option<PathBuf>,

    /// The edge: mqtt://user:password@host:port, or mqtts:// for TLS
    #[arg(
        long,
        value_name = "URL",
        env = "FLEET_REPLAY_TO",
        hide_env_values = true,
        required_unless_present = "zones_out"
    )]
    pub(crate) to: Option<Target>,

    /// PEM file of the authority that signed the edge's certificate; without it the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// Whose vehicles they are
    #[arg(long, value_name = "TENANT", default_value = "demo")]
    pub(crate) tenant: TenantId,

    /// 1: as it happened; 10: ten times as fast; max: as fast as it is acknowledged
    #[arg(long, value_name = "SPEED", default_value = "1")]
    pub(crate) speed: Speed,

    /// MQTT sessions that share the vehicles, or per-vehicle
    #[arg(long, value_name = "NUMBER|per-vehicle", default_value = "8")]
    pub(crate) sessions: Sessions,

    /// 5: the edge says which messages it refused; 3.1.1: it acknowledges them like any other
    #[arg(long, value_name = "VERSION", value_enum, default_value = "5")]
    pub(crate) mqtt: MqttVersion,

    /// 1: every reading is acknowledged; 0: sent and forgotten
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,

    /// Messages on their way per session, at QoS 1
    #[arg(long, value_name = "NUMBER", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=32_768))]
    pub(crate) in_flight: u16,

    /// Put up to this many consecutive readings of one vehicle into a message
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(READINGS_PER_MESSAGE_MAX)))]
    pub(crate) readings_per_message: u16,

    /// Play no further than the reading whose number stands in this file, and wait until a higher one stands there: for
    /// doing something on the way
    #[arg(long, value_name = "FILE")]
    pub(crate) up_to: Option<PathBuf>,

    /// Give up after this long without a connection
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = crate::duration::parse)]
    pub(crate) give_up_after: Duration,

    /// Write the summary as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,

    /// Write a line of JSON per acknowledged reading, without refused ones: {"vehicle","event_time_ms"}
    #[arg(long, value_name = "FILE")]
    pub(crate) acknowledged: Option<PathBuf>,
}

/// How vehicles are spread over sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sessions {
    PerVehicle,
    Shared(u16),
}

impl FromStr for Sessions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u16>()) {
            ("per-vehicle", _) => Ok(Self::PerVehicle),
            (_, Ok(number)) if (1..=SESSIONS_MAX).contains(&number) => Ok(Self::Shared(number)),
            _ => Err(format!("a number of sessions (1 to {SESSIONS_MAX}), or per-vehicle")),
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
        let joined = EXAMPLES.replace("\\\n", " ");
        let examples: Vec<&str> =
            joined.lines().map(str::trim).filter(|line| line.starts_with("fleet-replay ")).collect();
        assert_eq!(examples.len(), 4);
        for example in examples {
            Arguments::try_parse_from(example.split_whitespace()).unwrap();
        }
    }

    #[test]
    fn the_help_names_each_column() {
        let columns = EXAMPLES.split("Columns, found by name").nth(1).unwrap();
        let named: Vec<&str> = columns.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_').collect();
        for (column, ..) in crate::recording::FIELDS {
            assert!(named.contains(&column), "{column}");
        }
    }

    #[test]
    fn a_source_and_a_target_are_asked_for() {
        for wrong in [
            "fleet-replay --to mqtt://x",
            "fleet-replay --simulate 3",
            "fleet-replay --recording a --simulate 3 --to mqtt://x",
            "fleet-replay --recording a --seed 3 --to mqtt://x",
            "fleet-replay --simulate 3 --to mqtt://x --qos 2",
            "fleet-replay --simulate 3 --to mqtt://x --sessions 0",
        ] {
            assert!(Arguments::try_parse_from(wrong.split_whitespace()).is_err(), "{wrong}");
        }
    }
}
