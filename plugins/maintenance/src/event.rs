//! What the watchers find out. The rule turns each into a proposal.

use serde_json::{Map, Value};

/// The kinds of events of the maintenance interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `maintenance.due_soon`
    DueSoon,
    /// `maintenance.due`
    Due,
    /// `maintenance.overdue`
    Overdue,
    /// `maintenance.predicted`
    Predicted,
    /// `dtc.raised`
    TroubleRaised,
    /// `dtc.cleared`
    TroubleCleared,
}

impl Kind {
    /// Its code in the contract.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::DueSoon => 1,
            Self::Due => 2,
            Self::Overdue => 3,
            Self::Predicted => 4,
            Self::TroubleRaised => 5,
            Self::TroubleCleared => 6,
        }
    }
}

/// One event of a vehicle.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// When, in milliseconds since the Unix epoch: not after the reading that led to it.
    pub time_ms: i64,
    /// The id of the schedule, threshold, trend or model; the code of a trouble.
    pub subject: String,
    /// The figure that belongs to it, or NaN.
    pub value: f64,
    /// What else belongs to it. Its members are few and short: far below the 2,048 bytes that the contract allows.
    pub details: Map<String, Value>,
}

/// A JSON object of these members. A number that is not finite is null.
#[must_use]
pub fn details<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How sure a quantity is to be above 0, from its expected value and the standard deviation of the error: Student's
/// distribution with 2 degrees of freedom. The error is itself an estimate, so the tails must be heavier than a normal
/// distribution's; and this one needs only a square root, which every machine rounds alike.
///
/// 0 to 1; 0 when a number is missing.
#[must_use]
pub fn confidence(expected: f64, deviation: f64) -> f64 {
    if expected.is_nan() || deviation.is_nan() {
        return 0.0;
    }
    if deviation <= 0.0 || expected.is_infinite() {
        return if expected > 0.0 { 1.0 } else { 0.0 };
    }
    let t = expected / deviation;
    // t² may overflow to infinity: t over it is then 0, so take the sign for what it is.
    if t.abs() > 1e9 {
        return if t > 0.0 { 1.0 } else { 0.0 };
    }
    0.5 + t / (2.0 * (2.0 + t * t).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_goes_from_none_to_full() {
        assert_eq!(confidence(0.0, 1.0), 0.5);
        // A table of Student's distribution: 1.886 is the 90 % quantile, 2.920 the 95 %.
        assert!((confidence(1.886, 1.0) - 0.9).abs() < 1e-3);
        assert!((confidence(-2.920, 1.0) - 0.05).abs() < 1e-3);
        assert_eq!([confidence(1.0, 0.0), confidence(-1.0, 0.0)], [1.0, 0.0]);
        assert_eq!([confidence(f64::NAN, 1.0), confidence(1.0, f64::NAN)], [0.0, 0.0]);
        assert_eq!([confidence(1e300, 1e-9), confidence(-1e300, 1e-9)], [1.0, 0.0]);
    }
}
