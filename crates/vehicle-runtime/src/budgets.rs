//! What rules may use on a node: the `[budgets]` section.

use fleet_model::TenantId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Seconds over which use is averaged that may be configured.
const WINDOW_S: RangeInclusive<u64> = 10..=600;
/// Milliseconds of CPU time per second that may be configured: up to 256 cores.
const CPU_MS_PER_S: RangeInclusive<u64> = 1..=256_000;
/// Bytes of events per second that may be configured.
const OUTPUT_BYTES_PER_S: RangeInclusive<u64> = 1_024..=1_073_741_824;
/// Lines per second that may be configured.
const LOG_LINES_PER_S: RangeInclusive<u64> = 1..=10_000;
/// MiB of memory that may be configured: 16 are one instance.
const MEMORY_MIB: RangeInclusive<u64> = 16..=1_048_576;

/// The `[budgets]` section of a node that runs rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Seconds over which CPU time and output are averaged: a burst is free, a flood is not. 10 to 600, default 60.
    pub window_s: u64,
    /// CPU time of one deployment, on all cores together, milliseconds per second. Default 500: half a core.
    pub deployment_cpu_ms_per_s: u64,
    /// Events that one deployment proposes, bytes per second. Default 1,048,576.
    pub deployment_output_bytes_per_s: u64,
    /// Lines that one deployment logs, per second; ten seconds' worth at once. Default 10.
    pub deployment_log_lines_per_s: u64,
    /// CPU time of all deployments of one tenant. Default 1,000: one core.
    pub tenant_cpu_ms_per_s: u64,
    /// Events that all deployments of one tenant propose, bytes per second. Default 2,097,152.
    pub tenant_output_bytes_per_s: u64,
    /// Lines that all deployments of one tenant log, per second. Default 50.
    pub tenant_log_lines_per_s: u64,
    /// Memory of all instances of one tenant, each counted with what it may have, MiB. Default 2,048.
    pub tenant_memory_mib: u64,
    /// What is otherwise for single tenants. Default: nothing.
    pub tenants: Vec<TenantBudget>,
}

/// One of the `[[budgets.tenants]]`: what is absent is as for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantBudget {
    /// Whose.
    pub name: TenantId,
    /// As in `[budgets]`, like all that follow.
    pub deployment_cpu_ms_per_s: Option<u64>,
    /// See above.
    pub deployment_output_bytes_per_s: Option<u64>,
    /// See above.
    pub deployment_log_lines_per_s: Option<u64>,
    /// See above.
    pub tenant_cpu_ms_per_s: Option<u64>,
    /// See above.
    pub tenant_output_bytes_per_s: Option<u64>,
    /// See above.
    pub tenant_log_lines_per_s: Option<u64>,
    /// See above.
    pub tenant_memory_mib: Option<u64>,
}

/// The budgets that count for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub deployment: Rates,
    pub tenant: Rates,
    pub tenant_memory_mib: u64,
}

/// What may be used per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rates {
    pub cpu_ms: u64,
    pub output_bytes: u64,
    pub log_lines: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            window_s: 60,
            deployment_cpu_ms_per_s: 500,
            deployment_output_bytes_per_s: 1_024 * 1_024,
            deployment_log_lines_per_s: 10,
            tenant_cpu_ms_per_s: 1_000,
            tenant_output_bytes_per_s: 2 * 1_024 * 1_024,
            tenant_log_lines_per_s: 50,
            tenant_memory_mib: 2_048,
            tenants: Vec::new(),
        }
    }
}

