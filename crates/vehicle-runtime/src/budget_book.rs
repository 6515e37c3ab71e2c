//! Decides when a deployment, or a tenant, has used more than its budget. Pure: time is an argument.
//!
//! Use is summed over a sliding window: a burst is free, whoever uses more in a window than the window's budget is over
//! it. Each activation of a deployment has its own account, so that a better version does not pay for the one before; what
//! all of them used counts for their tenant, so that deploying anew does not help.

use crate::budgets::{BudgetConfig, Rates};
use crate::keys::DeploymentKey;
use fleet_model::{TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What counts here of what was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Used {
    pub cpu_us: u64,
    pub output_bytes: u64,
}

/// Which budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    Cpu,
    Output,
}

/// Somebody used more than a budget. `key` is what to stop: of a tenant's, what used most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overrun {
    pub key: DeploymentKey,
    pub generation: u64,
    pub budget: Budget,
    /// All of the tenant's deployments together, not one alone.
    pub of_tenant: bool,
    pub measured: u64,
    pub allowed: u64,
}

/// One activation that runs.
pub(crate) struct Running {
    pub key: DeploymentKey,
    pub generation: u64,
    /// Its meter's counts, which only grow.
    pub count: Used,
}

/// The accounts.
#[derive(Debug)]
pub(crate) struct BudgetBook {
    window_ms: i64,
    accounts: BTreeMap<(DeploymentKey, u64), Account>,
}

#[derive(Debug)]
struct Account {
    count: Used,
    runs: bool,
    window: VecDeque<(Timestamp, Used)>,
}

impl Budget {
    fn of(self, used: Used) -> u64 {
        match self {
            Self::Cpu => used.cpu_us,
            Self::Output => used.output_bytes,
        }
    }

    fn per_s(self, rates: Rates) -> u64 {
        match self {
            Self::Cpu => rates.cpu_ms * 1_000,
            Self::Output => rates.output_bytes,
        }
    }
}

impl Account {
    fn sum(&self) -> Used {
        self.window.iter().fold(Used::default(), |sum, (_, used)| sum + *used)
    }
}

impl std::ops::Add for Used {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cpu_us: self.cpu_us.saturating_add(other.cpu_us),
            output_bytes: self.output_bytes.saturating_add(other.output_bytes),
        }
    }
}

impl BudgetBook {
    pub(crate) fn new(window_s: u64) -> Self {
        Self { window_ms: window_s as i64 * 1_000, accounts: BTreeMap::new() }
    }

    /// Notes what all that runs has used by now. Of what is seen for the first time nothing is counted: its meter may have
    /// counted a replay, or the version before.
    pub(crate) fn observe(&mut self, now: Timestamp, running: Vec<Running>) {
        self.accounts.values_mut().for_each(|account| account.runs = false);
        for Running { key, generation, count } in running {
            let new = || Account { count, runs: true, window: VecDeque::new() };
            let account = self.accounts.entry((key, generation)).or_insert_with(new);
            let used = Used {
                cpu_us: count.cpu_us.saturating_sub(account.count.cpu_us),
                output_bytes: count.output_bytes.saturating_sub(account.count.output_bytes),
            };
            account.count = count;
            account.runs = true;
            if used != Used::default() {
                account.window.push_back((now, used));
            }
        }
        let window_ms = self.window_ms;
        for account in self.accounts.values_mut() {
            // A clock that was set back forgets what lies ahead of it.
            account.window.retain(|(at, _)| (0..window_ms).contains(&now.since_ms(*at)));
        }
        self.accounts.retain(|_, account| account.runs || !account.window.is_empty());
    }

    /// Who is over which budget. What is named is to be stopped: it does not count any more from here on.
    pub(crate) fn overruns(&mut self, budgets: &BudgetConfig) -> Vec<Overrun> {
        let window_s = (self.window_ms / 1_000) as u64;
        let mut found = Vec::new();
        for ((key, generation), account) in self.accounts.iter_mut().filter(|(_, account)| account.runs) {
            let (sum, rates) = (account.sum(), budgets.of(&key.0).deployment);
            for budget in [Budget::Cpu, Budget::Output] {
                let (measured, allowed) = (budget.of(sum), budget.per_s(rates).saturating_mul(window_s));
                if measured > allowed {
                    let (key, generation) = (key.clone(), *generation);
                    found.push(Overrun { key, generation, budget, of_tenant: false, measured, allowed });
                    account.window.clear();
                    break;
                }
            }
        }
        let tenants: BTreeSet<TenantId> = self.accounts.keys().map(|((tenant, _), _)| tenant.clone()).collect();
        for tenant in tenants {
            for budget in [Budget::Cpu, Budget::Output] {
                let allowed = budget.per_s(budgets.of(&tenant).tenant).saturating_mul(window_s);
                while let Some(overrun) = self.stop_largest(&tenant, budget, allowed) {
                    found.push(overrun);
                }
            }
        }
        found
    }

