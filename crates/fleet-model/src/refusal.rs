//! Why a reading is not admitted.

use serde::{Deserialize, Serialize};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $advice:literal;)*) => {
        /// Why something was refused, with a stable code for APIs, metrics and the dead-letter log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// Every reason, in the order in which they are checked.
            pub const ALL: &[Refusal] = &[$(Refusal::$name,)*];

            /// The stable code, in snake case.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Refusal::$name => $code,)* }
            }

            /// What the sender should do about it.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Refusal::$name => $advice,)* }
            }
        }
    };
}

refusals! {
    /// The topic is not `drover/v1/<tenant>/<vehicle>/readings`.
    UnknownTopic = "unknown_topic", "publish to drover/v1/<tenant>/<vehicle>/readings";
    /// The credentials do not cover this tenant or vehicle.
    NotYours = "not_yours", "use the credentials of this tenant and vehicle";
    /// The payload is larger than the door lets in.
    TooLarge = "too_large", "send fewer readings at once: at most 256 KiB and 1,000 readings";
    /// The payload is not JSON.
    MalformedJson = "malformed_json", "send one JSON object or an array of them, in UTF-8";
    /// The payload is JSON of the wrong shape: a wrong type, an unknown field, a missing one.
    WrongShape = "wrong_shape", "check the payload against docs/reading.schema.json";
    /// The vehicle is not named, or its name is not an id.
    MissingVehicle = "missing_vehicle", "name the vehicle: 1 to 64 letters, digits or . _ : -";
    /// There is no event time.
    MissingTime = "missing_time", "give event_time (RFC 3339) or event_time_ms";
    /// The event time cannot be read.
    MalformedTime = "malformed_time", "write event_time as RFC 3339, such as 2024-02-19T14:41:54Z";
    /// The device's clock is ahead of ours by more than the limit.
    FutureClock = "future_clock", "set the device's clock: it is ahead of the edge node's";
    /// A number is NaN or infinite.
    NotFinite = "not_finite", "leave a signal out when it has no value";
    /// Latitude and longitude are both 0: the device has no fix.
    NullPosition = "null_position", "send no position while the receiver has no fix";
    /// A coordinate or a signal is outside its range.
    OutOfRange = "out_of_range", "latitude is -90 to 90, longitude -180 to 180, in degrees";
    /// Another reading of the same vehicle and event time, with other content, was first.
    ConflictingRepeat = "conflicting_repeat", "one event_time per reading: the first one stands";
    /// Two names of vehicles share one key.
    KeyCollision = "key_collision", "rename this vehicle: its name collides with another one";
    /// A vehicle's actor or a plugin failed on this reading.
    Poison = "poison", "see the dead letter: a rule or the vehicle model failed on this reading";
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_serde_writes() {
        for reason in Refusal::ALL {
            assert_eq!(serde_json::to_string(reason).unwrap(), format!("{:?}", reason.code()));
        }
    }
}
