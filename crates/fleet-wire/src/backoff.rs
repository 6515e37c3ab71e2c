//! How long to wait before the next attempt: exponential, with full jitter, and it never gives up.

use std::time::Duration;

/// Doublings after which the bound stays as it is; the bound of any sensible policy is reached long before.
const DOUBLINGS_MAX: u32 = 32;

/// Counts failed attempts. Randomness is an argument.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The wait after the first failure is at most `first`, after the next twice that, and never more than `max`.
    #[must_use]
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first: first.min(max), max, failures: 0 }
    }

    /// An attempt failed: how long to wait. `random` is uniform over all of `u64`; the wait is uniform from zero to
    /// the bound, so that a thousand edges that lost the same cloud do not come back at the same instant.
    pub fn failed(&mut self, random: u64) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos((u128::from(nanos) * u128::from(random) / u128::from(u64::MAX)) as u64)
    }

    /// The longest that the next wait can be.
    #[must_use]
    pub fn bound(&self) -> Duration {
        let doubled = self.first.checked_mul(1 << self.failures.min(DOUBLINGS_MAX - 1)).unwrap_or(self.max);
        doubled.min(self.max)
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It went well.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_limit_and_stays_there() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let bounds: Vec<_> = (0..12).map(|_| backoff.failed(u64::MAX).as_millis()).collect();
        assert_eq!(bounds[..4], [100, 200, 400, 800]);
        assert_eq!(bounds[9..], [30_000, 30_000, 30_000]);
        for _ in 0..1_000 {
            assert_eq!(backoff.failed(u64::MAX), Duration::from_secs(30));
        }
        backoff.succeeded();
        assert_eq!(backoff.failed(u64::MAX), Duration::from_millis(100));
    }

    #[test]
    fn the_jitter_is_full() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(8));
        assert_eq!(backoff.failed(0), Duration::ZERO);
        assert_eq!(backoff.failed(u64::MAX / 2).as_secs(), 3);
        assert_eq!(backoff.failed(u64::MAX), Duration::from_secs(8));
    }
}
