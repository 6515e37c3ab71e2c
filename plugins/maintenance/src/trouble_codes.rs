//! Trouble codes of OBD-II (SAE J2012): raised and cleared once it is certain.
//!
//! A code is *raised* when it was in each of so many reports over so many seconds, and *cleared* when it was in none of
//! so many over so many. Reports are the readings that say which codes are stored; others are passed over.

use plugin_sdk::Reading;

use crate::event::{Event, Kind, details};
use crate::state::{Reader, Writer};

/// Bit of [`Reading::status`]: the device says which codes are stored.
const STATUS_CODES_REPORTED: u32 = 4;
/// Codes that a reading carries at most.
pub const CODES: usize = 8;

/// What a reading says of trouble codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Whether it says anything.
    pub reported: bool,
    /// The codes as J2012 packs them (0x0301 is P0301); 0 is none.
    pub codes: [u16; CODES],
}

impl Report {
    /// The one place that knows where readings carry codes: two in each reserved word, the first in its low half.
    #[must_use]
    pub fn of(reading: &Reading) -> Self {
        let words = [reading.trouble_codes0, reading.trouble_codes1, reading.trouble_codes2, reading.trouble_codes3];
        let mut codes = [0; CODES];
        for (pair, word) in codes.chunks_exact_mut(2).zip(words) {
            pair[0] = word as u16;
            pair[1] = (word >> 16) as u16;
        }
        Self { reported: reading.status & STATUS_CODES_REPORTED != 0, codes }
    }
}

/// A code as people write it: P0301.
#[must_use]
pub fn text_of(code: u16) -> String {
    let letter = ['P', 'C', 'B', 'U'][usize::from(code >> 14)];
    format!("{letter}{}{:03X}", code >> 12 & 3, code & 0xfff)
}

/// Reads a code as people write it.
#[must_use]
pub fn code_of(text: &str) -> Option<u16> {
    let [letter, digits @ ..] = text.as_bytes() else { return None };
    let letter = b"PCBU".iter().position(|it| it == letter)? as u16;
    let [first @ b'0'..=b'3', rest @ ..] = digits else { return None };
    if rest.len() != 3 || !rest.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let rest = u16::from_str_radix(std::str::from_utf8(rest).ok()?, 16).ok()?;
    Some(letter << 14 | u16::from(first - b'0') << 12 | rest)
}

/// How codes are debounced, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TroubleCodes {
    /// Reports in a row that must have a code.
    pub raise_after_readings: u16,
    /// Milliseconds from the first of them to the last.
    pub raise_after_ms: i64,
    /// Reports in a row that must lack it.
    pub clear_after_readings: u16,
    /// Milliseconds from the first of them to the last.
    pub clear_after_ms: i64,
    /// Codes that are not told.
    pub ignore: Vec<u16>,
    /// Codes that are remembered of a vehicle at once.
    pub slots: usize,
}

/// Where a code stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Seen, not long enough.
    Rising,
    Raised,
    /// Raised, and absent, but not long enough.
    Falling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    code: u16,
    phase: Phase,
    /// Reports in a row that speak for the change.
    count: u16,
    /// Event time of the first of them, milliseconds; of the code's first report when raised.
    since_ms: i64,
    /// Event time of the first report with the code, milliseconds.
    first_ms: i64,
}

/// What a row remembers of codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    slots: Vec<Slot>,
}

const SLOT_BYTES: usize = 21;

impl Memory {
    /// Bytes of a record for so many codes.
    #[must_use]
    pub const fn bytes(slots: usize) -> usize {
        slots * SLOT_BYTES
    }

    /// Takes it out of a record.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let slots = bytes.chunks_exact(SLOT_BYTES).map_while(|bytes| {
            let mut reader = Reader::new(bytes);
            let (code, phase, count) = (reader.u16(), reader.u8(), reader.u16());
            let phase = match phase {
                1 => Phase::Rising,
                2 => Phase::Raised,
                3 => Phase::Falling,
                _ => return None,
            };
            Some(Slot { code, phase, count, since_ms: reader.i64(), first_ms: reader.i64() })
        });
        Self { slots: slots.collect() }
    }

    /// Puts it into a record.
    pub fn write(&self, bytes: &mut [u8]) {
        let mut writer = Writer::new(bytes);
        for slot in &self.slots {
            writer.u16(slot.code);
            writer.u8(match slot.phase {
                Phase::Rising => 1,
                Phase::Raised => 2,
                Phase::Falling => 3,
            });
            writer.u16(slot.count);
            writer.i64(slot.since_ms);
            writer.i64(slot.first_ms);
        }
        writer.finish();
    }
}

impl TroubleCodes {
    /// Takes in a report. Gives a code for which there was no slot.
    pub fn observe(&self, memory: &mut Memory, report: &Report, now_ms: i64, events: &mut Vec<Event>) -> Option<u16> {
        if !report.reported {
            return None;
        }
        let wanted = |code: u16| code != 0 && !self.ignore.contains(&code);
        // A code that a new config ignores is forgotten.
        memory.slots.retain_mut(|slot| {
            wanted(slot.code) && self.follow(slot, report.codes.contains(&slot.code), now_ms, events)
        });
        let mut without_slot = None;
        for (at, &code) in report.codes.iter().enumerate() {
            let known = report.codes[..at].contains(&code) || memory.slots.iter().any(|slot| slot.code == code);
            if !wanted(code) || known {
                continue;
            }
            if memory.slots.len() == self.slots {
                without_slot = without_slot.or(Some(code));
                continue;
            }
            let mut slot = Slot { code, phase: Phase::Rising, count: 0, since_ms: now_ms, first_ms: now_ms };
            self.follow(&mut slot, true, now_ms, events);
            memory.slots.push(slot);
        }
        without_slot
    }

