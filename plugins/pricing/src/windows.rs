//! Days and times of day, in the time zone of the config.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// Minutes in a day.
const DAY_MIN: u16 = 1_440;

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Reads an IANA name (`Europe/Berlin`), a fixed offset (`+05:30`) or a POSIX rule (`EST5EDT,M3.2.0,M11.1.0`). The
    /// IANA rules are those that were built in.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(offset) = fixed_offset(text) {
            return Ok(Self(offset.to_time_zone()));
        }
        let named = TimeZoneDatabase::bundled().get(text);
        named.or_else(|_| TimeZone::posix(text)).map(Self).map_err(|_| {
            format!("{text:?} is no IANA time zone, no offset such as +01:00 and no POSIX rule such as EST5EDT,M3.2.0,M11.1.0")
        })
    }

    /// The date and time of day there. Instants that no calendar has are taken as its first or last.
    #[must_use]
    pub fn local(&self, time_ms: i64) -> DateTime {
        let instant = Timestamp::from_millisecond(time_ms);
        let limit = if time_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
        self.0.to_datetime(instant.unwrap_or(limit))
    }
}

fn fixed_offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let minutes = i32::from(clock_min(digits)?);
    Offset::from_seconds(sign * minutes * 60).ok().filter(|_| minutes <= 14 * 60)
}

/// Minutes since midnight of `hh:mm`, up to 24:00.
fn clock_min(text: &str) -> Option<u16> {
    let [h1, h2, b':', m1, m2] = text.as_bytes() else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let (hours, minutes) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
    let clock = hours * 60 + minutes;
    (minutes < 60 && clock <= DAY_MIN).then_some(clock)
}

/// Whole local calendar units that the span touches: at least 1. An hour or minute is one of the clock that was valid
/// at the beginning, so a change to summer time within the span neither adds nor takes one.
#[must_use]
pub fn calendar_units(zone: &Zone, unit: TimeUnit, from_ms: i64, to_ms: i64) -> i64 {
    // A span that ends on the stroke does not touch what begins there.
    let last_ms = to_ms.saturating_sub(1).max(from_ms);
    let from = zone.local(from_ms);
    let units = match unit {
        TimeUnit::Day => i64::from((zone.local(last_ms).date() - from.date()).get_days()),
        TimeUnit::Hour | TimeUnit::Minute => {
            let length_ms = unit.milliseconds();
            let into_day_ms =
                from.duration_since(from.date().to_datetime(jiff::civil::Time::midnight())).as_millis() as i64;
            into_day_ms.saturating_add(last_ms.saturating_sub(from_ms)) / length_ms - into_day_ms / length_ms
        }
    };
    units.max(0) + 1
}

/// A unit of time of MDS recurrences.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    #[default]
    Hour,
    /// A day of the calendar; 24 hours where whole elapsed ones are counted.
    Day,
}

impl TimeUnit {
    /// Its length.
    #[must_use]
    pub fn milliseconds(self) -> i64 {
        let duration = match self {
            TimeUnit::Minute => SignedDuration::from_mins(1),
            TimeUnit::Hour => SignedDuration::from_hours(1),
            TimeUnit::Day => SignedDuration::from_hours(24),
        };
        duration.as_millis() as i64
    }
}

/// A day of the week, Monday first.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Day::Mon => Weekday::Monday,
            Day::Tue => Weekday::Tuesday,
            Day::Wed => Weekday::Wednesday,
            Day::Thu => Weekday::Thursday,
            Day::Fri => Weekday::Friday,
            Day::Sat => Weekday::Saturday,
            Day::Sun => Weekday::Sunday,
        }
    }
}

/// A time of day to the minute.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Clock(u16);

impl TryFrom<String> for Clock {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        clock_min(&text).map(Self).ok_or_else(|| format!("{text:?} is no time of day from 00:00 to 24:00"))
    }
}

/// Some days, some hours. A window over midnight belongs to the day on which it begins.
#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days; empty: all.
    #[serde(default)]
    pub days: Vec<Day>,
    /// From this minute on.
    #[serde(default = "midnight")]
    pub from: Clock,
    /// Up to this minute, itself excluded. Not after `from`: on the next day.
    #[serde(default = "day_end")]
    pub to: Clock,
}

fn midnight() -> Clock {
    Clock(0)
}

fn day_end() -> Clock {
    Clock(DAY_MIN)
}

