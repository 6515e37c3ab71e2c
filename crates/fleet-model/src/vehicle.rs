//! The state machine of one vehicle: what an actor knows, and what a reading does to it.

use crate::ids::Sequence;
use crate::reading::Reading;

/// What an actor knows of its vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VehicleState {
    /// Which log counted `applied`: the epoch of the edge's log.
    pub counted_by: u64,
    /// The last reading applied of those that this log counted; 0 when none was.
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
    /// Applies one reading, the number `sequence` of its vehicle in the log of epoch `counted_by`. Readings of one log
    /// come in the order of their sequence; one that was applied before changes nothing, so a stretch of the log may be
    /// applied again. A vehicle that reports at another depot, or at a depot with a new disk, is counted anew.
    pub fn apply(&mut self, counted_by: u64, sequence: Sequence, reading: &Reading) -> Applied {
        if counted_by == self.counted_by && sequence <= self.applied {
            return Applied::Already;
        }
        self.counted_by = counted_by;
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

    const LOG: u64 = 7;

    fn at(ms: i64) -> Reading {
        Reading::fix(Timestamp(ms), Timestamp(ms), 52.0, 21.0)
    }

    #[test]
    fn late_readings_are_counted_and_leave_the_latest_alone() {
        let mut state = VehicleState::default();
        assert_eq!(state.apply(LOG, Sequence(1), &at(2_000)), Applied::Live);
        assert_eq!(state.apply(LOG, Sequence(2), &at(1_000)), Applied::Late);
        assert_eq!(state.apply(LOG, Sequence(2), &at(1_000)), Applied::Already);
        assert_eq!(state.latest.map(|l| l.sequence), Some(Sequence(1)));
        assert_eq!((state.readings, state.late), (2, 1));
    }

    #[test]
    fn a_vehicle_at_another_depot_is_counted_anew() {
        let mut state = VehicleState::default();
        assert_eq!(state.apply(LOG, Sequence(9), &at(1_000)), Applied::Live);
        assert_eq!(state.apply(LOG + 1, Sequence(1), &at(2_000)), Applied::Live);
        assert_eq!(state.apply(LOG + 1, Sequence(1), &at(2_000)), Applied::Already);
        assert_eq!(state.apply(LOG, Sequence(10), &at(3_000)), Applied::Live);
        assert_eq!(state.readings, 3);
    }

    proptest! {
        #[test]
        fn applying_a_stretch_again_changes_nothing(times in proptest::collection::vec(0..100_i64, 1..100), from in 0..100_usize) {
            let mut once = VehicleState::default();
            for (i, time) in times.iter().enumerate() {
                once.apply(LOG, Sequence(i as u64 + 1), &at(*time));
            }
            let mut twice = once;
            for (i, time) in times.iter().enumerate().skip(from) {
                prop_assert_eq!(twice.apply(LOG, Sequence(i as u64 + 1), &at(*time)), Applied::Already);
            }
            prop_assert_eq!(once, twice);
        }
    }
}
