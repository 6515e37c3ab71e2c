//! Reads payloads: JSON straight into readings, with no tree in between.
//!
//! The quick pass takes a payload that is right. One that is not is read again element by element, so that one bad
//! element does not take the others down, and each bad one is explained ([`super::explain`]).

use super::elements::{Elements, is_array};
use super::{explain, rfc3339};
use fleet_model::reading::IGNITION_UNKNOWN;
use fleet_model::{Reading, Refusal, Timestamp, TroubleCodes, VehicleName};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::error::Category;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Largest payload, in bytes.
pub const PAYLOAD_LEN_MAX: usize = 256 * 1_024;
/// Most readings in one payload.
pub const READINGS_MAX: usize = 1_000;
/// Longest explanation of a refusal, in bytes.
pub const DETAIL_LEN_MAX: usize = 300;

/// A reading that has the right shape.
#[derive(Debug, Clone)]
pub struct Element {
    /// Place in the payload.
    pub index: u32,
    /// Whose reading.
    pub vehicle: Arc<VehicleName>,
    /// What it says.
    pub reading: Reading,
}

/// An element that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Place in the payload. A payload that is refused as a whole is refused at 0.
    pub index: u32,
    /// Why.
    pub reason: Refusal,
    /// Where and what exactly, for people.
    pub detail: String,
}

/// A payload after the door.
#[derive(Debug, Default)]
pub struct Parsed {
    /// What has the right shape, in order.
    pub elements: Vec<Element>,
    /// What has not, in order.
    pub refused: Vec<Refused>,
}

/// A reason with its detail.
pub type Complaint = (Refusal, String);

/// Names the vehicle of an element, which may have named it itself.
pub trait Naming {
    /// The vehicle, or why the element names none.
    ///
    /// # Errors
    /// The reason, with detail.
    fn vehicle(&mut self, named: Option<&str>) -> Result<Arc<VehicleName>, Complaint>;
}

/// Reads a payload that was received at `received`.
pub fn parse(payload: &[u8], received: Timestamp, naming: &mut dyn Naming) -> Parsed {
    if payload.len() > PAYLOAD_LEN_MAX {
        let detail = format!("{} bytes; at most {PAYLOAD_LEN_MAX} are allowed", payload.len());
        return Parsed::refused_whole(Refusal::TooLarge, detail);
    }
    let quick = if is_array(payload) {
        serde_json::from_slice::<Vec<RawReading<'_>>>(payload)
    } else {
        serde_json::from_slice::<RawReading<'_>>(payload).map(|one| vec![one])
    };
    match quick {
        Ok(raw) if !raw.is_empty() && raw.len() <= READINGS_MAX => {
            let mut parsed = Parsed { elements: Vec::with_capacity(raw.len()), refused: Vec::new() };
            for (index, raw) in raw.into_iter().enumerate() {
                parsed.take(index, raw.into_reading(received, naming));
            }
            parsed
        }
        Ok(raw) => wrong_count(raw.len()),
        Err(_) => one_by_one(payload, received, naming),
    }
}

/// Cuts a text to `len_max` bytes without cutting a character.
#[must_use]
pub fn shorten(mut text: String, len_max: usize) -> String {
    if text.len() > len_max {
        text.truncate(text.floor_char_boundary(len_max));
    }
    text
}

fn wrong_count(count: usize) -> Parsed {
    if count == 0 {
        Parsed::refused_whole(Refusal::WrongShape, "an empty array".into())
    } else {
        Parsed::refused_whole(Refusal::TooLarge, format!("{count} readings; at most {READINGS_MAX} are allowed"))
    }
}

fn one_by_one(payload: &[u8], received: Timestamp, naming: &mut dyn Naming) -> Parsed {
    let elements = match Elements::cut(payload) {
        Ok(elements) if (1..=READINGS_MAX).contains(&elements.len()) => elements,
        Ok(elements) => return wrong_count(elements.len()),
        Err(error) => return Parsed::refused_whole(Refusal::MalformedJson, error.to_string()),
    };
    let mut parsed = Parsed::default();
    for (index, element) in elements.iter().enumerate() {
        let taken = match element {
            Ok(text) => match serde_json::from_str::<RawReading<'_>>(text) {
                Ok(raw) => raw.into_reading(received, naming),
                // Cutting does not read numbers: only one that is too large for a double fails here and not there.
                Err(error) if error.classify() != Category::Data => Err((Refusal::NotFinite, error.to_string())),
                Err(error) => Err(explain::element(text, &error)),
            },
            Err(detail) => Err((Refusal::NotFinite, detail)),
        };
        parsed.take(index, taken);
    }
    parsed
}

