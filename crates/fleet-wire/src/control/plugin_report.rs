//! What an edge reports of its rules: what they used, and what they logged.
//!
//! Nothing of it is acknowledged. What was used is told as sums that only grow, so telling it again changes nothing; lines
//! are numbered, so one that comes twice is known. A new connection begins with all that is still there.

use fleet_model::{DeploymentName, TenantId};
use serde::{Deserialize, Serialize};

/// Entries of one message.
pub const USAGE_ENTRIES_MAX: usize = 500;
/// Lines of one message.
pub const LINES_MAX: usize = 256;
/// Bytes of text of one message's lines; as JSON they may be twice as many.
pub const LINES_BYTES_MAX: usize = 200 * 1_024;

/// What was used since a start of the edge node, by day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UsageReport {
    /// Which start of the node: every start has its own, and later ones larger ones. Sums of different starts add up.
    pub start: u64,
    /// What changed since it was last told.
    #[serde(default)]
    pub entries: Vec<UsageEntry>,
}

/// One sum: on one day, of one plugin in one deployment. It replaces what was told of the same before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEntry {
    /// Days since 1970-01-01, UTC, by the edge's clock.
    pub day: u32,
    /// Of what.
    #[serde(flatten)]
    pub of: ReportedRule,
    /// How much.
    #[serde(flatten)]
    pub used: UsageCounts,
}

/// A rule at work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReportedRule {
    /// Whose.
    pub tenant: TenantId,
    /// Under which name.
    pub deployment: DeploymentName,
    /// The plugin's own name.
    pub plugin: String,
    /// It was on trial.
    #[serde(default)]
    pub trial: bool,
}

/// What was used. Every field has a default: it evolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageCounts {
    /// Readings answered.
    pub readings: u64,
    /// Calls.
    pub batches: u64,
    /// CPU time of the calls, microseconds.
    pub cpu_us: u64,
    /// Events proposed.
    pub events: u64,
    /// Bytes of these.
    pub event_bytes: u64,
    /// Calls without an answer.
    pub failures: u64,
    /// Lines logged.
    pub log_lines_kept: u64,
    /// Lines beyond a rate or quota.
    pub log_lines_dropped: u64,
    /// The most memory that an instance had by then, bytes.
    pub memory_bytes_high: u64,
}

impl UsageCounts {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What each says that says more: two tellings of one sum.
    #[must_use]
    pub fn newer(&self, other: &Self) -> Self {
        self.each(other, u64::max)
    }

    /// What came since `before`. The most memory is no sum: it stays.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self { memory_bytes_high: self.memory_bytes_high, ..self.each(before, u64::saturating_sub) }
    }

    fn each(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            readings: of(self.readings, other.readings),
            batches: of(self.batches, other.batches),
            cpu_us: of(self.cpu_us, other.cpu_us),
            events: of(self.events, other.events),
            event_bytes: of(self.event_bytes, other.event_bytes),
            failures: of(self.failures, other.failures),
            log_lines_kept: of(self.log_lines_kept, other.log_lines_kept),
            log_lines_dropped: of(self.log_lines_dropped, other.log_lines_dropped),
            memory_bytes_high: self.memory_bytes_high.max(other.memory_bytes_high),
        }
    }
}

/// Lines that rules logged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinesReport {
    /// As [`UsageReport::start`].
    pub start: u64,
    /// Of each rule in the order of their numbers.
    #[serde(default)]
    pub lines: Vec<ReportedLine>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedLine {
    /// Whose.
    #[serde(flatten)]
    pub of: ReportedRule,
    /// Counts the rule's lines since the node's start, from 0.
    pub number: u64,
    /// Milliseconds since the Unix epoch, by the edge's clock.
    pub time_ms: i64,
    /// `debug`, `info` or `warn`.
    pub level: String,
    /// Which vehicle it is about, when it is about one alone.
    #[serde(default)]
    pub vehicle: Option<String>,
    /// What it says.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{MESSAGE_LEN_MAX, ToCloud, decode, encode};

    fn rule() -> ReportedRule {
        let longest = "x".repeat(64);
        ReportedRule {
            tenant: longest.parse().unwrap(),
            deployment: longest.parse().unwrap(),
            plugin: longest,
            trial: true,
        }
    }

    #[test]
    fn full_messages_are_below_the_limit_and_come_back() {
        let most = u64::MAX;
        let used = UsageCounts {
            readings: most,
            batches: most,
            cpu_us: most,
            events: most,
            event_bytes: most,
            failures: most,
            log_lines_kept: most,
            log_lines_dropped: most,
            memory_bytes_high: most,
        };
        let entry = UsageEntry { day: u32::MAX, of: rule(), used };
        let usage = ToCloud::PluginUsage(UsageReport { start: most, entries: vec![entry; USAGE_ENTRIES_MAX] });
        let line = ReportedLine {
            of: rule(),
            number: most,
            time_ms: i64::MIN,
            level: "debug".into(),
            vehicle: Some("x".repeat(64)),
            text: "\\".repeat(LINES_BYTES_MAX / LINES_MAX),
        };
        let lines = ToCloud::PluginLines(LinesReport { start: most, lines: vec![line; LINES_MAX] });
        for message in [usage, lines] {
            let bytes = encode(&message, MESSAGE_LEN_MAX).unwrap();
            assert_eq!(decode::<ToCloud>(&bytes[4..]).unwrap(), message);
        }
    }
}
