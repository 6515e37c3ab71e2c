//! The row of a vehicle: which zones it is in, coming into or leaving.
//!
//! ```text
//!  0      1       2        3      4        8              16     24     32         36     40                     328
//!  ├──────┼───────┼────────┼──────┼────────┼──────────────┼──────┼──────┼──────────┼──────┼── slot 0 ──┬─ … ─ 11 ──┤
//!  │ seen │ slots │ last?  │ zero │ config │ last time ms │ lon  │ lat  │ altitude │ zero │ see below  │            │
//!  └──────┴───────┴────────┴──────┴────────┴──────────────┴──────┴──────┴──────────┴──────┴────────────┴────────────┘
//!  slot:  key u64 | since ms << 8, and from bit 0: phase (2), dwell told (1), speeding (2) | ms of the phase   (24 bytes)
//! ```
//!
//! Numbers are little-endian. `config` names the config that the row was last evaluated with. The last fix, altitude
//! included, is kept only where a config asks for it, so that rows of the others stay the same while nothing happens.
//! A slot's last word is the beginning of being outside (leaving) or too fast (inside), or 0.
//!
//! A zone is named by the 64-bit key of its id, so a swap to another version or config keeps what is known of the zones
//! that both have. A zone that a new config lacks is dropped at the vehicle's next reading, without an exit. A vehicle
//! in more than [`SLOTS`] zones at once: those beyond are not tracked until a slot is free (the zones of the lowest ids
//! come first), and the rule says so once in its log. More slots would make every reading dearer: the host copies the row
//! in and out with each batch.

use geo::Coord;

/// The version of this layout, for the host.
pub const VERSION: u32 = 2;
/// Zones that a vehicle can be in at once.
pub const SLOTS: usize = 12;
/// Bytes of a row.
pub const ROW_BYTES: usize = HEADER_BYTES + SLOTS * SLOT_BYTES;
const HEADER_BYTES: usize = 40;
const SLOT_BYTES: usize = 24;
const PHASE_BITS: u32 = 2;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;
const ENTERING: u64 = 1;
const INSIDE: u64 = 2;
const LEAVING: u64 = 3;
const DWELT_BIT: u64 = 1 << 2;
const SPEEDING_SHIFT: u32 = 3;
const FLAG_BITS: u32 = 8;

const SEEN_AT: usize = 0;
const LEN_AT: usize = 1;
const HAS_LAST_AT: usize = 2;
const CONFIG_AT: usize = 4;
const LAST_TIME_AT: usize = 8;
const LAST_LONGITUDE_AT: usize = 16;
const LAST_LATITUDE_AT: usize = 24;
const LAST_ALTITUDE_AT: usize = 32;

/// Where a vehicle stands with a zone; without a slot it is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is inside, but not long enough.
    Entering,
    /// It has entered.
    Inside(Speeding),
    /// It has entered and is outside, but not long enough.
    Leaving {
        /// Event time in milliseconds of the first fix outside.
        since_ms: i64,
    },
}

/// Whether it is too fast for the zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speeding {
    /// It is not.
    Under,
    /// It is, but not told: not for long enough, or another zone's limit is in force.
    Over {
        /// Event time in milliseconds of the first fix that is too fast.
        since_ms: i64,
    },
    /// It is, and that was told.
    Told,
}

/// What is known of a vehicle and a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The zone's key.
    pub zone: u64,
    /// Event time in milliseconds of the first fix of the stay. 56 bits are kept: two million years.
    pub since_ms: i64,
    /// Where the vehicle stands.
    pub phase: Phase,
    /// That it stays long was told.
    pub dwelt: bool,
}

impl Slot {
    /// A stay that begins.
    #[must_use]
    pub fn new(zone: u64, phase: Phase, since_ms: i64) -> Self {
        Self { zone, since_ms, phase, dwelt: false }
    }
}

/// The fix that a row was last evaluated with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastFix {
    /// Event time in milliseconds.
    pub time_ms: i64,
    /// Where, in degrees.
    pub place: Coord<f64>,
    /// Metres; NaN when not reported.
    pub altitude: f32,
}

/// A view of a row that was checked.
pub struct Row<'a> {
    bytes: &'a mut [u8; ROW_BYTES],
}

impl<'a> Row<'a> {
    /// Checks a row.
    ///
    /// # Errors
    /// When it is not one of ours.
    #[inline]
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, String> {
        let bytes: &mut [u8; ROW_BYTES] = bytes.try_into().map_err(|_| format!("a row has {ROW_BYTES} bytes"))?;
        let row = Self { bytes };
        if row.len() > SLOTS || row.bytes[SEEN_AT] > 1 {
            return Err("a row is damaged".to_owned());
        }
        for slot in 0..row.len() {
            if row.flags(slot) & PHASE_MASK == 0 {
                return Err("a row is damaged".to_owned());
            }
        }
        Ok(row)
    }

