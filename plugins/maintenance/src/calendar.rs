//! Dates without a clock: instants as people write them, and months added to an instant. All in UTC.

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// Days from 1970-01-01 to a date of the Gregorian calendar. `month` 1 to 12; a day beyond the month's last counts on.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end, so months before it need no case of their own.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date, as (year, month, day), that many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_of(next_year, next_month, 1) - days_of(year, month, 1)
}

/// The same time of day some months later; the last day of a month that is too short for the date. Milliseconds since
/// the Unix epoch.
#[must_use]
pub fn add_months(instant_ms: i64, months: u32) -> i64 {
    let (year, month, day) = date_of(instant_ms.div_euclid(DAY_MS));
    let count = year * 12 + (month - 1) + i64::from(months);
    let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
    let days = days_of(year, month, day.min(days_in(year, month)));
    days.saturating_mul(DAY_MS).saturating_add(instant_ms.rem_euclid(DAY_MS))
}

/// Reads an instant of RFC 3339 (`2026-03-01T08:00:00Z`, `2026-03-01T08:00:00.5+01:00`) as milliseconds since the Unix
/// epoch; what is finer than a millisecond is cut off. None when it is not one, or before 1970.
#[must_use]
pub fn parse_instant(text: &str) -> Option<i64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let number = |digits: &str| digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?;
    let separated = |part: &str, at: usize, by: u8| part.as_bytes().get(at) == Some(&by);
    if !separated(date, 4, b'-') || !separated(date, 7, b'-') {
        return None;
    }
    let (year, month, day) = (number(date.get(..4)?)?, number(date.get(5..7)?)?, number(date.get(8..)?)?);
    let time = rest.strip_prefix(['T', 't'])?;
    if !separated(time, 2, b':') || !separated(time, 5, b':') {
        return None;
    }
    let (hour, minute, second) = (number(time.get(..2)?)?, number(time.get(3..5)?)?, number(time.get(6..8)?)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = time.get(8..)?;
    let mut millisecond = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        millisecond = number(&format!("{:0<3}", &fraction[..digits.min(3)]))?;
        rest = &fraction[digits..];
    }
    let offset_minutes = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(rest.get(1..3)?)?, number(rest.get(4..)?)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            if *sign == b'+' { hours * 60 + minutes } else { -(hours * 60 + minutes) }
        }
        _ => return None,
    };
    let seconds = days_of(year, month, day) * 86_400 + (hour * 60 + minute - offset_minutes) * 60 + second;
    let instant_ms = seconds * 1_000 + millisecond;
    (instant_ms >= 0).then_some(instant_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_people_write_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-03-01T08:00:00Z", Some(1_772_352_000_000)),
            ("2026-03-01T09:00:00.25+01:00", Some(1_772_352_000_250)),
            ("2024-02-29t23:59:59.123456z", Some(1_709_251_199_123)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-03-01T24:00:00Z", None),
            ("2026-03-01", None),
            ("2026-03-01T08:00:00", None),
            ("2026-03-01T08:00:00.Z", None),
            ("2026-03-01T08:00:00+1:00", None),
            ("+026-03-01T08:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-03-01Tä8:00:00Z", None),
        ] {
            assert_eq!(parse_instant(text), expected, "{text}");
        }
    }

    #[test]
    fn months_end_where_they_end() {
        let after = |text: &str, months| {
            let days = add_months(parse_instant(text).unwrap(), months).div_euclid(DAY_MS);
            date_of(days)
        };
        assert_eq!(after("2024-01-31T12:00:00Z", 1), (2024, 2, 29));
        assert_eq!(after("2025-08-31T12:00:00Z", 6), (2026, 2, 28));
        assert_eq!(after("2025-12-15T12:00:00Z", 12), (2026, 12, 15));
        assert_eq!(add_months(5, 0), 5);
    }

    #[test]
    fn dates_and_days_lead_back() {
        for days in (-800_000..800_000).step_by(13) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        let _ = add_months(i64::MAX, u32::MAX);
        let _ = add_months(i64::MIN, 0);
    }
}
