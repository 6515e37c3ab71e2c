//! The row of a vehicle: what each watcher of the config remembers of it.
//!
//! ```text
//!  0             8       9      16          24             48              72
//!  ├─────────────┼───────┼──────┼───────────┼──────────────┼───────────────┼─ record ─┬─ record ─┬─ …  zero ─┤
//!  │ fingerprint │ flags │ zero │ last time │ odometer     │ engine hours  │          │          │           │
//!  └─────────────┴───────┴──────┴───────────┴──────────────┴───────────────┴──────────┴──────────┴───────────┘
//!                                           └ offset f64, raw f64, at i64 ┘
//!  record: key u64, length u16, that many bytes                                              all little-endian
//! ```
//!
//! The config decides which records there are, so nobody pays with space for what he does not use: a schedule takes
//! 54 bytes, a model some hundred. The fingerprint names the list of records. Where it is another (another version or
//! config wrote the row), records move to their new places by their 64-bit keys, made from kind and id; one that the new
//! config lacks is dropped without an event, and one that is new begins with zeros, which is "never seen" for each.

use crate::counter::Counter;

/// The version of this layout, for the host.
pub const VERSION: u32 = 1;
/// Bytes of a row. More would make every reading dearer: the host copies rows in and out with each batch.
pub const ROW_BYTES: usize = 2_048;
const HEADER_BYTES: usize = 72;
const RECORD_HEADER_BYTES: usize = 10;

const FLAGS_AT: usize = 8;
const LAST_TIME_AT: usize = 16;
const ODOMETER_AT: usize = 24;
const ENGINE_HOURS_AT: usize = 48;

const SEEN: u8 = 1;
const IGNITION_REPORTED: u8 = 2;
const IGNITION_ON: u8 = 4;
const ODOMETER_KNOWN: u8 = 8;
const ENGINE_HOURS_KNOWN: u8 = 16;

/// Names a watcher in rows: 64 bits of FNV-1a over its kind and id, with a last mixing step. Stored: never change it.
/// Never 0.
#[must_use]
pub fn key_of(kind: &str, id: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in kind.bytes().chain([0]).chain(id.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mixed(hash)
}

fn mixed(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash.max(1)
}

/// Where the records of a config stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    fingerprint: u64,
    records: Vec<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    key: u64,
    /// Of the record's own bytes, behind its header.
    at: usize,
    bytes: usize,
}

impl Layout {
    /// Places records of these keys and sizes one behind the other.
    ///
    /// # Errors
    /// When they do not fit into a row, or two have the same key.
    pub fn new(records: impl IntoIterator<Item = (u64, usize)>) -> Result<Self, String> {
        let mut at = HEADER_BYTES;
        let mut fingerprint = u64::from(VERSION);
        let mut places: Vec<Place> = Vec::new();
        for (key, bytes) in records {
            if places.iter().any(|place| place.key == key) {
                return Err("two ids have the same 64-bit key: rename one".to_owned());
            }
            places.push(Place { key, at: at + RECORD_HEADER_BYTES, bytes });
            at += RECORD_HEADER_BYTES + bytes;
            fingerprint = mixed(fingerprint.rotate_left(5) ^ key).wrapping_add(bytes as u64);
        }
        if at > ROW_BYTES {
            return Err(format!(
                "the config asks to remember {at} bytes of each vehicle, {ROW_BYTES} are the most: watch less, or \
                 with fewer samples"
            ));
        }
        Ok(Self { fingerprint: fingerprint.max(1), records: places })
    }
}

/// A view of a row that has the config's records.
pub struct Row<'a> {
    bytes: &'a mut [u8; ROW_BYTES],
    layout: &'a Layout,
}

impl<'a> Row<'a> {
    /// Checks a row, and brings it into the layout where another config wrote it.
    ///
    /// # Errors
    /// When it is not one of ours.
    #[inline]
    pub fn new(bytes: &'a mut [u8], layout: &'a Layout) -> Result<Self, String> {
        let bytes: &mut [u8; ROW_BYTES] = bytes.try_into().map_err(|_| format!("a row has {ROW_BYTES} bytes"))?;
        let mut row = Self { bytes, layout };
        let fingerprint = u64::from_le_bytes(row.array(0));
        if fingerprint != layout.fingerprint {
            row.rearrange(fingerprint)?;
        } else if !row.is_seen() {
            return Err("a row is damaged".to_owned());
        }
        Ok(row)
    }

