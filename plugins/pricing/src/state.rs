//! The row of a vehicle: its open trip, or its last one as long as that may go on.
//!
//! ```text
//!    0  version u8, phase u8, zones u8, flags u8, tariff + 1 u8, 3 × 0     flags: 1 zones overflowed, 2 reopened, 4 idle
//!    8  last fix: time i64, latitude f64, longitude f64, odometer f64
//!   40  trip: config key u64, start i64, end i64, metres f64, waiting i64, top speed f32, 4 × 0
//!   88  idle: since i64, metres f64
//!  104  what was charged: 24 × i64, millionths of the currency, by place of the line
//!  296  zones: 12 × { key u64, metres f64, inside i64, first i64, last i64, top speed f32, passes u16, flags u16 }
//!  872  zone flags: 1 inside, 2 started in, 4 ended in                                 little-endian, times in milliseconds
//! ```
//!
//! A row of zeros is a vehicle that was never seen. What is not in use is zero, so equal states are equal bytes.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::charge::PLACES;

/// The version of this layout, for the host.
pub const VERSION: u32 = 1;
/// Zones that a trip can touch; of toll sections, those that it is in at once.
pub const ZONES_MAX: usize = 12;
/// Bytes of a row.
pub const ROW_BYTES: usize = ZONES_AT + ZONES_MAX * ZONE_BYTES;
const CHARGED_AT: usize = 104;
const ZONES_AT: usize = CHARGED_AT + PLACES * 8;
const ZONE_BYTES: usize = 48;
/// Decimals of an amount in a row: as many as a config's increments can have.
const CHARGED_SCALE: u32 = 6;

const OVERFLOWED: u8 = 1;
const REOPENED: u8 = 2;
const IDLE: u8 = 4;
const INSIDE: u16 = 1;
const STARTED_IN: u16 = 2;
const ENDED_IN: u16 = 4;

/// Where a vehicle is with its trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Between trips, and the last one is over for good.
    #[default]
    Closed,
    /// On a trip.
    Open,
    /// Between trips; the last one is charged and may still go on.
    Held,
}

/// What is known of a vehicle. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The last usable fix; none for a vehicle that was never seen.
    pub last: Option<LastFix>,
    /// Where it is with its trips.
    pub phase: Phase,
    /// The trip; zeros when closed.
    pub trip: OpenTrip,
    /// By motion: since when the vehicle is idle.
    pub idle: Option<Idle>,
}

/// A fix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastFix {
    /// When.
    pub time_ms: i64,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres, or NaN.
    pub odometer: f64,
}

/// What a trip has gathered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OpenTrip {
    /// The config under which it was last charged.
    pub config_key: u64,
    /// When it opened.
    pub start_ms: i64,
    /// When it closed; 0 before.
    pub end_ms: i64,
    /// Metres.
    pub metres: f64,
    /// Milliseconds.
    pub waiting_ms: i64,
    /// Metres per second.
    pub top_speed: f32,
    /// It went on after it had been charged.
    pub reopened: bool,
    /// It touched more zones than there are slots.
    pub overflowed: bool,
    /// Index of the tariff by which it was charged.
    pub tariff: Option<u8>,
    /// What was charged, by place of the line.
    pub charged: [Decimal; PLACES],
    /// At most [`ZONES_MAX`].
    pub zones: Vec<ZoneSlot>,
}

/// What a trip has gathered in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ZoneSlot {
    /// The zone's key; never 0.
    pub key: u64,
    /// Metres.
    pub metres: f64,
    /// Milliseconds.
    pub inside_ms: i64,
    /// The first fix in it.
    pub first_ms: i64,
    /// The last fix in it, or the first outside.
    pub last_ms: i64,
    /// Metres per second.
    pub top_speed: f32,
    /// Times that it was come into; stops at the largest number.
    pub passes: u16,
    /// At the last fix.
    pub inside: bool,
    /// At the trip's first fix.
    pub started_in: bool,
    /// At the trip's end.
    pub ended_in: bool,
}

/// A vehicle that does not move, and whose trip by motion is perhaps over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Idle {
    /// The first slow fix.
    pub since_ms: i64,
    /// Metres since then.
    pub metres: f64,
}

