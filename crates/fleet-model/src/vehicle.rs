//! The state machine of one vehicle: what an actor knows, and what a reading does to it.

use crate::ids::Sequence;
use crate::reading::Reading;

/// What an actor knows of its vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VehicleState {
    /// The last reading applied; 0 when none was.
    pub applied: Sequence,
    /// The reading with the newest event time.
    pub latest: Option<LatestReading>,
    /// Readings applied, late ones among them.
    pub readings: u64,
    /// Readings that were older than the newest when they came.
    pub late: u64,
}

/// The newest reading by event time, with its sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatestReading {
    /// Its place among the vehicle's readings.
    pub sequence: Sequence,
    /// What it said.
    pub reading: Reading,
}

/// What a reading did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is the newest: rules see it.
    Live,
    /// Kept and counted; does not disturb live state, and rules do not see it.
    Late,
    /// Applied before: nothing changed.
    Already,
}

impl VehicleState {
    /// Applies one reading. Readings come in the order of their sequence; one that was applied before changes nothing,
    /// so a stretch of the log may be applied again.
    pub fn apply(&mut self, sequence: Sequence, reading: &Reading) -> Applied {
        if sequence <= self.applied {
            return Applied::Already;
        }
        self.applied = sequence;
        self.readings += 1;
        match self.latest {
            Some(latest) if reading.event_time < latest.reading.event_time => {
                self.late += 1;
                Applied::Late
            }
            _ => {
                self.latest = Some(LatestReading { sequence, reading: *reading });
                Applied::Live
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn at(ms: i64) -> Reading {
        Reading::fix(Timestamp(ms), Timestamp(ms), 52.0, 21.0)
    }

    #[test]
    fn late_readings_are_counted_and_leave_the_latest_alone() {
        let mut state = VehicleState::default();
        assert_eq!(state.apply(Sequence(1), &at(2_000)), Applied::Live);
        assert_eq!(state.apply(Sequence(2), &at(1_000)), Applied::Late);
        assert_eq!(state.apply(Sequence(2), &at(1_000)), Applied::Already);
        assert_eq!(state.latest.map(|l| l.sequence), Some(Sequence(1)));
        assert_eq!((state.readings, state.late), (2, 1));
    }

    proptest! {
        #[test]
        fn applying_a_stretch_again_changes_nothing(times in proptest::collection::vec(0..100_i64, 1..100), from in 0..100_usize) {
            let mut once = VehicleState::default();
            for (i, time) in times.iter().enumerate() {
                once.apply(Sequence(i as u64 + 1), &at(*time));
            }
            let mut twice = once;
            for (i, time) in times.iter().enumerate().skip(from) {
                prop_assert_eq!(twice.apply(Sequence(i as u64 + 1), &at(*time)), Applied::Already);
            }
            prop_assert_eq!(once, twice);
        }
    }
}
