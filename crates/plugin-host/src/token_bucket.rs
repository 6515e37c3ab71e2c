//! A rate with a burst. Pure: time is an argument.

/// Thousandths of a token: at one token a second, one of these comes each millisecond.
const MILLI: u64 = 1_000;

/// Admits `per_s` things a second on average, and `burst` at once after a pause. Whole numbers: what it admits depends on
/// nothing but what it was asked and when.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_s: u64,
    full: u64,
    level: u64,
    at_ms: i64,
}

impl TokenBucket {
    /// A full one.
    #[must_use]
    pub fn new(per_s: u32, burst: u32, now_ms: i64) -> Self {
        let full = u64::from(burst) * MILLI;
        Self { per_s: per_s.into(), full, level: full, at_ms: now_ms }
    }

    /// Takes a token if there is one. A clock that is set back gives none and takes none.
    pub fn take(&mut self, now_ms: i64) -> bool {
        self.refill(now_ms);
        let taken = self.level.checked_sub(MILLI);
        self.level = taken.unwrap_or(self.level);
        taken.is_some()
    }

    /// Gives back what was taken for something that did not happen after all.
    pub fn give_back(&mut self) {
        self.level = (self.level + MILLI).min(self.full);
    }

    fn refill(&mut self, now_ms: i64) {
        let passed = u64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(0);
        self.at_ms = now_ms;
        self.level = self.level.saturating_add(passed.saturating_mul(self.per_s)).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the askers behave: in any stretch of time at most a burst and the rate over the stretch.
        #[test]
        fn no_stretch_of_time_gets_more_than_the_rate_and_a_burst(
            per_s in 0_u32..50,
            burst in 0_u32..50,
            steps in prop::collection::vec(0_i64..300, 1..300),
        ) {
            let mut bucket = TokenBucket::new(per_s, burst, 0);
            let mut now = 0;
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                if bucket.take(now) {
                    admitted.push(now);
                }
            }
            for (index, from) in admitted.iter().enumerate() {
                for (count, to) in admitted[index..].iter().enumerate() {
                    let allowed = i64::from(burst) * 1_000 + (to - from) * i64::from(per_s);
                    prop_assert!((count as i64 + 1) * 1_000 <= allowed, "{} from {from} to {to}", count + 1);
                }
            }
        }

        /// Who keeps to the rate is never refused, whatever the burst.
        #[test]
        fn who_keeps_to_the_rate_is_never_refused(per_s in 1_u32..100, burst in 1_u32..10, asked in 1_i64..200) {
            let mut bucket = TokenBucket::new(per_s, burst, 0);
            let pace = 1_000_u64.div_ceil(per_s.into()) as i64;
            for turn in 0..asked {
                prop_assert!(bucket.take(turn * pace));
            }
        }

        /// A clock that jumps admits no more than a burst each time, and breaks nothing.
        #[test]
        fn a_clock_that_jumps_is_survived(times in prop::collection::vec(any::<i64>(), 1..100)) {
            let mut bucket = TokenBucket::new(3, 5, 0);
            for now in times {
                let admitted = (0..20).filter(|_| bucket.take(now)).count();
                prop_assert!(admitted <= 5);
            }
        }
    }
}
