//! What a plugin proposes, checked before anybody believes it.

use crate::bindings::v1;
use crate::descriptor::PluginKind;
use crate::instance::EvaluateError;
use crate::limits::{DETAILS_BYTES_MAX, InstanceLimits, SUBJECT_BYTES_MAX};
use crate::position::Position;
use fleet_model::{EventKind, Timestamp};
use serde_json::{Map, Value};

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In the order in which the plugin proposed them.
    pub proposals: Vec<Proposal>,
    /// The rows to be stored: as many bytes as went in.
    pub rows: Vec<u8>,
}

/// An event a plugin proposes. Checked: the position exists, the kind is one the plugin may use, the time is not
/// negative and not after the position's, the subject has 1 to 256 bytes, and details are a JSON object of bounded
/// length where the kind of plugin has any.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Index of the position that caused it.
    pub position: u32,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub event_time: Timestamp,
    /// A figure that belongs to the kind, or NaN.
    pub value: f64,
    /// The zone or rule it is about.
    pub subject: String,
    /// What else belongs to the kind: a JSON object as the plugin wrote it. `None` for every geofence.
    pub details: Option<String>,
}

/// The kinds of events a kind of plugin may propose, as `wit/v1` lists them.
fn kinds_of(plugin: PluginKind) -> &'static [EventKind] {
    match plugin {
        PluginKind::Geofence => &[
            EventKind::GeofenceEntered,
            EventKind::GeofenceExited,
            EventKind::GeofenceCrossed,
            EventKind::GeofenceDwell,
            EventKind::GeofenceOverspeed,
        ],
        PluginKind::Pricing | PluginKind::Maintenance => &[],
    }
}

/// Whether a kind of plugin may add details to what it proposes. Where nobody would read them they are refused: what a
/// plugin says is not dropped in silence.
fn has_details(plugin: PluginKind) -> bool {
    match plugin {
        PluginKind::Geofence => false,
        PluginKind::Pricing | PluginKind::Maintenance => true,
    }
}

/// Takes an answer apart; the first thing wrong with it refuses it whole.
pub(crate) fn checked(
    answer: v1::Outcome,
    positions: &[Position],
    rows_len: usize,
    kind: PluginKind,
    limits: &InstanceLimits,
) -> Result<Outcome, EvaluateError> {
    if answer.proposals.len() > limits.proposals_max {
        let (found, most) = (answer.proposals.len(), limits.proposals_max);
        return Err(EvaluateError::TooMuchOutput(format!("{found} proposals; at most {most} are allowed")));
    }
    if answer.rows.len() != rows_len {
        let found = answer.rows.len();
        return Err(EvaluateError::Malformed(format!("rows of {found} bytes came back for {rows_len}")));
    }
    let check = |(index, proposal): (usize, v1::Proposal)| {
        checked_proposal(proposal, positions, kind)
            .map_err(|wrong| EvaluateError::Malformed(format!("proposal {index}: {wrong}")))
    };
    let proposals = answer.proposals.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
    Ok(Outcome { proposals, rows: answer.rows })
}

fn checked_proposal(found: v1::Proposal, positions: &[Position], plugin: PluginKind) -> Result<Proposal, String> {
    let Some(cause) = positions.get(found.reading as usize) else {
        return Err(format!("reading {} is not one of the batch's {}", found.reading, positions.len()));
    };
    let kind = u16::try_from(found.kind).ok().and_then(EventKind::from_code);
    let Some(kind) = kind.filter(|kind| kinds_of(plugin).contains(kind)) else {
        return Err(format!("kind {} is not one of a {plugin}'s", found.kind));
    };
    if !(0..=cause.event_time_ms).contains(&found.event_time_ms) {
        return Err(format!("its time {} is not 0 to its reading's {}", found.event_time_ms, cause.event_time_ms));
    }
    if found.subject.is_empty() || found.subject.len() > SUBJECT_BYTES_MAX {
        return Err(format!("its subject has {} bytes, not 1 to {SUBJECT_BYTES_MAX}", found.subject.len()));
    }
    if let Some(details) = &found.details {
        check_details(details, plugin)?;
    }
    Ok(Proposal {
        position: found.reading,
        kind,
        event_time: Timestamp(found.event_time_ms),
        value: found.value,
        subject: found.subject,
        details: found.details,
    })
}

