//! What rules used, by day: small JSON records in the events log's snapshots.
//!
//! | key                                              | value           |
//! |--------------------------------------------------|-----------------|
//! | `usage/<tenant>/<day>/<edge>/<start, 16 digits>` | [`UsageRecord`] |
//!
//! A record holds the sums of one start of an edge node as it told them last. Each sum only grows, and of two tellings the
//! larger counts: however often and in whichever order reports come, nothing is counted twice. A day's sum is that of all
//! starts, made when somebody asks.

use super::day::Day;
use event_log::{Commit, CommitError, EventLog, ReadError, Snapshot};
use fleet_model::{EdgeId, TenantId};
use fleet_wire::control::{UsageCounts, UsageEntry, UsageReport};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use vehicle_runtime::Clock;

/// Prefix of all keys.
const USAGE: &str = "usage/";
/// Layout of the record.
const VERSION: u32 = 1;
/// Days that are kept.
const DAYS_KEPT: u32 = 400;
/// An edge's clock may be ahead by so many days.
const DAYS_AHEAD_MAX: u32 = 1;
/// Rules in one record; further ones are passed over.
const RULES_MAX: usize = 1_000;
/// Starts of an edge on one day; the oldest are added up in the record of start 0.
const STARTS_MAX: usize = 64;
/// Longest name of a plugin, bytes.
const NAME_BYTES_MAX: usize = 64;

/// Why sums cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// On writing. Worth a retry when storage works again.
    #[error("what rules used cannot be stored: {0}")]
    Commit(#[from] CommitError),
    /// On reading.
    #[error("what rules used cannot be read: {0}")]
    Read(#[from] ReadError),
    /// A record that this build cannot read.
    #[error("the record {key} cannot be read: {what}")]
    Record {
        /// Which.
        key: String,
        /// Why.
        what: String,
    },
}

/// What one deployment used on one edge on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSum {
    /// Which day.
    pub day: Day,
    /// Where.
    pub edge: EdgeId,
    /// In which deployment.
    pub deployment: String,
    /// How much, live and on trial.
    pub used: UsageCounts,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: TenantId,
    day: Day,
    edge: EdgeId,
    start: u64,
}

/// The sums of one start of one edge, for one tenant and day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct UsageRecord {
    record_version: u32,
    tenant: TenantId,
    day: u32,
    edge: EdgeId,
    start: u64,
    rules: Vec<RuleRecord>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RuleRecord {
    plugin: String,
    deployment: String,
    trial: bool,
    #[serde(flatten)]
    used: UsageCounts,
}

pub(super) struct UsageBook {
    log: Arc<dyn EventLog>,
    clock: Clock,
    known: RwLock<BTreeMap<Key, UsageRecord>>,
    /// One change at a time, from what is known to its commit.
    changing: tokio::sync::Mutex<()>,
}

impl Key {
    fn stored(&self) -> Vec<u8> {
        format!("{USAGE}{}/{:05}/{}/{:016x}", self.tenant, self.day.0, self.edge, self.start).into_bytes()
    }
}

impl UsageRecord {
    fn new(key: &Key) -> Self {
        let Key { tenant, day, edge, start } = key.clone();
        Self { record_version: VERSION, tenant, day: day.0, edge, start, rules: Vec::new() }
    }

    fn key(&self) -> Key {
        Key { tenant: self.tenant.clone(), day: Day(self.day), edge: self.edge.clone(), start: self.start }
    }

    /// Puts `used` to a rule as `with` says. What is beyond the record's bound is passed over.
    fn merge(&mut self, rule: &RuleRecord, with: fn(&UsageCounts, &UsageCounts) -> UsageCounts) {
        let same = |known: &RuleRecord| {
            (&known.plugin, &known.deployment, known.trial) == (&rule.plugin, &rule.deployment, rule.trial)
        };
        match self.rules.iter().position(same) {
            Some(place) => self.rules[place].used = with(&self.rules[place].used, &rule.used),
            None if self.rules.len() < RULES_MAX => self.rules.push(rule.clone()),
            None => {}
        }
    }
}

