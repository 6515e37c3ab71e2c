//! Dead letters of what the door and admission refuse.

use super::Payload;
use crate::device_link::payload::{Element, Refused, element_bytes};
use fleet_model::{Refusal, Timestamp};
use vehicle_runtime::dead_letter::{DeadLetter, STAGE_ADMISSION, STAGE_DEVICE_LINK};

/// What the door refused.
pub(super) fn of_door(now: Timestamp, payload: &Payload, refused: &Refused) -> DeadLetter {
    let whole = payload.parsed.elements.is_empty() && payload.parsed.refused.len() == 1;
    let bytes = if whole { &payload.raw[..] } else { element_bytes(&payload.raw, refused.index) };
    DeadLetter {
        tenant: payload.tenant.as_ref().map(ToString::to_string),
        vehicle: payload.vehicle.as_ref().map(ToString::to_string),
        ..DeadLetter::of_payload(now, STAGE_DEVICE_LINK, refused.reason, &refused.detail, bytes)
    }
}

/// What admission refused.
pub(super) fn of_admission(now: Timestamp, payload: &Payload, element: &Element, reason: Refusal) -> DeadLetter {
    let bytes = element_bytes(&payload.raw, element.index);
    DeadLetter::of_payload(now, STAGE_ADMISSION, reason, reason.advice(), bytes).about(&element.vehicle)
}
