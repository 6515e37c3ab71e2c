//! What is tried beside the rule that is live, on one worker.

use super::job::{TrialChange, TrialRows};
use super::plugin_stage::{AppliedBatch, Deployed, Side};
use super::{Produced, Shared};
use crate::trial::{TrialFigures, TrialPart};
use fleet_model::{Event, EventId, TrialMode, VehicleKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A rule on trial: deployed like any other, but what it proposes counts only as its mode says.
pub(super) struct OnTrial {
    pub deployed: Deployed,
    mode: TrialMode,
    figures: Arc<TrialFigures>,
}

impl Deployed {
    /// Ends the trial, begins one or goes on with it in another mode. What is live has changed already.
    pub(super) fn change_trial(&mut self, change: TrialChange, key_of: impl Fn(u32) -> VehicleKey) {
        let ended = self.trial.take();
        // What is live has taken its own. In a replay it changes its instance as well when a trial begins.
        let migrated = self.migrated.take();
        if let Some(ended) = ended.as_ref().filter(|_| change.rows_go_back) {
            let mode = change.runs.as_ref().map(|(part, ..)| part.mode);
            let back = |key| ended.mode.decides_for(key) && !mode.is_some_and(|mode| mode.decides_for(key));
            ended.deployed.store.rows.copy_into(&mut self.store.rows, |number| back(key_of(number)));
        }
        let share = |side| match change.runs.as_ref().map(|(part, ..)| part.mode) {
            Some(TrialMode::Canary { share }) => Some((share, side)),
            Some(TrialMode::Shadow) | None => None,
        };
        let (outside, inside) = (share(Side::Outside), share(Side::Inside));
        self.limit_to(outside);
        let Some((TrialPart { activation, mode, figures }, rule, rows)) = change.runs else { return };
        let migrated = migrated.filter(|_| rows == TrialRows::Migrated);
        let (rule, migrated) = match migrated {
            Some((rule, rows)) => (Some(rule), Some(rows)),
            None => (rule, None),
        };
        let goes_on = ended.filter(|ended| ended.deployed.activation.generation == activation.generation);
        let mut deployed = Deployed::new(activation, rule, None, self.ledger.clone(), true);
        let before = match goes_on {
            Some(ended) => {
                deployed.store = ended.deployed.store;
                // It does not begin anew with what it may lose.
                deployed.leash = ended.deployed.leash;
                Some(ended.mode)
            }
            None => None,
        };
        // A vehicle that it takes over goes on with what was decided for it; a shadow keeps its own view.
        let takes_over = |number| {
            let key = key_of(number);
            before.is_none_or(|before| mode.decides_for(key) && !before.decides_for(key))
        };
        match (rows, &migrated) {
            (TrialRows::Copied, _) => self.store.rows.copy_into(&mut deployed.store.rows, takes_over),
            (TrialRows::Migrated, Some(migrated)) => migrated.copy_into(&mut deployed.store.rows, takes_over),
            (TrialRows::Migrated, None) | (TrialRows::Zero | TrialRows::Kept, _) => {}
        }
        deployed.limit_to(inside);
        self.trial = Some(Box::new(OnTrial { deployed, mode, figures }));
    }
}

impl OnTrial {
    /// Shows it its readings of a batch. The live rule's events of the batch stand in `produced` from `before` on.
    pub(super) fn run(&mut self, applied: &AppliedBatch<'_>, shared: &Shared, produced: &mut Produced, before: usize) {
        self.count(&self.figures.readings, self.deployed.live(applied));
        match self.mode {
            TrialMode::Canary { .. } => {
                let (events, letters) = (produced.events.len(), produced.letters.len());
                self.deployed.run_alone(applied, shared, produced);
                self.count(&self.figures.events, produced.events.len() - events);
                self.count(&self.figures.failures, produced.letters.len() - letters);
            }
            TrialMode::Shadow => {
                let mut proposed = Produced::default();
                self.deployed.run_alone(applied, shared, &mut proposed);
                self.count(&self.figures.failures, proposed.letters.len());
                self.compare(&produced.events[before..], &proposed.events);
            }
        }
    }

    fn compare(&self, live: &[Event], proposed: &[Event]) {
        let mut unmatched: BTreeMap<EventId, &Event> = live.iter().map(|event| (event.id, event)).collect();
        for event in proposed {
            match unmatched.remove(&event.id) {
                Some(other) if is_same(other, event) => self.count(&self.figures.same, 1),
                Some(_) => self.differs(&self.figures.changed, "changed", event),
                None => self.differs(&self.figures.added, "added", event),
            }
        }
        for event in unmatched.into_values() {
            self.differs(&self.figures.removed, "removed", event);
        }
    }

    fn differs(&self, counter: &AtomicU64, how: &str, event: &Event) {
        self.count(counter, 1);
        self.figures.difference(format!(
            "{how}: {} {} {} at {}",
            event.kind,
            event.vehicle.vehicle,
            event.subject,
            event.event_time.to_rfc3339()
        ));
    }

    fn count(&self, counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }
}

/// Whether a partner could not tell one from the other but for who decided.
fn is_same(one: &Event, other: &Event) -> bool {
    one.event_time == other.event_time && one.value.to_bits() == other.value.to_bits() && one.details == other.details
}