    /// False for a vehicle that was never evaluated.
    #[inline]
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.bytes[SEEN_AT] == 1
    }

    /// From now on the vehicle was seen.
    #[inline]
    pub fn set_seen(&mut self) {
        self.bytes[SEEN_AT] = 1;
    }

    /// The fingerprint of the config that it was last evaluated with; 0 when that is not known.
    #[inline]
    #[must_use]
    pub fn config(&self) -> u32 {
        self.word(CONFIG_AT) as u32
    }

    /// Sets it.
    pub fn set_config(&mut self, fingerprint: u32) {
        self.bytes[CONFIG_AT..CONFIG_AT + 4].copy_from_slice(&fingerprint.to_le_bytes());
    }

    /// The last fix, where one is kept.
    #[must_use]
    pub fn last_fix(&self) -> Option<LastFix> {
        let number = |at| f64::from_bits(self.word(at));
        let place = Coord { x: number(LAST_LONGITUDE_AT), y: number(LAST_LATITUDE_AT) };
        (self.bytes[HAS_LAST_AT] == 1 && place.x.is_finite() && place.y.is_finite()).then(|| LastFix {
            time_ms: self.word(LAST_TIME_AT) as i64,
            place,
            altitude: f32::from_bits(self.word(LAST_ALTITUDE_AT) as u32),
        })
    }

    /// Keeps a fix as the last one.
    pub fn set_last_fix(&mut self, fix: LastFix) {
        self.bytes[HAS_LAST_AT] = 1;
        self.set_word(LAST_TIME_AT, fix.time_ms as u64);
        self.set_word(LAST_LONGITUDE_AT, fix.place.x.to_bits());
        self.set_word(LAST_LATITUDE_AT, fix.place.y.to_bits());
        // Any NaN is the same here, so that equal states are equal bytes.
        let altitude = if fix.altitude.is_nan() { f32::NAN } else { fix.altitude };
        self.set_word(LAST_ALTITUDE_AT, u64::from(altitude.to_bits()));
    }

    /// Slots in use.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.bytes[LEN_AT])
    }

    /// True when the vehicle is in no zone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A slot in use.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: usize) -> Slot {
        let flags = self.flags(slot);
        let since_ms = self.word(slot_at(slot) + 16) as i64;
        let phase = match flags & PHASE_MASK {
            ENTERING => Phase::Entering,
            INSIDE => Phase::Inside(match flags >> SPEEDING_SHIFT & 3 {
                0 => Speeding::Under,
                1 => Speeding::Over { since_ms },
                _ => Speeding::Told,
            }),
            _ => Phase::Leaving { since_ms },
        };
        Slot { zone: self.zone(slot), since_ms: flags as i64 >> FLAG_BITS, phase, dwelt: flags & DWELT_BIT != 0 }
    }

    /// The zone of a slot in use.
    #[inline]
    #[must_use]
    pub fn zone(&self, slot: usize) -> u64 {
        self.word(slot_at(slot))
    }

    /// True when the vehicle has entered the zone of a slot in use and is not leaving.
    #[inline]
    #[must_use]
    pub fn is_inside(&self, slot: usize) -> bool {
        self.flags(slot) & PHASE_MASK == INSIDE
    }

    /// Changes a slot in use.
    #[inline]
    pub fn set(&mut self, slot: usize, to: Slot) {
        let (phase, speeding, of_phase_ms) = match to.phase {
            Phase::Entering => (ENTERING, 0, 0),
            Phase::Inside(Speeding::Under) => (INSIDE, 0, 0),
            Phase::Inside(Speeding::Over { since_ms }) => (INSIDE, 1, since_ms),
            Phase::Inside(Speeding::Told) => (INSIDE, 2, 0),
            Phase::Leaving { since_ms } => (LEAVING, 0, since_ms),
        };
        let dwelt = if to.dwelt { DWELT_BIT } else { 0 };
        let at = slot_at(slot);
        self.set_word(at, to.zone);
        self.set_word(at + 8, (to.since_ms << FLAG_BITS) as u64 | speeding << SPEEDING_SHIFT | dwelt | phase);
        self.set_word(at + 16, of_phase_ms as u64);
    }

    /// Takes a free slot; false when there is none.
    #[inline]
    #[must_use]
    pub fn push(&mut self, slot: Slot) -> bool {
        let at = self.len();
        if at == SLOTS {
            return false;
        }
        self.bytes[LEN_AT] += 1;
        self.set(at, slot);
        true
    }

    /// Frees a slot; those behind it move up, and the freed bytes are zero again, so equal states are equal bytes.
    pub fn remove(&mut self, slot: usize) {
        let (start, end) = (slot_at(slot), slot_at(self.len()));
        self.bytes.copy_within(start + SLOT_BYTES..end, start);
        self.bytes[end - SLOT_BYTES..end].fill(0);
        self.bytes[LEN_AT] -= 1;
    }

    #[inline]
    fn flags(&self, slot: usize) -> u64 {
        self.word(slot_at(slot) + 8)
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(word)
    }

    #[inline]
    fn set_word(&mut self, at: usize, word: u64) {
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
}

#[inline]
fn slot_at(slot: usize) -> usize {
    HEADER_BYTES + slot * SLOT_BYTES
}
