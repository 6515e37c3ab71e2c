//! What a plugin proposes, checked before anybody believes it.

use crate::bindings::newest;
use crate::descriptor::PluginKind;
use crate::instance::EvaluateError;
use crate::limits::{DETAILS_BYTES_MAX, InstanceLimits, SUBJECT_BYTES_MAX};
use crate::position::Position;
use fleet_model::{EventClass, EventKind, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest amount of money, in bytes: more digits than any currency has use for.
const AMOUNT_BYTES_MAX: usize = 32;

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

/// The kinds of events a kind of plugin may propose, as `wit/v1.1` numbers them from 1 on.
fn kinds_of(plugin: PluginKind) -> &'static [EventKind] {
    match plugin {
        PluginKind::Geofence => &[
            EventKind::GeofenceEntered,
            EventKind::GeofenceExited,
            EventKind::GeofenceCrossed,
            EventKind::GeofenceDwell,
            EventKind::GeofenceOverspeed,
        ],
        PluginKind::Pricing => &[EventKind::ChargeLine, EventKind::ChargeAdjusted, EventKind::PolicyViolation],
        PluginKind::Maintenance => &[
            EventKind::MaintenanceDueSoon,
            EventKind::MaintenanceDue,
            EventKind::MaintenanceOverdue,
            EventKind::MaintenancePredicted,
            EventKind::DtcRaised,
            EventKind::DtcCleared,
        ],
    }
}

/// Money, as details of a charge hold it.
#[derive(Deserialize)]
struct Money {
    amount: String,
    currency: String,
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
    answer: newest::Outcome,
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
    let check = |(index, proposal): (usize, newest::Proposal)| {
        checked_proposal(proposal, positions, kind)
            .map_err(|wrong| EvaluateError::Malformed(format!("proposal {index}: {wrong}")))
    };
    let proposals = answer.proposals.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
    Ok(Outcome { proposals, rows: answer.rows })
}

