//! Where a reader of events stands.

use super::problem::Problem;
use event_log::Offset;
use fleet_model::EventClass;
use std::fmt;

/// A place in the events of a class, as text that only we read: which life of the log, and the offset of the next
/// record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) class: EventClass,
    pub(crate) epoch: u32,
    pub(crate) next: Offset,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}-{:x}", self.class.as_str(), self.epoch, self.next)
    }
}

impl std::str::FromStr for Cursor {
    type Err = Problem;
    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut parts = text.splitn(3, '-');
        let parsed = (|| {
            let class = parts.next()?.parse().ok()?;
            let epoch = u32::from_str_radix(parts.next()?, 16).ok()?;
            Some(Cursor { class, epoch, next: Offset::from_str_radix(parts.next()?, 16).ok()? })
        })();
        // Only what we would have written.
        parsed.filter(|cursor| cursor.to_string() == text).ok_or_else(|| {
            Problem::malformed_cursor("give a cursor as it stands in an event or in `next`, or the word now")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        let cursor = Cursor { class: EventClass::Alerts, epoch: 7, next: 0xabc };
        assert_eq!(cursor.to_string(), "alerts-00000007-abc");
        assert_eq!("alerts-00000007-abc".parse::<Cursor>().unwrap(), cursor);
        let bad = ["", "now", "00000007-abc", "alerts-7-abc", "alerts-00000007-ABC", "alerts-00000007-0abc"];
        for bad in bad.into_iter().chain(["alerts-00000007-", "alerts--1", "alerts-00000007-abc-", "alarms-00000007-1"])
        {
            assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
        }
    }
}
