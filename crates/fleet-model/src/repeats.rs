//! Tells repeats from news, however old they are.
//!
//! The last readings of a vehicle are remembered at hand. What has no place there any more goes to a [`RepeatStore`],
//! which is asked only about readings that are not newer than all before them: a device that sends in order costs no
//! look-up, and one that sends an old day again is recognised reading by reading.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Readings always remembered at hand per vehicle.
pub const AT_HAND_MIN: usize = 16;
/// Readings that go to the store together.
pub const LEAVE_TOGETHER: usize = 32;

/// That a reading was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// When it was, by the device's clock.
    pub event_time: Timestamp,
    /// What it said: [`Reading::content_hash`](crate::Reading::content_hash).
    pub content_hash: u32,
}

/// Keeps what one vehicle's memory at hand has no place for. Forgets nothing that a repeat may still be of.
pub trait RepeatStore {
    /// Takes a reading into custody.
    fn keep(&mut self, known: Known);

    /// The content of the reading of this instant, when there was one.
    fn content_at(&mut self, event_time: Timestamp) -> Option<u32>;
}

/// The recent readings of one vehicle, in the order in which they were admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    newest: Option<Timestamp>,
    at_hand: VecDeque<Known>,
}

/// What is remembered of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    New,
    /// The same content.
    Same,
    /// Other content, which was first and stands.
    Other,
}

impl Repeats {
    /// What is known of a reading with this time and content.
    #[must_use]
    pub fn look_up(&self, event_time: Timestamp, content_hash: u32, store: &mut impl RepeatStore) -> Seen {
        if self.newest.is_none_or(|newest| event_time > newest) {
            return Seen::New;
        }
        let at_hand = self.at_hand.iter().rev().find(|known| known.event_time == event_time);
        match at_hand.map(|known| known.content_hash).or_else(|| store.content_at(event_time)) {
            None => Seen::New,
            Some(first) if first == content_hash => Seen::Same,
            Some(_) => Seen::Other,
        }
    }

    /// Remembers an admitted reading, and hands old ones to the store.
    pub fn remember(&mut self, event_time: Timestamp, content_hash: u32, store: &mut impl RepeatStore) {
        self.newest = self.newest.max(Some(event_time));
        self.at_hand.push_back(Known { event_time, content_hash });
        if self.at_hand.len() >= AT_HAND_MIN + LEAVE_TOGETHER {
            self.at_hand.drain(..LEAVE_TOGETHER).for_each(|known| store.keep(known));
        }
    }

    /// The newest event time of all readings.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// A store that counts how often it is asked.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub(crate) struct MapStore {
        pub(crate) known: HashMap<Timestamp, u32>,
        asked: usize,
    }

    impl RepeatStore for MapStore {
        fn keep(&mut self, known: Known) {
            self.known.insert(known.event_time, known.content_hash);
        }

        fn content_at(&mut self, event_time: Timestamp) -> Option<u32> {
            self.asked += 1;
            self.known.get(&event_time).copied()
        }
    }

    #[test]
    fn the_first_content_of_an_instant_stands() {
        let (mut repeats, mut store) = (Repeats::default(), MapStore::default());
        repeats.remember(Timestamp(1_000), 7, &mut store);
        assert_eq!(repeats.look_up(Timestamp(1_000), 7, &mut store), Seen::Same);
        assert_eq!(repeats.look_up(Timestamp(1_000), 8, &mut store), Seen::Other);
        assert_eq!(repeats.look_up(Timestamp(1_001), 7, &mut store), Seen::New);
    }

    #[test]
    fn readings_in_order_ask_no_store_and_memory_at_hand_is_bounded() {
        let (mut repeats, mut store) = (Repeats::default(), MapStore::default());
        for time in 0..1_000 {
            assert_eq!(repeats.look_up(Timestamp(time), 1, &mut store), Seen::New);
            repeats.remember(Timestamp(time), 1, &mut store);
            assert!(repeats.at_hand.len() < AT_HAND_MIN + LEAVE_TOGETHER);
        }
        assert_eq!(store.asked, 0);
    }

    proptest! {
        /// In whatever order readings come and come again, each is judged as if everything were remembered.
        #[test]
        fn nothing_is_ever_forgotten(readings in proptest::collection::vec((0..300_i64, 0..2_u32), 1..1_500)) {
            let (mut repeats, mut store) = (Repeats::default(), MapStore::default());
            let mut all: HashMap<i64, u32> = HashMap::new();
            for (time, content) in readings {
                let expected = match all.get(&time) {
                    None => Seen::New,
                    Some(first) if *first == content => Seen::Same,
                    Some(_) => Seen::Other,
                };
                prop_assert_eq!(repeats.look_up(Timestamp(time), content, &mut store), expected);
                if expected == Seen::New {
                    all.insert(time, content);
                    repeats.remember(Timestamp(time), content, &mut store);
                }
            }
        }
    }
}
