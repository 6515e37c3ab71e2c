//! Remembers the recent readings of a vehicle to tell repeats from news.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Readings always remembered per vehicle.
pub const REMEMBERED_MIN: usize = 64;
/// Readings remembered per vehicle at most: as many as one payload may hold, since a whole payload may be sent again.
pub const REMEMBERED_MAX: usize = 1_024;
/// Beyond [`REMEMBERED_MIN`], a reading is forgotten when the vehicle's newest was received this much later.
pub const REMEMBERED_MS: i64 = 60_000;

/// The recent readings of one vehicle, in the order in which they were admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    recent: VecDeque<Remembered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    event_time: Timestamp,
    received_time: Timestamp,
    content_hash: u32,
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
    pub fn look_up(&self, event_time: Timestamp, content_hash: u32) -> Seen {
        match self.recent.iter().rev().find(|known| known.event_time == event_time) {
            None => Seen::New,
            Some(known) if known.content_hash == content_hash => Seen::Same,
            Some(_) => Seen::Other,
        }
    }

    /// Remembers an admitted reading, and forgets old ones.
    pub fn remember(&mut self, event_time: Timestamp, received_time: Timestamp, content_hash: u32) {
        self.recent.push_back(Remembered { event_time, received_time, content_hash });
        while self.recent.len() > REMEMBERED_MAX {
            self.recent.pop_front();
        }
        while self.recent.len() > REMEMBERED_MIN
            && self.recent.front().is_some_and(|old| received_time.since_ms(old.received_time) > REMEMBERED_MS)
        {
            self.recent.pop_front();
        }
    }

    /// How many readings are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recent.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_content_of_an_instant_stands() {
        let mut repeats = Repeats::default();
        repeats.remember(Timestamp(1_000), Timestamp(1_001), 7);
        assert_eq!(repeats.look_up(Timestamp(1_000), 7), Seen::Same);
        assert_eq!(repeats.look_up(Timestamp(1_000), 8), Seen::Other);
        assert_eq!(repeats.look_up(Timestamp(1_001), 7), Seen::New);
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_the_latest_are_always_known(gaps in proptest::collection::vec(0..5_000_i64, 1..3_000)) {
            let mut repeats = Repeats::default();
            let mut now = 0;
            let mut times = Vec::new();
            for gap in gaps {
                now += gap + 1;
                times.push(now);
                repeats.remember(Timestamp(now), Timestamp(now), 1);
                prop_assert!(repeats.len() <= REMEMBERED_MAX);
            }
            for time in times.iter().rev().take(REMEMBERED_MIN) {
                prop_assert_eq!(repeats.look_up(Timestamp(*time), 1), Seen::Same);
            }
        }
    }
}
