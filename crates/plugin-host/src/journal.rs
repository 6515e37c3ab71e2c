//! What a deployment's instances log: within its rate, and kept for whoever shows it.

use crate::token_bucket::TokenBucket;
use fleet_model::Timestamp;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that are kept; the newest stay.
pub const JOURNAL_LINES_MAX: usize = 256;
/// That lines are dropped is said again after so long.
const NOTICE_AGAIN_AFTER_MS: i64 = 60_000;

/// How much somebody should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For the author of the rule.
    Debug,
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warn,
}

impl LogLevel {
    /// As APIs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}

/// A line that a rule logged, or that the host says about its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLine {
    /// Counts the journal's lines, from 0.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// How much somebody should care.
    pub level: LogLevel,
    /// What the call was about, when it was about one vehicle alone.
    pub vehicle: Option<Arc<str>>,
    /// Without control characters.
    pub text: String,
}

/// Lines that came and did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalCounts {
    /// Written.
    pub kept: u64,
    /// Beyond a rate or the quota of a call.
    pub dropped: u64,
}

/// Says what time it is.
pub type JournalClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
/// A rate that several journals share: all of a tenant's.
pub type SharedRate = Arc<Mutex<TokenBucket>>;

/// The journal of one deployment on one node; its instances share it.
pub struct PluginJournal {
    clock: JournalClock,
    shared: SharedRate,
    /// What the host says when the first line of a flood is dropped: what the rate is, and who can raise it.
    notice: String,
    state: Mutex<State>,
}

struct State {
    own: TokenBucket,
    lines: VecDeque<JournalLine>,
    next: u64,
    counts: JournalCounts,
    /// When it was last said that lines are dropped.
    said: Option<Timestamp>,
}

/// Whether a line may be written.
pub(crate) enum Admission<'a> {
    Yes,
    No,
    /// The first of a flood: say this.
    NoAndSay(&'a str),
}

impl PluginJournal {
    /// An empty one. A line needs a token of `own` and one of `shared`.
    #[must_use]
    pub fn new(clock: JournalClock, own: TokenBucket, shared: SharedRate, notice: String) -> Self {
        let state = State { own, lines: VecDeque::new(), next: 0, counts: JournalCounts::default(), said: None };
        Self { clock, shared, notice, state: Mutex::new(state) }
    }

    /// The lines from `number` on that are still kept, oldest first.
    #[must_use]
    pub fn from(&self, number: u64) -> Vec<JournalLine> {
        self.state().lines.iter().filter(|line| line.number >= number).cloned().collect()
    }

    /// How many lines came and did not.
    #[must_use]
    pub fn counts(&self) -> JournalCounts {
        self.state().counts
    }

    pub(crate) fn admit(&self) -> Admission<'_> {
        let now = (self.clock)();
        let mut state = self.state();
        if state.own.take(now.0) {
            if locked(&self.shared).take(now.0) {
                return Admission::Yes;
            }
            state.own.give_back();
        }
        state.counts.dropped += 1;
        if state.said.is_some_and(|said| (0..NOTICE_AGAIN_AFTER_MS).contains(&now.since_ms(said))) {
            return Admission::No;
        }
        state.said = Some(now);
        Admission::NoAndSay(&self.notice)
    }

    pub(crate) fn count_dropped(&self) {
        self.state().counts.dropped += 1;
    }

    pub(crate) fn write(&self, level: LogLevel, vehicle: Option<Arc<str>>, text: String) {
        let time = (self.clock)();
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.counts.kept += 1;
        if state.lines.len() == JOURNAL_LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(JournalLine { number, time, level, vehicle, text });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// What is behind it is whole at every moment: a thread that panicked with it left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for PluginJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginJournal").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn journal(own: u32, shared: &SharedRate, now: &Arc<AtomicI64>) -> PluginJournal {
        let now = now.clone();
        let clock: JournalClock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
        PluginJournal::new(clock, TokenBucket::new(own, own, 0), shared.clone(), "beyond the rate".into())
    }

    /// Asks for a line, and writes what comes of it.
    fn log(journal: &PluginJournal) {
        match journal.admit() {
            Admission::Yes => journal.write(LogLevel::Info, None, "line".into()),
            Admission::No => {}
            Admission::NoAndSay(notice) => journal.write(LogLevel::Warn, None, notice.to_owned()),
        }
    }

    fn texts(journal: &PluginJournal) -> Vec<String> {
        journal.from(0).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_flood_is_told_once_and_again_after_a_while() {
        let now = Arc::new(AtomicI64::new(0));
        let shared = Arc::new(Mutex::new(TokenBucket::new(100, 100, 0)));
        let journal = journal(2, &shared, &now);
        (0..5).for_each(|_| log(&journal));
        assert_eq!(texts(&journal), ["line", "line", "beyond the rate"]);
        assert_eq!(journal.counts(), JournalCounts { kept: 3, dropped: 3 });
        now.store(1_000, Ordering::Relaxed);
        (0..4).for_each(|_| log(&journal));
        assert_eq!(texts(&journal)[3..], ["line", "line"], "it goes on: said is said");
        now.store(NOTICE_AGAIN_AFTER_MS, Ordering::Relaxed);
        (0..4).for_each(|_| log(&journal));
        assert_eq!(texts(&journal)[5..], ["line", "line", "beyond the rate"]);
        assert_eq!(journal.counts(), JournalCounts { kept: 8, dropped: 7 });
    }

    #[test]
    fn what_a_tenants_other_deployment_logs_counts_too() {
        let now = Arc::new(AtomicI64::new(0));
        let shared = Arc::new(Mutex::new(TokenBucket::new(3, 3, 0)));
        let (one, other) = (journal(2, &shared, &now), journal(2, &shared, &now));
        (0..3).for_each(|_| log(&one));
        (0..2).for_each(|_| log(&other));
        assert_eq!((texts(&one).len(), texts(&other)), (3, vec!["line".to_owned(), "beyond the rate".to_owned()]));
    }

    #[test]
    fn the_newest_lines_stay_and_keep_their_numbers() {
        let now = Arc::new(AtomicI64::new(0));
        let shared = Arc::new(Mutex::new(TokenBucket::new(1_000, 1_000, 0)));
        let journal = journal(1_000, &shared, &now);
        (0..JOURNAL_LINES_MAX + 10).for_each(|_| log(&journal));
        let lines = journal.from(0);
        assert_eq!((lines.len(), lines[0].number), (JOURNAL_LINES_MAX, 10));
        assert_eq!(journal.from(lines.last().unwrap().number).len(), 1);
    }
}