    /// Takes a code further; false when it is to be forgotten.
    fn follow(&self, slot: &mut Slot, present: bool, now_ms: i64, events: &mut Vec<Event>) -> bool {
        match (slot.phase, present) {
            (Phase::Rising, false) => return false,
            (Phase::Rising, true) => {
                slot.count = slot.count.saturating_add(1);
                if slot.count >= self.raise_after_readings
                    && now_ms.saturating_sub(slot.since_ms) >= self.raise_after_ms
                {
                    slot.phase = Phase::Raised;
                    events.push(event(Kind::TroubleRaised, slot, now_ms));
                }
            }
            (Phase::Raised, true) => {}
            (Phase::Falling, true) => slot.phase = Phase::Raised,
            (Phase::Raised | Phase::Falling, false) => {
                if slot.phase == Phase::Raised {
                    (slot.phase, slot.count, slot.since_ms) = (Phase::Falling, 0, now_ms);
                }
                slot.count = slot.count.saturating_add(1);
                if slot.count >= self.clear_after_readings
                    && now_ms.saturating_sub(slot.since_ms) >= self.clear_after_ms
                {
                    events.push(event(Kind::TroubleCleared, slot, now_ms));
                    return false;
                }
            }
        }
        true
    }
}

fn event(kind: Kind, slot: &Slot, now_ms: i64) -> Event {
    Event {
        kind,
        time_ms: now_ms,
        subject: text_of(slot.code),
        value: f64::NAN,
        details: details([
            ("first_seen_ms", slot.first_ms.into()),
            ("since_ms", slot.since_ms.into()),
            ("readings", slot.count.into()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debounce() -> TroubleCodes {
        TroubleCodes {
            raise_after_readings: 2,
            raise_after_ms: 3_000,
            clear_after_readings: 2,
            clear_after_ms: 0,
            ignore: vec![0x0420],
            slots: 2,
        }
    }

    /// What reports a second apart lead to, as (second, kind, code). `None` reports nothing.
    fn told(config: &TroubleCodes, reports: &[Option<&[u16]>]) -> Vec<(usize, Kind, String)> {
        let mut bytes = vec![0; Memory::bytes(config.slots)];
        let mut told = Vec::new();
        for (second, codes) in reports.iter().enumerate() {
            let mut report = Report { reported: codes.is_some(), codes: [0; CODES] };
            for (slot, code) in report.codes.iter_mut().zip(codes.unwrap_or_default()) {
                *slot = *code;
            }
            let mut memory = Memory::read(&bytes);
            let mut events = Vec::new();
            config.observe(&mut memory, &report, second as i64 * 1_000, &mut events);
            memory.write(&mut bytes);
            assert_eq!(Memory::read(&bytes), memory);
            told.extend(events.into_iter().map(|it| (second, it.kind, it.subject)));
        }
        told
    }

    const MISFIRE: Option<&[u16]> = Some(&[0x0301]);
    const NONE: Option<&[u16]> = Some(&[]);

    #[test]
    fn a_code_is_raised_and_cleared_when_it_is_certain() {
        let reports = [NONE, MISFIRE, MISFIRE, None, MISFIRE, MISFIRE, NONE, None, MISFIRE, NONE, NONE, NONE, MISFIRE];
        let p0301 = || "P0301".to_owned();
        assert_eq!(
            told(&debounce(), &reports),
            [(4, Kind::TroubleRaised, p0301()), (10, Kind::TroubleCleared, p0301())]
        );
        assert_eq!(told(&debounce(), &[MISFIRE, MISFIRE, NONE, MISFIRE, MISFIRE]), [], "each time from the start");
    }

    #[test]
    fn codes_are_told_once_each_and_some_not_at_all() {
        let config = TroubleCodes { raise_after_readings: 1, raise_after_ms: 0, clear_after_readings: 1, ..debounce() };
        let told = told(&config, &[Some(&[0xc123, 0x0420, 0xc123, 0x4035, 0x0001]), NONE]);
        let told: Vec<_> = told.iter().map(|it| (it.0, it.2.as_str())).collect();
        assert_eq!(told, [(0, "U0123"), (0, "C0035"), (1, "U0123"), (1, "C0035")], "P0001 has no slot");
    }

    #[test]
    fn codes_are_written_as_the_standard_does() {
        for (code, text) in [(0x0301, "P0301"), (0x5a2f, "C1A2F"), (0x8001, "B0001"), (0xffff, "U3FFF")] {
            assert_eq!((text_of(code).as_str(), code_of(text)), (text, Some(code)));
        }
        for text in ["", "P", "X0301", "P4301", "P030", "P03011", "P0g01", "P+301", "Pé01"] {
            assert_eq!(code_of(text), None, "{text}");
        }
    }

    #[test]
    fn readings_carry_two_codes_in_a_word() {
        let mut reading = Reading::fix(0, 0.0, 0.0);
        assert_eq!(Report::of(&reading), Report::default());
        (reading.status, reading.trouble_codes0, reading.trouble_codes3) = (4, 0x0420_0301, 0xc123_0000);
        let report = Report::of(&reading);
        assert_eq!((report.reported, report.codes), (true, [0x0301, 0x0420, 0, 0, 0, 0, 0, 0xc123]));
    }
}
