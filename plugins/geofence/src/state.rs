//! The row of a vehicle: which zones it is in, coming into or leaving.
//!
//! ```text
//!  0       1       2          8                                     200
//!  ├───────┼───────┼──────────┼── slot 0 ──┬── slot 1 ──┬─ … ─ 11 ──┤
//!  │ seen  │ slots │ zero     │ key u64 | since and phase u64       │   little-endian
//!  └───────┴───────┴──────────┴─────────────────────────────────────┘
//! ```
//!
//! A zone is named by the 64-bit key of its id, so a swap to another version or config keeps what is known of the zones
//! that both have. A zone that a new config lacks is dropped at the vehicle's next reading, without an exit. A vehicle
//! in more than [`SLOTS`] zones at once: those beyond are not tracked until a slot is free (the zones of the lowest ids
//! come first), and the rule says so once in its log. More slots would make every reading dearer: the host copies the row
//! in and out with each batch.

/// The version of this layout, for the host.
pub const VERSION: u32 = 1;
/// Zones that a vehicle can be in at once.
pub const SLOTS: usize = 12;
/// Bytes of a row.
pub const ROW_BYTES: usize = HEADER_BYTES + SLOTS * SLOT_BYTES;
const HEADER_BYTES: usize = 8;
const SLOT_BYTES: usize = 16;
const PHASE_BITS: u32 = 2;

/// Where a vehicle stands with a zone; without a slot it is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is inside, but not long enough.
    Entering,
    /// It has entered.
    Inside,
    /// It has entered and is outside, but not long enough.
    Leaving,
}

/// What is known of a vehicle and a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The zone's key.
    pub zone: u64,
    /// Where the vehicle stands.
    pub phase: Phase,
    /// Event time in milliseconds of the fix that began the phase.
    pub since_ms: i64,
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
        if row.len() > SLOTS || row.bytes[0] > 1 {
            return Err("a row is damaged".to_owned());
        }
        for slot in 0..row.len() {
            if row.second_word(slot) & ((1 << PHASE_BITS) - 1) == 0 {
                return Err("a row is damaged".to_owned());
            }
        }
        Ok(row)
    }

    /// False for a vehicle that was never evaluated.
    #[inline]
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.bytes[0] == 1
    }

    /// From now on the vehicle was seen.
    #[inline]
    pub fn set_seen(&mut self) {
        self.bytes[0] = 1;
    }

    /// Slots in use.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.bytes[1])
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
        let word = self.second_word(slot);
        let phase = match word & ((1 << PHASE_BITS) - 1) {
            1 => Phase::Entering,
            2 => Phase::Inside,
            _ => Phase::Leaving,
        };
        Slot { zone: self.zone(slot), phase, since_ms: (word as i64) >> PHASE_BITS }
    }

    /// The zone of a slot in use.
    #[inline]
    #[must_use]
    pub fn zone(&self, slot: usize) -> u64 {
        self.word(HEADER_BYTES + slot * SLOT_BYTES)
    }

    /// Changes a slot in use.
    #[inline]
    pub fn set(&mut self, slot: usize, to: Slot) {
        let phase = match to.phase {
            Phase::Entering => 1,
            Phase::Inside => 2,
            Phase::Leaving => 3,
        };
        let start = HEADER_BYTES + slot * SLOT_BYTES;
        self.bytes[start..start + 8].copy_from_slice(&to.zone.to_le_bytes());
        let word = (to.since_ms << PHASE_BITS) as u64 | phase;
        self.bytes[start + 8..start + SLOT_BYTES].copy_from_slice(&word.to_le_bytes());
    }

    /// Takes a free slot; false when there is none.
    #[inline]
    #[must_use]
    pub fn push(&mut self, slot: Slot) -> bool {
        let at = self.len();
        if at == SLOTS {
            return false;
        }
        self.bytes[1] += 1;
        self.set(at, slot);
        true
    }

    /// Frees a slot; those behind it move up, and the freed bytes are zero again, so equal states are equal bytes.
    pub fn remove(&mut self, slot: usize) {
        let (start, end) = (HEADER_BYTES + slot * SLOT_BYTES, HEADER_BYTES + self.len() * SLOT_BYTES);
        self.bytes.copy_within(start + SLOT_BYTES..end, start);
        self.bytes[end - SLOT_BYTES..end].fill(0);
        self.bytes[1] -= 1;
    }

    #[inline]
    fn second_word(&self, slot: usize) -> u64 {
        self.word(HEADER_BYTES + slot * SLOT_BYTES + 8)
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(word)
    }
}