impl Parsed {
    /// A payload that is refused as a whole.
    #[must_use]
    pub fn refused_whole(reason: Refusal, detail: String) -> Self {
        Self { elements: Vec::new(), refused: vec![Refused { index: 0, reason, detail }] }
    }

    fn take(&mut self, index: usize, result: Result<(Arc<VehicleName>, Reading), Complaint>) {
        let index = index as u32;
        match result {
            Ok((vehicle, reading)) => self.elements.push(Element { index, vehicle, reading }),
            Err((reason, detail)) => {
                self.refused.push(Refused { index, reason, detail: shorten(detail, DETAIL_LEN_MAX) });
            }
        }
    }
}

/// A text borrowed from the payload unless it contains escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

/// An integer as JSON Schema has it: `5.0` is one.
struct Integer(i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;
        impl Visitor<'_> for IntegerVisitor {
            type Value = i64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<i64, E> {
                Ok(value)
            }
            // Beyond any time: admission refuses it as such.
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<i64, E> {
                Ok(i64::try_from(value).unwrap_or(i64::MAX))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<i64, E> {
                if value.fract() == 0.0 { Ok(value as i64) } else { Err(E::custom("not a whole number")) }
            }
        }
        deserializer.deserialize_i64(IntegerVisitor).map(Integer)
    }
}

/// A field that may be left out, but not be null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An element as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReading<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    vehicle: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    event_time: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present")]
    event_time_ms: Option<Integer>,
    latitude: f64,
    longitude: f64,
    altitude: Option<f32>,
    heading: Option<f32>,
    speed: Option<f32>,
    horizontal_accuracy: Option<f32>,
    odometer: Option<f64>,
    engine_hours: Option<f32>,
    engine_speed: Option<f32>,
    fuel_level: Option<f32>,
    state_of_charge: Option<f32>,
    engine_coolant_temperature: Option<f32>,
    battery_voltage: Option<f32>,
    ignition: Option<bool>,
    dtc: Option<TroubleCodes>,
}

impl RawReading<'_> {
    fn into_reading(
        self,
        received: Timestamp,
        naming: &mut dyn Naming,
    ) -> Result<(Arc<VehicleName>, Reading), Complaint> {
        let vehicle = naming.vehicle(self.vehicle.as_ref().map(|text| text.0.as_ref()))?;
        let event_time = match (&self.event_time, &self.event_time_ms) {
            (Some(text), None) => rfc3339::parse(&text.0)
                .ok_or_else(|| (Refusal::MalformedTime, format!("/event_time: {:?} is not RFC 3339", text.0)))?,
            (None, Some(ms)) => Timestamp(ms.0),
            (Some(_), Some(_)) => {
                return Err((Refusal::WrongShape, "event_time and event_time_ms: give one of them".into()));
            }
            (None, None) => return Err((Refusal::MissingTime, "neither event_time nor event_time_ms".into())),
        };
        let signal = |value: Option<f32>| value.unwrap_or(f32::NAN);
        let reading = Reading {
            event_time,
            received_time: received,
            latitude: self.latitude,
            longitude: self.longitude,
            odometer: self.odometer.unwrap_or(f64::NAN),
            altitude: signal(self.altitude),
            heading: signal(self.heading),
            speed: signal(self.speed),
            horizontal_accuracy: signal(self.horizontal_accuracy),
            engine_hours: signal(self.engine_hours),
            engine_speed: signal(self.engine_speed),
            fuel_level: signal(self.fuel_level),
            state_of_charge: signal(self.state_of_charge),
            engine_coolant_temperature: signal(self.engine_coolant_temperature),
            battery_voltage: signal(self.battery_voltage),
            ignition: self.ignition.map_or(IGNITION_UNKNOWN, u8::from),
            trouble_codes: self.dtc.unwrap_or(TroubleCodes::NOT_REPORTED),
        };
        Ok((vehicle, reading))
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
