//! What should come out, computed one reading at a time without any of the machinery.

use super::fleet::{Admitted, LOG_EPOCH, vehicle};
use super::native_rule::EVERY;
use fleet_model::{Applied, EventId, EventKind, VehicleState};
use std::collections::BTreeMap;

/// What a run leaves behind.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Result {
    /// Events by id: vehicle and subject.
    pub events: BTreeMap<EventId, (String, String)>,
    /// By vehicle name.
    pub states: BTreeMap<String, VehicleState>,
}

/// All readings, with the counting rule deployed for tenant `demo` as `counts` from the first on.
pub(crate) fn expected(recording: &[Admitted]) -> Result {
    expected_without(recording, |_| false, |_| false)
}

/// Without some readings for the actors, and without some for the rule.
pub(crate) fn expected_without(
    recording: &[Admitted],
    poison_actor: impl Fn(&Admitted) -> bool,
    poison_rule: impl Fn(&Admitted) -> bool,
) -> Result {
    let mut result = Result::default();
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for admitted in recording {
        let name = vehicle(admitted.vehicle);
        let state = result.states.entry(name.vehicle.to_string()).or_default();
        if poison_actor(admitted) {
            continue;
        }
        let applied = state.apply(LOG_EPOCH, admitted.sequence, &admitted.reading);
        if applied != Applied::Live || name.tenant.as_str() != "demo" || poison_rule(admitted) {
            continue;
        }
        let count = counts.entry(admitted.vehicle).or_default();
        *count += 1;
        if count.is_multiple_of(EVERY) {
            let subject = format!("count-{count}");
            let id = EventId::of(name.key, admitted.reading.event_time, EventKind::GeofenceEntered, "counts", &subject);
            result.events.insert(id, (name.vehicle.to_string(), subject));
        }
    }
    result
}
