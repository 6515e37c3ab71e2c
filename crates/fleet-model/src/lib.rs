//! The vehicles, readings and events of a fleet, and the state machines that decide about them.
//!
//! Pure: no I/O, no clock, no randomness, no threads. Whatever depends on time takes it as an argument, so that the
//! same inputs give the same answers in the depot, in the cloud, in a replay and in a browser.
//!
//! Units inside Drover: degrees WGS 84, metres, metres per second, degrees Celsius, volts, seconds; instants are
//! milliseconds since the Unix epoch, UTC.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admission;
pub mod audit;
pub mod event;
pub mod ids;
pub mod reading;
pub mod refusal;
pub mod repeats;
pub mod rollout;
pub mod tags;
pub mod time;
pub mod trouble_codes;
pub mod vehicle;

pub use admission::{AdmissionPolicy, AdmissionState, Verdict};
pub use audit::{Act, ActKind, AuditRecord};
pub use event::{Event, EventClass, EventId, EventKind, PluginRef};
pub use ids::{DeploymentName, EdgeId, InvalidId, Sequence, Tag, TenantId, VehicleId, VehicleKey, VehicleName};
pub use reading::Reading;
pub use refusal::Refusal;
pub use rollout::{Depots, InvalidShare, Place, Scope, Share, TrialMode};
pub use tags::{Tags, TooManyTags};
pub use time::Timestamp;
pub use trouble_codes::{TroubleCode, TroubleCodes};
pub use vehicle::{Applied, VehicleState};
