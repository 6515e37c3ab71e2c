//! What rules use: counted by the workers, read by the keeper, the metrics and the cloud.

use crate::budgets::{BudgetConfig, how_to_raise};
use crate::config::Clock;
use crate::keys::DeploymentKey;
use crate::leash::Leash;
use fleet_model::{DeploymentName, TenantId};
use parking_lot::Mutex;
use plugin_host::{JournalLine, PluginJournal, SharedRate, TokenBucket};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What an event counts besides its texts, in bytes: about what its frame has for it.
pub(crate) const EVENT_BYTES: u64 = 64;
/// So many seconds' worth of lines may come at once.
const LOG_BURST_S: u64 = 10;

/// What is metered by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeterKey {
    /// Whose.
    pub tenant: TenantId,
    /// Under which name.
    pub deployment: DeploymentName,
    /// The plugin's own name, of any version.
    pub plugin: String,
    /// It ran on trial.
    pub trial: bool,
}

/// What was used since the node's start, without the replay; counts only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Readings that it answered.
    pub readings: u64,
    /// Calls of `evaluate`.
    pub batches: u64,
    /// CPU time of its calls, microseconds.
    pub cpu_us: u64,
    /// Events that it proposed.
    pub events: u64,
    /// Bytes of these: subject, details, and 64 for the rest of each.
    pub event_bytes: u64,
    /// Calls that gave no answer.
    pub failures: u64,
    /// Lines that it logged.
    pub log_lines_kept: u64,
    /// Lines beyond its rate or the quota of a call.
    pub log_lines_dropped: u64,
    /// The most memory that an instance had, bytes.
    pub memory_bytes_high: u64,
}

impl Usage {
    fn since(&self, before: &Self) -> Self {
        Self {
            readings: self.readings - before.readings,
            batches: self.batches - before.batches,
            cpu_us: self.cpu_us - before.cpu_us,
            events: self.events - before.events,
            event_bytes: self.event_bytes - before.event_bytes,
            failures: self.failures - before.failures,
            log_lines_kept: self.log_lines_kept - before.log_lines_kept,
            log_lines_dropped: self.log_lines_dropped - before.log_lines_dropped,
            memory_bytes_high: self.memory_bytes_high,
        }
    }
}

/// Where the workers count.
pub(crate) struct Meter {
    readings: AtomicU64,
    batches: AtomicU64,
    cpu_us: AtomicU64,
    events: AtomicU64,
    event_bytes: AtomicU64,
    failures: AtomicU64,
    memory_bytes_high: AtomicU64,
    pub journal: Arc<PluginJournal>,
}

/// What an answer proposed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Proposed {
    pub events: u64,
    pub bytes: u64,
}

impl Meter {
    pub(crate) fn answered(&self, readings: usize, cpu: Duration, proposed: Proposed, memory_bytes: usize) {
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        add(&self.readings, readings as u64);
        add(&self.events, proposed.events);
        add(&self.event_bytes, proposed.bytes);
        self.called(cpu);
        self.memory_bytes_high.fetch_max(memory_bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, cpu: Duration) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.called(cpu);
    }

    fn called(&self, cpu: Duration) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.cpu_us.fetch_add(cpu.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Usage {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lines = self.journal.counts();
        Usage {
            readings: of(&self.readings),
            batches: of(&self.batches),
            cpu_us: of(&self.cpu_us),
            events: of(&self.events),
            event_bytes: of(&self.event_bytes),
            failures: of(&self.failures),
            log_lines_kept: lines.kept,
            log_lines_dropped: lines.dropped,
            memory_bytes_high: of(&self.memory_bytes_high),
        }
    }
}

/// All meters of a node. They stay when a deployment ends: what it used is still to be told.
pub(crate) struct Meters {
    budgets: BudgetConfig,
    clock: Clock,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    meters: BTreeMap<MeterKey, Arc<Meter>>,
    /// What the replay at the start counted: an earlier life did, too.
    replayed: BTreeMap<MeterKey, Usage>,
    log_rates: BTreeMap<TenantId, SharedRate>,
}

impl Meters {
    pub(crate) fn new(budgets: BudgetConfig, clock: Clock) -> Arc<Self> {
        Arc::new(Self { budgets, clock, known: Mutex::default() })
    }

    pub(crate) fn of(&self, (tenant, deployment): &DeploymentKey, plugin: &str, trial: bool) -> Arc<Meter> {
        let key = MeterKey { tenant: tenant.clone(), deployment: deployment.clone(), plugin: plugin.to_owned(), trial };
        let mut known = self.known.lock();
        if let Some(meter) = known.meters.get(&key) {
            return meter.clone();
        }
        let (limits, now_ms) = (self.budgets.of(tenant), (self.clock)().0);
        let bucket = |per_s: u64| TokenBucket::new(per_s as u32, (per_s * LOG_BURST_S) as u32, now_ms);
        let shared = known.log_rates.entry(tenant.clone());
        let shared = shared.or_insert_with(|| Arc::new(std::sync::Mutex::new(bucket(limits.tenant.log_lines)))).clone();
        let own = limits.deployment.log_lines;
        let notice = format!(
            "lines are dropped and counted from here on: a deployment may log {own} a second, all of a tenant {}; \
             log less, or {}",
            limits.tenant.log_lines,
            how_to_raise("deployment_log_lines_per_s or tenant_log_lines_per_s", tenant)
        );
        let journal = Arc::new(PluginJournal::new(self.clock.clone(), bucket(own), shared, notice));
        let none = AtomicU64::default;
        let meter = Arc::new(Meter {
            readings: none(),
            batches: none(),
            cpu_us: none(),
            events: none(),
            event_bytes: none(),
            failures: none(),
            memory_bytes_high: none(),
            journal,
        });
        known.meters.insert(key, meter.clone());
        meter
    }

    /// The replay is over: what was counted so far was used in an earlier life and told then. What that life had not told
    /// when it ended is told by nobody: rather too little than twice.
    pub(crate) fn forget_replay(&self) {
        let mut known = self.known.lock();
        known.replayed = known.meters.iter().map(|(key, meter)| (key.clone(), meter.read())).collect();
    }

    pub(crate) fn read(&self) -> Vec<(MeterKey, Usage)> {
        let known = self.known.lock();
        let since = |(key, meter): (&MeterKey, &Arc<Meter>)| {
            let replayed = known.replayed.get(key).copied().unwrap_or_default();
            (key.clone(), meter.read().since(&replayed))
        };
        known.meters.iter().map(since).collect()
    }

    pub(crate) fn lines(&self, from: impl Fn(&MeterKey) -> u64) -> Vec<(MeterKey, Vec<JournalLine>)> {
        let known = self.known.lock();
        let lines = known.meters.iter().map(|(key, meter)| (key.clone(), meter.journal.from(from(key))));
        lines.filter(|(_, lines)| !lines.is_empty()).collect()
    }
}

/// What the deployments of one tenant share on one worker.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub meters: Arc<Meters>,
    pub tenant_leash: Arc<Mutex<Leash>>,
}
