//! A rule that counts the readings of each vehicle in its row, in many versions. Rows of odd state versions are the count;
//! those of even ones have it behind eight bytes of nothing.

use crate::guest::{ANSWER_AT, Guest, PROPOSAL_BYTES, SUBJECT, SUBJECT_AT};
use anyhow::Result;
use fleet_model::{EventKind, VehicleKey};

/// Beyond what the guest hands out: as many proposals as a batch has readings, and migrated rows.
const OUT_AT: u32 = 100_000;
/// Where a position has the slot of its row, and bytes from one position to the next.
const SLOT_AT: u32 = 88;
const POSITION_BYTES: u32 = 112;

/// Bytes of a row, and where the count is in it.
fn row(state_version: u32) -> (u32, u32) {
    if state_version % 2 == 1 { (8, 0) } else { (16, 8) }
}

/// The component. It tells every so manieth reading of a vehicle, as `every` says. `traps_on`: the vehicle (tenant and name)
/// whose readings it fails on.
pub(crate) fn component(
    version: &str,
    state_version: u32,
    every: u64,
    traps_on: Option<(&str, &str)>,
) -> Result<Vec<u8>> {
    let traps = match traps_on {
        Some((tenant, vehicle)) => {
            let key = VehicleKey::of(&tenant.parse()?, &vehicle.parse()?).0;
            format!("(if (i64.eq (i64.load (local.get $positions)) (i64.const {key})) (then unreachable))")
        }
        None => String::new(),
    };
    let (row_bytes, count_at) = row(state_version);
    let evaluate = format!(
        "(local $index i32) (local $row i32) (local $seen i64) (local $told i32) (local $proposal i32)
         (loop $next
           {traps}
           (local.set $row (i32.add (local.get $rows)
             (i32.mul (i32.load offset={SLOT_AT} (local.get $positions)) (i32.const {row_bytes}))))
           (local.set $seen (i64.add (i64.load offset={count_at} (local.get $row)) (i64.const 1)))
           (i64.store offset={count_at} (local.get $row) (local.get $seen))
           (if (i64.eqz (i64.rem_u (local.get $seen) (i64.const {every}))) (then
             (local.set $proposal
               (i32.add (i32.const {OUT_AT}) (i32.mul (local.get $told) (i32.const {PROPOSAL_BYTES}))))
             (i32.store (local.get $proposal) (local.get $index))
             (i32.store offset=4 (local.get $proposal) (i32.const {kind}))
             (i64.store offset=8 (local.get $proposal) (i64.load offset=16 (local.get $positions)))
             (f64.store offset=16 (local.get $proposal) (f64.convert_i64_u (local.get $seen)))
             (i32.store offset=24 (local.get $proposal) (i32.const {SUBJECT_AT}))
             (i32.store offset=28 (local.get $proposal) (i32.const {subject_len}))
             (i32.store8 offset=32 (local.get $proposal) (i32.const 0))
             (local.set $told (i32.add (local.get $told) (i32.const 1)))))
           (local.set $positions (i32.add (local.get $positions) (i32.const {POSITION_BYTES})))
           (local.set $index (i32.add (local.get $index) (i32.const 1)))
           (br_if $next (i32.lt_u (local.get $index) (local.get $count))))
         (i32.store8 (i32.const {ANSWER_AT}) (i32.const 0))
         (i32.store offset=4 (i32.const {ANSWER_AT}) (i32.const {OUT_AT}))
         (i32.store offset=8 (i32.const {ANSWER_AT}) (local.get $told))
         (i32.store offset=12 (i32.const {ANSWER_AT}) (local.get $rows))
         (i32.store offset=16 (i32.const {ANSWER_AT}) (local.get $rows_len))
         (i32.const {ANSWER_AT})",
        kind = EventKind::GeofenceDwell as u32,
        subject_len = SUBJECT.len(),
    );
    let (_, count_was_at) = row(state_version + 1);
    let migrate = format!(
        "(local $index i32) (local $count i32)
         (local.set $count (i32.div_u (local.get $rows_len) (local.get $row_bytes)))
         (loop $next (if (i32.lt_u (local.get $index) (local.get $count)) (then
           (i64.store offset={count_at}
             (i32.add (i32.const {OUT_AT}) (i32.mul (local.get $index) (i32.const {row_bytes})))
             (i64.load offset={count_was_at}
               (i32.add (local.get $rows) (i32.mul (local.get $index) (local.get $row_bytes)))))
           (local.set $index (i32.add (local.get $index) (i32.const 1)))
           (br $next))))
         (i32.store8 (i32.const {ANSWER_AT}) (i32.const 0))
         (i32.store offset=4 (i32.const {ANSWER_AT}) (i32.const {OUT_AT}))
         (i32.store offset=8 (i32.const {ANSWER_AT}) (i32.mul (local.get $count) (i32.const {row_bytes})))
         (i32.const {ANSWER_AT})"
    );
    Ok(Guest {
        name: "counter",
        version: Box::leak(version.to_owned().into_boxed_str()),
        state_version,
        row_bytes,
        migrates_from: state_version - 1,
        evaluate,
        migrate,
        ..Guest::default()
    }
    .component())
}
