//! When a zone exists: days and hours on the clocks of a place.
//!
//! Hours are read off the wall clock as it stands there, so they follow daylight saving time. Hours that the clock skips
//! are skipped. **A clock that is set back** does not bring hours again: it counts as standing still until it has caught
//! up with what it has shown, so that a zone neither opens nor closes twice in that night.

use std::cell::Cell;

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::time_zones;

/// The most schedules of a config.
pub const SCHEDULES_MAX: usize = 1_000;
/// The farthest fixed offset from UTC.
const OFFSET_HOURS_MAX: i32 = 14;
const MS_PER_S: i64 = 1_000;
const S_PER_DAY: i64 = 86_400;
/// Clocks that were set back are behind what they have shown for so long at most: a day, where a country changed sides
/// of the date line.
const SET_BACK_MAX: SignedDuration = SignedDuration::from_hours(48);

/// A schedule as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    time_zone: String,
    #[serde(default = "every_day")]
    days: Vec<Day>,
    from: String,
    to: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

fn every_day() -> Vec<Day> {
    vec![Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun]
}

/// Days and hours in a time zone.
pub struct Schedule {
    zone: TimeZone,
    /// Bit 0: Monday. The day on which the hours begin.
    days: u8,
    /// Seconds after midnight, 0 to a day.
    from_s: i64,
    /// Seconds after midnight, 0 to a day; not after `from_s`: of the next day.
    to_s: i64,
    /// What was last looked up: readings of a batch stand close together.
    clock: Cell<Clock>,
}

/// How clocks stand between two changes.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// Milliseconds since the Unix epoch: from here on.
    from_ms: i64,
    /// To here, exclusive.
    until_ms: i64,
    /// Local time less UTC.
    offset_s: i64,
    /// The latest local time that was shown before, in seconds since 1970 by that clock.
    shown_s: i64,
}

impl Schedule {
    /// Checks a schedule.
    ///
    /// # Errors
    /// Which field is wrong, and how; goes on where `schedules.NAME` stops.
    pub fn new(written: &Written) -> Result<Self, String> {
        let zone = time_zone(&written.time_zone).map_err(|what| format!(".time_zone: {what}"))?;
        let days = written.days.iter().fold(0, |days, &day| days | 1 << day as u8);
        if days == 0 {
            return Err(".days: names no day".to_owned());
        }
        let from_s = seconds(&written.from).map_err(|what| format!(".from: {what}"))?;
        let to_s = seconds(&written.to).map_err(|what| format!(".to: {what}"))?;
        if from_s == S_PER_DAY {
            return Err(".from: 24:00 is the end of a day: write 00:00 of the next".to_owned());
        }
        let clock = Cell::new(Clock { from_ms: 0, until_ms: 0, offset_s: 0, shown_s: i64::MIN });
        Ok(Self { zone, days, from_s, to_s, clock })
    }

    /// Whether it is within the hours at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn is_open(&self, time_ms: i64) -> bool {
        let mut clock = self.clock.get();
        if time_ms < clock.from_ms || time_ms >= clock.until_ms {
            clock = self.look_up(time_ms);
            self.clock.set(clock);
        }
        let local_s = time_ms.div_euclid(MS_PER_S).saturating_add(clock.offset_s).max(clock.shown_s);
        // The first day of 1970 was a Thursday.
        let day = (local_s.div_euclid(S_PER_DAY) + 3).rem_euclid(7);
        let second = local_s.rem_euclid(S_PER_DAY);
        let begins_on = |day: i64| self.days >> day & 1 == 1;
        if self.from_s < self.to_s {
            return begins_on(day) && second >= self.from_s && second < self.to_s;
        }
        begins_on(day) && second >= self.from_s || begins_on((day + 6) % 7) && second < self.to_s
    }

    fn look_up(&self, time_ms: i64) -> Clock {
        // Far beyond the years that clocks are known of they stand as at their end.
        let known =
            |time_ms: i64| time_ms.clamp(Timestamp::MIN.as_millisecond() + 1, Timestamp::MAX.as_millisecond() - 1);
        let Ok(now) = Timestamp::from_millisecond(known(time_ms)) else {
            return Clock { from_ms: time_ms, until_ms: time_ms, offset_s: 0, shown_s: i64::MIN };
        };
        // A change at this very time is one of those before.
        let just_after = Timestamp::from_millisecond(known(time_ms) + 1).unwrap_or(now);
        let (mut from_ms, mut shown_s, mut latest) = (i64::MIN, i64::MIN, None);
        for change in self.zone.preceding(just_after) {
            let at = change.timestamp();
            let latest = *latest.get_or_insert(at);
            if at == latest {
                from_ms = at.as_millisecond();
            }
            if latest.duration_since(at) > SET_BACK_MAX {
                break;
            }
            let before = at.checked_sub(SignedDuration::from_millis(1)).unwrap_or(at);
            shown_s = shown_s.max(at.as_second() + i64::from(self.zone.to_offset(before).seconds()));
        }
        let until_ms = self.zone.following(now).next().map_or(i64::MAX, |change| change.timestamp().as_millisecond());
        Clock { from_ms, until_ms, offset_s: i64::from(self.zone.to_offset(now).seconds()), shown_s }
    }
}

