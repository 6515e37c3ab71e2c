//! What a rule proposes.

use crate::{Proposal, Reading};

/// Codes of the kinds of events that a geofence proposes (see the contract in `wit/v1.1`).
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

/// Codes of the kinds of events that a pricing rule proposes.
pub mod charge {
    /// A line of a charge. Details hold `amount` and `currency`.
    pub const LINE: u32 = 1;
    /// A correction of a line that was final. Details hold `amount` and `currency`.
    pub const ADJUSTED: u32 = 2;
    /// A rule of use was broken.
    pub const VIOLATION: u32 = 3;
}

/// Codes of the kinds of events that a maintenance rule proposes.
pub mod service {
    /// Service is due soon.
    pub const DUE_SOON: u32 = 1;
    /// Service is due.
    pub const DUE: u32 = 2;
    /// Service was due some time ago.
    pub const OVERDUE: u32 = 3;
    /// A failure is foreseen.
    pub const PREDICTED: u32 = 4;
    /// A trouble code came up.
    pub const CODE_RAISED: u32 = 5;
    /// A trouble code is gone.
    pub const CODE_CLEARED: u32 = 6;
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
