//! Counters of a vehicle's life that should only rise, and do not always.
//!
//! An instrument cluster or a box is replaced, a counter overflows, a device reports 0 until its bus is awake. So a step
//! that can't have been driven in the time that passed, back or forward, is a *counter reset*: what was counted stays,
//! and counting goes on from the new number. Nothing becomes overdue by it. A step back that is small is noise: the
//! counter stands still until the old number is passed.

/// How a counter may behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Behaviour {
    /// Steps up to this, either way, are no reset, however little time passed: rounding and noise.
    pub tolerance: f64,
    /// What the counter gains in a second at most.
    pub per_second_max: f64,
}

/// Metres. 100 m/s is faster than anything that is maintained.
pub const ODOMETER: Behaviour = Behaviour { tolerance: 2_000.0, per_second_max: 100.0 };
/// Hours: an engine runs no faster than time passes.
pub const ENGINE_HOURS: Behaviour = Behaviour { tolerance: 1.0, per_second_max: 1.0 / 3_600.0 };

/// A counter as it was last reported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counter {
    /// What is added to the reported number so that the sum goes on over resets.
    pub offset: f64,
    /// The highest number reported since the last reset.
    pub raw: f64,
    /// Event time in milliseconds of the last report.
    pub at_ms: i64,
}

impl Counter {
    /// The count over all resets: it never falls.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.raw + self.offset
    }

    /// The counter after a report. `raw` is passed over when it is not a number or negative.
    #[must_use]
    pub fn after(before: Option<Self>, raw: f64, at_ms: i64, behaviour: Behaviour) -> Option<Self> {
        if !raw.is_finite() || raw < 0.0 {
            return before;
        }
        let Some(before) = before else {
            return Some(Self { offset: 0.0, raw, at_ms });
        };
        let elapsed_s = at_ms.saturating_sub(before.at_ms).max(0) as f64 / 1_000.0;
        let step = raw - before.raw;
        let step_max = behaviour.tolerance + elapsed_s * behaviour.per_second_max;
        Some(if step < -behaviour.tolerance || step > step_max {
            Self { offset: before.total() - raw, raw, at_ms }
        } else {
            Self { raw: before.raw.max(raw), at_ms, ..before }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metres counted after reports at (seconds, metres).
    fn total(reports: &[(i64, f64)]) -> f64 {
        let after = |before, &(seconds, raw): &(i64, f64)| Counter::after(before, raw, seconds * 1_000, ODOMETER);
        reports.iter().fold(None, after).unwrap().total()
    }

    #[test]
    fn a_count_goes_on_over_resets() {
        assert_eq!(total(&[(0, 100_000.0), (60, 101_000.0)]), 101_000.0);
        assert_eq!(total(&[(0, 100_000.0), (60, 0.0), (120, 500.0)]), 100_500.0, "a new cluster");
        assert_eq!(total(&[(0, 100_000.0), (60, 0.0), (61, 100_010.0), (120, 100_510.0)]), 100_500.0, "asleep at 60");
        assert_eq!(total(&[(0, 5_000.0), (60, 180_000.0), (120, 180_500.0)]), 5_500.0, "a used cluster");
    }

    #[test]
    fn silence_may_hide_a_long_drive_and_noise_is_no_reset() {
        assert_eq!(total(&[(0, 100_000.0), (86_400, 900_000.0)]), 900_000.0);
        assert_eq!(total(&[(0, 100_000.0), (1, 99_900.0), (2, 100_050.0)]), 100_050.0);
        assert_eq!(total(&[(0, 100_000.0), (1, f64::NAN), (2, -5.0), (3, f64::INFINITY)]), 100_000.0);
    }

    #[test]
    fn an_engine_does_not_run_faster_than_time() {
        let first = Counter::after(None, 10.0, 0, ENGINE_HOURS);
        let day_later = |raw| Counter::after(first, raw, 86_400_000, ENGINE_HOURS).unwrap().total();
        assert_eq!([day_later(34.5), day_later(40.0), day_later(2.0)], [34.5, 10.0, 10.0]);
    }
}
