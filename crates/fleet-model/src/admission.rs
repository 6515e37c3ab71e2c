//! Decides what is admitted, and gives each admitted reading its sequence.

use crate::ids::Sequence;
use crate::reading::{IGNITION_UNKNOWN, Reading};
use crate::refusal::Refusal;
use crate::repeats::{RepeatStore, Repeats, Seen};
use crate::time::TIMESTAMP_MAX;
use serde::{Deserialize, Serialize};

/// A device's clock may be ahead of ours by this much: 24 h.
pub const FUTURE_CLOCK_MS_MAX: i64 = 24 * 3_600_000;

/// What is refused beyond the impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionPolicy {
    /// Refuse readings whose clock is ahead by more than this, in ms. `None`: never.
    pub future_clock_ms_max: Option<i64>,
}

impl Default for AdmissionPolicy {
    fn default() -> Self {
        Self { future_clock_ms_max: Some(FUTURE_CLOCK_MS_MAX) }
    }
}

impl AdmissionPolicy {
    /// Whether a reading is possible at all, whatever was said before. The first reason in [`Refusal::ALL`]'s order.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn check(&self, reading: &Reading) -> Result<(), Refusal> {
        if !(0..=TIMESTAMP_MAX.0).contains(&reading.event_time.0) {
            return Err(Refusal::MalformedTime);
        }
        if let Some(limit) = self.future_clock_ms_max
            && reading.event_time.since_ms(reading.received_time) > limit
        {
            return Err(Refusal::FutureClock);
        }
        let signals = [
            reading.altitude,
            reading.heading,
            reading.speed,
            reading.horizontal_accuracy,
            reading.engine_hours,
            reading.engine_speed,
            reading.fuel_level,
            reading.state_of_charge,
            reading.engine_coolant_temperature,
            reading.battery_voltage,
        ];
        // NaN stands for "not reported" in signals; a position must be there.
        let position_finite = reading.latitude.is_finite() && reading.longitude.is_finite();
        if !position_finite || reading.odometer.is_infinite() || signals.iter().any(|signal| signal.is_infinite()) {
            return Err(Refusal::NotFinite);
        }
        if reading.latitude == 0.0 && reading.longitude == 0.0 {
            return Err(Refusal::NullPosition);
        }
        // NaN passes: `outside` is false for it.
        let outside = |value: f32, low: f32, high: f32| value < low || value > high;
        let impossible = !(-90.0..=90.0).contains(&reading.latitude)
            || !(-180.0..=180.0).contains(&reading.longitude)
            || outside(reading.heading, 0.0, 360.0)
            || outside(reading.horizontal_accuracy, 0.0, f32::MAX)
            || outside(reading.fuel_level, 0.0, 100.0)
            || outside(reading.state_of_charge, 0.0, 100.0)
            || !matches!(reading.ignition, 0 | 1 | IGNITION_UNKNOWN);
        if impossible { Err(Refusal::OutOfRange) } else { Ok(()) }
    }
}

/// What admission knows of one vehicle. Comes back after a crash from its snapshot and the readings logged since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionState {
    last: Sequence,
    repeats: Repeats,
}

/// What becomes of a reading that is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// News: it gets this sequence. `late` when an admitted reading of the vehicle has a newer event time.
    Admitted {
        /// Its place among the vehicle's readings.
        sequence: Sequence,
        /// Older than the newest.
        late: bool,
    },
    /// Said before: dropped and counted.
    Repeat,
    /// Another reading of the same instant was first: counted and kept as a dead letter.
    Conflict,
}

impl AdmissionState {
    /// Decides about a reading that passed [`AdmissionPolicy::check`], and remembers it when it is admitted. `store` is
    /// the vehicle's, the same at every call.
    pub fn admit(&mut self, reading: &Reading, store: &mut impl RepeatStore) -> Verdict {
        let content_hash = reading.content_hash();
        match self.repeats.look_up(reading.event_time, content_hash, store) {
            Seen::Same => Verdict::Repeat,
            Seen::Other => Verdict::Conflict,
            Seen::New => {
                let sequence = self.last.next();
                let late = self.repeats.newest().is_some_and(|newest| reading.event_time < newest);
                self.remember(sequence, reading, content_hash, store);
                Verdict::Admitted { sequence, late }
            }
        }
    }

    /// Takes up a reading that is in the log already, when the state is rebuilt. Readings must come in the log's order;
    /// those that the state already knows are passed over.
    pub fn recall(&mut self, sequence: Sequence, reading: &Reading, store: &mut impl RepeatStore) {
        if sequence > self.last {
            self.remember(sequence, reading, reading.content_hash(), store);
        }
    }

