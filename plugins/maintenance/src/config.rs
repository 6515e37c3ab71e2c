//! What a customer writes.

use serde::Deserialize;

use crate::calendar::DAY_MS;
use crate::event::Kind;
use crate::model;
use crate::schedule::CountFrom;
use crate::signal::{Condition, Signal};
use crate::threshold::{Missing, Report};

/// The schema that the host checks a config against. A test holds it against the defaults and limits below.
pub const SCHEMA: &str = include_str!("../config.schema.json");

/// The longest duration in seconds: ten years.
pub const DURATION_S_MAX: f64 = 315_360_000.0;
/// The most of each kind that a config may watch.
pub const WATCHED_MAX: usize = 32;
/// The most services on record.
pub const SERVICES_MAX: usize = 20_000;
/// The most conditions in one list.
pub const CONDITIONS_MAX: usize = 8;
/// The longest id in bytes; the contract's limit for a subject.
pub const ID_BYTES_MAX: usize = 256;
/// The most trouble codes that are remembered of a vehicle.
pub const SLOTS_MAX: usize = 32;

/// The config as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Written {
    pub(crate) trip_gap_s: Option<f64>,
    pub(crate) trip_starts_with_ignition: bool,
    pub(crate) schedules: Vec<WrittenSchedule>,
    pub(crate) services: Vec<WrittenService>,
    pub(crate) thresholds: Vec<WrittenThreshold>,
    pub(crate) trends: Vec<WrittenTrend>,
    pub(crate) remaining_life: Vec<WrittenRemainingLife>,
    pub(crate) trouble_codes: Option<WrittenTroubleCodes>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            trip_gap_s: Some(300.0),
            trip_starts_with_ignition: true,
            schedules: Vec::new(),
            services: Vec::new(),
            thresholds: Vec::new(),
            trends: Vec::new(),
            remaining_life: Vec::new(),
            trouble_codes: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenSchedule {
    pub(crate) id: String,
    pub(crate) every: WrittenEvery,
    #[serde(default)]
    pub(crate) warn_before: WrittenMargin,
    #[serde(default)]
    pub(crate) overdue_after: WrittenMargin,
    #[serde(default)]
    pub(crate) count_from: CountFrom,
    #[serde(default)]
    pub(crate) reset_when: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenEvery {
    pub(crate) odometer_km: Option<f64>,
    pub(crate) engine_hours: Option<f64>,
    pub(crate) days: Option<f64>,
    pub(crate) months: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenMargin {
    pub(crate) odometer_km: Option<f64>,
    pub(crate) engine_hours: Option<f64>,
    pub(crate) days: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenService {
    pub(crate) schedule: String,
    pub(crate) vehicle: String,
    pub(crate) time: String,
    pub(crate) odometer_km: Option<f64>,
    pub(crate) engine_hours: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenThreshold {
    pub(crate) id: String,
    pub(crate) when: Vec<Condition>,
    #[serde(default)]
    pub(crate) until: Vec<Condition>,
    #[serde(default)]
    pub(crate) duration_s: f64,
    #[serde(default)]
    pub(crate) at_trip_start: bool,
    #[serde(default)]
    pub(crate) across_trips: bool,
    #[serde(default)]
    pub(crate) missing: Missing,
    pub(crate) extreme: Option<WrittenExtreme>,
    #[serde(default)]
    pub(crate) event: ThresholdEvent,
    #[serde(default)]
    pub(crate) report: Report,
    #[serde(default = "yes")]
    pub(crate) report_cut_short: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenExtreme {
    pub(crate) signal: Signal,
    pub(crate) of: Extreme,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Extreme {
    Min,
    Max,
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ThresholdEvent {
    DueSoon,
    #[default]
    Due,
    Overdue,
}

impl ThresholdEvent {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::DueSoon => Kind::DueSoon,
            Self::Due => Kind::Due,
            Self::Overdue => Kind::Overdue,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenTrend {
    pub(crate) id: String,
    pub(crate) signal: Option<Signal>,
    pub(crate) schedule: Option<String>,
    #[serde(default)]
    pub(crate) when: Vec<Condition>,
    #[serde(default = "a_day")]
    pub(crate) sample_every_s: f64,
    #[serde(default)]
    pub(crate) method: WrittenMethod,
    #[serde(default = "sixteen")]
    pub(crate) samples: usize,
    #[serde(default = "eight")]
    pub(crate) span: f64,
    #[serde(default = "eight_samples")]
    pub(crate) min_samples: usize,
    pub(crate) limit: Option<f64>,
    pub(crate) direction: Option<Direction>,
    #[serde(default = "two_weeks")]
    pub(crate) horizon_days: f64,
    #[serde(default = "four_fifths")]
    pub(crate) min_confidence: f64,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Default)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WrittenMethod {
    #[default]
    TheilSen,
    Ewma,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    Rising,
    Falling,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenRemainingLife {
    pub(crate) id: String,
    pub(crate) model: model::Written,
    #[serde(default)]
    pub(crate) inputs: std::collections::BTreeMap<String, Signal>,
    #[serde(default)]
    pub(crate) when: Vec<Condition>,
    #[serde(default = "a_day")]
    pub(crate) sample_every_s: f64,
    #[serde(default = "eight_samples")]
    pub(crate) min_samples: usize,
    pub(crate) warn_at: f64,
    #[serde(default)]
    pub(crate) repeat_every_samples: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenTroubleCodes {
    pub(crate) raise_after_readings: u16,
    pub(crate) raise_after_s: f64,
    pub(crate) clear_after_readings: u16,
    pub(crate) clear_after_s: f64,
    pub(crate) ignore: Vec<String>,
    pub(crate) slots: usize,
}

impl Default for WrittenTroubleCodes {
    fn default() -> Self {
        Self {
            raise_after_readings: 2,
            raise_after_s: 0.0,
            clear_after_readings: 3,
            clear_after_s: 0.0,
            ignore: Vec::new(),
            slots: 12,
        }
    }
}

fn yes() -> bool {
    true
}

fn a_day() -> f64 {
    86_400.0
}

fn sixteen() -> usize {
    16
}

fn eight() -> f64 {
    8.0
}

fn eight_samples() -> usize {
    8
}

fn two_weeks() -> f64 {
    14.0
}

fn four_fifths() -> f64 {
    0.8
}

/// The value, when it is within the limits, which belong to it.
pub(crate) fn within<T: PartialOrd + std::fmt::Display>(field: &str, value: T, min: T, max: T) -> Result<T, String> {
    if (&min..=&max).contains(&&value) {
        Ok(value)
    } else {
        Err(format!("{field}: {value} is not between {min} and {max}"))
    }
}

/// The value, when it is above 0 and not above a limit.
pub(crate) fn positive(field: &str, value: f64, max: f64) -> Result<f64, String> {
    if value > 0.0 && value <= max { Ok(value) } else { Err(format!("{field}: {value} is not above 0, at most {max}")) }
}

/// Seconds as milliseconds.
pub(crate) fn duration_ms(field: &str, seconds: f64) -> Result<i64, String> {
    Ok((within(field, seconds, 0.0, DURATION_S_MAX)? * 1_000.0).round() as i64)
}

/// Seconds as milliseconds, at least one.
pub(crate) fn positive_duration_ms(field: &str, seconds: f64) -> Result<i64, String> {
    Ok(((positive(field, seconds, DURATION_S_MAX)? * 1_000.0).round() as i64).max(1))
}

/// Days as milliseconds.
pub(crate) fn days_ms(days: f64) -> i64 {
    (days * DAY_MS as f64).round() as i64
}

/// The conditions ready to be compared.
pub(crate) fn conditions(field: &str, written: Vec<Condition>) -> Result<Vec<Condition>, String> {
    within(&format!("{field}: the number of conditions"), written.len(), 0, CONDITIONS_MAX)?;
    Ok(written.into_iter().map(Condition::ready).collect())
}
