//! What is shown while it plays: a bar on a terminal, a line now and then elsewhere. All of it on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often the bar moves.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Readings, counted by the sessions.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) resent: AtomicU64,
}

/// The bar, or the lines.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    /// `readings` is how many there will be, if that is known.
    pub(crate) fn new(readings: Option<u64>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            readings,
            if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        let template = match readings {
            Some(_) => "{bar:30} {pos}/{len} readings  {msg}  {elapsed} (eta {eta})",
            None => "{spinner} {pos} readings  {msg}  {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, terminal }
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        if self.terminal {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    /// Shows the counters until it is dropped.
    pub(crate) async fn show(self, counters: Arc<Counters>) {
        let mut ticks = tokio::time::interval(if self.terminal { BAR_EVERY } else { LINE_EVERY });
        ticks.tick().await;
        let (mut before, mut before_at) = (0, Instant::now());
        loop {
            ticks.tick().await;
            let (sent, acknowledged) = (counters.sent.load(Relaxed), counters.acknowledged.load(Relaxed));
            let said = match counters.refused.load(Relaxed) {
                0 => format!("{acknowledged} acknowledged"),
                refused => format!("{acknowledged} acknowledged, {refused} refused"),
            };
            let now = Instant::now();
            let rate = (acknowledged - before) as f64 / (now - before_at).as_secs_f64();
            if self.terminal {
                self.bar.set_position(sent);
                self.bar.set_message(format!("{said}, {rate:.0}/s"));
                if now - before_at > Duration::from_secs(1) {
                    (before, before_at) = (acknowledged, now);
                }
            } else {
                let of = self.bar.length().map_or_else(String::new, |length| format!(" of {length}"));
                eprintln!("{sent}{of} readings sent, {said}, {rate:.0}/s");
                (before, before_at) = (acknowledged, now);
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Knows how many sessions are without a connection, so that an outage is said once and not by each.
#[derive(Clone)]
pub(crate) struct Links {
    down: Arc<AtomicUsize>,
    progress: Progress,
    target: String,
    give_up_after: Duration,
}

impl Links {
    pub(crate) fn new(progress: Progress, target: String, give_up_after: Duration) -> Self {
        Self { down: Arc::default(), progress, target, give_up_after }
    }

    pub(crate) fn session(&self) -> Link {
        Link { links: self.clone(), down: false }
    }
}

/// One session's connection.
pub(crate) struct Link {
    links: Links,
    down: bool,
}

impl Link {
    pub(crate) fn up(&mut self) {
        if std::mem::take(&mut self.down) && self.links.down.fetch_sub(1, Relaxed) == 1 {
            self.links.progress.say(&format!("connected to {} again", self.links.target));
        }
    }

    pub(crate) fn down(&mut self, why: &str) {
        if !std::mem::replace(&mut self.down, true) && self.links.down.fetch_add(1, Relaxed) == 0 {
            let seconds = self.links.give_up_after.as_secs_f64();
            self.links.progress.say(&format!(
                "no connection to {}: {why}; trying again for {seconds} s, nothing is lost meanwhile",
                self.links.target
            ));
        }
    }
}
