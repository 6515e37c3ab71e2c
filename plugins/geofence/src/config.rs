//! What a customer writes.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::feature_collection::FeatureCollection;
use crate::overspeed::Prefer;
use crate::schedule::{self, SCHEDULES_MAX, Schedule};
use crate::terms::Defaults;
use crate::zones::Zones;

/// The schema that the host checks a config against. A test holds it against the defaults and limits below.
pub const SCHEMA: &str = include_str!("../config.schema.json");

/// The largest `exit_buffer_m`: beyond it the flat approximation of distances is no longer good.
pub const EXIT_BUFFER_M_MAX: f64 = 10_000.0;
/// The largest of all that is in seconds: a week.
pub const DURATION_S_MAX: f64 = 604_800.0;
/// The largest speed, tolerance and hysteresis.
pub const SPEED_KPH_MAX: f64 = 1_000.0;
/// The default of `crossing_max_gap_s`.
pub const CROSSING_MAX_GAP_S: f64 = 120.0;
/// The default of `crossing_max_gap_m`.
pub const CROSSING_MAX_GAP_M: f64 = 5_000.0;
/// The largest `crossing_max_gap_m`: a straight line over more is no guess at the way.
pub const CROSSING_MAX_GAP_M_MAX: f64 = 50_000.0;

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
    #[serde(default)]
    without_altitude: WithoutAltitude,
    #[serde(default)]
    schedules: BTreeMap<String, schedule::Written>,
    #[serde(default)]
    on_schedule_start: OnSchedule,
    #[serde(default)]
    on_schedule_end: OnSchedule,
    #[serde(default)]
    dwell_s: Option<f64>,
    #[serde(default)]
    crossing: bool,
    #[serde(default = "crossing_max_gap_s")]
    crossing_max_gap_s: f64,
    #[serde(default = "crossing_max_gap_m")]
    crossing_max_gap_m: f64,
    #[serde(default)]
    speed_limit_kph: Option<f64>,
    #[serde(default)]
    overspeed_min_s: f64,
    #[serde(default)]
    overspeed_tolerance_kph: f64,
    #[serde(default)]
    overspeed_hysteresis_kph: f64,
    #[serde(default)]
    prefer: Prefer,
    #[serde(default)]
    on_zone_change: OnZoneChange,
}

fn crossing_max_gap_s() -> f64 {
    CROSSING_MAX_GAP_S
}

fn crossing_max_gap_m() -> f64 {
    CROSSING_MAX_GAP_M
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

/// What the hours of a zone lead to for a vehicle that is inside when they begin or end.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum OnSchedule {
    /// An enter at their beginning, an exit at their end.
    #[default]
    Emit,
    /// Nothing.
    Silent,
}

/// Where a reading without altitude is, as to zones that have altitudes.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum WithoutAltitude {
    /// Inside where its position is.
    #[default]
    Inside,
    /// Outside.
    Outside,
}

/// What zones that another config has changed lead to.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum OnZoneChange {
    /// Enters and exits, as if the vehicle had moved.
    #[default]
    Reevaluate,
    /// Nothing: rows are made to fit them.
    Keep,
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
    /// For a vehicle that is inside when a zone's hours begin.
    pub on_schedule_start: OnSchedule,
    /// For a vehicle that is inside when a zone's hours end.
    pub on_schedule_end: OnSchedule,
    /// Whether ways between fixes are looked at.
    pub crossing: bool,
    /// Milliseconds between two fixes of such a way.
    pub crossing_max_gap_ms: i64,
    /// Metres between two fixes of such a way.
    pub crossing_max_gap_m: f64,
    /// Whose speed limits count.
    pub prefer: Prefer,
    /// See [`OnZoneChange`].
    pub on_zone_change: OnZoneChange,
    /// Whether any of these wants to know the fix before.
    pub needs_last_fix: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_state: InitialState::Emit,
            exit_buffer_m: 0.0,
            min_inside_ms: 0,
            min_outside_ms: 0,
            max_accuracy_m: f64::INFINITY,
            on_schedule_start: OnSchedule::Emit,
            on_schedule_end: OnSchedule::Emit,
            crossing: false,
            crossing_max_gap_ms: (CROSSING_MAX_GAP_S * 1_000.0) as i64,
            crossing_max_gap_m: CROSSING_MAX_GAP_M,
            prefer: Prefer::Lowest,
            on_zone_change: OnZoneChange::Reevaluate,
            needs_last_fix: false,
        }
    }
}

