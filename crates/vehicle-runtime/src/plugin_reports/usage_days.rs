//! What rules used, by day. Pure: the day is an argument.

use fleet_wire::control::{ReportedRule, UsageCounts};
use std::collections::BTreeMap;

/// Days that are kept for a cloud that is out of reach; older ones are forgotten.
const DAYS_MAX: usize = 40;

/// Sums per day and rule, made from counts that grow since the start.
#[derive(Debug, Default)]
pub(super) struct UsageDays {
    counted: BTreeMap<ReportedRule, UsageCounts>,
    days: BTreeMap<u32, BTreeMap<ReportedRule, UsageCounts>>,
}

/// What was told of each sum.
pub(super) type Told = BTreeMap<(u32, ReportedRule), UsageCounts>;

impl UsageDays {
    /// Adds what came since the last time to a day. Answers a day that is forgotten to make room.
    pub(super) fn note(
        &mut self,
        day: u32,
        counts: impl IntoIterator<Item = (ReportedRule, UsageCounts)>,
    ) -> Option<u32> {
        for (rule, count) in counts {
            let before = self.counted.insert(rule.clone(), count);
            if before == Some(count) {
                continue;
            }
            let came = count.since(&before.unwrap_or_default());
            let sum = self.days.entry(day).or_default().entry(rule).or_default();
            *sum = sum.plus(&came);
        }
        let forgotten = (self.days.len() > DAYS_MAX).then(|| self.days.pop_first()).flatten();
        forgotten.map(|(day, _)| day)
    }

    /// At most `most` sums that are others than they were told.
    pub(super) fn news(&self, told: &Told, most: usize) -> Vec<(u32, ReportedRule, UsageCounts)> {
        let all = self.days.iter().flat_map(|(day, rules)| rules.iter().map(|(rule, sum)| (*day, rule.clone(), *sum)));
        all.filter(|(day, rule, sum)| told.get(&(*day, rule.clone())) != Some(sum)).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(name: &str) -> ReportedRule {
        let deployment = name.parse().unwrap();
        ReportedRule { tenant: "demo".parse().unwrap(), deployment, plugin: "geofence".into(), trial: false }
    }

    fn counts(readings: u64, high: u64) -> UsageCounts {
        UsageCounts { readings, memory_bytes_high: high, ..UsageCounts::default() }
    }

    proptest! {
        /// The days' sums are what was counted, whenever it is looked at, and what is told is told until it changes.
        #[test]
        fn the_days_add_up(steps in prop::collection::vec((0_u32..2, 0_u64..100, 0_u64..100), 1..60)) {
            let (mut days, mut told) = (UsageDays::default(), Told::new());
            let (mut day, mut a, mut b) = (20_000, 0, 0);
            for (next_day, more_a, more_b) in steps {
                day += next_day;
                a += more_a;
                b += more_b;
                let forgotten = days.note(day, [(rule("a"), counts(a, a)), (rule("b"), counts(b, 7))]);
                prop_assert!(forgotten.is_none() || day - 20_000 >= DAYS_MAX as u32);
                for (day, rule, sum) in days.news(&told, usize::MAX) {
                    told.insert((day, rule), sum);
                }
                prop_assert!(days.news(&told, usize::MAX).is_empty());
                let sum = |name: &str| -> u64 {
                    told.iter().filter(|((_, of), _)| *of == rule(name)).map(|(_, sum)| sum.readings).sum()
                };
                prop_assert_eq!((sum("a"), sum("b")), (a, b));
            }
        }
    }

    #[test]
    fn the_oldest_day_gives_way() {
        let mut days = UsageDays::default();
        for day in 0..DAYS_MAX as u32 {
            assert_eq!(days.note(day, [(rule("a"), counts(u64::from(day) + 1, 0))]), None);
        }
        assert_eq!(days.note(100, [(rule("a"), counts(1_000, 0))]), Some(0));
    }
}
