//! Rows that version 1 wrote, kept as bytes.

use geofence::Geofence;
use geofence::state::{Phase, ROW_BYTES, Row, Slot, Speeding};
use plugin_sdk::{Rows, Rule, kind};

use crate::{config_of, reading, square, tell};

/// The keys of "a", "b" and "c".
const KEYS: [u64; 3] = [0xed81_70de_1919_a24d, 0x4f19_bff7_dffc_739c, 0xd8a2_3470_d899_83fc];

/// A row that version 1 wrote: in a since 1,000 ms, coming into b since 2,000, leaving c since 3,000.
fn version_1() -> Vec<u8> {
    let mut row = vec![1, 3, 0, 0, 0, 0, 0, 0];
    for (key, word) in [(KEYS[0], [0xa2, 0x0f]), (KEYS[1], [0x41, 0x1f]), (KEYS[2], [0xe3, 0x2e])] {
        row.extend(key.to_le_bytes());
        row.extend([word[0], word[1], 0, 0, 0, 0, 0, 0]);
    }
    row.resize(200, 0);
    row
}

#[test]
fn what_version_1_knew_goes_on() {
    let old = [vec![0; 200], version_1()].concat();
    let mut new = Geofence::migrate(1, 200, &old).unwrap();
    assert_eq!(new.len(), 2 * ROW_BYTES);
    assert!(new[..ROW_BYTES].iter().all(|&byte| byte == 0), "a vehicle that was never seen");
    let row = Row::new(&mut new[ROW_BYTES..]).unwrap();
    assert!(row.is_seen() && row.last_fix().is_none() && row.config() == 0);
    let slots: Vec<_> = (0..row.len()).map(|slot| row.get(slot)).collect();
    assert_eq!(
        slots,
        [
            Slot::new(KEYS[0], Phase::Inside(Speeding::Under), 1_000),
            Slot::new(KEYS[1], Phase::Entering, 2_000),
            Slot::new(KEYS[2], Phase::Leaving { since_ms: 3_000 }, 3_000),
        ]
    );
    // The vehicle drives on, all around b.
    let zones = [square("a", 0.0, 0.0, 1.0), square("b", 2.0, 0.0, 1.0), square("c", 4.0, 0.0, 1.0)];
    let config = config_of(&zones, r#","min_inside_s":5,"min_outside_s":5"#);
    let mut rows = Rows::new(new, ROW_BYTES as u32).unwrap();
    let told = tell(&config, &mut rows, &[reading(1, 8_000, 2.5, 0.5), reading(1, 13_000, 2.5, 0.5)], 1);
    let got: Vec<_> = told.iter().map(|it| (it.kind, it.zone.as_str(), it.time_ms)).collect();
    assert_eq!(got, [(kind::ENTERED, "b", 2_000), (kind::EXITED, "c", 3_000), (kind::EXITED, "a", 8_000)]);
}

#[test]
fn rows_that_are_not_of_version_1_are_refused() {
    assert!(Geofence::migrate(2, ROW_BYTES as u32, &[0; ROW_BYTES]).is_err());
    assert!(Geofence::migrate(1, 100, &[0; 100]).is_err());
    assert!(Geofence::migrate(1, 200, &[0; 300]).is_err());
    for (at, byte) in [(0, 2), (1, 13), (1, 4)] {
        let mut row = version_1();
        row[at] = byte;
        assert!(Geofence::migrate(1, 200, &row).is_err(), "{at} {byte}");
    }
}
