//! What is said at the end.

use serde::Serialize;
use std::fmt;

/// Counts of readings, not of messages.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    /// MQTT 3.1.1 has no word for it: the edge acknowledges what it refused and keeps it in its dead-letter log.
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
        writeln!(f, "resent        {:>12}", self.resent)?;
        writeln!(f, "refused            unknown (MQTT 3.1.1 does not say; see drover dead-letters)")?;
        write!(f, "took          {:>12.1} s, {:.0} readings/s", self.seconds, self.readings_per_s)
    }
}
