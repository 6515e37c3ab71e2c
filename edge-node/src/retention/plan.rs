//! Which blocks at the old end of a stream may go, and which have to. Pure: the time is an argument.
//!
//! ```text
//!   first        trim_to            shed_to                                       next
//!     [ delivered, old | not delivered: shed | kept ...............................]
//!                                             ^ never beyond `unneeded` and, unless shed, `delivered`
//! ```

use event_log::{Bounds, Offset};

/// When blocks of a stream go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// More bytes than these are too many; `None` for a stream that is never shed.
    pub bytes_max: Option<u64>,
    /// What was delivered is kept for so long, milliseconds.
    pub keep_ms: i64,
}

/// A block at the old end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OldBlock {
    /// Offset after its last record.
    pub next: Offset,
    /// How long it is.
    pub bytes: u64,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// How a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub bounds: Bounds,
    /// The other side has everything below.
    pub delivered: Offset,
    /// A restart needs nothing below.
    pub unneeded: Offset,
    /// It has had too many bytes, and has not come down to what is aimed at yet.
    pub coming_down: bool,
}

/// What goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Everything below goes, without a word.
    pub trim_to: Offset,
    /// Everything from `trim_to` on below this goes, and it is told.
    pub shed_to: Offset,
    /// All of `blocks` go: there may be more.
    pub all_go: bool,
}

/// Once there are too many bytes, a sixteenth of what may be there goes as well: the log is not trimmed block by block.
pub(super) fn aim(bytes_max: u64) -> u64 {
    bytes_max - bytes_max / 16
}

/// `blocks` are the oldest, in order.
pub(super) fn plan(standing: &Standing, policy: &Policy, now_ms: i64, blocks: &[OldBlock]) -> Plan {
    let Standing { bounds, delivered, unneeded, coming_down } = *standing;
    let aim = policy.bytes_max.map(|max| if coming_down || bounds.bytes > max { aim(max) } else { max });
    let mut bytes = bounds.bytes;
    let mut plan = Plan { trim_to: bounds.first, shed_to: bounds.first, all_go: false };
    for block in blocks {
        let too_many = aim.is_some_and(|aim| bytes > aim);
        let is_delivered = block.next <= delivered;
        let goes = too_many || (is_delivered && now_ms - block.created_ms > policy.keep_ms);
        if !goes || block.next > unneeded {
            return plan;
        }
        bytes = bytes.saturating_sub(block.bytes);
        plan.shed_to = block.next;
        if is_delivered {
            plan.trim_to = block.next;
        }
    }
    plan.all_go = true;
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: i64 = 3_600_000;

    /// Ten blocks of ten records and 100 bytes, an hour apart.
    fn blocks() -> Vec<OldBlock> {
        (1..=10).map(|n| OldBlock { next: n * 10, bytes: 100, created_ms: n as i64 * HOUR_MS }).collect()
    }

    fn standing(delivered: Offset, unneeded: Offset) -> Standing {
        let bounds = Bounds { first: 0, next: 100, bytes: 1_000 };
        Standing { bounds, delivered, unneeded, coming_down: false }
    }

    #[test]
    fn what_was_delivered_goes_by_age() {
        let policy = Policy { bytes_max: Some(1_000), keep_ms: 6 * HOUR_MS };
        let at = |hour: i64, delivered, unneeded| {
            let plan = plan(&standing(delivered, unneeded), &policy, hour * HOUR_MS + 1, &blocks());
            assert_eq!(plan.trim_to, plan.shed_to);
            plan.trim_to
        };
        assert_eq!(at(10, 100, 100), 40);
        assert_eq!(at(10, 25, 100), 20, "not what the cloud does not have");
        assert_eq!(at(10, 100, 35), 30, "not what a restart needs");
        assert_eq!(at(5, 100, 100), 0);
    }

    #[test]
    fn when_there_is_too_much_what_was_not_delivered_is_shed_last() {
        let policy = Policy { bytes_max: Some(800), keep_ms: 100 * HOUR_MS };
        // Down to 750.
        assert_eq!(plan(&standing(10, 100), &policy, 0, &blocks()), Plan { trim_to: 10, shed_to: 30, all_go: false });
        assert_eq!(plan(&standing(60, 100), &policy, 0, &blocks()), Plan { trim_to: 30, shed_to: 30, all_go: false });
        assert_eq!(plan(&standing(0, 25), &policy, 0, &blocks()), Plan { trim_to: 0, shed_to: 20, all_go: false });
        let never_shed = Policy { bytes_max: None, ..policy };
        assert_eq!(plan(&standing(0, 100), &never_shed, i64::MAX, &blocks()).shed_to, 0);
    }

    proptest! {
        #[test]
        fn nothing_goes_that_may_not(
            lens in proptest::collection::vec((1..20_u64, 1..500_u64), 0..40),
            delivered in 0..500_u64, unneeded in 0..500_u64, max in proptest::option::of(1..5_000_u64),
            keep_ms in 0..50_i64, now_ms in 0..100_i64, coming_down: bool,
        ) {
            let mut blocks = Vec::new();
            let mut bounds = Bounds { first: 7, next: 7, bytes: 0 };
            for (at, (count, bytes)) in lens.iter().enumerate() {
                bounds.next += count;
                bounds.bytes += bytes;
                blocks.push(OldBlock { next: bounds.next, bytes: *bytes, created_ms: at as i64 });
            }
            let standing = Standing { bounds, delivered, unneeded, coming_down };
            let found = plan(&standing, &Policy { bytes_max: max, keep_ms }, now_ms, &blocks);
            prop_assert!(bounds.first <= found.trim_to && found.trim_to <= found.shed_to);
            prop_assert!(found.shed_to <= unneeded.max(bounds.first));
            prop_assert!(found.trim_to <= delivered.max(bounds.first));
            if found.shed_to > found.trim_to {
                // Shedding ends with the first block that brings the log down.
                let left: u64 = blocks.iter().filter(|block| block.next >= found.shed_to).map(|block| block.bytes).sum();
                prop_assert!(left > aim(max.unwrap()), "{left}");
            }
        }
    }
}
