//! Holding deployments to their budgets: the sum over a window by the keeper, memory before anything starts.

use crate::budget_book::{Budget, BudgetBook, Overrun, Running, Used};
use crate::budgets::how_to_raise;
use crate::deployment::Activation;
use crate::error::DeployError;
use crate::keys::DeploymentKey;
use crate::metering::{MeterKey, Usage};
use crate::metrics::Metrics;
use crate::plugin::RuleSource;
use crate::runtime::{Core, Runtime};
use opentelemetry::KeyValue;
use plugin_host::JournalLine;

/// Bytes in a MiB.
const MIB: u64 = 1_024 * 1_024;

impl Runtime {
    /// What each deployment's rules used since this node's start. What has ended stays in it.
    #[must_use]
    pub fn usage(&self) -> Vec<(MeterKey, Usage)> {
        self.core.meters.read()
    }

    /// What rules logged, from the line on that `from` names; of each the newest
    /// [`JOURNAL_LINES_MAX`](plugin_host::JOURNAL_LINES_MAX) are kept.
    #[must_use]
    pub fn log_lines(&self, from: impl Fn(&MeterKey) -> u64) -> Vec<(MeterKey, Vec<JournalLine>)> {
        self.core.meters.lines(from)
    }
}

impl Core {
    /// Looks at what everything used. Who is over a budget is stopped like who fails: back to the last good version, or
    /// else suspended; a trial ends.
    pub(crate) async fn check_budgets(&self, book: &mut BudgetBook) {
        book.observe((self.clock)(), self.budgeted());
        for overrun in book.overruns(&self.config.budgets) {
            let (tenant, deployment) = &overrun.key;
            let why = words(&overrun, self.config.budgets.window_s);
            tracing::error!(%tenant, %deployment, why, "a rule is over its budget");
            let [tenant, deployment] = Metrics::deployment(&overrun.key);
            let budget = KeyValue::new("budget", name(overrun.budget, overrun.of_tenant));
            self.metrics.budget_exceeded.add(1, &[tenant, deployment, budget]);
            self.stop(&overrun.key, overrun.generation, &why).await;
        }
    }

    /// All that runs, with what its meter counted.
    fn budgeted(&self) -> Vec<Running> {
        let deployments = self.deployments.lock();
        let currents = deployments.running.values().map(|running| &running.current);
        let live = currents.filter(|current| current.suspended.is_none());
        let both = live.flat_map(|current| {
            let trial = current.trial.as_ref().map(|trial| (&*trial.activation, true));
            [Some((current, false)), trial].into_iter().flatten()
        });
        both.map(|(activation, on_trial)| self.account(activation, on_trial)).collect()
    }

    fn account(&self, activation: &Activation, on_trial: bool) -> Running {
        let usage = self.meters.of(&activation.key, &activation.rule.facts().name, on_trial).read();
        let count = Used { cpu_us: usage.cpu_us, output_bytes: usage.event_bytes };
        Running { key: activation.key.clone(), generation: activation.generation, count }
    }

    /// Whether a tenant's instances fit into its memory with another rule under `key`: beside what is live there, or in its
    /// place. Each instance is counted with what it may have, so that none can be refused later what it was promised.
    pub(crate) fn check_memory(
        &self,
        key: &DeploymentKey,
        rule: &dyn RuleSource,
        beside_live: bool,
    ) -> Result<(), DeployError> {
        let workers = self.workers.len() as u64;
        let needed = rule.memory_bytes_max() * workers;
        let of = |activation: &Activation| {
            if activation.suspended.is_some() { 0 } else { activation.rule.memory_bytes_max() * workers }
        };
        let deployments = self.deployments.lock();
        let others = deployments.running.values().map(|running| &running.current).filter(|it| it.key.0 == key.0);
        let others: u64 = others
            .map(|current| match (current.key == *key, beside_live) {
                (true, true) => of(current),
                (true, false) => 0,
                (false, _) => of(current) + current.trial.as_ref().map_or(0, |trial| of(&trial.activation)),
            })
            .sum();
        let allowed_mib = self.config.budgets.of(&key.0).tenant_memory_mib;
        if others + needed <= allowed_mib * MIB {
            return Ok(());
        }
        Err(DeployError::OverMemory {
            needed_mib: needed.div_ceil(MIB),
            instances: workers,
            others_mib: others.div_ceil(MIB),
            allowed_mib,
            how: how_to_raise("tenant_memory_mib", &key.0),
        })
    }
}

/// The key of a budget in the config.
fn name(budget: Budget, of_tenant: bool) -> &'static str {
    match (budget, of_tenant) {
        (Budget::Cpu, false) => "deployment_cpu_ms_per_s",
        (Budget::Cpu, true) => "tenant_cpu_ms_per_s",
        (Budget::Output, false) => "deployment_output_bytes_per_s",
        (Budget::Output, true) => "tenant_output_bytes_per_s",
    }
}

fn words(overrun: &Overrun, window_s: u64) -> String {
    let Overrun { key: (tenant, _), budget, of_tenant, measured, allowed, .. } = overrun;
    let key = name(*budget, *of_tenant);
    let (what, unit, per_unit) = match budget {
        Budget::Cpu => ("CPU time", "ms", 1_000),
        Budget::Output => ("events", "bytes", 1),
    };
    let whose = if *of_tenant { "the tenant's rules used together" } else { "it used" };
    format!(
        "{whose} {} {unit} of {what} within {window_s} s, {key} allows {}: make it cheaper, or {}",
        measured / per_unit,
        allowed / per_unit,
        how_to_raise(key, tenant)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_name_the_budget_what_was_measured_and_how_to_raise_it() {
        let key = ("acme".parse().unwrap(), "zones".parse().unwrap());
        let overrun = Overrun {
            key,
            generation: 1,
            budget: Budget::Cpu,
            of_tenant: false,
            measured: 30_600_000,
            allowed: 30_000_000,
        };
        assert_eq!(
            words(&overrun, 60),
            "it used 30600 ms of CPU time within 60 s, deployment_cpu_ms_per_s allows 30000: make it cheaper, or raise \
             deployment_cpu_ms_per_s under [budgets] of the node's config, or for acme alone under [[budgets.tenants]]"
        );
    }
}
