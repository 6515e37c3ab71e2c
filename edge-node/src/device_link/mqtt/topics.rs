//! Topics that a connection has used: a device publishes to one, a shared session for a whole fleet.

use super::super::credentials::Principal;
use super::super::payload::Complaint;
use super::super::topic;
use fleet_model::{Refusal, VehicleName};
use std::collections::HashMap;
use std::sync::Arc;

/// Topics that a connection remembers.
const TOPICS_MAX: usize = 4_096;

/// The vehicles of topics that were accepted. A refused topic may be as long as a packet and is not remembered; an
/// accepted one consists of short ids.
#[derive(Debug, Default)]
pub(super) struct Topics {
    known: HashMap<String, Arc<VehicleName>>,
}

impl Topics {
    /// The vehicle that a topic names, if `principal` may send for it. One `Topics` is for one principal.
    pub(super) fn vehicle(&mut self, text: &str, principal: &Principal) -> Result<Arc<VehicleName>, Complaint> {
        if let Some(known) = self.known.get(text) {
            return Ok(Arc::clone(known));
        }
        let name = topic::parse(text).map_err(|error| (Refusal::UnknownTopic, error.to_string()))?;
        principal.covers(&name)?;
        let name = Arc::new(name);
        if self.known.len() >= TOPICS_MAX {
            self.known.clear();
        }
        self.known.insert(text.to_owned(), Arc::clone(&name));
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_topics_are_remembered_up_to_a_limit_and_refused_ones_are_not() {
        let principal = Principal { username: "demo".into(), tenant: "demo".parse().unwrap(), vehicle: None };
        let mut topics = Topics::default();
        let long = format!("drover/v1/demo/{}/readings", "x".repeat(60_000));
        for refused in [long.as_str(), "drover/v1/other/bus/readings", "nonsense"] {
            assert!(topics.vehicle(refused, &principal).is_err());
        }
        assert!(topics.known.is_empty());
        for number in 0..=TOPICS_MAX {
            let topic = format!("drover/v1/demo/bus-{number}/readings");
            let first = topics.vehicle(&topic, &principal).unwrap();
            assert!(Arc::ptr_eq(&first, &topics.vehicle(&topic, &principal).unwrap()));
            assert!(topics.known.len() <= TOPICS_MAX);
        }
    }
}
