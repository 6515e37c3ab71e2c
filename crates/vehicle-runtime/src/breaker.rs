//! Decides when a plugin has failed too often. Pure: time is an argument.

use crate::keys::DeploymentKey;
use fleet_model::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// So many poison batches ...
pub(crate) const POISON_BATCHES_MAX: usize = 3;
/// ... within so many milliseconds open the breaker.
pub(crate) const WINDOW_MS: i64 = 60_000;

/// Counts poison batches per activation of a deployment.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    recent: BTreeMap<(DeploymentKey, u64), VecDeque<Timestamp>>,
}

impl Breaker {
    /// Takes up a poison batch; answers whether the breaker opens now. It opens once per activation and window.
    pub(crate) fn poison(&mut self, key: &DeploymentKey, generation: u64, now: Timestamp) -> bool {
        // Of older activations nothing comes any more.
        self.recent.retain(|_, times| times.back().is_some_and(|last| now.since_ms(*last) <= WINDOW_MS));
        let recent = self.recent.entry((key.clone(), generation)).or_default();
        recent.retain(|then| now.since_ms(*then) <= WINDOW_MS);
        recent.push_back(now);
        let opens = recent.len() >= POISON_BATCHES_MAX;
        if opens {
            recent.clear();
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_within_a_minute_open_it() {
        let key = ("demo".parse().unwrap(), "zones".parse().unwrap());
        let mut breaker = Breaker::default();
        let mut poison = |generation, s: i64| breaker.poison(&key, generation, Timestamp(s * 1_000));
        assert!(!poison(1, 0));
        assert!(!poison(1, 50));
        assert!(!poison(1, 61), "the first is forgotten");
        assert!(poison(1, 62));
        assert!(!poison(1, 63), "it opens once");
        assert!(!poison(2, 63), "another activation has its own count");
        assert!(!poison(2, 64));
        assert!(poison(2, 65));
    }
}