impl UsageBook {
    pub(super) fn open(log: Arc<dyn EventLog>, clock: Clock) -> Result<Self, UsageError> {
        let mut known = BTreeMap::new();
        for (key, value) in log.snapshots(USAGE.as_bytes())? {
            let key = String::from_utf8_lossy(&key).into_owned();
            let record: UsageRecord =
                serde_json::from_slice(&value).map_err(|error| UsageError::Record { key, what: error.to_string() })?;
            known.insert(record.key(), record);
        }
        Ok(Self { log, clock, known: RwLock::new(known), changing: tokio::sync::Mutex::default() })
    }

    pub(super) async fn take(
        &self,
        edge: &EdgeId,
        report: UsageReport,
        may_speak_for: impl Fn(&TenantId) -> bool,
    ) -> Result<(), UsageError> {
        let today = Day::of((self.clock)());
        let (oldest, newest) = (today.before(DAYS_KEPT), Day(today.0 + DAYS_AHEAD_MAX));
        let _one = self.changing.lock().await;
        let mut changes: BTreeMap<Key, Option<UsageRecord>> = BTreeMap::new();
        for UsageEntry { day, of, used } in report.entries {
            let day = Day(day);
            let fits = (oldest..=newest).contains(&day) && of.plugin.len() <= NAME_BYTES_MAX;
            if !fits || !may_speak_for(&of.tenant) {
                continue;
            }
            let key = Key { tenant: of.tenant, day, edge: edge.clone(), start: report.start };
            let stored = || self.known.read().get(&key).cloned().unwrap_or_else(|| UsageRecord::new(&key));
            let record = changes.entry(key.clone()).or_insert_with(|| Some(stored()));
            let (plugin, deployment, trial) = (of.plugin, of.deployment.to_string(), of.trial);
            if let Some(record) = record {
                record.merge(&RuleRecord { plugin, deployment, trial, used }, UsageCounts::newer);
            }
        }
        {
            let known = self.known.read();
            changes.retain(|key, record| known.get(key) != record.as_ref());
            for new in changes.keys().filter(|key| !known.contains_key(*key)).cloned().collect::<Vec<_>>() {
                fold(&known, &new, &mut changes);
            }
            let outdated = known.keys().filter(|key| key.day < oldest);
            changes.extend(outdated.map(|key| (key.clone(), None)));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let encode = |(key, record): (&Key, &Option<UsageRecord>)| {
            let value = record.as_ref().map(serde_json::to_vec).transpose();
            let wrong =
                |error: serde_json::Error| UsageError::Record { key: format!("{key:?}"), what: error.to_string() };
            Ok::<_, UsageError>(Snapshot { key: key.stored(), value: value.map_err(wrong)?.map(Into::into) })
        };
        let snapshots = changes.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        self.log.submit(Commit { snapshots, ..Commit::default() }).durable().await?;
        let mut known = self.known.write();
        for (key, record) in changes {
            match record {
                Some(record) => known.insert(key, record),
                None => known.remove(&key),
            };
        }
        Ok(())
    }

    pub(super) fn sums(&self, tenant: &TenantId, plugin: &str, from: Day, to: Day) -> Vec<UsageSum> {
        let known = self.known.read();
        let mut sums: BTreeMap<(Day, EdgeId, String), UsageCounts> = BTreeMap::new();
        let asked = known.iter().filter(|(key, _)| key.tenant == *tenant && (from..=to).contains(&key.day));
        for (key, record) in asked {
            for rule in record.rules.iter().filter(|rule| rule.plugin == plugin) {
                let sum = sums.entry((key.day, key.edge.clone(), rule.deployment.clone())).or_default();
                *sum = sum.plus(&rule.used);
            }
        }
        let sums = sums.into_iter();
        sums.map(|((day, edge, deployment), used)| UsageSum { day, edge, deployment, used }).collect()
    }
}

/// Makes room for another start: the oldest one is added to start 0, which is told by nobody.
fn fold(known: &BTreeMap<Key, UsageRecord>, new: &Key, changes: &mut BTreeMap<Key, Option<UsageRecord>>) {
    let of_all = Key { start: 0, ..new.clone() };
    let starts: Vec<_> = known.range(of_all.clone()..=Key { start: u64::MAX, ..new.clone() }).collect();
    if starts.len() < STARTS_MAX {
        return;
    }
    let Some((oldest, record)) = starts.into_iter().find(|(key, _)| key.start != 0) else { return };
    let stored = || known.get(&of_all).cloned().unwrap_or_else(|| UsageRecord::new(&of_all));
    if let Some(all) = changes.entry(of_all.clone()).or_insert_with(|| Some(stored())) {
        record.rules.iter().for_each(|rule| all.merge(rule, UsageCounts::plus));
    }
    changes.insert(oldest.clone(), None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::MemoryLog;
    use fleet_model::Timestamp;
    use fleet_wire::control::ReportedRule;
    use proptest::prelude::*;

    const TODAY: u32 = 20_577;

    fn book(log: &MemoryLog) -> UsageBook {
        let clock: Clock = Arc::new(|| Timestamp(i64::from(TODAY) * 86_400_000 + 1));
        UsageBook::open(Arc::new(log.clone()), clock).unwrap()
    }

    fn entry(day: u32, tenant: &str, deployment: &str, readings: u64) -> UsageEntry {
        let (tenant, deployment) = (tenant.parse().unwrap(), deployment.parse().unwrap());
        let of = ReportedRule { tenant, deployment, plugin: "geofence".into(), trial: false };
        UsageEntry { day, of, used: UsageCounts { readings, ..UsageCounts::default() } }
    }

    async fn take(book: &UsageBook, edge: &str, start: u64, entries: Vec<UsageEntry>) {
        book.take(&edge.parse().unwrap(), UsageReport { start, entries }, |_| true).await.unwrap();
    }

    fn readings(book: &UsageBook, tenant: &str) -> u64 {
        let sums = book.sums(&tenant.parse().unwrap(), "geofence", Day(0), Day(u32::MAX));
        sums.iter().map(|sum| sum.used.readings).sum()
    }

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Reports of some starts that come late, twice and in any order, with restarts of the cloud between: the sum is
        /// that of the last telling of each start.
        #[test]
        fn nothing_is_counted_twice_whatever_comes_how_often(
            told in prop::collection::vec((1_u64..5, 1_u64..50, any::<bool>()), 1..40),
            again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            block_on(async {
                let log = MemoryLog::new();
                let mut at = book(&log);
                let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
                let mut reports = Vec::new();
                for (start, more, _) in &told {
                    let sum = sums.entry(*start).or_default();
                    *sum += more;
                    reports.push((*start, *sum));
                }
                for index in again {
                    reports.push(*index.get(&reports.clone()));
                }
                for (turn, (start, sum)) in reports.into_iter().enumerate() {
                    take(&at, "depot-1", start, vec![entry(TODAY, "demo", "zones", sum)]).await;
                    if told.get(turn).is_some_and(|(.., restarts)| *restarts) {
                        at = book(&log);
                    }
                }
                prop_assert_eq!(readings(&at, "demo"), sums.values().sum::<u64>());
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn an_edge_that_starts_all_day_fills_no_disk_and_loses_no_sum() {
        let log = MemoryLog::new();
        let at = book(&log);
        for start in 1..=STARTS_MAX as u64 * 3 {
            take(&at, "depot-1", start, vec![entry(TODAY, "demo", "zones", 10)]).await;
        }
        assert_eq!(readings(&at, "demo"), STARTS_MAX as u64 * 30);
        let again = book(&log);
        assert!(again.known.read().len() <= STARTS_MAX + 1);
        assert_eq!(readings(&again, "demo"), STARTS_MAX as u64 * 30);
    }

    #[tokio::test]
    async fn days_and_tenants_that_are_not_its_are_passed_over() {
        let log = MemoryLog::new();
        let at = book(&log);
        let days = [TODAY + 2, TODAY + 1, TODAY, TODAY - DAYS_KEPT, TODAY - DAYS_KEPT - 1, 0];
        take(&at, "depot-1", 1, days.map(|day| entry(day, "demo", "zones", 1)).into()).await;
        assert_eq!(readings(&at, "demo"), 3);
        let (demo, edge) = ("demo".parse().unwrap(), "depot-1".parse().unwrap());
        let report = UsageReport { start: 1, entries: vec![entry(TODAY, "other", "zones", 1)] };
        at.take(&edge, report, |tenant| *tenant == demo).await.unwrap();
        assert_eq!(readings(&at, "other"), 0);
        let today = at.sums(&demo, "geofence", Day(TODAY), Day(TODAY));
        assert_eq!((today.len(), today[0].deployment.as_str(), today[0].edge.as_str()), (1, "zones", "depot-1"));
        assert_eq!(at.sums(&demo, "pricing", Day(0), Day(u32::MAX)), []);
    }
}
