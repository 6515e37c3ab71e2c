//! What a reading says, as APIs write it.

use fleet_model::reading::{reported, reported_f64};
use fleet_model::{Reading, TroubleCodes};
use serde::Serialize;
use utoipa::ToSchema;

/// A position with the signals that were reported with it. A signal that was not reported is absent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Signals {
    /// Degrees WGS 84.
    latitude: f64,
    /// Degrees WGS 84.
    longitude: f64,
    /// Metres above the ellipsoid.
    #[serde(skip_serializing_if = "Option::is_none")]
    altitude: Option<f32>,
    /// Degrees clockwise from north.
    #[serde(skip_serializing_if = "Option::is_none")]
    heading: Option<f32>,
    /// Metres per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f32>,
    /// Metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    horizontal_accuracy: Option<f32>,
    /// Metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    odometer: Option<f64>,
    /// Hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_hours: Option<f32>,
    /// Revolutions per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_speed: Option<f32>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel_level: Option<f32>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_of_charge: Option<f32>,
    /// Degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_coolant_temperature: Option<f32>,
    /// Volts.
    #[serde(skip_serializing_if = "Option::is_none")]
    battery_voltage: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignition: Option<bool>,
    /// Diagnostic trouble codes that are active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, example = json!(["P0301"]))]
    dtc: Option<TroubleCodes>,
}

impl Signals {
    pub(crate) fn of(reading: &Reading) -> Self {
        Self {
            latitude: reading.latitude,
            longitude: reading.longitude,
            altitude: reported(reading.altitude),
            heading: reported(reading.heading),
            speed: reported(reading.speed),
            horizontal_accuracy: reported(reading.horizontal_accuracy),
            odometer: reported_f64(reading.odometer),
            engine_hours: reported(reading.engine_hours),
            engine_speed: reported(reading.engine_speed),
            fuel_level: reported(reading.fuel_level),
            state_of_charge: reported(reading.state_of_charge),
            engine_coolant_temperature: reported(reading.engine_coolant_temperature),
            battery_voltage: reported(reading.battery_voltage),
            ignition: match reading.ignition {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            dtc: reading.trouble_codes.reported(),
        }
    }
}
