//! How long to wait before the next try.

use rand::Rng;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// Doubling waits with jitter, so that sessions that lost their connection together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    wait: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { wait: FIRST }
    }

    /// The next wait: between half and all of what is due.
    pub(crate) fn next(&mut self, random: &mut impl Rng) -> Duration {
        let wait = self.wait.mul_f64(random.random_range(0.5..=1.0));
        self.wait = (self.wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut random = rand::rngs::SmallRng::seed_from_u64(1);
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..8).map(|_| backoff.next(&mut random)).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[3] >= FIRST * 4);
        assert!(waits[7] >= LONGEST / 2 && waits[7] <= LONGEST);
    }
}
