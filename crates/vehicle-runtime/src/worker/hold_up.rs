//! How long a rule that fails holds up the others of its worker: see `leash.rs`.

use super::plugin_stage::Deployed;
use super::{Shared, TroubleKind};
use crate::leash::{FAILING_CPU_MS_MAX, FORGOTTEN_AFTER_MS, SEARCH_CPU_MS_MAX, TENANT_FAILING_CPU_MS_MAX};
use std::time::Duration;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To have an answer.
    Answer,
    /// To find the reading that is to blame.
    Search,
}

impl Deployed {
    /// The CPU time that the next call may use, besides what every call may.
    pub(super) fn call_limit(&self, purpose: Purpose, shared: &Shared) -> Duration {
        let is_out = || {
            let mut leash = self.ledger.tenant_leash.lock();
            !leash.is_new() && leash.is_out((shared.clock)(), TENANT_FAILING_CPU_MS_MAX)
        };
        let strict = purpose == Purpose::Search || is_out();
        if strict { Duration::from_millis(SEARCH_CPU_MS_MAX) } else { Duration::MAX }
    }

    /// Notes what a failing call or a restart took. Answers why it gets no further one, when it was too much.
    pub(super) fn lose(&mut self, cpu: Duration, last: &str, shared: &Shared) -> Option<TroubleKind> {
        let now = (shared.clock)();
        self.leash.lose(now, cpu);
        let own = self.leash.lost(now);
        let of_tenant = {
            let mut leash = self.ledger.tenant_leash.lock();
            leash.lose(now, cpu);
            leash.lost(now)
        };
        let (whose, lost, ms_max) = if own >= Duration::from_millis(FAILING_CPU_MS_MAX) {
            ("it", own, FAILING_CPU_MS_MAX)
        } else if of_tenant >= Duration::from_millis(TENANT_FAILING_CPU_MS_MAX) {
            ("its tenant's rules", of_tenant, TENANT_FAILING_CPU_MS_MAX)
        } else {
            return None;
        };
        let window_s = FORGOTTEN_AFTER_MS / 1_000;
        Some(TroubleKind::Exhausted(format!(
            "{whose} failed for {} ms of CPU time on one worker within {window_s} s, {ms_max} ms are allowed so that \
             others do not wait (the last time: {last})",
            lost.as_millis()
        )))
    }

    /// Whether it has lost as much as it may: nothing more is tried then.
    pub(super) fn is_out(&mut self, shared: &Shared) -> bool {
        self.leash.is_out((shared.clock)(), FAILING_CPU_MS_MAX)
    }
}
