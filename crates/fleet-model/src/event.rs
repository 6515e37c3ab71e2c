//! What is derived from readings.

use crate::ids::{Sequence, VehicleKey, VehicleName};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// What an event is promised (DESIGN §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EventClass {
    /// Vehicle data: delivered at most late.
    Telemetry = 1,
    /// What somebody should look at: never shed.
    Alerts = 2,
    /// Money: in order per vehicle, never shed.
    Billing = 3,
    /// Who did what: tamper-evident, never shed.
    Audit = 4,
}

impl EventClass {
    /// The class as APIs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventClass::Telemetry => "telemetry",
            EventClass::Alerts => "alerts",
            EventClass::Billing => "billing",
            EventClass::Audit => "audit",
        }
    }

    /// The class from its stored number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [EventClass::Telemetry, EventClass::Alerts, EventClass::Billing, EventClass::Audit]
            .into_iter()
            .find(|class| *class as u8 == code)
    }
}

impl std::str::FromStr for EventClass {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [EventClass::Telemetry, EventClass::Alerts, EventClass::Billing, EventClass::Audit]
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| format!("unknown class {text:?}: use telemetry, alerts, billing or audit"))
    }
}

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $class:ident;)*) => {
        /// What happened. Codes are stored and sent: never reuse one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum EventKind { $($(#[$doc])* $name = $code,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[EventKind] = &[$(EventKind::$name,)*];

            /// As APIs write it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(EventKind::$name => $text,)* }
            }

            /// The class whose promise it has.
            #[must_use]
            pub fn class(self) -> EventClass {
                match self { $(EventKind::$name => EventClass::$class,)* }
            }

            /// The kind of a stored code.
            #[must_use]
            pub fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(EventKind::$name),)* _ => None }
            }
        }
    };
}

event_kinds! {
    /// The vehicle is in a zone it was not in.
    GeofenceEntered = 1, "geofence.entered", Alerts;
    /// The vehicle has left a zone.
    GeofenceExited = 2, "geofence.exited", Alerts;
    /// The vehicle crossed a zone between two fixes.
    GeofenceCrossed = 3, "geofence.crossed", Alerts;
    /// The vehicle has stayed in a zone for the configured time.
    GeofenceDwell = 4, "geofence.dwell", Alerts;
    /// The vehicle is faster than the zone allows.
    GeofenceOverspeed = 5, "geofence.overspeed", Alerts;
    /// A line of a charge, final once.
    ChargeLine = 16, "charge.line", Billing;
    /// A correction of a charge that was final.
    ChargeAdjusted = 17, "charge.adjusted", Billing;
    /// The vehicle broke a rule of use that has a price.
    PolicyViolation = 18, "policy.violation", Alerts;
    /// Service will be due soon.
    MaintenanceDueSoon = 32, "maintenance.due_soon", Alerts;
    /// Service is due.
    MaintenanceDue = 33, "maintenance.due", Alerts;
    /// Service was due some time ago.
    MaintenanceOverdue = 34, "maintenance.overdue", Alerts;
    /// A failure is foreseen.
    MaintenancePredicted = 35, "maintenance.predicted", Alerts;
    /// A diagnostic trouble code came up.
    DtcRaised = 36, "dtc.raised", Alerts;
    /// A diagnostic trouble code is gone.
    DtcCleared = 37, "dtc.cleared", Alerts;
    /// Readings of the vehicle were shed before they were delivered: the edge's disk was short of space.
    TelemetryGap = 48, "telemetry.gap", Alerts;
}

impl EventKind {
    /// Whether a geofence proposes it: its subject is a zone.
    #[must_use]
    pub fn is_geofence(self) -> bool {
        self <= Self::GeofenceOverspeed
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of an event: the same cause gives the same id, on any node, in any run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);

impl EventId {
    /// The first 16 bytes of SHA-256 over the cause: vehicle key, event time of the reading in ms (both 8 bytes,
    /// big-endian), kind (2 bytes, big-endian), then deployment and subject (such as a zone), each followed by a zero
    /// byte. A vehicle has one reading per event time, whichever edge counted it under whatever sequence
    /// (`docs/adr/0005-a-cause-is-named-by-its-event-time.md`).
    #[must_use]
    pub fn of(vehicle: VehicleKey, cause: Timestamp, kind: EventKind, deployment: &str, subject: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(vehicle.0.to_be_bytes());
        hash.update(cause.0.to_be_bytes());
        hash.update((kind as u16).to_be_bytes());
        hash.update(deployment);
        hash.update([0]);
        hash.update(subject);
        hash.update([0]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The plugin that proposed an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PluginRef {
    /// The deployment it ran under.
    pub deployment: String,
    /// The plugin's own name.
    pub name: String,
    /// Its version, semver.
    pub version: String,
    /// SHA-256 of the component's bytes.
    pub hash: [u8; 32],
}

/// An event as it is decided, before it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Made from its cause.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// To whom.
    pub vehicle: VehicleName,
    /// The reading that caused it.
    pub sequence: Sequence,
    /// When it happened, by the device's clock.
    pub event_time: Timestamp,
    /// When its cause was received, by the edge's clock.
    pub received_time: Timestamp,
    /// The zone or rule it is about.
    pub subject: String,
    /// A figure that belongs to the kind (seconds of dwell, metres per second); NaN when there is none.
    pub value: f64,
    /// What else belongs to the kind: a JSON object as the plugin wrote it.
    pub details: Option<String>,
    /// Who proposed it.
    pub plugin: PluginRef,
    /// Trace id and span id when its reading was sampled (W3C trace context).
    pub trace: Option<TraceContext>,
}

/// W3C trace context of a sampled reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// 16 bytes, not all zero.
    pub trace_id: [u8; 16],
    /// 8 bytes, not all zero.
    pub span_id: [u8; 8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_every_part_of_the_cause() {
        let of = |v, t, k, d, z| EventId::of(VehicleKey(v), Timestamp(t), k, d, z);
        let base = of(1, 2, EventKind::GeofenceEntered, "zones", "a");
        assert_eq!(base, of(1, 2, EventKind::GeofenceEntered, "zones", "a"));
        for other in [
            of(2, 2, EventKind::GeofenceEntered, "zones", "a"),
            of(1, 3, EventKind::GeofenceEntered, "zones", "a"),
            of(1, 2, EventKind::GeofenceExited, "zones", "a"),
            of(1, 2, EventKind::GeofenceEntered, "zonesa", ""),
            of(1, 2, EventKind::GeofenceEntered, "zones", "b"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn codes_lead_back_to_their_kind() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_code(*kind as u16), Some(*kind));
        }
        assert_eq!(EventKind::from_code(0), None);
    }
}
