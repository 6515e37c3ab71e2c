//! The dead letter about an admitted reading that an actor or a plugin failed on: all that it says, in the device's words
//! (`docs/reading.schema.json`), so that it can be looked at and handed in again.

use crate::dead_letter::DeadLetter;
use fleet_model::reading::{IGNITION_UNKNOWN, reported, reported_f64};
use fleet_model::{Reading, Sequence, Timestamp, TroubleCodes, VehicleName};
use fleet_wire::ArchivedReadingV1;
use serde::Serialize;

/// A reading as a device writes it, with what we know besides. A signal that was not reported is left out.
#[derive(Serialize)]
struct Told {
    sequence: u64,
    event_time_ms: i64,
    received_time_ms: i64,
    latitude: f64,
    longitude: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    altitude: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heading: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    horizontal_accuracy: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    odometer: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_hours: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_speed: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel_level: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_of_charge: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_coolant_temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    battery_voltage: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignition: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dtc: Option<TroubleCodes>,
}

impl Told {
    fn of(sequence: Sequence, reading: &Reading) -> Self {
        Self {
            sequence: sequence.0,
            event_time_ms: reading.event_time.0,
            received_time_ms: reading.received_time.0,
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
            ignition: (reading.ignition != IGNITION_UNKNOWN).then_some(reading.ignition == 1),
            dtc: reading.trouble_codes.reported(),
        }
    }
}

/// The letter.
pub(crate) fn poison_letter(
    time: Timestamp,
    stage: &str,
    detail: &str,
    name: &VehicleName,
    record: &ArchivedReadingV1,
) -> DeadLetter {
    let (sequence, reading) = (record.sequence(), record.reading());
    let letter = DeadLetter::of_reading(time, stage, detail, name, sequence, &reading);
    // Some 500 bytes at most: never cut.
    let payload = serde_json::to_string(&Told::of(sequence, &reading)).unwrap_or_default();
    DeadLetter { payload_len: payload.len() as u64, payload, ..letter }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::PAYLOAD_LEN_MAX;

    #[test]
    fn a_reading_is_told_with_every_signal_it_reported() {
        let bare = Reading::fix(Timestamp(1), Timestamp(2), 52.1, 21.2);
        let told = |reading: &Reading| serde_json::to_string(&Told::of(Sequence(7), reading)).unwrap();
        let expected = r#"{"sequence":7,"event_time_ms":1,"received_time_ms":2,"latitude":52.1,"longitude":21.2}"#;
        assert_eq!(told(&bare), expected);
        let full = Reading {
            odometer: 123_456.7,
            altitude: 100.5,
            heading: 359.9,
            speed: 0.1,
            horizontal_accuracy: 3.0,
            engine_hours: 12_000.25,
            engine_speed: 900.0,
            fuel_level: 50.0,
            state_of_charge: 80.0,
            engine_coolant_temperature: -5.5,
            battery_voltage: 24.1,
            ignition: 0,
            trouble_codes: TroubleCodes::NONE,
            ..bare
        };
        let json: serde_json::Value = serde_json::from_str(&told(&full)).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 5 + 13);
        assert_eq!((&json["speed"], &json["ignition"]), (&0.1.into(), &false.into()));
        let widest = Reading { latitude: -f64::MIN_POSITIVE, longitude: f64::MIN_POSITIVE, odometer: f64::MAX, ..full };
        assert!(told(&widest).len() < PAYLOAD_LEN_MAX);
    }
}
