//! How long a rule that fails may hold up its worker. Pure: time is an argument.
//!
//! A rule that loops on every batch is found out by its first call. Looking for the reading that is to blame takes more
//! calls, and each may loop again. What all of them may take is small and counted here:
//!
//! ```text
//!   first call        InstanceLimits::batch_ms_max (50)
//!   then the search   SEARCH_CPU_MS_MAX a call, with a new instance each: RESTART_CPU_MS_MAX
//!   until             FAILING_CPU_MS_MAX is used up: the worker shows it nothing more, and the keeper takes it back
//! ```
//! The count of a component outlives swaps: a looping rule that is deployed anew begins where it was stopped. Another
//! component begins at nothing. What all deployments of a tenant lose on a worker is counted as well, so that many names or
//! builds do not help: beyond [`TENANT_FAILING_CPU_MS_MAX`] each gets only the time of the search, and its first failure
//! stops it.

use fleet_model::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// CPU time of a call that looks for the reading that is to blame.
pub(crate) const SEARCH_CPU_MS_MAX: u64 = 10;
/// CPU time of a new instance, its `configure` included, where the worker waits for it. What takes longer is taken up again
/// off the worker's thread.
pub(crate) const RESTART_CPU_MS_MAX: u64 = 125;
/// CPU time of reading all rows of an older state version on one worker, which waits for it. Of a tenant whose rules have
/// used up what they may lose it is [`SEARCH_CPU_MS_MAX`].
pub(crate) const MIGRATE_CPU_MS_MAX: u64 = 1_000;
/// CPU time that a deployment's failing calls and its restarts may take on one worker within [`FORGOTTEN_AFTER_MS`].
pub(crate) const FAILING_CPU_MS_MAX: u64 = 150;
/// The same of all deployments of a tenant.
pub(crate) const TENANT_FAILING_CPU_MS_MAX: u64 = 500;
/// What was lost longer ago counts no more.
pub(crate) const FORGOTTEN_AFTER_MS: i64 = 60_000;
/// Losses are added up in steps of so much time, so that the list stays short.
const GRAIN_MS: i64 = 1_000;

/// The time lost to failing calls, on one worker.
#[derive(Debug, Default)]
pub(crate) struct Leash {
    lost: VecDeque<(Timestamp, Duration)>,
}

impl Leash {
    /// Notes a loss.
    pub(crate) fn lose(&mut self, now: Timestamp, cpu: Duration) {
        self.forget(now);
        match self.lost.back_mut() {
            Some((at, lost)) if now.since_ms(*at) < GRAIN_MS => *lost += cpu,
            _ => self.lost.push_back((now, cpu)),
        }
    }

    /// Whether nothing was lost yet, or all of it was forgotten: known without a look at the clock.
    pub(crate) fn is_new(&self) -> bool {
        self.lost.is_empty()
    }

    /// Whether so much was lost lately.
    pub(crate) fn is_out(&mut self, now: Timestamp, ms_max: u64) -> bool {
        self.lost(now) >= Duration::from_millis(ms_max)
    }

    /// What was lost lately.
    pub(crate) fn lost(&mut self, now: Timestamp) -> Duration {
        self.forget(now);
        self.lost.iter().map(|(_, lost)| *lost).sum()
    }

    /// A clock that was set back forgets what lies ahead of it.
    fn forget(&mut self, now: Timestamp) {
        self.lost.retain(|(at, _)| (0..FORGOTTEN_AFTER_MS).contains(&now.since_ms(*at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Calls that loop for as long as they may, one after the other, as the plugin stage makes them.
    fn held_up(leash: &mut Leash, tenant: &mut Leash, now: Timestamp) -> Duration {
        let (ms, own_max) = (Duration::from_millis, Duration::from_millis(FAILING_CPU_MS_MAX));
        let tenant_max = ms(TENANT_FAILING_CPU_MS_MAX);
        let mut held_up = Duration::ZERO;
        for call in 0.. {
            let strict = call > 0 || tenant.lost(now) >= tenant_max;
            let took = if strict { ms(SEARCH_CPU_MS_MAX) } else { ms(50) };
            held_up += took;
            leash.lose(now, took);
            tenant.lose(now, took);
            if leash.lost(now) >= own_max || tenant.lost(now) >= tenant_max {
                break;
            }
        }
        held_up
    }

    #[test]
    fn the_bound_is_what_the_page_says() {
        let now = Timestamp(1_000_000);
        let (mut leash, mut tenant) = (Leash::default(), Leash::default());
        assert_eq!(held_up(&mut leash, &mut tenant, now), Duration::from_millis(150));
        // Deployed anew at once: one call.
        assert_eq!(held_up(&mut leash, &mut tenant, now), Duration::from_millis(50));
        // And a hundred times more: ten milliseconds each, once the tenant has used up its share.
        let more: Duration = (0..100).map(|_| held_up(&mut Leash::default(), &mut tenant, now)).sum();
        assert!(more <= Duration::from_millis(TENANT_FAILING_CPU_MS_MAX + 100 * SEARCH_CPU_MS_MAX), "{more:?}");
        // A minute later all is forgotten.
        let later = Timestamp(now.0 + FORGOTTEN_AFTER_MS);
        assert_eq!((leash.lost(later), tenant.lost(later)), (Duration::ZERO, Duration::ZERO));
    }

    proptest! {
        /// Never more than was lost within the time, never less than what was lost in the last part of it.
        #[test]
        fn it_counts_what_was_lost_within_its_time(
            losses in prop::collection::vec((0_i64..5_000, 0_u64..100), 1..200),
        ) {
            let mut leash = Leash::default();
            let (mut now, mut all) = (Timestamp(0), Vec::new());
            for (step, ms) in losses {
                now = Timestamp(now.0 + step);
                leash.lose(now, Duration::from_millis(ms));
                all.push((now, ms));
                let within = |age: i64| -> u64 {
                    all.iter().filter(|(at, _)| now.since_ms(*at) < age).map(|(_, ms)| ms).sum()
                };
                let lost = leash.lost(now).as_millis() as u64;
                prop_assert!(lost <= within(FORGOTTEN_AFTER_MS));
                prop_assert!(lost >= within(FORGOTTEN_AFTER_MS - GRAIN_MS));
                prop_assert!(leash.lost.len() as i64 <= FORGOTTEN_AFTER_MS / GRAIN_MS + 1);
            }
        }
    }
}
