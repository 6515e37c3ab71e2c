//! What happens by time: checkpoints, idle vehicles, the breaker. A task of the node's runtime.

use crate::breaker::Breaker;
use crate::budget_book::BudgetBook;
use crate::deployment::Suspension;
use crate::runtime::{Core, Troubles};
use crate::usage_metrics::UsageMetrics;
use crate::worker::{Job, Trouble, TroubleKind};
use fleet_model::Timestamp;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Why a deployment is stopped whose breaker opened by itself.
const KEPT_FAILING: &str = "it kept failing on live data";
/// Idle vehicles are looked for this many times in the time after which they are stopped.
const PASSIVATIONS_PER_PERIOD: i64 = 10;

/// Holds the runtime only while it does something, so that a dropped runtime lets go of its logs at once. Ends when
/// `stop` is dropped, after what it is at: a checkpoint that is cut off has taken what changed from the workers.
pub(crate) async fn run(
    runtime: Weak<Core>,
    checkpoint_due: Arc<Notify>,
    mut troubles: Troubles,
    mut stop: oneshot::Receiver<()>,
) {
    let mut breaker = Breaker::default();
    let Some(core) = runtime.upgrade() else { return };
    let mut timers = Timers::new(&core, (core.clock)());
    let (mut book, mut usage) = (BudgetBook::new(core.config.budgets.window_s), UsageMetrics::new());
    drop(core);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut replayed = Vec::new();
    while let Ok(trouble) = troubles.try_recv() {
        // Poison in the replay was dealt with in an earlier life.
        if !matches!(trouble.kind, TroubleKind::Poison) {
            replayed.push(trouble);
        }
    }
    loop {
        let happened = match replayed.pop() {
            Some(trouble) => Happened::Trouble(trouble),
            None => tokio::select! {
                biased;
                _ = &mut stop => return,
                () = checkpoint_due.notified() => Happened::CheckpointDue,
                Some(trouble) = troubles.recv() => Happened::Trouble(trouble),
                _ = tick.tick() => Happened::Tick,
            },
        };
        let Some(core) = runtime.upgrade() else { return };
        let checkpoint = match happened {
            Happened::CheckpointDue => true,
            Happened::Tick => {
                let now = (core.clock)();
                let due = timers.due(now);
                if due.passivate {
                    core.passivate(now);
                }
                core.check_budgets(&mut book).await;
                usage.tell(core.meters.read());
                due.checkpoint
            }
            Happened::Trouble(Trouble { key, generation, at, kind }) => {
                match kind {
                    TroubleKind::Poison if breaker.poison(&key, generation, at) => {
                        core.stop_failing(&key, generation, KEPT_FAILING).await;
                    }
                    TroubleKind::Poison => {}
                    TroubleKind::Exhausted(why) => core.stop_failing(&key, generation, &why).await,
                    TroubleKind::NoInstance(reason) if core.stop_failing_trial(&key, generation, &reason).await => {}
                    TroubleKind::NoInstance(reason) => {
                        core.suspend_or_log(&key, generation, Suspension::unavailable(reason)).await;
                    }
                }
                false
            }
        };
        core.metrics.applied_offset.record(core.progress.applied(), &[]);
        if checkpoint && let Err(error) = core.checkpoint().await {
            tracing::error!(%error, "no checkpoint could be written; a restart will take longer");
        }
    }
}

enum Happened {
    CheckpointDue,
    Tick,
    Trouble(Trouble),
}

/// When something is due. Pure: time is an argument.
struct Timers {
    checkpoint_ms: i64,
    passivate_ms: i64,
    checkpointed: Timestamp,
    passivated: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
struct Due {
    checkpoint: bool,
    passivate: bool,
}

impl Timers {
    fn new(core: &Core, now: Timestamp) -> Self {
        Self {
            checkpoint_ms: core.config.checkpoint_interval_s as i64 * 1_000,
            passivate_ms: core.config.passivate_after_s as i64 * 1_000 / PASSIVATIONS_PER_PERIOD,
            checkpointed: now,
            passivated: now,
        }
    }

    fn due(&mut self, now: Timestamp) -> Due {
        let checkpoint = now.since_ms(self.checkpointed) >= self.checkpoint_ms;
        let passivate = now.since_ms(self.passivated) >= self.passivate_ms;
        if checkpoint {
            self.checkpointed = now;
        }
        if passivate {
            self.passivated = now;
        }
        Due { checkpoint, passivate }
    }
}

impl Core {
    /// Stops the actors of vehicles that were idle for the configured time.
    pub(crate) fn passivate(&self, now: Timestamp) {
        self.cast_all(|| Job::Passivate { now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_due_by_the_clock_they_are_given() {
        let start = Timestamp(1_000_000);
        let mut timers = Timers { checkpoint_ms: 5_000, passivate_ms: 60_000, checkpointed: start, passivated: start };
        let mut due = |s: i64| {
            let due = timers.due(Timestamp(start.0 + s * 1_000));
            (due.checkpoint, due.passivate)
        };
        assert_eq!(due(4), (false, false));
        assert_eq!(due(5), (true, false));
        assert_eq!(due(9), (false, false));
        assert_eq!(due(61), (true, true));
        assert_eq!(due(62), (false, false));
    }
}