impl State {
    /// Reads a row.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub fn read(row: &[u8]) -> Result<Self, String> {
        if row.len() != ROW_BYTES {
            return Err(format!("a row has {ROW_BYTES} bytes, not {}", row.len()));
        }
        let [version, phase, zones, flags, tariff, ..] = *row else { return Err("a row is damaged".to_owned()) };
        if version == 0 {
            return if row.iter().all(|byte| *byte == 0) {
                Ok(Self::default())
            } else {
                Err("a row is damaged".to_owned())
            };
        }
        let phase = match phase {
            0 => Phase::Closed,
            1 => Phase::Open,
            2 => Phase::Held,
            _ => return Err("a row is damaged".to_owned()),
        };
        if u32::from(version) != VERSION || usize::from(zones) > ZONES_MAX {
            return Err("a row is damaged".to_owned());
        }
        let mut from = Reader(&row[8..]);
        let last = LastFix { time_ms: from.i64(), latitude: from.f64(), longitude: from.f64(), odometer: from.f64() };
        let mut trip = OpenTrip {
            config_key: from.u64(),
            start_ms: from.i64(),
            end_ms: from.i64(),
            metres: from.f64(),
            waiting_ms: from.i64(),
            top_speed: from.f32(),
            reopened: flags & REOPENED != 0,
            overflowed: flags & OVERFLOWED != 0,
            tariff: tariff.checked_sub(1),
            ..OpenTrip::default()
        };
        from.skip(4);
        let idle = Idle { since_ms: from.i64(), metres: from.f64() };
        for charged in &mut trip.charged {
            *charged = Decimal::new(from.i64(), CHARGED_SCALE);
        }
        trip.zones = (0..zones).map(|_| ZoneSlot::read(&mut from)).collect();
        Ok(Self { last: Some(last), phase, trip, idle: (flags & IDLE != 0).then_some(idle) })
    }

    /// Writes the row. Zones beyond [`ZONES_MAX`] are not written: there never are any.
    pub fn write(&self, row: &mut [u8]) {
        row.fill(0);
        let Some(last) = self.last else { return };
        let trip = &self.trip;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        row[0] = VERSION as u8;
        row[1] = match self.phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::Held => 2,
        };
        row[2] = trip.zones.len().min(ZONES_MAX) as u8;
        row[3] = flag(trip.overflowed, OVERFLOWED) | flag(trip.reopened, REOPENED) | flag(self.idle.is_some(), IDLE);
        row[4] = trip.tariff.map_or(0, |index| index + 1);
        let mut to = Writer { row, at: 8 };
        to.put(&last.time_ms.to_le_bytes());
        to.put(&last.latitude.to_le_bytes());
        to.put(&last.longitude.to_le_bytes());
        to.put(&last.odometer.to_le_bytes());
        to.put(&trip.config_key.to_le_bytes());
        to.put(&trip.start_ms.to_le_bytes());
        to.put(&trip.end_ms.to_le_bytes());
        to.put(&trip.metres.to_le_bytes());
        to.put(&trip.waiting_ms.to_le_bytes());
        to.put(&trip.top_speed.to_le_bytes());
        to.put(&[0; 4]);
        let idle = self.idle.unwrap_or(Idle { since_ms: 0, metres: 0.0 });
        to.put(&idle.since_ms.to_le_bytes());
        to.put(&idle.metres.to_le_bytes());
        for charged in &trip.charged {
            to.put(&millionths(*charged).to_le_bytes());
        }
        for zone in trip.zones.iter().take(ZONES_MAX) {
            zone.write(&mut to);
        }
    }
}

/// True when a row can hold the amount.
#[must_use]
pub fn fits(amount: Decimal) -> bool {
    amount.abs() < Decimal::from(1_000_000_000_000_i64)
}

fn millionths(amount: Decimal) -> i64 {
    let mut scaled = amount;
    scaled.rescale(CHARGED_SCALE);
    scaled.mantissa().to_i64().unwrap_or_default()
}

impl ZoneSlot {
    fn read(from: &mut Reader<'_>) -> Self {
        let slot = Self {
            key: from.u64(),
            metres: from.f64(),
            inside_ms: from.i64(),
            first_ms: from.i64(),
            last_ms: from.i64(),
            top_speed: from.f32(),
            passes: from.u16(),
            ..Self::default()
        };
        let flags = from.u16();
        let has = |bit| flags & bit != 0;
        Self { inside: has(INSIDE), started_in: has(STARTED_IN), ended_in: has(ENDED_IN), ..slot }
    }

    fn write(&self, to: &mut Writer<'_>) {
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        to.put(&self.key.to_le_bytes());
        to.put(&self.metres.to_le_bytes());
        to.put(&self.inside_ms.to_le_bytes());
        to.put(&self.first_ms.to_le_bytes());
        to.put(&self.last_ms.to_le_bytes());
        to.put(&self.top_speed.to_le_bytes());
        to.put(&self.passes.to_le_bytes());
        let flags = flag(self.inside, INSIDE) | flag(self.started_in, STARTED_IN) | flag(self.ended_in, ENDED_IN);
        to.put(&flags.to_le_bytes());
    }
}

/// Reads from a slice that was checked to be long enough.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some((head, rest)) = self.0.split_at_checked(N) {
            bytes.copy_from_slice(head);
            self.0 = rest;
        }
        bytes
    }
    fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }
    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.take())
    }
    fn f32(&mut self) -> f32 {
        f32::from_le_bytes(self.take())
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
}

struct Writer<'a> {
    row: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.row[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_as_drawn() {
        assert_eq!((ZONES_AT, ROW_BYTES), (296, 872));
        let row = [0; ROW_BYTES];
        assert_eq!(State::read(&row).unwrap(), State::default());
        let last = LastFix { time_ms: 1, latitude: 0.0, longitude: 0.0, odometer: 0.0 };
        let zone = ZoneSlot { key: 7, passes: 1, ended_in: true, ..ZoneSlot::default() };
        let mut trip = OpenTrip { zones: vec![zone; ZONES_MAX], tariff: Some(0), ..OpenTrip::default() };
        trip.charged[PLACES - 1] = Decimal::new(-5, 2);
        let state = State { last: Some(last), phase: Phase::Held, trip, idle: None };
        let mut row = [0xff; ROW_BYTES];
        state.write(&mut row);
        assert_eq!(row[..8], [1, 2, 12, 0, 1, 0, 0, 0]);
        assert_eq!((row[8], row[ZONES_AT], row[ROW_BYTES - 2]), (1, 7, 4));
        assert_eq!(State::read(&row).unwrap(), state);
    }

    #[test]
    fn damaged_rows_are_refused() {
        let mut row = [0; ROW_BYTES];
        row[100] = 1;
        assert!(State::read(&row).is_err(), "no version");
        for (at, value) in [(0, 9), (1, 3), (2, 13)] {
            let mut row = [0; ROW_BYTES];
            row[0] = 1;
            row[at] = value;
            assert!(State::read(&row).is_err(), "{at}");
        }
        assert!(State::read(&[0; 4]).is_err());
    }
}