    /// When a tenant is over a budget: its running deployment that used most of it.
    fn stop_largest(&mut self, tenant: &TenantId, budget: Budget, allowed: u64) -> Option<Overrun> {
        let own = self.accounts.iter_mut().filter(|(((of, _), _), _)| of == tenant);
        let mut own: Vec<_> = own.map(|(key, account)| (budget.of(account.sum()), key, account)).collect();
        let measured: u64 = own.iter().map(|(used, ..)| *used).sum();
        if measured <= allowed {
            return None;
        }
        let running = own.iter_mut().filter(|(used, _, account)| account.runs && *used > 0);
        let (_, (key, generation), account) = running.max_by_key(|(used, ..)| *used)?;
        account.window.clear();
        let (key, generation) = (key.clone(), *generation);
        Some(Overrun { key, generation, budget, of_tenant: true, measured, allowed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW_S: u64 = 60;

    fn key(tenant: &str, name: &str) -> DeploymentKey {
        (tenant.parse().unwrap(), name.parse().unwrap())
    }

    fn ran(name: &str, generation: u64, cpu_ms: u64) -> Running {
        let count = Used { cpu_us: cpu_ms * 1_000, output_bytes: 0 };
        Running { key: key("demo", name), generation, count }
    }

    fn at(s: i64) -> Timestamp {
        Timestamp(1_000_000 + s * 1_000)
    }

    #[test]
    fn who_uses_more_than_a_windows_budget_is_told_once() {
        let (mut book, budgets) = (BudgetBook::new(WINDOW_S), BudgetConfig::default());
        // 600 ms a second; 500 are allowed.
        for s in 0..=49 {
            book.observe(at(s), vec![ran("hog", 1, 600 * s as u64)]);
            assert_eq!(book.overruns(&budgets), [], "{s}: a burst is free");
        }
        book.observe(at(51), vec![ran("hog", 1, 600 * 51)]);
        let found = book.overruns(&budgets);
        assert_eq!(found.len(), 1);
        let told = &found[0];
        assert_eq!((told.budget, told.of_tenant, told.generation), (Budget::Cpu, false, 1));
        assert_eq!((told.measured, told.allowed), (30_600_000, 30_000_000));
        book.observe(at(52), vec![ran("hog", 1, 600 * 52)]);
        assert_eq!(book.overruns(&budgets), []);
    }

    #[test]
    fn a_tenants_sum_stops_what_used_most_and_counts_what_was_deployed_anew() {
        let (mut book, budgets) = (BudgetBook::new(WINDOW_S), BudgetConfig::default());
        // Three deployments below their own budgets; every ten seconds the largest is deployed anew.
        for s in 0..60_u64 {
            let running = vec![ran("a", 1, 330 * s), ran("b", 2, 300 * s), ran("c", 100 + s / 10, 450 * s)];
            book.observe(at(s as i64), running);
            let found = book.overruns(&budgets);
            if let Some(first) = found.first() {
                assert!(first.of_tenant && first.measured > 60_000_000, "{first:?}");
                assert_eq!(found.len(), 1, "one is enough");
                assert_eq!(first.key.1.as_str(), "a", "of what runs");
                return;
            }
        }
        panic!("1,080 ms a second were let pass");
    }

    #[test]
    fn what_a_meter_counted_before_it_is_seen_counts_for_nobody() {
        let (mut book, budgets) = (BudgetBook::new(WINDOW_S), BudgetConfig::default());
        book.observe(at(0), vec![ran("replayed", 1, 1_000_000)]);
        book.observe(at(1), vec![ran("replayed", 1, 1_000_100)]);
        assert_eq!(book.overruns(&budgets), []);
    }

    proptest! {
        /// However use comes: a deployment is over its budget exactly when the window's use is more than the window's
        /// budget, counted anew after each time that it was told.
        #[test]
        fn it_is_the_sum_over_the_window(steps in prop::collection::vec((1_i64..20, 0_u64..15_000), 1..120)) {
            let budgets = BudgetConfig { tenant_cpu_ms_per_s: 256_000, ..BudgetConfig::default() };
            let mut book = BudgetBook::new(WINDOW_S);
            book.observe(at(0), vec![ran("one", 1, 0)]);
            let (mut now, mut count, mut uses) = (0, 0, Vec::new());
            for (step, used) in steps {
                now += step;
                count += used;
                uses.push((now, used));
                book.observe(at(now), vec![ran("one", 1, count)]);
                let sum: u64 = uses.iter().filter(|(then, _)| now - then < WINDOW_S as i64).map(|(_, used)| used).sum();
                let over = sum > 500 * WINDOW_S;
                prop_assert_eq!(!book.overruns(&budgets).is_empty(), over, "{} at {}", sum, now);
                if over {
                    uses.clear();
                }
            }
        }

        /// One tenant's use is never another's overrun.
        #[test]
        fn tenants_do_not_pay_for_each_other(uses in prop::collection::vec(0_u64..40_000, 1..60)) {
            let (mut book, budgets) = (BudgetBook::new(WINDOW_S), BudgetConfig::default());
            let mut count = 0;
            for (s, used) in uses.into_iter().enumerate() {
                count += used;
                let quiet = Running { key: key("quiet", "one"), generation: 2, count: Used { cpu_us: s as u64, output_bytes: 0 } };
                book.observe(at(s as i64), vec![ran("hog", 1, count), quiet]);
                prop_assert!(book.overruns(&budgets).iter().all(|overrun| overrun.key.0.as_str() == "demo"));
            }
        }

        /// A clock that jumps breaks nothing, and what is kept stays bounded.
        #[test]
        fn a_clock_that_jumps_is_survived(times in prop::collection::vec(-1_000_i64..1_000, 1..100)) {
            let (mut book, budgets) = (BudgetBook::new(WINDOW_S), BudgetConfig::default());
            for (turn, s) in times.into_iter().enumerate() {
                book.observe(at(s), vec![ran("one", 1, turn as u64)]);
                prop_assert_eq!(book.overruns(&budgets), vec![]);
                prop_assert!(book.accounts.len() == 1);
            }
        }
    }
}
