//! Durations as people type them: `500ms`, `30s`, `5m`, `1h`.

use std::time::Duration;

/// Longer than this is a typing error.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// Reads `30s`, `1.5m`, `500ms`, `2h`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_each = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => return Err("a duration is a number and a unit: 500ms, 30s, 5m, 1h".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    let seconds = number * seconds_each;
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err("at most a year".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type_and_refuses_the_rest() {
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        for wrong in ["", "30", "s", "1..2s", "-3s", "5 s", "999999h", "3d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
