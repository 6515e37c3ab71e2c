//! What is told of the rules here: what they used by day, and what they logged.
//!
//! Everything is told anew on a new connection, and nothing of it is acknowledged: the cloud recognises what it has.

mod usage_days;

use crate::config::Clock;
use crate::metering::{MeterKey, Usage};
use crate::runtime::Runtime;
use fleet_wire::control::{
    LINES_BYTES_MAX, LINES_MAX, LinesReport, ReportedLine, ReportedRule, USAGE_ENTRIES_MAX, UsageCounts, UsageEntry,
    UsageReport,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use usage_days::{Told, UsageDays};

/// How often it is noted what was used: that much of a day may be counted on the next.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Low bits of a start's number that are drawn, so that two copies of a node do not have the same.
const DRAWN_BITS: u32 = 16;

/// Who knows what rules used and logged: the runtime.
pub trait Meters: Send + Sync + 'static {
    /// What each used since the start.
    fn usage(&self) -> Vec<(ReportedRule, UsageCounts)>;
    /// What each logged, from the line on that `from` names.
    fn lines(&self, from: &dyn Fn(&ReportedRule) -> u64) -> Vec<ReportedLine>;
}

/// What is told, and to be told. Clones share it.
#[derive(Clone)]
pub struct PluginReports(Arc<Inner>);

struct Inner {
    start: u64,
    meters: Arc<dyn Meters>,
    clock: Clock,
    days: Mutex<UsageDays>,
}

/// How far one who is told is.
#[derive(Debug, Default)]
pub struct ReportsProgress {
    usage: Told,
    lines: BTreeMap<ReportedRule, u64>,
}

impl std::fmt::Debug for PluginReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginReports").field("start", &self.0.start).finish_non_exhaustive()
    }
}

impl PluginReports {
    /// Of a start of the node that happens now. `drawn` is a random number: two copies of a node are not to be the same.
    #[must_use]
    pub fn new(meters: Arc<dyn Meters>, clock: Clock, drawn: u16) -> Self {
        let now_ms = u64::try_from(clock().0).unwrap_or(0);
        let start = (now_ms << DRAWN_BITS) | u64::from(drawn);
        Self(Arc::new(Inner { start, meters, clock, days: Mutex::default() }))
    }

    /// Keeps the days apart until `shutdown`, also while nobody is told.
    pub async fn keep_days(self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(NOTE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => self.note(),
            }
        }
    }

    fn note(&self) {
        let day = u32::try_from((self.0.clock)().0.div_euclid(DAY_MS)).unwrap_or(0);
        let forgotten = self.0.days.lock().note(day, self.0.meters.usage());
        if let Some(day) = forgotten {
            tracing::warn!(day, "what rules used on that day is forgotten: the cloud was out of reach for too long");
        }
    }

    /// The next message about what was used; `None` when the cloud was told all.
    pub fn usage(&self, progress: &mut ReportsProgress) -> Option<UsageReport> {
        self.note();
        let news = self.0.days.lock().news(&progress.usage, USAGE_ENTRIES_MAX);
        if news.is_empty() {
            return None;
        }
        progress.usage.extend(news.iter().map(|(day, rule, sum)| ((*day, rule.clone()), *sum)));
        let entries = news.into_iter().map(|(day, of, used)| UsageEntry { day, of, used }).collect();
        Some(UsageReport { start: self.0.start, entries })
    }

    /// The next message with lines; `None` when the cloud was told all.
    pub fn lines(&self, progress: &mut ReportsProgress) -> Option<LinesReport> {
        let from = |rule: &ReportedRule| progress.lines.get(rule).copied().unwrap_or(0);
        let mut bytes = 0;
        let fits = |line: &ReportedLine| {
            bytes += line.text.len();
            bytes <= LINES_BYTES_MAX
        };
        let lines: Vec<_> = self.0.meters.lines(&from).into_iter().take(LINES_MAX).take_while(fits).collect();
        if lines.is_empty() {
            return None;
        }
        progress.lines.extend(lines.iter().map(|line| (line.of.clone(), line.number + 1)));
        Some(LinesReport { start: self.0.start, lines })
    }
}

impl Meters for Runtime {
    fn usage(&self) -> Vec<(ReportedRule, UsageCounts)> {
        Runtime::usage(self).into_iter().map(|(key, usage)| (reported(key), counts(usage))).collect()
    }

    fn lines(&self, from: &dyn Fn(&ReportedRule) -> u64) -> Vec<ReportedLine> {
        let lines = self.log_lines(|key| from(&reported(key.clone())));
        let each = lines.into_iter().flat_map(|(key, lines)| {
            let of = reported(key);
            lines.into_iter().map(move |line| ReportedLine {
                of: of.clone(),
                number: line.number,
                time_ms: line.time.0,
                level: line.level.as_str().into(),
                vehicle: line.vehicle.as_deref().map(str::to_owned),
                text: line.text,
            })
        });
        each.collect()
    }
}

fn reported(key: MeterKey) -> ReportedRule {
    let MeterKey { tenant, deployment, plugin, trial } = key;
    ReportedRule { tenant, deployment, plugin, trial }
}

fn counts(usage: Usage) -> UsageCounts {
    UsageCounts {
        readings: usage.readings,
        batches: usage.batches,
        cpu_us: usage.cpu_us,
        events: usage.events,
        event_bytes: usage.event_bytes,
        failures: usage.failures,
        log_lines_kept: usage.log_lines_kept,
        log_lines_dropped: usage.log_lines_dropped,
        memory_bytes_high: usage.memory_bytes_high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_model::Timestamp;

    /// One rule with so many lines of so many bytes.
    struct Lines(usize, usize);

    impl Meters for Lines {
        fn usage(&self) -> Vec<(ReportedRule, UsageCounts)> {
            Vec::new()
        }

        fn lines(&self, from: &dyn Fn(&ReportedRule) -> u64) -> Vec<ReportedLine> {
            let (tenant, deployment) = ("demo".parse().unwrap(), "zones".parse().unwrap());
            let of = ReportedRule { tenant, deployment, plugin: "geofence".into(), trial: false };
            let line = |number| ReportedLine {
                of: of.clone(),
                number,
                time_ms: 0,
                level: "info".into(),
                vehicle: None,
                text: "x".repeat(self.1),
            };
            (from(&of)..self.0 as u64).map(line).collect()
        }
    }

    #[test]
    fn lines_come_once_to_a_connection_in_messages_of_bounded_size() {
        for (lines, bytes) in [(700, 10), (250, 1_024)] {
            let reports = PluginReports::new(Arc::new(Lines(lines, bytes)), Arc::new(|| Timestamp(1_000)), 7);
            for _connection in 0..2 {
                let mut progress = ReportsProgress::default();
                let mut numbers = Vec::new();
                while let Some(report) = reports.lines(&mut progress) {
                    assert!(report.lines.len() <= LINES_MAX && report.lines.len() * bytes <= LINES_BYTES_MAX);
                    numbers.extend(report.lines.into_iter().map(|line| line.number));
                }
                assert_eq!(numbers, (0..lines as u64).collect::<Vec<_>>());
            }
            assert_eq!(reports.usage(&mut ReportsProgress::default()), None);
        }
    }
}
