//! When a reading is due.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longer pauses in a recording are played as this long.
const GAP_MAX_MS: i64 = 60_000;
/// A reading up to this much older than the one before is a late one and does not move the clock. An older one begins
/// another stretch, such as the next vehicle of a file that is sorted by vehicle.
const LATE_MAX_MS: i64 = 600_000;

/// How fast to play.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// As fast as readings are acknowledged.
    Max,
    /// This many times as fast as it happened.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            _ => match text.parse::<f64>() {
                Ok(times) if times.is_finite() && times >= 0.01 => Ok(Self::Times(times)),
                _ => Err("a speed is 1 (as it happened), 10 (ten times as fast), or max".to_owned()),
            },
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Times(times) => write!(f, "{times}"),
        }
    }
}

/// Turns the clock of a recording into time since the start of the play. Never goes back.
#[derive(Debug)]
pub(crate) struct Pacer {
    speed: Speed,
    previous_ms: Option<i64>,
    elapsed_ms: i64,
}

impl Pacer {
    pub(crate) fn new(speed: Speed) -> Self {
        Self { speed, previous_ms: None, elapsed_ms: 0 }
    }

    /// How long after the start the reading is due.
    pub(crate) fn due(&mut self, clock_ms: Option<i64>) -> Duration {
        let Speed::Times(times) = self.speed else { return Duration::ZERO };
        if let Some(clock_ms) = clock_ms {
            let gap_ms = self.previous_ms.map_or(0, |previous| clock_ms.saturating_sub(previous));
            self.elapsed_ms = self.elapsed_ms.saturating_add(gap_ms.clamp(0, GAP_MAX_MS));
            let late = (-LATE_MAX_MS..=0).contains(&gap_ms);
            if self.previous_ms.is_none() || !late {
                self.previous_ms = Some(clock_ms);
            }
        }
        Duration::from_secs_f64(self.elapsed_ms as f64 / 1_000.0 / times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dues(speed: Speed, clocks: &[i64]) -> Vec<u128> {
        let mut pacer = Pacer::new(speed);
        clocks.iter().map(|clock| pacer.due(Some(*clock)).as_millis()).collect()
    }

    #[test]
    fn plays_as_it_happened_or_faster() {
        assert_eq!(dues(Speed::Times(1.0), &[5_000, 6_000, 6_500]), [0, 1_000, 1_500]);
        assert_eq!(dues(Speed::Times(10.0), &[5_000, 6_000, 6_500]), [0, 100, 150]);
        assert_eq!(dues(Speed::Max, &[5_000, 6_000, 9_500]), [0, 0, 0]);
    }

    #[test]
    fn late_readings_do_not_move_the_clock() {
        assert_eq!(dues(Speed::Times(1.0), &[10_000, 8_000, 10_000, 8_000, 12_000]), [0, 0, 0, 0, 2_000]);
    }

    #[test]
    fn long_pauses_are_cut_and_the_next_vehicle_starts_at_once() {
        let year = 365 * 86_400_000;
        assert_eq!(dues(Speed::Times(1.0), &[year, year + 86_400_000, 1_000, 3_000]), [0, 60_000, 60_000, 62_000]);
    }

    #[test]
    fn speeds_are_read() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("10".parse(), Ok(Speed::Times(10.0)));
        for wrong in ["", "fast", "0", "-1", "inf", "NaN"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn never_goes_back(clocks in proptest::collection::vec(any::<Option<i64>>(), 0..50)) {
            let mut pacer = Pacer::new(Speed::Times(1.0));
            let dues: Vec<Duration> = clocks.into_iter().map(|clock| pacer.due(clock)).collect();
            prop_assert!(dues.is_sorted());
        }
    }
}
