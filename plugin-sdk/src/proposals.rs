//! What a rule proposes.

use crate::{Proposal, Reading};

/// Codes of the kinds of events (see the contract in `wit/v1`).
pub mod kind {
    /// The vehicle came into the zone.
    pub const ENTERED: u32 = 1;
    /// The vehicle left the zone.
    pub const EXITED: u32 = 2;
    /// The vehicle passed through the zone or over the line.
    pub const CROSSED: u32 = 3;
    /// The vehicle has stayed; the value is the seconds.
    pub const DWELL: u32 = 4;
    /// The vehicle is too fast; the value is its speed.
    pub const OVERSPEED: u32 = 5;
}

/// Collects what the rule proposes for a batch. The host gives each its id, checks and writes it.
#[derive(Default)]
pub struct Proposals {
    list: Vec<Proposal>,
}

impl Proposals {
    /// An empty collection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An event caused by the reading with this index in the batch, at that reading's time. `subject` is the zone or
    /// the rule it is about, 1 to 256 bytes.
    pub fn propose(&mut self, index: usize, reading: &Reading, kind: u32, subject: &str) {
        self.list.push(Proposal {
            reading: index as u32,
            kind,
            event_time_ms: reading.event_time_ms,
            value: f64::NAN,
            subject: subject.to_owned(),
            details: None,
        });
    }

    /// An event with all its particulars.
    pub fn push(&mut self, proposal: Proposal) {
        self.list.push(proposal);
    }

    /// What was proposed so far.
    #[must_use]
    pub fn as_slice(&self) -> &[Proposal] {
        &self.list
    }

    /// What was proposed, as the host takes it.
    #[must_use]
    pub fn into_vec(self) -> Vec<Proposal> {
        self.list
    }
}
