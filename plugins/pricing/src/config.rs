//! What a customer writes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::condition::check_zones;
use crate::tariff::{Tariff, check_id};
use crate::windows::Zone;
use crate::zones::{FeatureCollection, Zones, key_of};

/// The schema that the host checks a config against. A test holds it against the defaults and limits in the code.
pub const SCHEMA: &str = include_str!("../config.schema.json");

/// The longest of the durations: a week.
pub const DURATION_S_MAX: f64 = 604_800.0;
/// The highest of the speeds, kilometres per hour.
pub const SPEED_KPH_MAX: f64 = 1_000.0;
/// Tariffs of a config at most: a row names one by a byte.
pub const TARIFFS_MAX: usize = 200;

/// The config as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "utc", deserialize_with = "time_zone")]
    time_zone: Zone,
    #[serde(default)]
    trip: WrittenTrip,
    #[serde(default)]
    zones: FeatureCollection,
    #[serde(default)]
    vehicle_classes: Vec<VehicleClass>,
    #[serde(default)]
    vehicle_class: Option<String>,
    tariffs: Vec<Tariff>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenTrip {
    opens_by: OpensBy,
    moving_speed_kph: f64,
    idle_s: f64,
    zones: Vec<String>,
    #[serde(rename = "while")]
    side: Side,
    waiting_speed_kph: f64,
    max_gap_s: f64,
    reopen_within_s: f64,
    max_accuracy_m: Option<f64>,
    use_odometer: bool,
}

impl Default for WrittenTrip {
    fn default() -> Self {
        Self {
            opens_by: OpensBy::Ignition,
            moving_speed_kph: 5.0,
            idle_s: 300.0,
            zones: Vec::new(),
            side: Side::Outside,
            waiting_speed_kph: 5.0,
            max_gap_s: 14_400.0,
            reopen_within_s: 0.0,
            max_accuracy_m: None,
            use_odometer: true,
        }
    }
}

/// Vehicles that have something in common, such as their weight.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct VehicleClass {
    /// Names it.
    pub id: String,
    /// Texts, or decimals as texts, by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// What opens and closes trips.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum OpensBy {
    /// The ignition goes on and off.
    #[default]
    Ignition,
    /// The vehicle moves; it is idle for some time.
    Motion,
    /// The vehicle comes into or leaves zones.
    Zone,
}

/// Where a trip by zones is.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// In any of the zones.
    Inside,
    /// In none of them.
    #[default]
    Outside,
}

/// How readings become trips.
#[derive(Debug, Clone, PartialEq)]
pub struct TripSettings {
    /// What opens and closes them.
    pub opens_by: OpensBy,
    /// Metres per second from which on a vehicle moves.
    pub moving_speed: f32,
    /// How long a vehicle is slower than that before its trip by motion is over, milliseconds.
    pub idle_ms: i64,
    /// Of trips by zone.
    pub zones: Vec<u32>,
    /// Of trips by zone.
    pub side: Side,
    /// Metres per second below which time counts as waiting.
    pub waiting_speed: f32,
    /// Silence after which a trip is over, milliseconds.
    pub max_gap_ms: i64,
    /// How soon after its closing a trip may go on, milliseconds. 0: never.
    pub reopen_within_ms: i64,
    /// Metres; a fix that is known to be worse is passed over.
    pub max_accuracy_m: f64,
    /// Take the odometer's metres where there are some.
    pub use_odometer: bool,
}

/// A config that was checked and made ready.
pub struct Config {
    /// Of all days and times of day.
    pub time_zone: Zone,
    /// How readings become trips.
    pub trip: TripSettings,
    /// Where.
    pub zones: Zones,
    /// In order: the first that is valid counts.
    pub tariffs: Vec<Tariff>,
    /// A number for the text: a row that was charged under another text is not corrected under this one.
    pub key: u64,
    class: VehicleClass,
}

impl Config {
    /// Reads and checks a config.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let written: Written = serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())?;
        json.end().map_err(|error| error.to_string())?;
        let zones = written.zones.into_zones()?;
        let known = |id: &str| zones.by_id(id).is_some();
        if written.tariffs.len() > TARIFFS_MAX {
            return Err(format!("tariffs: {} are more than {TARIFFS_MAX}", written.tariffs.len()));
        }
        for (index, tariff) in written.tariffs.iter().enumerate() {
            tariff.check(&format!("tariffs[{index}]"), &known)?;
            if written.tariffs[..index].iter().any(|it| it.id == tariff.id) {
                return Err(format!("tariffs[{index}].id: {:?} is taken by another tariff", tariff.id));
            }
        }
        let trip = written.trip.checked(&zones)?;
        let class = choose_class(written.vehicle_classes, written.vehicle_class)?;
        Ok(Self { time_zone: written.time_zone, trip, zones, tariffs: written.tariffs, key: key_of(text), class })
    }

    /// The attributes of the vehicles' class.
    #[must_use]
    pub fn class_attributes(&self) -> &BTreeMap<String, String> {
        &self.class.attributes
    }
}

