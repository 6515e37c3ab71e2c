//! Rows of older state versions.
//!
//! ```text
//! version 1:  seen u8 | slots u8 | zero (6) | 12 × (key u64 | since ms << 2, phase in bits 0 and 1)      200 bytes
//! ```

use crate::state::{Phase, ROW_BYTES, Row, Slot, Speeding, VERSION};

const V1_ROW_BYTES: usize = 200;
const V1_HEADER_BYTES: usize = 8;
const V1_SLOT_BYTES: usize = 16;
const V1_SLOTS: usize = 12;

/// Makes rows of an older version, `row_bytes` each, rows of this one.
///
/// # Errors
/// When the version is not known or the rows are not of it.
pub fn migrate(from_version: u32, row_bytes: u32, rows: &[u8]) -> Result<Vec<u8>, String> {
    if from_version != 1 {
        return Err(format!("rows of state version {from_version} can't be read: this is {VERSION}, which reads 1"));
    }
    if row_bytes as usize != V1_ROW_BYTES || !rows.len().is_multiple_of(V1_ROW_BYTES) {
        return Err(format!("rows of state version 1 have {V1_ROW_BYTES} bytes"));
    }
    let mut migrated = vec![0; rows.len() / V1_ROW_BYTES * ROW_BYTES];
    for (old, new) in rows.chunks_exact(V1_ROW_BYTES).zip(migrated.chunks_exact_mut(ROW_BYTES)) {
        from_version_1(old, new)?;
    }
    Ok(migrated)
}

/// Of a vehicle that is leaving, version 1 does not know since when it was inside: its stay begins where it left.
fn from_version_1(old: &[u8], new: &mut [u8]) -> Result<(), String> {
    let damaged = || "a row of state version 1 is damaged".to_owned();
    let (seen, len) = (old[0], usize::from(old[1]));
    if seen > 1 || len > V1_SLOTS {
        return Err(damaged());
    }
    let mut row = Row::new(new)?;
    if seen == 1 {
        row.set_seen();
    }
    for slot in old[V1_HEADER_BYTES..].chunks_exact(V1_SLOT_BYTES).take(len) {
        let word = |at: usize| slot[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let since_ms = word(8) as i64 >> 2;
        let phase = match word(8) & 3 {
            1 => Phase::Entering,
            2 => Phase::Inside(Speeding::Under),
            3 => Phase::Leaving { since_ms },
            _ => return Err(damaged()),
        };
        if !row.push(Slot::new(word(0), phase, since_ms)) {
            return Err(damaged());
        }
    }
    Ok(())
}
