//! Rows of an old version, read by a new one.

use super::rows::RowStore;
use crate::plugin::Rule;
use plugin_host::thread_cpu_time;
use std::time::Duration;

/// Rows in one call of `migrate`, so that it stays within a batch's time limit.
const ROWS_PER_CALL_MAX: usize = 1_024;

/// All rows of `old`, as `rule` has them, within so much CPU time: the worker waits meanwhile. Nothing of `old` changes.
pub(crate) fn migrate(
    rule: &mut dyn Rule,
    from_version: u32,
    old: &RowStore,
    row_bytes: u32,
    cpu_max: Duration,
) -> Result<RowStore, String> {
    let begun = thread_cpu_time();
    let mut bytes = Vec::with_capacity(old.len() * row_bytes as usize);
    let old_len = old.row_bytes();
    if old_len == 0 {
        // There is nothing to read: a plugin without rows had no state.
        return Ok(RowStore::new(row_bytes));
    }
    for rows in old.bytes().chunks(ROWS_PER_CALL_MAX * old_len) {
        let expected = rows.len() / old_len * row_bytes as usize;
        let rest = cpu_max.checked_sub(thread_cpu_time().saturating_sub(begun)).filter(|rest| !rest.is_zero());
        let too_long = || format!("reading {} rows takes more than {} ms of CPU time", old.len(), cpu_max.as_millis());
        rule.allow(rest.ok_or_else(too_long)?);
        let new = rule.migrate(from_version, old_len as u32, rows).map_err(|error| error.message)?;
        if new.len() != expected {
            return Err(format!("it made {} bytes of {} rows, not {expected}", new.len(), rows.len() / old_len));
        }
        bytes.extend_from_slice(&new);
    }
    Ok(old.rewritten(row_bytes, bytes))
}
