//! Events as JSON.

use super::cursor::Cursor;
use super::signals::Signals;
use fleet_model::{EventClass, EventId, EventKind, Timestamp};
use fleet_wire::{ArchivedEventBlockV1, ArchivedEventV1, ArchivedReadingBlockV1, ArchivedReadingV1};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Length of one as JSON, about.
pub(crate) const LEN_GUESS: usize = 600;

/// An event.
#[derive(Serialize, ToSchema)]
pub(crate) struct Event<'e> {
    /// Made from its cause: a repeat has the same id.
    #[schema(example = "17f7c41b35b0337a17f7c41b35b0337a")]
    id: String,
    #[schema(example = "alerts")]
    class: &'static str,
    #[serde(rename = "type")]
    #[schema(example = "geofence.entered")]
    kind: &'static str,
    tenant: &'e str,
    vehicle: &'e str,
    /// When it happened, by the device's clock: RFC 3339, UTC, milliseconds.
    #[schema(format = DateTime)]
    event_time: String,
    event_time_ms: i64,
    /// When the edge received its reading.
    #[schema(format = DateTime)]
    received_time: String,
    /// The zone, when the event is a geofence's: the same as `subject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'e str>,
    /// The zone, line of a charge, schedule, threshold or trouble code that it is about.
    subject: &'e str,
    /// A figure that belongs to the type, such as seconds of dwell.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    /// What else belongs to the type, as the plugin wrote it. Money is `amount`, a decimal in a string, with `currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    details: Option<&'e RawValue>,
    plugin: EventPlugin<'e>,
    /// The reading that caused it: its place among the vehicle's readings.
    sequence: u64,
    /// Give it as `after` to go on behind this event.
    cursor: String,
}

/// What proposed the event.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPlugin<'e> {
    deployment: &'e str,
    name: &'e str,
    version: &'e str,
    /// SHA-256 of the component, 64 hexadecimal digits.
    hash: String,
}

/// A reading, as an event of class telemetry. A signal that was not reported is absent.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadingEvent<'e> {
    /// Made from the vehicle and the sequence: a repeat has the same id.
    #[schema(example = "17f7c41b35b0337a000000000000002a")]
    id: String,
    #[schema(example = "telemetry")]
    class: &'static str,
    #[serde(rename = "type")]
    #[schema(example = "reading")]
    kind: &'static str,
    tenant: &'e str,
    vehicle: &'e str,
    /// When it was so, by the device's clock: RFC 3339, UTC, milliseconds.
    #[schema(format = DateTime)]
    event_time: String,
    event_time_ms: i64,
    /// When the edge received it.
    #[schema(format = DateTime)]
    received_time: String,
    /// Place among the vehicle's readings.
    sequence: u64,
    #[serde(flatten)]
    signals: Signals,
    /// Give it as `after` to go on behind this event.
    cursor: String,
}

impl<'b> Event<'b> {
    /// `None` for a kind that this build does not know.
    pub(crate) fn of(block: &'b ArchivedEventBlockV1, event: &'b ArchivedEventV1, cursor: Cursor) -> Option<Self> {
        let kind = EventKind::from_code(event.kind.to_native())?;
        let vehicle = &block.vehicles[event.vehicle.to_native() as usize];
        let plugin = &block.plugins[event.plugin.to_native() as usize];
        let value = event.value.to_native();
        Some(Self {
            id: EventId(event.id).to_string(),
            class: kind.class().as_str(),
            kind: kind.as_str(),
            tenant: &vehicle.tenant,
            vehicle: &vehicle.vehicle,
            event_time: Timestamp(event.event_time.to_native()).to_rfc3339(),
            event_time_ms: event.event_time.to_native(),
            received_time: Timestamp(event.received_time.to_native()).to_rfc3339(),
            zone: kind.is_geofence().then_some(&*event.subject),
            subject: &event.subject,
            value: value.is_finite().then_some(value),
            // Checked when its block came in.
            details: event.details.as_ref().and_then(|details| serde_json::from_str(details).ok()),
            plugin: EventPlugin {
                deployment: &plugin.deployment,
                name: &plugin.name,
                version: &plugin.version,
                hash: hex::encode(plugin.hash),
            },
            sequence: event.sequence.to_native(),
            cursor: cursor.to_string(),
        })
    }
}

impl<'b> ReadingEvent<'b> {
    pub(crate) fn of(block: &'b ArchivedReadingBlockV1, record: &ArchivedReadingV1, cursor: Cursor) -> Self {
        let vehicle = &block.vehicles[record.vehicle_index()];
        let (reading, sequence) = (record.reading(), record.sequence());
        Self {
            id: format!("{:016x}{:016x}", vehicle.key.to_native(), sequence.0),
            class: EventClass::Telemetry.as_str(),
            kind: "reading",
            tenant: &vehicle.tenant,
            vehicle: &vehicle.vehicle,
            event_time: reading.event_time.to_rfc3339(),
            event_time_ms: reading.event_time.0,
            received_time: reading.received_time.to_rfc3339(),
            sequence: sequence.0,
            signals: Signals::of(&reading),
            cursor: cursor.to_string(),
        }
    }
}
