//! What was published and is not acknowledged yet, in the order of publishing.

use crate::message::Message;
use std::collections::VecDeque;

/// One publish on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) packet_id: u16,
    pub(crate) message: Message,
}

/// A bounded number of publishes on their way.
#[derive(Debug)]
pub(crate) struct Window {
    flights: VecDeque<Flight>,
    flights_max: usize,
    packet_id: u16,
}

impl Window {
    pub(crate) fn new(flights_max: u16) -> Self {
        Self { flights: VecDeque::new(), flights_max: usize::from(flights_max.max(1)), packet_id: 0 }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.flights.len() < self.flights_max
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Takes a message in and gives it a packet id that none on its way has. Only when there is room.
    pub(crate) fn send(&mut self, message: Message) -> &Flight {
        debug_assert!(self.has_room());
        loop {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            // Ids come around after 65,535 publishes; one that is still on its way is passed over.
            if !self.flights.iter().any(|flight| flight.packet_id == self.packet_id) {
                break;
            }
        }
        self.flights.push_back(Flight { packet_id: self.packet_id, message });
        &self.flights[self.flights.len() - 1]
    }

    /// Takes an acknowledged message out; `None` for an id that is not on its way.
    pub(crate) fn acknowledge(&mut self, packet_id: u16) -> Option<Message> {
        // Acknowledgements come in order, or nearly so: it is among the first.
        let place = self.flights.iter().position(|flight| flight.packet_id == packet_id)?;
        self.flights.remove(place).map(|flight| flight.message)
    }

    /// All on their way, oldest first: what a new connection sends again.
    pub(crate) fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.flights.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Vehicle;
    use fleet_model::{TenantId, VehicleId};
    use std::sync::Arc;

    fn message(n: i64) -> Message {
        let vehicle = Vehicle::new(&TenantId::new("t").unwrap(), VehicleId::new("v").unwrap());
        Message { vehicle: Arc::new(vehicle), payload: Arc::from(*b"{}"), event_times_ms: [Some(n)].into() }
    }

    #[test]
    fn keeps_the_order_of_publishing_whatever_the_order_of_acknowledgements() {
        let mut window = Window::new(3);
        let ids: Vec<u16> = (0..3).map(|n| window.send(message(n)).packet_id).collect();
        assert!(!window.has_room());
        assert_eq!(window.acknowledge(ids[1]).unwrap().event_times_ms[0], Some(1));
        assert!(window.acknowledge(ids[1]).is_none());
        window.send(message(3));
        let times: Vec<_> = window.flights().map(|flight| flight.message.event_times_ms[0].unwrap()).collect();
        assert_eq!(times, [0, 2, 3]);
    }

    #[test]
    fn ids_come_around_past_zero_and_past_those_on_their_way() {
        let mut window = Window::new(2);
        let first = window.send(message(0)).packet_id;
        for n in 1..70_000 {
            let id = window.send(message(n)).packet_id;
            assert!(id != 0 && id != first);
            window.acknowledge(id).unwrap();
        }
        assert_eq!(window.len(), 1);
    }
}