/// A config that was checked and made ready.
pub struct Config {
    /// Where.
    pub zones: Zones,
    /// How.
    pub settings: Settings,
    /// Tells configs apart; not 0.
    pub fingerprint: u32,
}

impl Config {
    /// Reads and checks a config.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let silent_start = !written.schedules.is_empty() && written.on_schedule_start == OnSchedule::Silent;
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
            on_schedule_start: written.on_schedule_start,
            on_schedule_end: written.on_schedule_end,
            crossing: written.crossing,
            crossing_max_gap_ms: milliseconds("crossing_max_gap_s", written.crossing_max_gap_s)?,
            crossing_max_gap_m: within("crossing_max_gap_m", written.crossing_max_gap_m, CROSSING_MAX_GAP_M_MAX)?,
            prefer: written.prefer,
            on_zone_change: written.on_zone_change,
            needs_last_fix: written.crossing || silent_start || written.on_zone_change == OnZoneChange::Keep,
        };
        if written.schedules.len() > SCHEDULES_MAX {
            return Err(format!("schedules: {} are more than {SCHEDULES_MAX}", written.schedules.len()));
        }
        let (mut schedules, mut names) = (Vec::new(), BTreeMap::new());
        for (name, schedule) in written.schedules {
            schedules.push(Schedule::new(&schedule).map_err(|what| format!("schedules.{name}{what}"))?);
            names.insert(name, names.len() as u32);
        }
        let defaults = Defaults {
            dwell_ms: match above_0("dwell_s", written.dwell_s, DURATION_S_MAX)? {
                Some(seconds) => Some(milliseconds("dwell_s", seconds)?),
                None => None,
            },
            speed_limit_kph: above_0("speed_limit_kph", written.speed_limit_kph, SPEED_KPH_MAX)?,
            overspeed_min_ms: milliseconds("overspeed_min_s", written.overspeed_min_s)?,
            overspeed_tolerance_kph: kph("overspeed_tolerance_kph", written.overspeed_tolerance_kph)?,
            overspeed_hysteresis_kph: kph("overspeed_hysteresis_kph", written.overspeed_hysteresis_kph)?,
            schedules: names,
            crossing: written.crossing,
        };
        let zones = Zones::new(written.zones.into_zones(&defaults)?, schedules, written.without_altitude)?;
        Ok(Self { zones, settings, fingerprint: fingerprint_of(text) })
    }
}

/// 32 bits of FNV-1a, folded.
fn fingerprint_of(text: &str) -> u32 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    ((hash >> 32) as u32 ^ hash as u32).max(1)
}

fn within(field: &str, value: f64, max: f64) -> Result<f64, String> {
    if (0.0..=max).contains(&value) { Ok(value) } else { Err(format!("{field}: {value} is not between 0 and {max}")) }
}

fn above_0(field: &str, value: Option<f64>, max: f64) -> Result<Option<f64>, String> {
    match value {
        Some(number) if !(number > 0.0 && number <= max) => {
            Err(format!("{field}: {number} is not above 0 and up to {max}"))
        }
        _ => Ok(value),
    }
}

fn kph(field: &str, value: f64) -> Result<f64, String> {
    within(field, value, SPEED_KPH_MAX)
}

fn milliseconds(field: &str, seconds: f64) -> Result<i64, String> {
    Ok((within(field, seconds, DURATION_S_MAX)? * 1_000.0).round() as i64)
}