    fn rearrange(&mut self, fingerprint: u64) -> Result<(), String> {
        let old = *self.bytes;
        if fingerprint == 0 && old.iter().any(|it| *it != 0) {
            return Err("a row is damaged".to_owned());
        }
        self.bytes[HEADER_BYTES..].fill(0);
        self.bytes[..8].copy_from_slice(&self.layout.fingerprint.to_le_bytes());
        for place in &self.layout.records {
            let header = place.at - RECORD_HEADER_BYTES;
            self.bytes[header..header + 8].copy_from_slice(&place.key.to_le_bytes());
            self.bytes[header + 8..header + 10].copy_from_slice(&(place.bytes as u16).to_le_bytes());
        }
        let mut rest = &old[HEADER_BYTES..];
        while let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER_BYTES) {
            let mut header = Reader::new(header);
            let (key, bytes) = (header.u64(), usize::from(header.u16()));
            if key == 0 {
                break;
            }
            let (record, behind) = behind.split_at_checked(bytes).ok_or("a row is damaged")?;
            if let Some(place) = self.layout.records.iter().find(|it| it.key == key && it.bytes == bytes) {
                self.bytes[place.at..place.at + bytes].copy_from_slice(record);
            }
            rest = behind;
        }
        Ok(())
    }

    /// False for a vehicle that was never evaluated.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.bytes[FLAGS_AT] & SEEN != 0
    }

    /// Event time in milliseconds of the vehicle's last reading.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        i64::from_le_bytes(self.array(LAST_TIME_AT))
    }

    /// From now on the vehicle was seen, last at this event time.
    pub fn set_last_ms(&mut self, at_ms: i64) {
        self.bytes[FLAGS_AT] |= SEEN;
        self.bytes[LAST_TIME_AT..LAST_TIME_AT + 8].copy_from_slice(&at_ms.to_le_bytes());
    }

    /// Whether the ignition was on when it was last reported.
    #[must_use]
    pub fn ignition(&self) -> Option<bool> {
        let flags = self.bytes[FLAGS_AT];
        (flags & IGNITION_REPORTED != 0).then_some(flags & IGNITION_ON != 0)
    }

    /// Keeps what was reported of the ignition.
    pub fn set_ignition(&mut self, on: bool) {
        let rest = self.bytes[FLAGS_AT] & !IGNITION_ON;
        self.bytes[FLAGS_AT] = rest | IGNITION_REPORTED | if on { IGNITION_ON } else { 0 };
    }

    /// The odometer, in metres; none before its first report.
    #[must_use]
    pub fn odometer(&self) -> Option<Counter> {
        self.counter(ODOMETER_KNOWN, ODOMETER_AT)
    }

    /// Keeps the odometer.
    pub fn set_odometer(&mut self, counter: Counter) {
        self.set_counter(ODOMETER_KNOWN, ODOMETER_AT, counter);
    }

    /// The engine's hours; none before their first report.
    #[must_use]
    pub fn engine_hours(&self) -> Option<Counter> {
        self.counter(ENGINE_HOURS_KNOWN, ENGINE_HOURS_AT)
    }

    /// Keeps the engine's hours.
    pub fn set_engine_hours(&mut self, counter: Counter) {
        self.set_counter(ENGINE_HOURS_KNOWN, ENGINE_HOURS_AT, counter);
    }

    /// The bytes of a record of the layout, by its place in the list that the layout was made from.
    ///
    /// # Panics
    /// When the layout has fewer.
    #[must_use]
    pub fn record(&mut self, index: usize) -> &mut [u8] {
        let Place { at, bytes, .. } = self.layout.records[index];
        &mut self.bytes[at..at + bytes]
    }

    fn counter(&self, known: u8, at: usize) -> Option<Counter> {
        if self.bytes[FLAGS_AT] & known == 0 {
            return None;
        }
        let mut reader = Reader::new(&self.bytes[at..at + 24]);
        Some(Counter { offset: reader.f64(), raw: reader.f64(), at_ms: reader.i64() })
    }

    fn set_counter(&mut self, known: u8, at: usize, counter: Counter) {
        self.bytes[FLAGS_AT] |= known;
        let mut writer = Writer::new(&mut self.bytes[at..at + 24]);
        writer.f64(counter.offset);
        writer.f64(counter.raw);
        writer.i64(counter.at_ms);
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        Reader::new(&self.bytes[at..]).array()
    }
}

