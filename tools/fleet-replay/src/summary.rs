//! What is said at the end.

use serde::Serialize;
use std::fmt;

/// Counts of readings, not of messages.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) sent: u64,
    /// Taken by the edge.
    pub(crate) acknowledged: u64,
    /// In messages of which the edge took nothing. `None` when it cannot say so: over MQTT 3.1.1, and at QoS 0.
    pub(crate) refused: Option<u64>,
    /// Sent again after a lost connection.
    pub(crate) resent: u64,
    pub(crate) vehicles: u64,
    pub(crate) seconds: f64,
    pub(crate) readings_per_s: f64,
    /// Whether it was stopped by Ctrl-C.
    pub(crate) interrupted: bool,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interrupted {
            writeln!(f, "interrupted")?;
        }
        writeln!(f, "sent          {:>12} readings of {} vehicles", self.sent, self.vehicles)?;
        writeln!(f, "acknowledged  {:>12}", self.acknowledged)?;
        match self.refused {
            Some(0) => writeln!(f, "refused       {:>12}", 0)?,
            Some(refused) => writeln!(f, "refused       {refused:>12} (drover dead-letters shows them, and why)")?,
            None => writeln!(f, "refused            unknown (only MQTT 5 at QoS 1 says; see drover dead-letters)")?,
        }
        writeln!(f, "resent        {:>12}", self.resent)?;
        write!(f, "took          {:>12.1} s, {:.0} readings/s", self.seconds, self.readings_per_s)
    }
}
