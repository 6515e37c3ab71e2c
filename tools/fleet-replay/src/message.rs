//! From readings to MQTT messages.

use fleet_model::VehicleId;
use std::sync::Arc;

/// Largest payload of a grouped message; the edge takes 256 KiB.
const PAYLOAD_BYTES_MAX: usize = 200 * 1024;
/// Most readings in one message: what the edge takes.
pub(crate) const READINGS_PER_MESSAGE_MAX: u16 = 1_000;

/// A vehicle and where it publishes.
#[derive(Debug)]
pub(crate) struct Vehicle {
    pub(crate) id: VehicleId,
    pub(crate) topic: String,
}

impl Vehicle {
    pub(crate) fn new(tenant: &fleet_model::TenantId, id: VehicleId) -> Self {
        let topic = format!("drover/v1/{tenant}/{id}/readings");
        Self { id, topic }
    }
}

/// One reading, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) vehicle: Arc<Vehicle>,
    /// What pacing goes by, in milliseconds: the event time, the place in the poll order, or simulated time.
    pub(crate) clock_ms: Option<i64>,
    /// `None` when the device had no clock, or a broken one.
    pub(crate) event_time_ms: Option<i64>,
    /// The JSON object.
    pub(crate) payload: Box<str>,
}

/// One MQTT publish: one reading as an object, or several of one vehicle as an array.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) vehicle: Arc<Vehicle>,
    pub(crate) payload: Arc<[u8]>,
    pub(crate) event_times_ms: Box<[Option<i64>]>,
}

impl Message {
    /// How many readings it carries.
    pub(crate) fn readings(&self) -> u64 {
        self.event_times_ms.len() as u64
    }

    fn of(readings: &[Reading]) -> Option<Self> {
        let first = readings.first()?;
        let payload: Arc<[u8]> = if readings.len() == 1 {
            first.payload.as_bytes().into()
        } else {
            let parts: Vec<&str> = readings.iter().map(|reading| &*reading.payload).collect();
            format!("[{}]", parts.join(",")).into_bytes().into()
        };
        let event_times_ms = readings.iter().map(|reading| reading.event_time_ms).collect();
        Some(Self { vehicle: first.vehicle.clone(), payload, event_times_ms })
    }
}

/// Groups consecutive readings of one vehicle that are due at the same instant. Nothing is reordered: another vehicle,
/// or a later due time, ends a group.
///
/// Call [`push`](Self::push) per reading in order, send what it answers, and [`finish`](Self::finish) at the end.
#[derive(Debug)]
pub(crate) struct Grouping<Due> {
    readings_max: usize,
    due: Option<Due>,
    group: Vec<Reading>,
    bytes: usize,
}

impl<Due: PartialEq + Copy> Grouping<Due> {
    pub(crate) fn new(readings_max: u16) -> Self {
        Self { readings_max: usize::from(readings_max.max(1)), due: None, group: Vec::new(), bytes: 0 }
    }

    /// Takes a reading; answers the group that is complete by it, if any.
    pub(crate) fn push(&mut self, due: Due, reading: Reading) -> Option<(Due, Message)> {
        let fits = self.group.first().is_none_or(|first| Arc::ptr_eq(&first.vehicle, &reading.vehicle))
            && self.due.is_none_or(|of_group| of_group == due)
            && self.group.len() < self.readings_max
            && self.bytes + reading.payload.len() < PAYLOAD_BYTES_MAX;
        let complete = if fits { None } else { self.finish() };
        self.due = Some(due);
        self.bytes += reading.payload.len() + 1;
        self.group.push(reading);
        if complete.is_none() && self.group.len() >= self.readings_max { self.finish() } else { complete }
    }

    /// What is left.
    pub(crate) fn finish(&mut self) -> Option<(Due, Message)> {
        let message = Message::of(&self.group)?;
        self.group.clear();
        self.bytes = 0;
        self.due.take().map(|due| (due, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vehicle(id: &str) -> Arc<Vehicle> {
        let tenant = fleet_model::TenantId::new("demo").unwrap();
        Arc::new(Vehicle::new(&tenant, VehicleId::new(id).unwrap()))
    }

    fn reading(vehicle: &Arc<Vehicle>, n: i64) -> Reading {
        Reading {
            vehicle: vehicle.clone(),
            clock_ms: Some(n),
            event_time_ms: Some(n),
            payload: format!("{{\"n\":{n}}}").into(),
        }
    }

    fn grouped(readings_max: u16, readings: Vec<(u8, Reading)>) -> Vec<String> {
        let mut grouping = Grouping::new(readings_max);
        let mut messages: Vec<_> =
            readings.into_iter().filter_map(|(due, reading)| grouping.push(due, reading)).collect();
        messages.extend(grouping.finish());
        messages.iter().map(|(_, message)| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
    }

    #[test]
    fn one_by_one_by_default() {
        let bus = vehicle("bus");
        let sent = grouped(1, vec![(0, reading(&bus, 1)), (0, reading(&bus, 2))]);
        assert_eq!(sent, [r#"{"n":1}"#, r#"{"n":2}"#]);
    }

    #[test]
    fn groups_end_where_the_vehicle_or_the_due_time_changes() {
        let (a, b) = (vehicle("a"), vehicle("b"));
        let sent = grouped(
            3,
            vec![
                (0, reading(&a, 1)),
                (0, reading(&a, 2)),
                (0, reading(&a, 3)),
                (0, reading(&a, 4)),
                (0, reading(&b, 5)),
                (1, reading(&b, 6)),
                (1, reading(&b, 7)),
                (1, reading(&a, 8)),
            ],
        );
        assert_eq!(
            sent,
            [r#"[{"n":1},{"n":2},{"n":3}]"#, r#"{"n":4}"#, r#"{"n":5}"#, r#"[{"n":6},{"n":7}]"#, r#"{"n":8}"#]
        );
    }

    #[test]
    fn a_topic_names_tenant_and_vehicle() {
        assert_eq!(vehicle("WAW-1").topic, "drover/v1/demo/WAW-1/readings");
    }
}