/// Takes numbers off the front of bytes. Where there are none left it gives zeros.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From the first byte on.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((front, rest)) = self.rest.split_first_chunk::<N>() else {
            self.rest = &[];
            return [0; N];
        };
        self.rest = rest;
        *front
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// The next 2 bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next 4 bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next 8 bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next 8 bytes.
    pub fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    /// The next 4 bytes.
    pub fn f32(&mut self) -> f32 {
        f32::from_le_bytes(self.array())
    }

    /// The next 8 bytes.
    pub fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.array())
    }
}

/// Puts numbers into bytes, one behind the other.
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// From the first byte on.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// # Panics
    /// When there is no room: a record's size is a constant beside the code that writes it.
    fn put(&mut self, value: &[u8]) {
        self.bytes[self.at..self.at + value.len()].copy_from_slice(value);
        self.at += value.len();
    }

    /// 1 byte.
    pub fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// 2 bytes.
    pub fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    /// 4 bytes.
    pub fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    /// 8 bytes.
    pub fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// 8 bytes.
    pub fn i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }

    /// 4 bytes.
    pub fn f32(&mut self, value: f32) {
        self.put(&value.to_le_bytes());
    }

    /// 8 bytes.
    pub fn f64(&mut self, value: f64) {
        self.put(&value.to_le_bytes());
    }

    /// Zeros to the end, so equal states are equal bytes.
    pub fn finish(self) {
        self.bytes[self.at..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_the_same_over_releases() {
        assert_eq!(key_of("schedule", "oil"), 2_511_312_622_018_192_570);
    }

    #[test]
    fn records_follow_their_keys_into_another_layout() {
        let (one, other) = (key_of("schedule", "a"), key_of("threshold", "a"));
        let first = Layout::new([(one, 4), (other, 6)]).unwrap();
        let mut bytes = vec![0; ROW_BYTES];
        let mut row = Row::new(&mut bytes, &first).unwrap();
        assert!(!row.is_seen());
        row.set_last_ms(77);
        row.set_ignition(true);
        row.set_odometer(Counter { offset: 1.0, raw: 2.0, at_ms: 3 });
        row.record(0).copy_from_slice(&[1, 2, 3, 4]);
        row.record(1).copy_from_slice(&[5, 6, 7, 8, 9, 10]);

        let second = Layout::new([(key_of("trend", "b"), 3), (other, 6), (one, 5)]).unwrap();
        let mut row = Row::new(&mut bytes, &second).unwrap();
        assert_eq!((row.is_seen(), row.last_ms(), row.ignition()), (true, 77, Some(true)));
        assert_eq!(row.odometer(), Some(Counter { offset: 1.0, raw: 2.0, at_ms: 3 }));
        assert_eq!(row.engine_hours(), None);
        assert_eq!(row.record(0), [0; 3]);
        assert_eq!(row.record(1), [5, 6, 7, 8, 9, 10]);
        assert_eq!(row.record(2), [0; 5], "another size is another meaning");
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let layout = Layout::new([(1, 4)]).unwrap();
        assert!(Row::new(&mut [0; 8], &layout).is_err());
        let mut bytes = vec![0; ROW_BYTES];
        bytes[500] = 1;
        assert!(Row::new(&mut bytes, &layout).is_err(), "nobody wrote it, yet it is not empty");
        bytes.fill(0xff);
        assert!(Row::new(&mut bytes, &layout).is_err(), "its first record would end beyond the row");
    }

    #[test]
    fn a_layout_has_an_end() {
        assert!(Layout::new([(1, ROW_BYTES - HEADER_BYTES - RECORD_HEADER_BYTES)]).is_ok());
        assert!(Layout::new([(1, ROW_BYTES - HEADER_BYTES - RECORD_HEADER_BYTES + 1)]).is_err());
        assert!(Layout::new([(1, 4), (1, 4)]).is_err());
    }
}