fn checked_proposal(found: newest::Proposal, positions: &[Position], plugin: PluginKind) -> Result<Proposal, String> {
    let Some(cause) = positions.get(found.reading as usize) else {
        return Err(format!("reading {} is not one of the batch's {}", found.reading, positions.len()));
    };
    let place = (found.kind as usize).checked_sub(1);
    let Some(&kind) = place.and_then(|place| kinds_of(plugin).get(place)) else {
        return Err(format!("kind {} is not one of a {plugin}'s", found.kind));
    };
    if !(0..=cause.event_time_ms).contains(&found.event_time_ms) {
        return Err(format!("its time {} is not 0 to its reading's {}", found.event_time_ms, cause.event_time_ms));
    }
    if found.value.is_infinite() {
        return Err(format!("its value is {}, which is no figure: where there is none, it is NaN", found.value));
    }
    if found.subject.is_empty() || found.subject.len() > SUBJECT_BYTES_MAX {
        return Err(format!("its subject has {} bytes, not 1 to {SUBJECT_BYTES_MAX}", found.subject.len()));
    }
    if let Some(details) = &found.details {
        check_details(details, plugin)?;
    }
    if kind.class() == EventClass::Billing {
        check_money(found.details.as_deref())?;
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

/// A charge says how much of what: it is final once, and nobody could ask later.
fn check_money(details: Option<&str>) -> Result<(), String> {
    let money = details.and_then(|details| serde_json::from_str::<Money>(details).ok());
    let Some(Money { amount, currency }) = money else {
        return Err("a charge's details have an amount and a currency, both in strings".into());
    };
    let digits = amount.strip_prefix('-').unwrap_or(&amount);
    let (whole, cents) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if amount.len() > AMOUNT_BYTES_MAX || !is_number(whole) || !is_number(cents) {
        return Err(format!("its amount {amount:?} is no decimal such as 12.30"));
    }
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("its currency {currency:?} is no ISO 4217 code such as EUR"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::{Reading, Sequence, VehicleKey};

    fn position() -> Position {
        Position::of(VehicleKey(1), Sequence(1), &Reading::fix(Timestamp(1_000), Timestamp(1_000), 52.0, 21.0), 0)
    }

    fn proposal() -> newest::Proposal {
        let subject = "depot".into();
        newest::Proposal { reading: 0, kind: 1, event_time_ms: 1_000, value: f64::NAN, subject, details: None }
    }

    fn answer(proposal: newest::Proposal) -> Result<Outcome, EvaluateError> {
        answer_of(PluginKind::Geofence, proposal)
    }

    fn answer_of(kind: PluginKind, proposal: newest::Proposal) -> Result<Outcome, EvaluateError> {
        let answer = newest::Outcome { proposals: vec![proposal], rows: vec![] };
        checked(answer, &[position()], 0, kind, &InstanceLimits::default())
    }

    #[test]
    fn a_kind_of_plugin_numbers_its_events_from_1_on() {
        let kind_of = |plugin, kind| {
            let details = Some(r#"{"amount":"-12.30","currency":"EUR"}"#.to_owned());
            let details = details.filter(|_| plugin != PluginKind::Geofence);
            answer_of(plugin, newest::Proposal { kind, details, ..proposal() }).map(|outcome| outcome.proposals[0].kind)
        };
        assert_eq!(kind_of(PluginKind::Geofence, 5), Ok(EventKind::GeofenceOverspeed));
        assert_eq!(kind_of(PluginKind::Pricing, 1), Ok(EventKind::ChargeLine));
        assert_eq!(kind_of(PluginKind::Maintenance, 6), Ok(EventKind::DtcCleared));
        for (plugin, kind) in [(PluginKind::Pricing, 4), (PluginKind::Maintenance, 7), (PluginKind::Pricing, 0)] {
            assert!(kind_of(plugin, kind).is_err(), "{plugin} {kind}");
        }
    }

    #[test]
    fn a_charge_without_money_is_refused() {
        let charge = |details: &str| {
            let details = (!details.is_empty()).then(|| details.to_owned());
            answer_of(PluginKind::Pricing, newest::Proposal { kind: 1, details, ..proposal() })
        };
        for fine in ["0", "12", "12.3", "-0.05", "1234567890.123456"] {
            charge(&format!(r#"{{"amount":"{fine}","currency":"PLN","unit":"km"}}"#)).unwrap();
        }
        for bad in ["", "{}", r#"{"amount":12.3,"currency":"EUR"}"#, r#"{"amount":"12.3"}"#] {
            assert!(charge(bad).is_err(), "{bad}");
        }
        for bad in ["", "-", ".5", "1.", "1e3", "NaN", "+1", "1,5", &"9".repeat(AMOUNT_BYTES_MAX + 1)] {
            assert!(charge(&format!(r#"{{"amount":"{bad}","currency":"EUR"}}"#)).is_err(), "{bad}");
        }
        for bad in ["eur", "EURO", "", "E1R"] {
            assert!(charge(&format!(r#"{{"amount":"1","currency":"{bad}"}}"#)).is_err(), "{bad}");
        }
        let violation = newest::Proposal { kind: 3, ..proposal() };
        assert!(answer_of(PluginKind::Pricing, violation).is_ok(), "it has no price of its own");
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
            (newest::Proposal { reading: 1, ..proposal() }, "reading 1"),
            (newest::Proposal { kind: 0, ..proposal() }, "kind 0"),
            (newest::Proposal { kind: 6, ..proposal() }, "kind 6"),
            (newest::Proposal { kind: 0x1_0001, ..proposal() }, "kind 65537"),
            (newest::Proposal { event_time_ms: 1_001, ..proposal() }, "time 1001 is not 0 to its reading's 1000"),
            (newest::Proposal { event_time_ms: -1, ..proposal() }, "time -1 is not"),
            (newest::Proposal { event_time_ms: i64::MIN, ..proposal() }, "time -9223372036854775808 is not"),
            (newest::Proposal { subject: String::new(), ..proposal() }, "subject has 0 bytes"),
            (newest::Proposal { subject: long, ..proposal() }, "subject has 257 bytes"),
            (newest::Proposal { details: Some("{}".into()), ..proposal() }, "a geofence's have not"),
        ] {
            let error = answer(bad).unwrap_err();
            assert!(matches!(&error, EvaluateError::Malformed(text) if text.contains(part)), "{error}");
        }
    }

    #[test]
    fn an_event_may_be_as_old_as_time_itself() {
        assert_eq!(
            answer(newest::Proposal { event_time_ms: 0, ..proposal() }).unwrap().proposals[0].event_time,
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
        let answer = newest::Outcome { proposals: vec![], rows: vec![0; 7] };
        let error = checked(answer, &[position()], 8, PluginKind::Geofence, &InstanceLimits::default()).unwrap_err();
        assert!(matches!(error, EvaluateError::Malformed(_)));
    }
}
