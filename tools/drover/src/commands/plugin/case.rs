//! A recorded case of a rule: readings in, events expected. Pure but for the rule itself.

use fleet_model::reading::IGNITION_UNKNOWN;
use fleet_model::{Reading, Sequence, TenantId, Timestamp, TroubleCodes, VehicleId, VehicleName};
use plugin_host::{ConfiguredPlugin, InstantiateError, Rehearsal, RehearseError, Rehearsed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Readings of one case.
const READINGS_MAX: usize = 1_000_000;
/// Whose the vehicles of a case are; no rule ever sees it.
const TENANT: &str = "case";

/// What a file in `cases/` holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What is shown by it.
    #[serde(default)]
    pub(super) about: String,
    #[serde(default = "empty")]
    pub(super) config: Value,
    readings: Vec<CaseReading>,
    pub(super) events: Vec<CaseEvent>,
}

fn empty() -> Value {
    serde_json::json!({})
}

/// A reading as devices write it (`docs/reading.schema.json`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseReading {
    vehicle: VehicleId,
    event_time: jiff::Timestamp,
    latitude: f64,
    longitude: f64,
    odometer: Option<f64>,
    altitude: Option<f32>,
    heading: Option<f32>,
    speed: Option<f32>,
    horizontal_accuracy: Option<f32>,
    engine_hours: Option<f32>,
    engine_speed: Option<f32>,
    fuel_level: Option<f32>,
    state_of_charge: Option<f32>,
    engine_coolant_temperature: Option<f32>,
    battery_voltage: Option<f32>,
    ignition: Option<bool>,
    dtc: Option<TroubleCodes>,
}

/// An event as the rule proposed it, or should.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseEvent {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) vehicle: String,
    pub(super) event_time: jiff::Timestamp,
    pub(super) subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

