//! Days, as sums are kept by.

use fleet_model::Timestamp;
use std::fmt;
use std::str::FromStr;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A day in UTC: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// It is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no day: write it as 2026-05-04")]
pub struct InvalidDay(String);

impl Day {
    /// The day of an instant.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        Self(u32::try_from(time.0.div_euclid(DAY_MS)).unwrap_or(0))
    }

    /// So many days before.
    #[must_use]
    pub fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

impl FromStr for Day {
    type Err = InvalidDay;
    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let invalid = || InvalidDay(text.chars().take(32).collect());
        let date: jiff::civil::Date = text.parse().map_err(|_| invalid())?;
        // `2026-05-04T10:00` is read as a date too: what is not said back alike was meant otherwise.
        let since = date.since(jiff::civil::date(1970, 1, 1)).map_err(|_| invalid())?;
        let day = Self(u32::try_from(since.get_days()).map_err(|_| invalid())?);
        if day.to_string() == text { Ok(day) } else { Err(invalid()) }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = Timestamp(i64::from(self.0) * DAY_MS).to_rfc3339();
        f.write_str(midnight.split('T').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_they_are_read() {
        for (text, number) in [("1970-01-01", 0), ("2024-02-29", 19_782), ("2026-05-04", 20_577)] {
            assert_eq!((text.parse(), Day(number).to_string()), (Ok(Day(number)), text.to_owned()));
        }
        assert_eq!(Day::of(Timestamp(20_577 * DAY_MS + 5)), Day(20_577));
        for text in ["", "today", "2026-5-4", "2026-02-30", "1969-12-31", "2026-05-04T00:00", "20260504"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
