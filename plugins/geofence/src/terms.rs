//! What a zone asks beyond its area: altitudes, hours, how long and how fast. Read from a feature's properties, with
//! the config's fields as defaults.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{DURATION_S_MAX, SPEED_KPH_MAX};
use crate::overspeed::Limit;

/// The farthest altitude from the ellipsoid, either way.
pub const ALTITUDE_M_MAX: f64 = 100_000.0;

/// The properties that are read here.
pub(crate) const NAMES: [&str; 8] = [
    "width_m",
    "altitude_min_m",
    "altitude_max_m",
    "schedule",
    "dwell_s",
    "speed_limit_kph",
    "overspeed_min_s",
    "overspeed_tolerance_kph",
];

/// What a zone asks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// Lowest and highest metres above the ellipsoid, both inside.
    pub altitudes: Option<(f64, f64)>,
    /// Index of its schedule.
    pub schedule: Option<u32>,
    /// Milliseconds after which a stay is told of.
    pub dwell_ms: Option<i64>,
    /// How fast.
    pub limit: Option<Limit>,
}

/// What holds for zones that say nothing else.
pub struct Defaults {
    /// Milliseconds.
    pub dwell_ms: Option<i64>,
    /// Kilometres per hour.
    pub speed_limit_kph: Option<f64>,
    /// Milliseconds.
    pub overspeed_min_ms: i64,
    /// Kilometres per hour.
    pub overspeed_tolerance_kph: f64,
    /// Kilometres per hour; zones have no other.
    pub overspeed_hysteresis_kph: f64,
    /// Indices of the schedules.
    pub schedules: BTreeMap<String, u32>,
    /// Whether gates are of use.
    pub crossing: bool,
}

/// The properties of a feature that are in [`NAMES`] and not null.
#[derive(Default)]
pub(crate) struct Properties(pub(crate) Vec<(&'static str, Value)>);

impl Properties {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|property| property.0 == name).map(|property| &property.1)
    }

    /// A number that is fine, if there is one.
    pub(crate) fn number(&self, name: &str, fine: impl Fn(f64) -> bool, what: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if fine(number) => Ok(Some(number)),
            _ => Err(format!(".properties.{name}: {value} is not a number {what}")),
        }
    }
}

/// Reads what a feature's zone asks.
///
/// # Errors
/// Which property is wrong, and how.
pub(crate) fn read(properties: &Properties, defaults: &Defaults) -> Result<Terms, String> {
    Ok(Terms {
        altitudes: altitudes(properties)?,
        schedule: schedule(properties, defaults)?,
        dwell_ms: match positive(properties, "dwell_s", DURATION_S_MAX)? {
            Some(seconds) => Some(milliseconds(seconds)),
            None => defaults.dwell_ms,
        },
        limit: limit(properties, defaults)?,
    })
}

fn altitudes(properties: &Properties) -> Result<Option<(f64, f64)>, String> {
    let metres = |name| {
        let what = format!("between -{ALTITUDE_M_MAX} and {ALTITUDE_M_MAX}");
        properties.number(name, |metres| metres.abs() <= ALTITUDE_M_MAX, &what)
    };
    let (min, max) = (metres("altitude_min_m")?, metres("altitude_max_m")?);
    if min.is_none() && max.is_none() {
        return Ok(None);
    }
    let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
    if min > max {
        return Err(format!(".properties.altitude_min_m: {min} is above altitude_max_m, {max}"));
    }
    Ok(Some((min, max)))
}

fn schedule(properties: &Properties, defaults: &Defaults) -> Result<Option<u32>, String> {
    let Some(name) = properties.get("schedule") else { return Ok(None) };
    let index = name.as_str().and_then(|name| defaults.schedules.get(name));
    index.copied().map(Some).ok_or_else(|| format!(".properties.schedule: {name} is not one of the config's schedules"))
}

fn limit(properties: &Properties, defaults: &Defaults) -> Result<Option<Limit>, String> {
    let kph = positive(properties, "speed_limit_kph", SPEED_KPH_MAX)?;
    let min_s = up_to(properties, "overspeed_min_s", DURATION_S_MAX)?;
    let tolerance_kph = up_to(properties, "overspeed_tolerance_kph", SPEED_KPH_MAX)?;
    let Some(kph) = kph.or(defaults.speed_limit_kph) else {
        // They would have no effect, which is not what whoever wrote them thinks.
        let idle = [("overspeed_min_s", min_s), ("overspeed_tolerance_kph", tolerance_kph)];
        return match idle.into_iter().find(|it| it.1.is_some()) {
            Some((name, _)) => Err(format!(".properties.{name}: there is no speed_limit_kph for it")),
            None => Ok(None),
        };
    };
    let tolerance_kph = tolerance_kph.unwrap_or(defaults.overspeed_tolerance_kph);
    let hysteresis_kph = defaults.overspeed_hysteresis_kph;
    if hysteresis_kph >= kph + tolerance_kph {
        return Err(format!(
            ".properties.speed_limit_kph: {kph} and a tolerance of {tolerance_kph} are not above \
             overspeed_hysteresis_kph, {hysteresis_kph}: no episode would end"
        ));
    }
    let min_ms = min_s.map_or(defaults.overspeed_min_ms, milliseconds);
    Ok(Some(Limit::new(kph, tolerance_kph, hysteresis_kph, min_ms)))
}

fn positive(properties: &Properties, name: &str, max: f64) -> Result<Option<f64>, String> {
    properties.number(name, |number| number > 0.0 && number <= max, &format!("above 0 and up to {max}"))
}

fn up_to(properties: &Properties, name: &str, max: f64) -> Result<Option<f64>, String> {
    properties.number(name, |number| (0.0..=max).contains(&number), &format!("between 0 and {max}"))
}

fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}