impl Window {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn check(&self, at: &str) -> Result<(), String> {
        if self.from.0 == DAY_MIN {
            return Err(format!("{at}.from: 24:00 is the end of a day, not its beginning"));
        }
        if self.from == self.to {
            return Err(format!("{at}.to: is the same as from; leave both away for the whole day"));
        }
        Ok(())
    }

    /// True when this local time is in it.
    #[must_use]
    pub fn holds(&self, local: DateTime) -> bool {
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let on = |weekday| self.days.is_empty() || self.days.iter().any(|day| day.weekday() == weekday);
        let today = local.weekday();
        if self.from.0 < self.to.0 {
            return on(today) && (self.from.0..self.to.0).contains(&minute);
        }
        (minute >= self.from.0 && on(today)) || (minute < self.to.0 && on(today.previous()))
    }
}

/// A day of the calendar.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Day8601(pub Date);

impl TryFrom<String> for Day8601 {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        // The crate reads more forms than one; a config has one.
        let plain = text.len() == "2024-07-01".len();
        text.parse().ok().filter(|_| plain).map(Self).ok_or_else(|| format!("{text:?} is no date such as 2024-07-01"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    fn window(json: &str) -> Window {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_zone_is_a_name_an_offset_or_a_rule() {
        let summer_ms = 1_561_939_200_000;
        for zone in ["America/New_York", "EST5EDT,M3.2.0,M11.1.0", "-04:00"] {
            assert_eq!(Zone::parse(zone).unwrap().local(summer_ms), at("2019-06-30T20:00:00"), "{zone}");
        }
        assert_eq!(Zone::parse("UTC").unwrap().local(summer_ms), at("2019-07-01T00:00:00"));
        for wrong in ["", "Mars/Olympus", "+1:00", "+15:00", "01:00", "+01:60"] {
            assert!(Zone::parse(wrong).is_err(), "{wrong}");
        }
        let _ = Zone::parse("UTC").unwrap().local(i64::MAX);
        let _ = Zone::parse("UTC").unwrap().local(i64::MIN);
    }

    #[test]
    fn a_window_over_midnight_belongs_to_its_first_day() {
        // 2024-07-05 is a Friday.
        let friday_night = window(r#"{"days":["fri"],"from":"20:00","to":"06:00"}"#);
        assert!(!friday_night.holds(at("2024-07-05T05:59:59")));
        assert!(!friday_night.holds(at("2024-07-05T19:59:59")));
        assert!(friday_night.holds(at("2024-07-05T20:00:00")));
        assert!(friday_night.holds(at("2024-07-06T05:59:59")));
        assert!(!friday_night.holds(at("2024-07-06T06:00:00")));
        assert!(!friday_night.holds(at("2024-07-06T20:00:00")));
    }

    #[test]
    fn a_window_without_hours_is_the_whole_day() {
        let weekend = window(r#"{"days":["sat","sun"]}"#);
        assert!(weekend.holds(at("2024-07-06T00:00:00")) && weekend.holds(at("2024-07-07T23:59:59")));
        assert!(!weekend.holds(at("2024-07-08T00:00:00")));
        assert!(window(r#"{"from":"10:00","to":"10:00"}"#).check("w").unwrap_err().starts_with("w.to"));
        assert!(window(r#"{"from":"24:00","to":"10:00"}"#).check("w").unwrap_err().starts_with("w.from"));
        assert!(serde_json::from_str::<Window>(r#"{"from":"7:00"}"#).is_err());
        assert!(serde_json::from_str::<Day8601>(r#""20240701""#).is_err());
    }

    #[test]
    fn calendar_units_are_those_touched() {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        let minute = 60_000_i64;
        // 2024-07-01, 23:30 in Berlin.
        let start = 1_719_869_400_000;
        let count = |unit, minutes| calendar_units(&zone, unit, start, start + minutes * minute);
        assert_eq!([0, 30, 31, 90, 91].map(|m| count(TimeUnit::Hour, m)), [1, 1, 2, 2, 3]);
        assert_eq!([0, 30, 31, 1_470, 1_471].map(|m| count(TimeUnit::Day, m)), [1, 1, 2, 2, 3]);
        // 2024-10-27: the hour from two to three comes twice.
        let night = 1_729_980_000_000;
        assert_eq!(calendar_units(&zone, TimeUnit::Hour, night, night + 4 * 3_600_000), 4);
        assert_eq!(calendar_units(&zone, TimeUnit::Day, night, night + 24 * 3_600_000), 1, "a day of 25 hours");
    }
}