/// `UTC`, an offset, a name of the tz database or a POSIX rule.
fn time_zone(text: &str) -> Result<TimeZone, String> {
    if text == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if text.starts_with(['+', '-']) {
        return fixed(text)
            .ok_or_else(|| format!("{text:?} is not an offset as +02:00, up to {OFFSET_HOURS_MAX} hours"));
    }
    if let Some((name, rules)) = time_zones::rules(text) {
        return TimeZone::tzif(name, &rules).map_err(|error| format!("{text:?}: {error}"));
    }
    TimeZone::posix(text).map_err(|error| {
        format!(
            "{text:?} is neither UTC nor an offset as +02:00 nor a name as Europe/Warsaw nor a POSIX rule as \
             CET-1CEST,M3.5.0,M10.5.0/3 ({error})"
        )
    })
}

fn fixed(text: &str) -> Option<TimeZone> {
    let minutes = i32::try_from(seconds(&text[1..]).ok()? / 60).ok()?;
    let minutes = if text.starts_with('-') { -minutes } else { minutes };
    (minutes.abs() <= OFFSET_HOURS_MAX * 60)
        .then(|| Offset::from_seconds(minutes * 60).ok().map(TimeZone::fixed))
        .flatten()
}

/// `HH:MM`, up to 24:00.
fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not HH:MM, 00:00 to 24:00");
    let &[h1, h2, b':', m1, m2] = text.as_bytes() else { return Err(wrong()) };
    if ![h1, h2, m1, m2].iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let number = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let (hours, minutes) = (number(h1, h2), number(m1, m2));
    if minutes > 59 || hours * 60 + minutes > 24 * 60 {
        return Err(wrong());
    }
    Ok(hours * 3_600 + minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;
    use jiff::civil::{DateTime, Weekday, date};
    use proptest::prelude::*;

    fn schedule(time_zone: &str, days: &str, from: &str, to: &str) -> Result<Schedule, String> {
        let text = format!(r#"{{"time_zone":"{time_zone}","days":{days},"from":"{from}","to":"{to}"}}"#);
        Schedule::new(&serde_json::from_str(&text).unwrap())
    }

    const ALL: &str = r#"["mon","tue","wed","thu","fri","sat","sun"]"#;
    const WARSAW: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

    /// Milliseconds of a time in UTC.
    fn utc(year: i16, month: i8, day: i8, hour: i8, minute: i8) -> i64 {
        TimeZone::UTC.to_timestamp(date(year, month, day).at(hour, minute, 0, 0)).unwrap().as_millisecond()
    }

    #[test]
    fn hours_pass_midnight_and_belong_to_the_day_on_which_they_begin() {
        let nights = schedule("UTC", r#"["fri"]"#, "22:00", "06:00").unwrap();
        // 2026-01-02 is a Friday.
        for (day, hour, minute, open) in [
            (1, 23, 0, false),
            (2, 5, 0, false),
            (2, 21, 59, false),
            (2, 22, 0, true),
            (3, 5, 59, true),
            (3, 6, 0, false),
        ] {
            assert_eq!(nights.is_open(utc(2026, 1, day, hour, minute)), open, "{day} {hour}:{minute}");
        }
        assert!(!nights.is_open(utc(2026, 1, 3, 23, 0)));
        let round = schedule("UTC", r#"["fri"]"#, "08:00", "08:00").unwrap();
        assert!(round.is_open(utc(2026, 1, 3, 7, 59)) && !round.is_open(utc(2026, 1, 3, 8, 0)));
        let whole = schedule("UTC", r#"["fri"]"#, "00:00", "24:00").unwrap();
        assert!(whole.is_open(utc(2026, 1, 2, 23, 59)) && !whole.is_open(utc(2026, 1, 3, 0, 0)));
    }

    #[test]
    fn time_zones_are_rules_names_and_offsets() {
        for (zone, hour_utc) in [(WARSAW, 6), ("Europe/Warsaw", 6), ("+02:00", 6), ("-03:30", 11), ("UTC", 8)] {
            let from_eight = schedule(zone, ALL, "08:00", "08:30").unwrap();
            let open: Vec<_> = (0..24).filter(|&hour| from_eight.is_open(utc(2026, 7, 1, hour, 0))).collect();
            let expected = if zone == "-03:30" { vec![] } else { vec![hour_utc] };
            assert_eq!(open, expected, "{zone}");
        }
        assert!(schedule("-03:30", ALL, "08:00", "08:30").unwrap().is_open(utc(2026, 7, 1, 11, 30)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |zone, days, from, to| schedule(zone, days, from, to).err().unwrap();
        assert!(
            error("Europe/Varsovie", ALL, "08:00", "09:00").starts_with(".time_zone: \"Europe/Varsovie\" is neither")
        );
        assert!(error("+15:00", ALL, "08:00", "09:00").starts_with(".time_zone: \"+15:00\" is not an offset"));
        assert!(error("+é0:00", ALL, "08:00", "09:00").starts_with(".time_zone:"));
        assert_eq!(error("UTC", "[]", "08:00", "09:00"), ".days: names no day");
        assert_eq!(error("UTC", ALL, "8:00", "09:00"), ".from: \"8:00\" is not HH:MM, 00:00 to 24:00");
        assert_eq!(error("UTC", ALL, "08:00", "24:01"), ".to: \"24:01\" is not HH:MM, 00:00 to 24:00");
        assert!(error("UTC", ALL, "24:00", "09:00").starts_with(".from: 24:00"));
    }

    #[test]
    fn a_clock_set_back_neither_opens_nor_closes_twice() {
        // On 2026-10-25 the clock goes from 03:00 to 02:00 at 01:00 UTC.
        let night = schedule("Europe/Warsaw", ALL, "22:00", "02:30").unwrap();
        let open: Vec<_> = (0..180).filter(|m| night.is_open(utc(2026, 10, 25, 0, 0) + m * 60_000)).collect();
        assert_eq!(open, (0..30).collect::<Vec<_>>());
        // The clock stands at 03:00 for an hour, which is before 03:01.
        let early = schedule("Europe/Warsaw", ALL, "03:01", "05:00").unwrap();
        let first = (0..300).find(|m| early.is_open(utc(2026, 10, 25, 0, 0) + m * 60_000));
        assert_eq!(first, Some(121));
    }

    #[test]
    fn times_beyond_all_calendars_do_no_harm() {
        for zone in [WARSAW, "Europe/Warsaw", "+02:00", "Pacific/Apia"] {
            let schedule = schedule(zone, ALL, "22:00", "02:30").unwrap();
            for time_ms in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
                let _ = schedule.is_open(time_ms);
            }
        }
    }

    /// Open as the words say it, for a local time of a clock that never goes back.
    fn open_by_calendar(shown: DateTime, days: &[Weekday], from: i64, to: i64) -> bool {
        let minute = i64::from(shown.hour()) * 60 + i64::from(shown.minute());
        let today = days.contains(&shown.weekday());
        let yesterday = days.contains(&shown.checked_sub(1.day()).unwrap().weekday());
        if from < to {
            today && from <= minute && minute < to
        } else {
            today && minute >= from || yesterday && minute < to
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// Minute by minute over changes of the clock, in zones that change at midnight, by half an hour, by a whole day.
        #[test]
        fn hours_are_those_of_the_civil_calendar(
            (zone, start) in prop::sample::select(vec![
                (WARSAW, (2026, 3, 27)), ("Europe/Warsaw", (2026, 3, 27)), ("Europe/Warsaw", (2026, 10, 23)),
                ("America/New_York", (2026, 10, 30)), ("America/Santiago", (2026, 9, 4)), ("America/Santiago", (2026, 4, 3)),
                ("Australia/Lord_Howe", (2026, 4, 3)), ("Pacific/Apia", (2011, 12, 28)), ("America/Havana", (2026, 10, 30)),
                ("Asia/Pyongyang", (2018, 5, 2)), ("Asia/Kolkata", (2026, 1, 1)), ("Africa/Casablanca", (2026, 2, 13)),
            ]),
            days in prop::collection::btree_set(0_usize..7, 1..8),
            from in 0_i64..1_440,
            to in 0_i64..=1_440,
        ) {
            let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
            let listed: Vec<_> = days.iter().map(|&day| format!("\"{}\"", names[day])).collect();
            let clock = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
            let schedule = schedule(zone, &format!("[{}]", listed.join(",")), &clock(from), &clock(to)).unwrap();
            let weekdays: Vec<_> = days.iter().map(|&day| Weekday::from_monday_zero_offset(day as i8).unwrap()).collect();
            let tz = time_zone(zone).unwrap();
            let start_ms = utc(start.0, start.1, start.2, 0, 0);
            let mut shown = DateTime::MIN;
            for minute in 0..5 * 1_440 {
                let time_ms = start_ms + minute * 60_000;
                shown = shown.max(tz.to_datetime(Timestamp::from_millisecond(time_ms).unwrap()));
                let expected = open_by_calendar(shown, &weekdays, from, to);
                prop_assert_eq!(schedule.is_open(time_ms), expected, "{} {}", zone, shown);
            }
        }
    }
}
