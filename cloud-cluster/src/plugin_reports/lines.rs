//! The newest lines of each plugin, in memory: a restart of the cloud forgets them, and edges tell again what they have.

use fleet_model::{EdgeId, TenantId, Timestamp};
use fleet_wire::control::{LinesReport, ReportedLine, ReportedRule};
use std::collections::{BTreeMap, VecDeque};

/// Lines kept of one plugin of one tenant.
pub(crate) const LINES_KEPT: usize = 1_000;
/// Plugins of which lines are kept, over all tenants; others are passed over.
const PLUGINS_MAX: usize = 10_000;
/// Starts of an edge whose numbers are remembered.
const STARTS_MAX: usize = 4;
/// Rules of a start whose numbers are remembered.
const RULES_MAX: usize = 10_000;
/// Longest text of a line, bytes; edges cut them far below.
const TEXT_BYTES_MAX: usize = 16 * 1_024;
/// Longest name of a plugin, a vehicle or a level, bytes.
const NAME_BYTES_MAX: usize = 256;

/// A line as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, by the edge's clock.
    pub time: Timestamp,
    /// Where.
    pub edge: EdgeId,
    /// In which deployment.
    pub deployment: String,
    /// It was on trial.
    pub trial: bool,
    /// About which vehicle alone.
    pub vehicle: Option<String>,
    /// How much somebody should care.
    pub level: String,
    /// What it says.
    pub text: String,
}

/// Lines after a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinesPage {
    /// Oldest first.
    pub lines: Vec<Line>,
    /// Give it as `after` for what comes next.
    pub next: String,
    /// Lines after the cursor that are not kept any more.
    pub missed: u64,
}

#[derive(Debug)]
pub(super) struct PluginLines {
    /// Which life of this memory; cursors of another one begin anew.
    life: u64,
    kept: BTreeMap<(TenantId, String), Kept>,
    /// By edge, newest start last.
    told: BTreeMap<EdgeId, VecDeque<(u64, NextNumbers)>>,
}

/// Of an edge's start: the next number of each rule.
type NextNumbers = BTreeMap<ReportedRule, u64>;

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    /// Of the line that comes next.
    next: u64,
}

impl PluginLines {
    pub(super) fn new(life: u64) -> Self {
        Self { life, kept: BTreeMap::new(), told: BTreeMap::new() }
    }

    pub(super) fn take(&mut self, edge: &EdgeId, report: LinesReport, may_speak_for: impl Fn(&TenantId) -> bool) {
        let starts = self.told.entry(edge.clone()).or_default();
        let place = starts.iter().position(|(start, _)| *start == report.start).unwrap_or_else(|| {
            if starts.len() == STARTS_MAX {
                starts.pop_front();
            }
            starts.push_back((report.start, BTreeMap::new()));
            starts.len() - 1
        });
        let told = &mut starts[place].1;
        for ReportedLine { of, number, time_ms, level, vehicle, text } in report.lines {
            let names = [Some(&of.plugin), vehicle.as_ref(), Some(&level)];
            let fits = text.len() <= TEXT_BYTES_MAX && names.iter().flatten().all(|name| name.len() <= NAME_BYTES_MAX);
            let next = told.get(&of).copied().unwrap_or(0);
            if number < next || !fits || !may_speak_for(&of.tenant) || (next == 0 && told.len() >= RULES_MAX) {
                continue;
            }
            told.insert(of.clone(), number.saturating_add(1));
            let key = (of.tenant, of.plugin);
            if self.kept.len() >= PLUGINS_MAX && !self.kept.contains_key(&key) {
                continue;
            }
            let kept = self.kept.entry(key).or_default();
            if kept.lines.len() == LINES_KEPT {
                kept.lines.pop_front();
            }
            let (time, edge, deployment) = (Timestamp(time_ms), edge.clone(), of.deployment.to_string());
            kept.lines.push_back(Line { time, edge, deployment, trial: of.trial, vehicle, level, text });
            kept.next += 1;
        }
    }

    pub(super) fn after(&self, tenant: &TenantId, plugin: &str, after: Option<&str>) -> Option<LinesPage> {
        let after = match after {
            None => None,
            Some(cursor) => {
                let (life, next) = cursor.split_once('-')?;
                let (life, next) = (u64::from_str_radix(life, 16).ok()?, next.parse::<u64>().ok()?);
                (life == self.life).then_some(next)
            }
        };
        let none = Kept::default();
        let kept = self.kept.get(&(tenant.clone(), plugin.to_owned())).unwrap_or(&none);
        let oldest = kept.next - kept.lines.len() as u64;
        let from = after.unwrap_or(oldest).min(kept.next);
        let missed = oldest.saturating_sub(from);
        let lines = kept.lines.iter().skip(from.saturating_sub(oldest) as usize).cloned().collect();
        Some(LinesPage { lines, next: format!("{:x}-{}", self.life, kept.next), missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(start: u64, tenant: &str, numbers: std::ops::Range<u64>) -> LinesReport {
        let (tenant, deployment) = (tenant.parse().unwrap(), "zones".parse().unwrap());
        let of = ReportedRule { tenant, deployment, plugin: "geofence".into(), trial: false };
        let line = |number: u64| ReportedLine {
            of: of.clone(),
            number,
            time_ms: number as i64,
            level: "info".into(),
            vehicle: None,
            text: format!("{start}/{number}"),
        };
        LinesReport { start, lines: numbers.map(line).collect() }
    }

    fn texts(page: &LinesPage) -> Vec<&str> {
        page.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_line_that_comes_twice_is_there_once_and_a_new_start_counts_anew() {
        let (edge, demo) = ("depot-1".parse().unwrap(), "demo".parse().unwrap());
        let mut lines = PluginLines::new(7);
        for numbers in [0..2, 0..3, 1..3] {
            lines.take(&edge, report(1, "demo", numbers), |_| true);
        }
        lines.take(&edge, report(2, "demo", 0..1), |_| true);
        lines.take(&edge, report(1, "demo", 0..3), |_| true);
        let page = lines.after(&demo, "geofence", None).unwrap();
        assert_eq!((texts(&page), page.next.as_str()), (vec!["1/0", "1/1", "1/2", "2/0"], "7-4"));
        lines.take(&edge, report(2, "demo", 1..2), |_| true);
        let rest = lines.after(&demo, "geofence", Some(&page.next)).unwrap();
        assert_eq!((texts(&rest), rest.missed), (vec!["2/1"], 0));
        // Of another life of this memory: from the oldest.
        assert_eq!(lines.after(&demo, "geofence", Some("6-4")).unwrap().lines.len(), 5);
        for cursor in ["", "7", "x-1", "7-x", "7--1"] {
            assert_eq!(lines.after(&demo, "geofence", Some(cursor)), None, "{cursor}");
        }
    }

    #[test]
    fn an_edge_speaks_for_its_tenants_and_the_newest_lines_stay() {
        let (edge, demo, other) = ("depot-1".parse().unwrap(), "demo".parse().unwrap(), "other".parse().unwrap());
        let mut lines = PluginLines::new(7);
        let first = lines.after(&demo, "geofence", None).unwrap().next;
        lines.take(&edge, report(1, "demo", 0..LINES_KEPT as u64 + 5), |tenant| *tenant == demo);
        lines.take(&edge, report(1, "other", 0..5), |tenant| *tenant == demo);
        let page = lines.after(&demo, "geofence", Some(&first)).unwrap();
        assert_eq!((page.lines.len(), page.missed, texts(&page)[0]), (LINES_KEPT, 5, "1/5"));
        assert!(lines.after(&other, "geofence", None).unwrap().lines.is_empty());
    }
}