    /// The sequence of the last admitted reading; 0 when there is none.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.last
    }

    fn remember(&mut self, sequence: Sequence, reading: &Reading, content_hash: u32, store: &mut impl RepeatStore) {
        self.last = sequence;
        self.repeats.remember(reading.event_time, content_hash, store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repeats::tests::MapStore;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_708_353_714_000);

    fn reading(event_time: i64, latitude: f64) -> Reading {
        Reading::fix(Timestamp(event_time), NOW, latitude, 21.0)
    }

    #[test]
    fn impossible_readings_are_refused_with_their_reason() {
        let policy = AdmissionPolicy::default();
        let good = reading(NOW.0, 52.0);
        let cases = [
            (Reading { event_time: Timestamp(-1), ..good }, Refusal::MalformedTime),
            (Reading { event_time: Timestamp(i64::MAX), ..good }, Refusal::MalformedTime),
            (Reading { event_time: Timestamp(NOW.0 + FUTURE_CLOCK_MS_MAX + 1), ..good }, Refusal::FutureClock),
            (Reading { latitude: f64::NAN, ..good }, Refusal::NotFinite),
            (Reading { speed: f32::INFINITY, ..good }, Refusal::NotFinite),
            (Reading { latitude: 0.0, longitude: 0.0, ..good }, Refusal::NullPosition),
            (Reading { latitude: 90.1, ..good }, Refusal::OutOfRange),
            (Reading { longitude: -180.5, ..good }, Refusal::OutOfRange),
            (Reading { heading: 361.0, ..good }, Refusal::OutOfRange),
            (Reading { ignition: 2, ..good }, Refusal::OutOfRange),
        ];
        assert_eq!(policy.check(&good), Ok(()));
        assert_eq!(policy.check(&Reading { latitude: 0.0, ..good }), Ok(()), "the equator is a place");
        for (bad, reason) in cases {
            assert_eq!(policy.check(&bad), Err(reason), "{bad:?}");
        }
    }

    #[test]
    fn the_future_is_allowed_when_the_policy_says_so() {
        let plain = AdmissionPolicy { future_clock_ms_max: None };
        assert_eq!(plain.check(&reading(NOW.0 + 10 * FUTURE_CLOCK_MS_MAX, 52.0)), Ok(()));
    }

    #[test]
    fn repeats_conflicts_and_late_readings() {
        let (mut state, mut store) = (AdmissionState::default(), MapStore::default());
        let mut admit = |reading: &Reading| state.admit(reading, &mut store);
        let admitted = |sequence, late| Verdict::Admitted { sequence: Sequence(sequence), late };
        assert_eq!(admit(&reading(1_000, 52.0)), admitted(1, false));
        assert_eq!(admit(&reading(1_000, 52.0)), Verdict::Repeat);
        assert_eq!(admit(&reading(1_000, 52.1)), Verdict::Conflict);
        assert_eq!(admit(&reading(3_000, 52.2)), admitted(2, false));
        assert_eq!(admit(&reading(2_000, 52.1)), admitted(3, true));
        assert_eq!(admit(&reading(2_000, 52.1)), Verdict::Repeat);
    }

    proptest! {
        /// However a crash cuts the stream, snapshot plus log gives the state that was lost.
        #[test]
        fn recall_rebuilds_what_admit_knew(
            times in proptest::collection::vec(0..200_i64, 1..200),
            cut in 0..200_usize,
        ) {
            let (mut live, mut store) = (AdmissionState::default(), MapStore::default());
            let (mut snapshot, mut snapshot_store) = (live.clone(), store.clone());
            let mut log = Vec::new();
            for (i, time) in times.iter().enumerate() {
                let reading = reading(*time, 52.0 + (i % 3) as f64);
                if let Verdict::Admitted { sequence, .. } = live.admit(&reading, &mut store) {
                    log.push((sequence, reading));
                }
                if i == cut {
                    (snapshot, snapshot_store) = (live.clone(), store.clone());
                }
            }
            for (sequence, reading) in &log {
                snapshot.recall(*sequence, reading, &mut snapshot_store);
            }
            prop_assert_eq!(snapshot, live);
            prop_assert_eq!(snapshot_store.known, store.known);
        }

        #[test]
        fn sequences_are_dense(times in proptest::collection::vec(0..50_i64, 1..300)) {
            let (mut state, mut store) = (AdmissionState::default(), MapStore::default());
            let mut expected = 0;
            for time in times {
                if let Verdict::Admitted { sequence, .. } = state.admit(&reading(time, 52.0), &mut store) {
                    expected += 1;
                    prop_assert_eq!(sequence, Sequence(expected));
                }
            }
        }
    }
}
