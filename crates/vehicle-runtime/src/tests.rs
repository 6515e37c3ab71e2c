//! Whole runtimes over logs in memory, with native rules and with the real geofence component.

mod audit;
mod backpressure;
mod breakdowns;
mod budgets;
mod crashes;
mod failures;
pub(crate) mod fleet;
mod geofence;
#[path = "../../plugin-host/tests/host/guest.rs"]
#[allow(dead_code, reason = "shared with the host's tests, which use all of it")]
mod guest;
mod hold_up;
mod model;
mod native_rule;
mod scopes;
#[path = "../../../system-tests/src/skipped.rs"]
mod skipped;
mod suspensions;
mod swaps;
mod traces;
mod trials;
mod world;
