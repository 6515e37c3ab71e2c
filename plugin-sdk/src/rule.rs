//! What an author writes.

use crate::bindings::drover::plugin::types::Kind;
use crate::{Proposals, Reading, Rows};

/// What a rule says of itself; the same every time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Lower case letters, digits and hyphens.
    pub name: &'static str,
    /// Semantic version.
    pub version: &'static str,
    /// Decides what it may propose.
    pub kind: Kind,
    /// Changes when the meaning of a row changes.
    pub state_version: u32,
    /// Bytes of state per vehicle.
    pub row_bytes: u32,
    /// JSON Schema 2020-12 of the config. The host checks a config against it before the rule sees it.
    pub config_schema: &'static str,
}

impl Description {
    /// A rule about where vehicles are, without state and without config. See [`kind`](crate::kind).
    #[must_use]
    pub fn geofence(name: &'static str, version: &'static str) -> Self {
        Self::of(Kind::Geofence, name, version)
    }

    /// A rule about what the use of vehicles costs, without state and without config. See [`charge`](crate::charge).
    #[must_use]
    pub fn pricing(name: &'static str, version: &'static str) -> Self {
        Self::of(Kind::Pricing, name, version)
    }

    /// A rule about what vehicles need from a workshop, without state and without config. See
    /// [`service`](crate::service).
    #[must_use]
    pub fn maintenance(name: &'static str, version: &'static str) -> Self {
        Self::of(Kind::Maintenance, name, version)
    }

    fn of(kind: Kind, name: &'static str, version: &'static str) -> Self {
        let config_schema = r#"{"type":"object","maxProperties":0}"#;
        Self { name, version, kind, state_version: 1, row_bytes: 0, config_schema }
    }

    /// Keeps `row_bytes` per vehicle; `state_version` names what they mean.
    #[must_use]
    pub fn with_state(self, state_version: u32, row_bytes: u32) -> Self {
        Self { state_version, row_bytes, ..self }
    }

    /// Takes a config of this schema.
    #[must_use]
    pub fn with_config(self, config_schema: &'static str) -> Self {
        Self { config_schema, ..self }
    }
}

/// A rule. [`export_plugin!`](crate::export_plugin) makes a plugin of it.
pub trait Rule: Sized + 'static {
    /// The older state versions whose rows [`migrate`](Self::migrate) reads. A deployment over rows of another one is
    /// refused before anything changes. Default: none.
    const MIGRATES_FROM: &[u32] = &[];

    /// What the rule is.
    fn describe() -> Description;

    /// Makes the rule from a config (JSON) that its schema accepts.
    ///
    /// # Errors
    /// What is wrong with the config beyond the schema, in words for the person who wrote it.
    fn configure(config: &str) -> Result<Self, String>;

    /// Takes readings in order, changes the rows of their vehicles and proposes events.
    ///
    /// A vehicle's readings are in order of their time. The answer may depend on nothing but the config, the readings
    /// and the rows: the host splits a vehicle's readings into batches as it likes, and runs a batch again after a crash.
    ///
    /// # Errors
    /// Refuses the whole batch: rows and proposals are thrown away.
    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String>;

    /// Turns rows of an older state version into rows of this one. Rows of zeros are vehicles that were never seen.
    ///
    /// # Errors
    /// When it can't; the host then refuses the swap. That is the default.
    fn migrate(from_version: u32, row_bytes: u32, rows: &[u8]) -> Result<Vec<u8>, String> {
        let _ = (row_bytes, rows);
        Err(format!("rows of state version {from_version} can't be read"))
    }
}
