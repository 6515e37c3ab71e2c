//! A rule over readings apart from any actor: what it would have done. For previews and for a rule's own test cases.

use crate::instance::{ConfiguredPlugin, EvaluateError, Instance, InstantiateError};
use crate::outcome::Proposal;
use crate::position::Position;
use fleet_model::{Reading, Sequence, VehicleKey};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Readings in one call: as many as an actor's worker shows at a time.
const BATCH_LEN: usize = 256;
/// CPU time of a call that looks for the readings to blame; the first call may take what it takes live.
const SEARCH_CPU_MAX: Duration = Duration::from_millis(10);
/// CPU time that a rule may lose to calls that fail and to the starts after them. Live it is taken back far earlier.
pub const FAILING_CPU_MAX: Duration = Duration::from_secs(5);

/// A reading of a vehicle, with its place among the vehicle's readings.
pub type Rehearsed = (VehicleKey, Sequence, Reading);

/// One instance with the rows of all vehicles that it saw. Everything begins with a row of zeros.
pub struct Rehearsal {
    plugin: ConfiguredPlugin,
    instance: Instance,
    row_bytes: usize,
    rows: Vec<u8>,
    /// Vehicle to its place in `rows`.
    places: HashMap<VehicleKey, usize>,
    figures: RehearsalFigures,
    /// Lost to failing calls.
    lost: Duration,
}

/// Why a rehearsal ends early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RehearseError {
    /// A new instance is needed and cannot be had.
    #[error(transparent)]
    Start(#[from] InstantiateError),
    /// It keeps failing.
    #[error(
        "it failed on {failed} of {shown} readings, which took {} s of CPU time: what more it does is not worth a look. At \
         last: {error}",
        FAILING_CPU_MAX.as_secs()
    )]
    Failing {
        /// Readings that it failed on.
        failed: u64,
        /// Of so many.
        shown: u64,
        /// How, the last time.
        error: EvaluateError,
    },
}

/// What a rehearsal cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RehearsalFigures {
    /// Readings that the rule decided about.
    pub decided: u64,
    /// Readings that it failed on. Their vehicles' rows are as before them.
    pub failed: u64,
    /// Time in the rule, its starts included.
    pub time: Duration,
}

/// A reading that the rule failed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Index into the readings that were handed in.
    pub reading: usize,
    /// Why.
    pub error: EvaluateError,
}

/// What a rule says to readings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RehearsedAnswer {
    /// By index into the readings that were handed in; a [`Proposal::position`] is of no use here.
    pub proposals: Vec<(usize, Proposal)>,
    /// What it failed on.
    pub failed: Vec<Failed>,
}

impl Rehearsal {
    /// Starts an instance. Blocks while the plugin reads its config.
    ///
    /// # Errors
    /// See [`ConfiguredPlugin::instantiate`].
    pub fn new(plugin: ConfiguredPlugin) -> Result<Self, InstantiateError> {
        let instance = plugin.instantiate()?;
        let row_bytes = plugin.plugin().descriptor().row_bytes as usize;
        let (rows, places) = (Vec::new(), HashMap::new());
        let (figures, lost) = (RehearsalFigures::default(), Duration::ZERO);
        Ok(Self { plugin, instance, row_bytes, rows, places, figures, lost })
    }

    /// Shows readings to the rule. A vehicle's must be in order of their time, also from one call to the next. Where the
    /// rule fails, the readings it fails on are found and left out, as an actor's worker would do it.
    ///
    /// # Errors
    /// See [`RehearseError`].
    pub fn show(&mut self, readings: &[Rehearsed]) -> Result<RehearsedAnswer, RehearseError> {
        let mut answer = RehearsedAnswer::default();
        for (number, chunk) in readings.chunks(BATCH_LEN).enumerate() {
            self.instance.allow(Duration::MAX);
            self.show_batch(chunk, number * BATCH_LEN, &mut answer)?;
        }
        Ok(answer)
    }

    /// What it cost so far.
    #[must_use]
    pub fn figures(&self) -> RehearsalFigures {
        self.figures
    }

    fn show_batch(
        &mut self,
        batch: &[Rehearsed],
        from: usize,
        answer: &mut RehearsedAnswer,
    ) -> Result<(), RehearseError> {
        let (positions, places) = self.lay_out(batch);
        let mut rows = Vec::with_capacity(places.len() * self.row_bytes);
        for place in &places {
            rows.extend_from_slice(&self.rows[place * self.row_bytes..][..self.row_bytes]);
        }
        let begun = Instant::now();
        let outcome = self.instance.evaluate(&positions, &rows);
        let took = begun.elapsed();
        self.figures.time += took;
        let error = match outcome {
            Ok(outcome) => {
                for (place, row) in places.iter().zip(outcome.rows.chunks_exact(self.row_bytes.max(1))) {
                    self.rows[place * self.row_bytes..][..self.row_bytes].copy_from_slice(row);
                }
                self.figures.decided += batch.len() as u64;
                let proposals = outcome.proposals.into_iter();
                answer.proposals.extend(proposals.map(|proposal| (from + proposal.position as usize, proposal)));
                return Ok(());
            }
            Err(error) => error,
        };
        self.lost += self.instance.cpu_time(took);
        if error.instance_is_dead() {
            let begun = Instant::now();
            self.instance = self.plugin.instantiate()?;
            self.figures.time += begun.elapsed();
            self.lost += begun.elapsed();
        }
        if self.lost > FAILING_CPU_MAX {
            let RehearsalFigures { decided, failed, .. } = self.figures;
            return Err(RehearseError::Failing { failed, shown: decided + failed, error });
        }
        self.instance.allow(SEARCH_CPU_MAX);
        if batch.len() == 1 {
            self.figures.failed += 1;
            answer.failed.push(Failed { reading: from, error });
            return Ok(());
        }
        let (left, right) = batch.split_at(batch.len() / 2);
        self.show_batch(left, from, answer)?;
        self.show_batch(right, from + left.len(), answer)
    }

    /// The batch as the rule sees it, and where the rows of its vehicles lie.
    fn lay_out(&mut self, batch: &[Rehearsed]) -> (Vec<Position>, Vec<usize>) {
        let mut slots: HashMap<VehicleKey, u32> = HashMap::new();
        let mut places = Vec::new();
        let mut positions = Vec::with_capacity(batch.len());
        for (vehicle, sequence, reading) in batch {
            let slot = *slots.entry(*vehicle).or_insert_with(|| {
                let next = self.places.len();
                places.push(*self.places.entry(*vehicle).or_insert(next));
                places.len() as u32 - 1
            });
            positions.push(Position::of(*vehicle, *sequence, reading, slot));
        }
        self.rows.resize(self.places.len() * self.row_bytes, 0);
        (positions, places)
    }
}
