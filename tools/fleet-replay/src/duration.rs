//! Durations as people type them: `500ms`, `30s`, `1.5m`, `2h`.

use jiff::SignedDuration;
use std::time::Duration;

/// Longer than this is a typing error.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Reads a duration; none is negative, or longer than a year.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a number and a unit, at most a year: 500ms, 30s, 5m, 1h".to_owned();
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).ok().filter(|duration| *duration <= LONGEST).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type_and_refuses_the_rest() {
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        for wrong in ["", "30", "s", "1..2s", "-3s", "999999h", "3 parsecs"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