impl BudgetConfig {
    /// Checks the bounds.
    ///
    /// # Errors
    /// The key within the section, and what is wrong and what is allowed.
    pub fn check(&self) -> Result<(), (String, String)> {
        let all = [
            ("window_s", Some(self.window_s), WINDOW_S),
            ("deployment_cpu_ms_per_s", Some(self.deployment_cpu_ms_per_s), CPU_MS_PER_S),
            ("deployment_output_bytes_per_s", Some(self.deployment_output_bytes_per_s), OUTPUT_BYTES_PER_S),
            ("deployment_log_lines_per_s", Some(self.deployment_log_lines_per_s), LOG_LINES_PER_S),
            ("tenant_cpu_ms_per_s", Some(self.tenant_cpu_ms_per_s), CPU_MS_PER_S),
            ("tenant_output_bytes_per_s", Some(self.tenant_output_bytes_per_s), OUTPUT_BYTES_PER_S),
            ("tenant_log_lines_per_s", Some(self.tenant_log_lines_per_s), LOG_LINES_PER_S),
            ("tenant_memory_mib", Some(self.tenant_memory_mib), MEMORY_MIB),
        ];
        within("", all)?;
        let mut names = BTreeSet::new();
        for (index, tenant) in self.tenants.iter().enumerate() {
            let place = format!("tenants.{index}.");
            if !names.insert(&tenant.name) {
                return Err((
                    format!("{place}name"),
                    format!("{} is there twice; put its budgets into one", tenant.name),
                ));
            }
            let own = [
                ("deployment_cpu_ms_per_s", tenant.deployment_cpu_ms_per_s, CPU_MS_PER_S),
                ("deployment_output_bytes_per_s", tenant.deployment_output_bytes_per_s, OUTPUT_BYTES_PER_S),
                ("deployment_log_lines_per_s", tenant.deployment_log_lines_per_s, LOG_LINES_PER_S),
                ("tenant_cpu_ms_per_s", tenant.tenant_cpu_ms_per_s, CPU_MS_PER_S),
                ("tenant_output_bytes_per_s", tenant.tenant_output_bytes_per_s, OUTPUT_BYTES_PER_S),
                ("tenant_log_lines_per_s", tenant.tenant_log_lines_per_s, LOG_LINES_PER_S),
                ("tenant_memory_mib", tenant.tenant_memory_mib, MEMORY_MIB),
            ];
            within(&place, own)?;
        }
        Ok(())
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> Limits {
        let own = self.tenants.iter().find(|own| own.name == *tenant);
        let or = |own: Option<Option<u64>>, all: u64| own.flatten().unwrap_or(all);
        Limits {
            deployment: Rates {
                cpu_ms: or(own.map(|own| own.deployment_cpu_ms_per_s), self.deployment_cpu_ms_per_s),
                output_bytes: or(own.map(|own| own.deployment_output_bytes_per_s), self.deployment_output_bytes_per_s),
                log_lines: or(own.map(|own| own.deployment_log_lines_per_s), self.deployment_log_lines_per_s),
            },
            tenant: Rates {
                cpu_ms: or(own.map(|own| own.tenant_cpu_ms_per_s), self.tenant_cpu_ms_per_s),
                output_bytes: or(own.map(|own| own.tenant_output_bytes_per_s), self.tenant_output_bytes_per_s),
                log_lines: or(own.map(|own| own.tenant_log_lines_per_s), self.tenant_log_lines_per_s),
            },
            tenant_memory_mib: or(own.map(|own| own.tenant_memory_mib), self.tenant_memory_mib),
        }
    }
}

type Bound = (&'static str, Option<u64>, RangeInclusive<u64>);

fn within(place: &str, bounds: impl IntoIterator<Item = Bound>) -> Result<(), (String, String)> {
    for (key, value, allowed) in bounds {
        if let Some(value) = value.filter(|value| !allowed.contains(value)) {
            let (least, most) = allowed.into_inner();
            let reason = format!("{value} is out of bounds: {least} to {most} is allowed");
            return Err((format!("{place}{key}"), reason));
        }
    }
    Ok(())
}

/// Where an operator raises a budget, in words.
pub(crate) fn how_to_raise(key: &str, tenant: &TenantId) -> String {
    format!("raise {key} under [budgets] of the node's config, or for {tenant} alone under [[budgets.tenants]]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_own_budgets_and_otherwise_everybodys() {
        let config: BudgetConfig = serde_json::from_str(
            r#"{"tenant_memory_mib": 64, "tenants": [{"name": "acme", "tenant_memory_mib": 512, "deployment_cpu_ms_per_s": 7}]}"#,
        )
        .unwrap();
        assert_eq!(config.check(), Ok(()));
        let (acme, other) = (config.of(&"acme".parse().unwrap()), config.of(&"other".parse().unwrap()));
        assert_eq!((acme.tenant_memory_mib, acme.deployment.cpu_ms, acme.tenant.cpu_ms), (512, 7, 1_000));
        assert_eq!((other.tenant_memory_mib, other.deployment.cpu_ms), (64, 500));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key_and_what_is_allowed() {
        for (text, key, allowed) in [
            (r#"{"window_s": 5}"#, "window_s", "10 to 600"),
            (r#"{"tenant_memory_mib": 1}"#, "tenant_memory_mib", "16 to"),
            (r#"{"tenants": [{"name": "a", "tenant_cpu_ms_per_s": 0}]}"#, "tenants.0.tenant_cpu_ms_per_s", "1 to"),
            (r#"{"tenants": [{"name": "a"}, {"name": "a"}]}"#, "tenants.1.name", "twice"),
        ] {
            let config: BudgetConfig = serde_json::from_str(text).unwrap();
            let (wrong, reason) = config.check().unwrap_err();
            assert!(wrong == key && reason.contains(allowed), "{wrong}: {reason}");
        }
        assert!(serde_json::from_str::<BudgetConfig>(r#"{"cpu": 1}"#).is_err());
        assert!(serde_json::from_str::<BudgetConfig>(r#"{"tenants": [{"name": "a", "window_s": 1}]}"#).is_err());
    }
}