/// What came of a case.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Expected, and not proposed.
    pub(super) missing: Vec<CaseEvent>,
    /// Proposed, and not expected.
    pub(super) surplus: Vec<CaseEvent>,
    /// Readings that the rule failed on, with the reason.
    pub(super) failed: Vec<String>,
    /// Everything that was proposed, in order.
    pub(super) found: Vec<CaseEvent>,
}

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaseError {
    #[error("reading {0}: {1}")]
    Reading(usize, String),
    #[error("it has {0} readings; at most {READINGS_MAX} are allowed")]
    TooLong(usize),
    #[error(transparent)]
    Start(#[from] InstantiateError),
    #[error(transparent)]
    Rule(#[from] RehearseError),
}

impl Case {
    /// Shows the readings to the rule and compares.
    pub(super) fn run(&self, rule: ConfiguredPlugin) -> Result<Verdict, CaseError> {
        if self.readings.len() > READINGS_MAX {
            return Err(CaseError::TooLong(self.readings.len()));
        }
        let shown = self.rehearsed()?;
        let answer = Rehearsal::new(rule)?.show(&shown)?;
        let found = answer.proposals.into_iter().map(|(index, proposal)| CaseEvent {
            kind: proposal.kind.as_str().to_owned(),
            vehicle: self.readings[index].vehicle.to_string(),
            event_time: jiff::Timestamp::from_millisecond(proposal.event_time.0).unwrap_or_default(),
            subject: proposal.subject,
            value: proposal.value.is_finite().then_some(proposal.value),
            details: proposal.details.and_then(|details| serde_json::from_str(&details).ok()),
        });
        let found: Vec<CaseEvent> = found.collect();
        let failed =
            answer.failed.iter().map(|failed| format!("reading {}: {}", failed.reading, failed.error)).collect();
        let (missing, surplus) = differences(&self.events, &found);
        Ok(Verdict { missing, surplus, failed, found })
    }

    /// The readings as a rule sees them: each vehicle's in order of their time, as they would come from a device.
    fn rehearsed(&self) -> Result<Vec<Rehearsed>, CaseError> {
        let tenant = TenantId::new(TENANT).map_err(|error| CaseError::Reading(0, error.to_string()))?;
        let mut last: BTreeMap<&VehicleId, (Sequence, Timestamp)> = BTreeMap::new();
        let mut shown = Vec::with_capacity(self.readings.len());
        for (index, reading) in self.readings.iter().enumerate() {
            let at = reading.reading();
            let (sequence, before) = last.get(&reading.vehicle).copied().unwrap_or((Sequence(0), Timestamp(i64::MIN)));
            if at.event_time <= before {
                let wrong = format!("vehicle {} has a reading of this time or a later one before it", reading.vehicle);
                return Err(CaseError::Reading(index, wrong));
            }
            let sequence = Sequence(sequence.0 + 1);
            last.insert(&reading.vehicle, (sequence, at.event_time));
            shown.push((VehicleName::new(tenant.clone(), reading.vehicle.clone()).key, sequence, at));
        }
        Ok(shown)
    }
}

impl CaseReading {
    fn reading(&self) -> Reading {
        let time = Timestamp(self.event_time.as_millisecond());
        Reading {
            odometer: self.odometer.unwrap_or(f64::NAN),
            altitude: self.altitude.unwrap_or(f32::NAN),
            heading: self.heading.unwrap_or(f32::NAN),
            speed: self.speed.unwrap_or(f32::NAN),
            horizontal_accuracy: self.horizontal_accuracy.unwrap_or(f32::NAN),
            engine_hours: self.engine_hours.unwrap_or(f32::NAN),
            engine_speed: self.engine_speed.unwrap_or(f32::NAN),
            fuel_level: self.fuel_level.unwrap_or(f32::NAN),
            state_of_charge: self.state_of_charge.unwrap_or(f32::NAN),
            engine_coolant_temperature: self.engine_coolant_temperature.unwrap_or(f32::NAN),
            battery_voltage: self.battery_voltage.unwrap_or(f32::NAN),
            ignition: self.ignition.map_or(IGNITION_UNKNOWN, u8::from),
            trouble_codes: self.dtc.unwrap_or(TroubleCodes::NOT_REPORTED),
            ..Reading::fix(time, time, self.latitude, self.longitude)
        }
    }
}

/// Which events only one side has, each as often as it is too many. Order does not matter: two vehicles' may come either
/// way.
fn differences(expected: &[CaseEvent], found: &[CaseEvent]) -> (Vec<CaseEvent>, Vec<CaseEvent>) {
    let mut surplus = found.to_vec();
    let missing = expected
        .iter()
        .filter(|event| match surplus.iter().position(|other| event.is_met_by(other)) {
            Some(place) => {
                surplus.remove(place);
                false
            }
            None => true,
        })
        .cloned()
        .collect();
    (missing, surplus)
}

impl CaseEvent {
    /// What a case does not say about value or details, it does not care about.
    fn is_met_by(&self, found: &Self) -> bool {
        let same = |event: &Self| (event.kind.clone(), event.vehicle.clone(), event.event_time, event.subject.clone());
        same(self) == same(found)
            && self.value.is_none_or(|value| found.value == Some(value))
            && self.details.as_ref().is_none_or(|details| found.details.as_ref() == Some(details))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(text: &str) -> Result<Case, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn event(subject: &str, value: Option<f64>) -> CaseEvent {
        CaseEvent {
            kind: "geofence.entered".into(),
            vehicle: "a".into(),
            event_time: "2026-01-01T00:00:00Z".parse().unwrap(),
            subject: subject.into(),
            value,
            details: None,
        }
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_are_told_apart() {
        let (missing, surplus) = differences(
            &[event("a", None), event("b", Some(2.0)), event("c", None)],
            &[event("c", Some(1.0)), event("b", Some(3.0)), event("a", None), event("a", None)],
        );
        assert_eq!(missing, [event("b", Some(2.0))]);
        assert_eq!(surplus, [event("b", Some(3.0)), event("a", None)]);
    }

    #[test]
    fn a_reading_out_of_order_is_named() {
        let reading = |time: &str| {
            format!(
                r#"{{"vehicle":"a","event_time":"2026-01-01T00:00:{time}Z","latitude":1,"longitude":1,"dtc":["P0301"]}}"#
            )
        };
        let text = format!(r#"{{"readings":[{},{}],"events":[]}}"#, reading("02"), reading("01"));
        let error = case(&text).unwrap().rehearsed().unwrap_err();
        assert!(error.to_string().starts_with("reading 1: vehicle a"), "{error}");
        let fine = format!(r#"{{"readings":[{},{}],"events":[]}}"#, reading("01"), reading("02"));
        let shown = case(&fine).unwrap().rehearsed().unwrap();
        assert_eq!((shown[0].1, shown[1].1), (Sequence(1), Sequence(2)));
        assert_eq!(shown[0].2.trouble_codes.iter().count(), 1);
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(case(r#"{"reading":[],"events":[]}"#).is_err());
        assert!(case(r#"{"readings":[{"vehicle":"a","event_time":"2026-01-01T00:00:00Z","latitude":1,"longitude":1,"sped":1}],"events":[]}"#).is_err());
    }
}
