//! Explains why an element is refused: the published JSON Schema (docs/reading.schema.json) says which field is wrong
//! and what it should be. Slow, and only used on what is refused already.

use super::payload::{Complaint, DETAIL_LEN_MAX, shorten};
use super::rfc3339;
use fleet_model::time::TIMESTAMP_MAX;
use fleet_model::{AdmissionPolicy, Reading, Refusal, Timestamp};
use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;
use std::sync::LazyLock;

/// The schema as published.
pub const SCHEMA: &str = include_str!("../../../docs/reading.schema.json");

/// Complaints told about one element at most.
const COMPLAINTS_MAX: usize = 4;
/// Longest value repeated from the payload, in bytes.
const VALUE_LEN_MAX: usize = 100;

/// Accepts whole payloads. `None` only if the schema in the binary is broken, which a test rules out.
#[cfg(test)]
pub(super) static PAYLOAD: LazyLock<Option<Validator>> =
    LazyLock::new(|| validator(serde_json::from_str(SCHEMA).ok()?));

/// Accepts one element.
static ELEMENT: LazyLock<Option<Validator>> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(SCHEMA).ok()?;
    validator(schema.pointer("/$defs/reading")?.clone())
});

fn validator(schema: Value) -> Option<Validator> {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        // The same reader as the quick pass, so that both agree about every instant.
        .with_format("date-time", |text: &str| {
            rfc3339::parse(text).is_some_and(|time| (0..=TIMESTAMP_MAX.0).contains(&time.0))
        })
        .build(&schema)
        .ok()
}

/// The reason, and each field that is wrong by its JSON pointer. `error` is what the quick pass said.
pub(super) fn element(text: &str, error: &serde_json::Error) -> Complaint {
    let (pointer, told) = by_schema(text.as_bytes());
    let reason = pointer.map_or(Refusal::WrongShape, |pointer| reason_at(&pointer));
    // The schema has no word for a field that is there twice.
    let detail = if told.is_empty() { error.to_string() } else { told };
    (reason, shorten(detail, DETAIL_LEN_MAX))
}

/// What admission means by refusing this reading, which was sent as `text`: the field, its value, what is allowed.
#[must_use]
pub fn refusal(reason: Refusal, reading: &Reading, text: &[u8], policy: AdmissionPolicy) -> String {
    let detail = match reason {
        Refusal::OutOfRange | Refusal::NotFinite | Refusal::MalformedTime => by_schema(text).1,
        Refusal::FutureClock => {
            let ahead = seconds(reading.event_time.since_ms(reading.received_time));
            let allowed = seconds(policy.future_clock_ms_max.unwrap_or_default());
            format!("the device's clock is {ahead} s ahead of the edge node's; at most {allowed} s are allowed")
        }
        Refusal::NullPosition => format!("/latitude and /longitude are both 0: {}", reason.advice()),
        Refusal::ConflictingRepeat => {
            let instant = reading.event_time.to_rfc3339();
            format!("another reading of {instant} came first and stands: {}", reason.advice())
        }
        _ => String::new(),
    };
    let detail = if detail.is_empty() { reason.advice().to_owned() } else { detail };
    shorten(detail, DETAIL_LEN_MAX)
}

/// Milliseconds as seconds.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The JSON pointer of the first field that is wrong, and what is wrong with all of them. Nothing when the schema
/// finds no fault.
fn by_schema(text: &[u8]) -> (Option<String>, String) {
    let (Some(validator), Ok(value)) = (ELEMENT.as_ref(), serde_json::from_slice::<Value>(text)) else {
        return (None, String::new());
    };
    let mut first = None;
    let mut told = Vec::new();
    for complaint in validator.iter_errors(&value).take(COMPLAINTS_MAX) {
        let pointer = complaint.instance_path().as_str();
        first.get_or_insert_with(|| pointer.to_owned());
        let what = match complaint.kind() {
            ValidationErrorKind::Format { .. } => {
                let (from, to) = (Timestamp(0).to_rfc3339(), TIMESTAMP_MAX.to_rfc3339());
                format!("{} is no RFC 3339 instant from {from} to {to}", shown(&complaint))
            }
            _ => complaint.masked_with(shown(&complaint)).to_string(),
        };
        told.push(if pointer.is_empty() { what } else { format!("{pointer}: {what}") });
    }
    (first, told.join("; "))
}

/// The offending value, cut; a whole object is not repeated.
fn shown(complaint: &jsonschema::ValidationError<'_>) -> String {
    match complaint.instance().as_ref() {
        Value::Object(_) => "the reading".into(),
        value => shorten(value.to_string(), VALUE_LEN_MAX),
    }
}

fn reason_at(pointer: &str) -> Refusal {
    match pointer {
        "/vehicle" => Refusal::MissingVehicle,
        "/event_time" | "/event_time_ms" => Refusal::MalformedTime,
        _ => Refusal::WrongShape,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_admission_refuses_is_told_with_field_value_and_bound() {
        let policy = AdmissionPolicy::default();
        let reading = Reading::fix(Timestamp(200_000_500), Timestamp(0), 52.0, 21.0);
        let fix = r#""event_time_ms":200000500,"latitude":52,"longitude":21"#;
        let told = |reason, text: String| refusal(reason, &reading, text.as_bytes(), policy);
        let cases: [(Refusal, String, &[&str]); 8] = [
            (Refusal::OutOfRange, format!(r#"{{{fix},"fuel_level":120}}"#), &["/fuel_level", "120", "100"]),
            (
                Refusal::OutOfRange,
                r#"{"event_time_ms":1,"latitude":-91,"longitude":0}"#.into(),
                &["/latitude", "-91", "-90"],
            ),
            (Refusal::NotFinite, format!(r#"{{{fix},"altitude":1e39}}"#), &["/altitude", "1e+39", "3.4028235"]),
            (
                Refusal::MalformedTime,
                r#"{"event_time_ms":-1,"latitude":5,"longitude":0}"#.into(),
                &["/event_time_ms", "-1"],
            ),
            (
                Refusal::MalformedTime,
                r#"{"event_time":"1969-12-31T23:59:59Z","latitude":5,"longitude":0}"#.into(),
                &["/event_time", "1969-12-31", "1970-01-01T00:00:00.000Z", "9999"],
            ),
            (Refusal::FutureClock, format!("{{{fix}}}"), &["200000.5 s ahead", "86400 s"]),
            (Refusal::ConflictingRepeat, format!("{{{fix}}}"), &["1970-01-03T07:33:20.500Z"]),
            (Refusal::KeyCollision, format!("{{{fix}}}"), &["rename"]),
        ];
        for (reason, text, parts) in cases {
            let detail = told(reason, text);
            for part in parts {
                assert!(detail.contains(part), "{part}: {detail}");
            }
            assert!(detail.len() <= DETAIL_LEN_MAX);
        }
    }
}
