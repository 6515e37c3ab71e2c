//! What an operator may choose, and what a node hands in.

use crate::budgets::BudgetConfig;
use event_log::EventLog;
use fleet_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most worker threads when the number is chosen for you.
const WORKERS_AUTO_MAX: usize = 4;
/// Most worker threads that may be configured: each vehicle belongs to one of 256 shards.
pub(crate) const SHARDS: usize = 256;

/// Readings between two checkpoints that may be configured.
const CHECKPOINT_READINGS: RangeInclusive<u64> = 1..=1_000_000_000;
/// Seconds between two checkpoints that may be configured: up to a day.
const CHECKPOINT_INTERVAL_S: RangeInclusive<u64> = 1..=86_400;
/// Idle seconds before passivation that may be configured: up to a year.
const PASSIVATE_AFTER_S: RangeInclusive<u64> = 1..=31_536_000;

/// The `[actors]` section of both programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// Worker threads, at most 256. 0 (default): one per core, at most 4.
    pub workers: usize,
    /// Readings between two checkpoints, which is what a restart applies again at most; 1 to 1,000,000,000.
    /// Default 50,000.
    pub checkpoint_readings: u64,
    /// Seconds between two checkpoints when fewer readings came, 1 to 86,400. Default 5.
    pub checkpoint_interval_s: u64,
    /// Seconds without a reading after which a vehicle's actor is stopped, 1 to 31,536,000; its state stays.
    /// Default 600.
    pub passivate_after_s: u64,
    /// What rules may use. A section of its own in the file of a node that runs rules.
    #[serde(skip)]
    pub budgets: BudgetConfig,
    /// Others append events to the same log, as cloud ingest does with those of edges.
    #[serde(skip)]
    pub others_append_events: bool,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            checkpoint_readings: 50_000,
            checkpoint_interval_s: 5,
            passivate_after_s: 600,
            budgets: BudgetConfig::default(),
            others_append_events: false,
        }
    }
}

impl RuntimeConfig {
    /// Checks the bounds.
    ///
    /// # Errors
    /// The key within the section, and what is wrong and what is allowed.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let bounds = [
            ("workers", self.workers as u64, 0..=SHARDS as u64),
            ("checkpoint_readings", self.checkpoint_readings, CHECKPOINT_READINGS),
            ("checkpoint_interval_s", self.checkpoint_interval_s, CHECKPOINT_INTERVAL_S),
            ("passivate_after_s", self.passivate_after_s, PASSIVATE_AFTER_S),
        ];
        for (key, value, allowed) in bounds {
            if !allowed.contains(&value) {
                let (least, most) = allowed.into_inner();
                return Err((key, format!("{value} is out of bounds: {least} to {most} is allowed")));
            }
        }
        Ok(())
    }

    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_AUTO_MAX),
            workers => workers.min(SHARDS),
        }
    }
}

/// The two logs of a node.
#[derive(Clone)]
pub struct Logs {
    /// Readings, and the snapshots of admission.
    pub telemetry: Arc<dyn EventLog>,
    /// Events, dead letters, deployments, and the snapshots of actors and plugins.
    pub events: Arc<dyn EventLog>,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs")
            .field("telemetry_epoch", &self.telemetry.epoch())
            .field("events_epoch", &self.events.epoch())
            .finish()
    }
}

/// Says what time it is. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(since_epoch.as_millis() as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_have_defaults_and_unknown_ones_are_refused() {
        let config: RuntimeConfig = serde_json::from_str(r#"{"workers": 2}"#).unwrap();
        assert_eq!(config, RuntimeConfig { workers: 2, ..Default::default() });
        let refused = serde_json::from_str::<RuntimeConfig>(r#"{"worker": 2}"#).unwrap_err().to_string();
        assert!(refused.contains("checkpoint_readings"), "names what is allowed: {refused}");
    }

    #[test]
    fn values_out_of_bounds_are_told_with_key_and_what_is_allowed() {
        assert_eq!(RuntimeConfig::default().check(), Ok(()));
        let cases = [
            (r#"{"workers": 257}"#, "workers", "0 to 256"),
            (r#"{"checkpoint_readings": 0}"#, "checkpoint_readings", "1 to 1000000000"),
            (r#"{"checkpoint_interval_s": 0}"#, "checkpoint_interval_s", "1 to 86400"),
            (r#"{"passivate_after_s": 9223372036854775807}"#, "passivate_after_s", "1 to 31536000"),
        ];
        for (text, key, allowed) in cases {
            let config: RuntimeConfig = serde_json::from_str(text).unwrap();
            let (wrong, reason) = config.check().unwrap_err();
            assert_eq!(wrong, key);
            assert!(reason.contains(allowed), "{reason}");
        }
    }
}
