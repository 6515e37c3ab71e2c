//! Dead letters of what the door and admission refuse.

use super::Payload;
use crate::device_link::elements::ElementBytes;
use crate::device_link::payload::{Element, Refused};
use fleet_model::Timestamp;
use vehicle_runtime::dead_letter::{DeadLetter, STAGE_ADMISSION, STAGE_DEVICE_LINK};

/// What the door refused. `bytes` are the payload's.
pub(super) fn of_door(
    now: Timestamp,
    payload: &Payload,
    refused: &Refused,
    bytes: &mut ElementBytes<'_>,
) -> DeadLetter {
    let whole = payload.parsed.elements.is_empty() && payload.parsed.refused.len() == 1;
    let bytes = if whole { &payload.raw[..] } else { bytes.get(refused.index) };
    DeadLetter {
        tenant: payload.tenant.as_ref().map(ToString::to_string),
        vehicle: payload.vehicle.as_ref().map(ToString::to_string),
        ..DeadLetter::of_payload(now, STAGE_DEVICE_LINK, refused.reason, &refused.detail, bytes)
    }
}

/// What admission refused; `bytes` are the element's.
pub(super) fn of_admission(now: Timestamp, element: &Element, refused: &Refused, bytes: &[u8]) -> DeadLetter {
    DeadLetter::of_payload(now, STAGE_ADMISSION, refused.reason, &refused.detail, bytes).about(&element.vehicle)
}
