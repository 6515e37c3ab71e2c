//! What a customer writes.

use serde::Deserialize;

use crate::feature_collection::FeatureCollection;
use crate::zones::Zones;

/// The schema that the host checks a config against. A test holds it against the defaults and limits below.
pub const SCHEMA: &str = include_str!("../config.schema.json");

/// The largest `exit_buffer_m`: beyond it the flat approximation of distances is no longer good.
pub const EXIT_BUFFER_M_MAX: f64 = 10_000.0;
/// The largest `min_inside_s` and `min_outside_s`: a week.
pub const DURATION_S_MAX: f64 = 604_800.0;

/// The config as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    zones: FeatureCollection,
    #[serde(default)]
    initial_state: InitialState,
    #[serde(default)]
    exit_buffer_m: f64,
    #[serde(default)]
    min_inside_s: f64,
    #[serde(default)]
    min_outside_s: f64,
    #[serde(default)]
    max_accuracy_m: Option<f64>,
}

/// What the first reading of a vehicle that is inside a zone leads to.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum InitialState {
    /// An enter.
    #[default]
    Emit,
    /// Nothing: the vehicle counts as having been there.
    Silent,
}

/// How transitions are decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// See [`InitialState`].
    pub initial_state: InitialState,
    /// Metres around a zone in which a vehicle that is in it still counts as inside. 0: none.
    pub exit_buffer_m: f64,
    /// Milliseconds that a vehicle must be inside before it has entered.
    pub min_inside_ms: i64,
    /// Milliseconds that a vehicle must be outside before it has left.
    pub min_outside_ms: i64,
    /// Metres; a fix that is known to be worse is passed over.
    pub max_accuracy_m: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_state: InitialState::Emit,
            exit_buffer_m: 0.0,
            min_inside_ms: 0,
            min_outside_ms: 0,
            max_accuracy_m: f64::INFINITY,
        }
    }
}

/// A config that was checked and made ready.
pub struct Config {
    /// Where.
    pub zones: Zones,
    /// How.
    pub settings: Settings,
}

impl Config {
    /// Reads and checks a config.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let settings = Settings {
            initial_state: written.initial_state,
            exit_buffer_m: within("exit_buffer_m", written.exit_buffer_m, EXIT_BUFFER_M_MAX)?,
            min_inside_ms: milliseconds("min_inside_s", written.min_inside_s)?,
            min_outside_ms: milliseconds("min_outside_s", written.min_outside_s)?,
            max_accuracy_m: match written.max_accuracy_m {
                None => f64::INFINITY,
                Some(metres) if metres > 0.0 => metres,
                Some(metres) => return Err(format!("max_accuracy_m: {metres} is not above 0")),
            },
        };
        Ok(Self { zones: written.zones.into_zones()?, settings })
    }
}

fn within(field: &str, value: f64, max: f64) -> Result<f64, String> {
    if (0.0..=max).contains(&value) { Ok(value) } else { Err(format!("{field}: {value} is not between 0 and {max}")) }
}

fn milliseconds(field: &str, seconds: f64) -> Result<i64, String> {
    Ok((within(field, seconds, DURATION_S_MAX)? * 1_000.0).round() as i64)
}