fn choose_class(classes: Vec<VehicleClass>, chosen: Option<String>) -> Result<VehicleClass, String> {
    for (index, class) in classes.iter().enumerate() {
        check_id(&format!("vehicle_classes[{index}].id"), &class.id)?;
        if classes[..index].iter().any(|it| it.id == class.id) {
            return Err(format!("vehicle_classes[{index}].id: {:?} is taken by another class", class.id));
        }
    }
    match chosen {
        None => Ok(VehicleClass { id: String::new(), attributes: BTreeMap::new() }),
        Some(id) => match classes.into_iter().find(|class| class.id == id) {
            Some(class) => Ok(class),
            None => Err(format!("vehicle_class: there is no class {id:?}")),
        },
    }
}

impl WrittenTrip {
    fn checked(self, zones: &Zones) -> Result<TripSettings, String> {
        check_zones("trip.zones", &self.zones, &|id| zones.by_id(id).is_some())?;
        if (self.opens_by == OpensBy::Zone) == self.zones.is_empty() {
            return Err("trip.zones: belongs to opens_by zone, which needs it".to_owned());
        }
        let max_gap_ms = milliseconds("trip.max_gap_s", self.max_gap_s)?;
        let reopen_within_ms = milliseconds("trip.reopen_within_s", self.reopen_within_s)?;
        if max_gap_ms == 0 {
            return Err("trip.max_gap_s: 0 is not above 0".to_owned());
        }
        let idle_ms = milliseconds("trip.idle_s", self.idle_s)?;
        // A gap closes the trip, so nothing that is longer could ever happen.
        for (field, duration_ms) in [("reopen_within_s", reopen_within_ms), ("idle_s", idle_ms)] {
            if duration_ms > max_gap_ms {
                return Err(format!("trip.{field}: is longer than max_gap_s"));
            }
        }
        Ok(TripSettings {
            opens_by: self.opens_by,
            moving_speed: metres_per_second("trip.moving_speed_kph", self.moving_speed_kph)?,
            idle_ms,
            zones: self.zones.iter().filter_map(|id| zones.by_id(id)).collect(),
            side: self.side,
            waiting_speed: metres_per_second("trip.waiting_speed_kph", self.waiting_speed_kph)?,
            max_gap_ms,
            reopen_within_ms,
            max_accuracy_m: match self.max_accuracy_m {
                None => f64::INFINITY,
                Some(metres) if metres > 0.0 => metres,
                Some(metres) => return Err(format!("trip.max_accuracy_m: {metres} is not above 0")),
            },
            use_odometer: self.use_odometer,
        })
    }
}

fn within(field: &str, value: f64, max: f64) -> Result<f64, String> {
    if (0.0..=max).contains(&value) { Ok(value) } else { Err(format!("{field}: {value} is not between 0 and {max}")) }
}

fn milliseconds(field: &str, seconds: f64) -> Result<i64, String> {
    Ok(Duration::from_secs_f64(within(field, seconds, DURATION_S_MAX)?).as_millis() as i64)
}

fn metres_per_second(field: &str, kph: f64) -> Result<f32, String> {
    Ok((within(field, kph, SPEED_KPH_MAX)? / 3.6) as f32)
}

fn utc() -> Zone {
    Zone::utc()
}

fn time_zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zone, D::Error> {
    Zone::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_begins_with_the_field() {
        let error = |config: &str| Config::parse(config).err().unwrap();
        let nested = error(r#"{"tariffs":[{"id":"t","currency":"EUR","components":[{"id":"c","price":2.5}]}]}"#);
        assert!(nested.starts_with("tariffs[0].components[0].price: "), "{nested}");
        assert!(error(r#"{"tariffs":[],"trip":{"idle_s":"5"}}"#).starts_with("trip.idle_s: "));
        assert!(error(r#"{"tariffs":[]} more"#).contains("trailing"));
    }

    #[test]
    fn the_class_that_is_named_is_taken() {
        let config = |class: &str| {
            let classes =
                r#"[{"id":"van","attributes":{"weight_t":"3.5"}},{"id":"truck","attributes":{"weight_t":"40"}}]"#;
            Config::parse(&format!(r#"{{"tariffs":[],"vehicle_classes":{classes}{class}}}"#))
        };
        let weight = |class: &str| config(class).unwrap().class_attributes().get("weight_t").cloned();
        assert_eq!(weight(r#","vehicle_class":"truck""#).as_deref(), Some("40"));
        assert_eq!(weight(""), None);
        assert!(config(r#","vehicle_class":"bus""#).err().unwrap().starts_with("vehicle_class: "));
    }
}
