//! Explains why an element is refused: the published JSON Schema (docs/reading.schema.json) says which field is wrong
//! and what it should be. Slow, and only used on what is refused already.

use super::payload::{Complaint, DETAIL_LEN_MAX, shorten};
use super::rfc3339;
use fleet_model::Refusal;
use fleet_model::time::TIMESTAMP_MAX;
use jsonschema::Validator;
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
    let mut reason = Refusal::WrongShape;
    let mut told = Vec::new();
    if let (Some(validator), Ok(value)) = (ELEMENT.as_ref(), serde_json::from_str::<Value>(text)) {
        for complaint in validator.iter_errors(&value).take(COMPLAINTS_MAX) {
            let pointer = complaint.instance_path().as_str();
            if told.is_empty() {
                reason = reason_at(pointer);
            }
            let what = complaint.masked_with(shown(&complaint));
            told.push(if pointer.is_empty() { what.to_string() } else { format!("{pointer}: {what}") });
        }
    }
    // The schema has no word for a field that is there twice.
    let detail = if told.is_empty() { error.to_string() } else { told.join("; ") };
    (reason, shorten(detail, DETAIL_LEN_MAX))
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
