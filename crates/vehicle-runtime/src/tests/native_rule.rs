//! A rule without WebAssembly, whose answers depend on every reading it was shown before.

use crate::plugin::{Rule, RuleError, RuleFacts, RuleFinder, RuleSource};
use fleet_model::{EventKind, Timestamp};
use plugin_host::{Outcome, Position, Proposal};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Proposes an event for every so-manieth live reading of a vehicle, with the count in its subject.
pub(crate) const EVERY: u32 = 3;

/// A version of the counting rule.
#[derive(Debug, Clone)]
pub(crate) struct Counting {
    pub facts: RuleFacts,
    /// Sequences on which it traps, of any vehicle.
    pub poison: BTreeSet<u64>,
    pub migrates: bool,
    /// Proposes an event for every so-manieth.
    pub every: u32,
    /// While it is set, no instance can be made: the machine has no memory for one.
    pub no_memory: Arc<AtomicBool>,
    /// What an instance may have.
    pub memory_bytes_max: u64,
}

impl Counting {
    pub(crate) fn version(version: u8) -> Self {
        let facts = RuleFacts {
            hash: [version; 32],
            name: "counting".into(),
            version: format!("{version}.0.0"),
            state_version: 1,
            row_bytes: 4,
        };
        Self {
            facts,
            poison: BTreeSet::new(),
            migrates: false,
            every: EVERY,
            no_memory: Arc::default(),
            memory_bytes_max: 0,
        }
    }

    /// Rows of eight bytes, read from rows of four.
    pub(crate) fn wide(version: u8) -> Self {
        let mut wide = Self::version(version);
        wide.facts.state_version = 2;
        wide.facts.row_bytes = 8;
        wide.migrates = true;
        wide
    }

    pub(crate) fn poisoned(version: u8, sequences: &[u64]) -> Self {
        Self { poison: sequences.iter().copied().collect(), ..Self::version(version) }
    }

    /// Proposes half as often.
    pub(crate) fn lazy(version: u8) -> Self {
        Self { every: 2 * EVERY, ..Self::version(version) }
    }

    /// Fails on whatever it is shown.
    pub(crate) fn broken(version: u8) -> Self {
        Self { poison: (0..10_000).collect(), ..Self::version(version) }
    }

    pub(crate) fn source(self) -> Arc<dyn RuleSource> {
        Arc::new(self)
    }
}

impl RuleSource for Counting {
    fn facts(&self) -> &RuleFacts {
        &self.facts
    }

    fn start(&self) -> Result<Box<dyn Rule>, String> {
        if self.no_memory.load(Ordering::Relaxed) { Err("no memory".into()) } else { Ok(Box::new(self.clone())) }
    }

    fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }
}

impl Rule for Counting {
    fn evaluate(&mut self, positions: &[Position], rows: &[u8]) -> Result<Outcome, RuleError> {
        let mut rows = rows.to_vec();
        let mut proposals = Vec::new();
        for (index, position) in positions.iter().enumerate() {
            if self.poison.contains(&position.sequence) {
                return Err(RuleError { message: "unreachable".into(), instance_is_dead: true });
            }
            let at = position.slot as usize * self.facts.row_bytes as usize;
            let row = &mut rows[at..at + 4];
            let count = u32::from_le_bytes(row.try_into().unwrap()) + 1;
            row.copy_from_slice(&count.to_le_bytes());
            if count.is_multiple_of(self.every) {
                proposals.push(Proposal {
                    position: index as u32,
                    kind: EventKind::GeofenceEntered,
                    event_time: Timestamp(position.event_time_ms),
                    value: f64::NAN,
                    subject: format!("count-{count}"),
                    details: None,
                });
            }
        }
        Ok(Outcome { proposals, rows })
    }

    fn migrate(&mut self, from_version: u32, row_bytes: u32, rows: &[u8]) -> Result<Vec<u8>, RuleError> {
        if !self.migrates || (from_version, row_bytes) != (1, 4) {
            return Err(RuleError { message: "it reads only its own rows".into(), instance_is_dead: false });
        }
        if self.no_memory.load(Ordering::Relaxed) {
            return Err(RuleError { message: "no memory".into(), instance_is_dead: true });
        }
        Ok(rows.chunks(4).flat_map(|row| [row, &[7; 4]].concat()).collect())
    }
}

/// Finds the versions it was given.
#[derive(Default)]
pub(crate) struct Shelf(pub BTreeMap<[u8; 32], Counting>);

impl Shelf {
    pub(crate) fn of(versions: impl IntoIterator<Item = Counting>) -> Arc<Self> {
        Arc::new(Self(versions.into_iter().map(|version| (version.facts.hash, version)).collect()))
    }
}

impl RuleFinder for Shelf {
    fn find(&self, hash: [u8; 32], _config: &serde_json::Value) -> Result<Arc<dyn RuleSource>, String> {
        self.0.get(&hash).map(|found| found.clone().source()).ok_or_else(|| "not on the shelf".into())
    }
}