fn check_details(details: &str, plugin: PluginKind) -> Result<(), String> {
    if !has_details(plugin) {
        return Err(format!("it has details, which a {plugin}'s have not"));
    }
    if details.len() > DETAILS_BYTES_MAX {
        return Err(format!("its details have {} bytes, not up to {DETAILS_BYTES_MAX}", details.len()));
    }
    serde_json::from_str::<Map<String, Value>>(details)
        .map(drop)
        .map_err(|error| format!("its details are not a JSON object: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::{Reading, Sequence, VehicleKey};

    fn position() -> Position {
        Position::of(VehicleKey(1), Sequence(1), &Reading::fix(Timestamp(1_000), Timestamp(1_000), 52.0, 21.0), 0)
    }

    fn proposal() -> v1::Proposal {
        let subject = "depot".into();
        v1::Proposal { reading: 0, kind: 1, event_time_ms: 1_000, value: f64::NAN, subject, details: None }
    }

    fn answer(proposal: v1::Proposal) -> Result<Outcome, EvaluateError> {
        let answer = v1::Outcome { proposals: vec![proposal], rows: vec![] };
        checked(answer, &[position()], 0, PluginKind::Geofence, &InstanceLimits::default())
    }

    #[test]
    fn a_sound_proposal_passes_without_a_value() {
        let outcome = answer(proposal()).unwrap();
        assert_eq!(outcome.proposals[0].kind, EventKind::GeofenceEntered);
        assert!(outcome.proposals[0].value.is_nan());
    }

    #[test]
    fn each_unsound_proposal_is_refused_with_what_is_wrong() {
        let long = "x".repeat(SUBJECT_BYTES_MAX + 1);
        for (bad, part) in [
            (v1::Proposal { reading: 1, ..proposal() }, "reading 1"),
            (v1::Proposal { kind: 0, ..proposal() }, "kind 0"),
            (v1::Proposal { kind: 6, ..proposal() }, "kind 6"),
            (v1::Proposal { kind: 0x1_0001, ..proposal() }, "kind 65537"),
            (v1::Proposal { event_time_ms: 1_001, ..proposal() }, "time 1001 is not 0 to its reading's 1000"),
            (v1::Proposal { event_time_ms: -1, ..proposal() }, "time -1 is not"),
            (v1::Proposal { event_time_ms: i64::MIN, ..proposal() }, "time -9223372036854775808 is not"),
            (v1::Proposal { subject: String::new(), ..proposal() }, "subject has 0 bytes"),
            (v1::Proposal { subject: long, ..proposal() }, "subject has 257 bytes"),
            (v1::Proposal { details: Some("{}".into()), ..proposal() }, "a geofence's have not"),
        ] {
            let error = answer(bad).unwrap_err();
            assert!(matches!(&error, EvaluateError::Malformed(text) if text.contains(part)), "{error}");
        }
    }

    #[test]
    fn an_event_may_be_as_old_as_time_itself() {
        assert_eq!(
            answer(v1::Proposal { event_time_ms: 0, ..proposal() }).unwrap().proposals[0].event_time,
            Timestamp(0)
        );
    }

    #[test]
    fn details_are_a_json_object_of_bounded_length() {
        let wide = |bytes: usize| format!("{{\"note\":\"{}\"}}", "x".repeat(bytes - 11));
        for fine in ["{}", r#"{"amount":"12.30","currency":"EUR"}"#, &wide(DETAILS_BYTES_MAX)] {
            assert_eq!(check_details(fine, PluginKind::Pricing), Ok(()));
            assert_eq!(check_details(fine, PluginKind::Maintenance), Ok(()));
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
        for (bad, part) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("null", "not a JSON object"),
            ("{\"a\":}", "not a JSON object"),
            ("{} {}", "not a JSON object"),
            (&*deep, "not a JSON object"),
            (&*wide(DETAILS_BYTES_MAX + 1), "2049 bytes"),
        ] {
            let wrong = check_details(bad, PluginKind::Pricing).unwrap_err();
            assert!(wrong.contains(part), "{wrong}");
        }
    }

    #[test]
    fn rows_of_another_length_are_refused() {
        let answer = v1::Outcome { proposals: vec![], rows: vec![0; 7] };
        let error = checked(answer, &[position()], 8, PluginKind::Geofence, &InstanceLimits::default()).unwrap_err();
        assert!(matches!(error, EvaluateError::Malformed(_)));
    }
}
