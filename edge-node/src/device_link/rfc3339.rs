//! Reads RFC 3339 instants: `2024-02-19T14:41:54Z`, with any number of decimals and any offset.
//!
//! By hand, because every reading passes here and a calendar library reads far more than RFC 3339 allows.

use fleet_model::Timestamp;

/// The instant, cut to milliseconds; `None` when the text is not RFC 3339 or no such date exists.
///
/// A leap second (`:60`) is the first second of the next minute, as in POSIX time.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    // "2024-02-19T14:41:54" and at least "Z".
    let (head, mut rest) = bytes.split_at_checked(19)?;
    let year = number(&head[0..4])?;
    let month = number(&head[5..7])?;
    let day = number(&head[8..10])?;
    let hour = number(&head[11..13])?;
    let minute = number(&head[14..16])?;
    let second = number(&head[17..19])?;
    let punctuated = head[4] == b'-' && head[7] == b'-' && head[13] == b':' && head[16] == b':';
    if !punctuated || !matches!(head[10], b'T' | b't') {
        return None;
    }
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut ms = 0;
    if let [b'.', decimals @ ..] = rest {
        let len = decimals.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return None;
        }
        let digit = |at: usize| if at < len { i64::from(decimals[at] - b'0') } else { 0 };
        ms = digit(0) * 100 + digit(1) * 10 + digit(2);
        rest = &decimals[len..];
    }
    let offset_min = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let minutes = days_since_epoch(year, month, day) * 1_440 + hour * 60 + minute - offset_min;
    Some(Timestamp((minutes * 60 + second) * 1_000 + ms))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, counted from a March so that the leap day is a year's last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_rfc_3339_allows() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-19T14:41:54Z", 1_708_353_714_000),
            ("2024-02-19t14:41:54.5z", 1_708_353_714_500),
            ("2024-02-19T14:41:54.123999999999Z", 1_708_353_714_123),
            ("2024-02-19T16:11:54.001+01:30", 1_708_353_714_001),
            ("2024-02-19T14:41:54-00:00", 1_708_353_714_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("2000-02-29T00:00:00.123Z", 951_782_400_123),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ] {
            assert_eq!(parse(text), Some(Timestamp(ms)), "{text}");
        }
    }

    #[test]
    fn what_it_does_not() {
        for text in [
            "",
            "2024-02-19",
            "2024-02-19T14:41:54",
            "2024-02-19 14:41:54Z",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-02-19T24:00:00Z",
            "2024-02-19T14:60:00Z",
            "2024-02-19T14:41:61Z",
            "2024-02-19T14:41:54.Z",
            "2024-02-19T14:41:54+0100",
            "2024-02-19T14:41:54+24:00",
            "2024-02-19T14:41:54Zx",
            "20240219T144154Z",
            "2024-02-19T14:41:5äZ",
            "ääääääääääääääääääää",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_the_model_writes(ms in 0..=fleet_model::time::TIMESTAMP_MAX.0) {
            prop_assert_eq!(parse(&Timestamp(ms).to_rfc3339()), Some(Timestamp(ms)));
        }

        #[test]
        fn agrees_with_a_calendar_library(ms in -62_000_000_000_000..253_000_000_000_000_i64, offset_min in -1_439..1_439_i32) {
            let offset = jiff::tz::Offset::from_seconds(offset_min * 60).unwrap();
            let text = jiff::Timestamp::from_millisecond(ms).unwrap().display_with_offset(offset).to_string();
            prop_assert_eq!(parse(&text), Some(Timestamp(ms)), "{}", text);
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
