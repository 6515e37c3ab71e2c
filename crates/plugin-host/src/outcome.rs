//! What a plugin proposes, checked before anybody believes it.

use crate::bindings::v1;
use crate::descriptor::PluginKind;
use crate::instance::EvaluateError;
use crate::limits::{InstanceLimits, SUBJECT_BYTES_MAX};
use crate::position::Position;
use fleet_model::{EventKind, Timestamp};

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In the order in which the plugin proposed them.
    pub proposals: Vec<Proposal>,
    /// The rows to be stored: as many bytes as went in.
    pub rows: Vec<u8>,
}

/// An event a plugin proposes. Checked: the position exists, the kind is one the plugin may use, the time is not after
/// the position's, the subject has 1 to 256 bytes.
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
    let Some(cause) = positions.get(found.position as usize) else {
        return Err(format!("position {} is not one of the batch's {}", found.position, positions.len()));
    };
    let kind = u16::try_from(found.kind).ok().and_then(EventKind::from_code);
    let Some(kind) = kind.filter(|kind| kinds_of(plugin).contains(kind)) else {
        return Err(format!("kind {} is not one of a {plugin}'s", found.kind));
    };
    if found.event_time_ms > cause.event_time_ms {
        return Err(format!("its time {} is after its position's {}", found.event_time_ms, cause.event_time_ms));
    }
    if found.subject.is_empty() || found.subject.len() > SUBJECT_BYTES_MAX {
        return Err(format!("its subject has {} bytes, not 1 to {SUBJECT_BYTES_MAX}", found.subject.len()));
    }
    Ok(Proposal {
        position: found.position,
        kind,
        event_time: Timestamp(found.event_time_ms),
        value: found.value,
        subject: found.subject,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::{Reading, Sequence, VehicleKey};

    fn position() -> Position {
        Position::of(VehicleKey(1), Sequence(1), &Reading::fix(Timestamp(1_000), Timestamp(1_000), 52.0, 21.0), 0)
    }

    fn proposal() -> v1::Proposal {
        v1::Proposal { position: 0, kind: 1, event_time_ms: 1_000, value: f64::NAN, subject: "depot".into() }
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
            (v1::Proposal { position: 1, ..proposal() }, "position 1"),
            (v1::Proposal { kind: 0, ..proposal() }, "kind 0"),
            (v1::Proposal { kind: 6, ..proposal() }, "kind 6"),
            (v1::Proposal { kind: 0x1_0001, ..proposal() }, "kind 65537"),
            (v1::Proposal { event_time_ms: 1_001, ..proposal() }, "1001 is after"),
            (v1::Proposal { subject: String::new(), ..proposal() }, "subject has 0 bytes"),
            (v1::Proposal { subject: long, ..proposal() }, "subject has 257 bytes"),
        ] {
            let error = answer(bad).unwrap_err();
            assert!(matches!(&error, EvaluateError::Malformed(text) if text.contains(part)), "{error}");
        }
    }

    #[test]
    fn rows_of_another_length_are_refused() {
        let answer = v1::Outcome { proposals: vec![], rows: vec![0; 7] };
        let error = checked(answer, &[position()], 8, PluginKind::Geofence, &InstanceLimits::default()).unwrap_err();
        assert!(matches!(error, EvaluateError::Malformed(_)));
    }
}
