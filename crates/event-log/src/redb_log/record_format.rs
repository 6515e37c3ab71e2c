//! The bytes of a stored value, the same in all tables:
//!
//! ```text
//! 0        1          4            8            12
//! version  0 0 0      count u32    crc32c u32   the value
//! ```
//!
//! Little-endian. The checksum covers the key, the header before it and the value. redb does not verify its own page
//! checksums when it reads, so without this a flipped bit would come back as data.

use crate::contract::{Bounds, Offset};
use crate::ledger::Watermark;

/// The version that is written.
const VERSION: u8 = 1;
/// Bytes before the value.
pub(super) const HEADER_LEN: usize = 12;
/// Where the checksum stands.
const CRC_AT: usize = 8;
/// What the file says it is.
const MAGIC: [u8; 8] = *b"DROVRLOG";

/// Writes a record into `out`, which is `HEADER_LEN` longer than the value.
pub(super) fn seal_into(out: &mut [u8], key: &[u8], count: u32, value: &[u8]) {
    out[..HEADER_LEN].fill(0);
    out[0] = VERSION;
    out[4..CRC_AT].copy_from_slice(&count.to_le_bytes());
    let crc = checksum(key, &out[..CRC_AT], value);
    out[CRC_AT..HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
    out[HEADER_LEN..].copy_from_slice(value);
}

/// A record of its own.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN + value.len()];
    seal_into(&mut out, key, 0, value);
    out
}

/// Count and value of a record, or how its damage shows.
pub(super) fn open<'a>(key: &[u8], record: &'a [u8]) -> Result<(u32, &'a [u8]), String> {
    let Some((header, value)) = record.split_first_chunk::<HEADER_LEN>() else {
        return Err(format!("{} bytes are no record", record.len()));
    };
    let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    let computed = checksum(key, &header[..CRC_AT], value);
    if found != computed {
        return Err(format!("its checksum is {found:08x}, its content gives {computed:08x}"));
    }
    if header[0] != VERSION {
        return Err(format!("record version {} is not known", header[0]));
    }
    Ok((u32::from_le_bytes([header[4], header[5], header[6], header[7]]), value))
}

fn checksum(key: &[u8], header: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), header), value)
}

/// Two numbers, as watermarks are stored.
pub(super) fn seal_pair(key: &[u8], a: u64, b: u64) -> Vec<u8> {
    let mut value = [0; 16];
    value[..8].copy_from_slice(&a.to_le_bytes());
    value[8..].copy_from_slice(&b.to_le_bytes());
    seal(key, &value)
}

fn open_pair(key: &[u8], record: &[u8]) -> Result<(u64, u64), String> {
    let (_, value) = open(key, record)?;
    match value.as_chunks::<8>() {
        ([a, b], []) => Ok((number(*a), number(*b))),
        _ => Err(format!("{} bytes are no pair of numbers", value.len())),
    }
}

/// Bounds of a stream.
pub(super) fn seal_bounds(key: &[u8], bounds: Bounds) -> Vec<u8> {
    seal(key, &[bounds.first, bounds.next, bounds.bytes].map(u64::to_le_bytes).concat())
}

/// Bounds of a stream, and whether they say how many bytes are between: those of the first format do not.
pub(super) fn open_bounds(key: &[u8], record: &[u8]) -> Result<(Bounds, bool), String> {
    let (_, value) = open(key, record)?;
    let (bounds, bytes_known) = match value.as_chunks::<8>() {
        ([first, next], []) => (Bounds { first: number(*first), next: number(*next), bytes: 0 }, false),
        ([first, next, bytes], []) => {
            (Bounds { first: number(*first), next: number(*next), bytes: number(*bytes) }, true)
        }
        _ => return Err(format!("{} bytes are no bounds", value.len())),
    };
    if bounds.first > bounds.next {
        return Err(format!("a stream cannot begin at {} and end at {}", bounds.first, bounds.next));
    }
    Ok((bounds, bytes_known))
}

fn number(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

/// Watermark of a source.
pub(super) fn open_watermark(key: &[u8], record: &[u8]) -> Result<Watermark, String> {
    open_pair(key, record).map(|(epoch, next): (u64, Offset)| (epoch, next))
}

/// A single number.
pub(super) fn seal_number(key: &[u8], number: u64) -> Vec<u8> {
    seal(key, &number.to_le_bytes())
}

/// A single number.
pub(super) fn open_number(key: &[u8], record: &[u8]) -> Result<u64, String> {
    let (_, value) = open(key, record)?;
    value.try_into().map(u64::from_le_bytes).map_err(|_| format!("{} bytes are no number", value.len()))
}

/// What the file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogHeader {
    /// Format of the whole file.
    pub(super) format: u32,
    /// Which life of the log this is.
    pub(super) epoch: u64,
}

impl LogHeader {
    pub(super) fn seal(self, key: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(20);
        value.extend_from_slice(&MAGIC);
        value.extend_from_slice(&self.format.to_le_bytes());
        value.extend_from_slice(&self.epoch.to_le_bytes());
        seal(key, &value)
    }

    pub(super) fn open(key: &[u8], record: &[u8]) -> Result<Self, String> {
        let (_, value) = open(key, record)?;
        // A later format may say more after these.
        match value.as_chunks::<4>().0 {
            [m0, m1, format, e0, e1, ..] if [*m0, *m1].concat() == MAGIC => Ok(Self {
                format: u32::from_le_bytes(*format),
                epoch: u64::from(u32::from_le_bytes(*e0)) | u64::from(u32::from_le_bytes(*e1)) << 32,
            }),
            _ => Err("it does not begin as a log does".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_these_bytes() {
        let mut out = vec![0xff; HEADER_LEN + 3];
        seal_into(&mut out, b"key", 7, b"abc");
        assert_eq!(out[..8], [1, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(out[8..12], crc32c::crc32c(b"key\x01\0\0\0\x07\0\0\0abc").to_le_bytes());
        assert_eq!(open(b"key", &out).unwrap(), (7, b"abc".as_slice()));
    }

    #[test]
    fn every_flipped_bit_shows() {
        let record = seal(b"key", b"some value");
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(b"key", &flipped).is_err(), "bit {bit}");
        }
        assert!(open(b"kez", &record).is_err(), "another key");
        for len in 0..record.len() {
            assert!(open(b"key", &record[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn a_header_reads_back_also_with_more_behind_it() {
        let header = LogHeader { format: 3, epoch: 0x0123_4567_89ab_cdef };
        let sealed = header.seal(b"log");
        assert_eq!(LogHeader::open(b"log", &sealed), Ok(header));
        let (_, value) = open(b"log", &sealed).unwrap();
        let longer = seal(b"log", &[value, b"more"].concat());
        assert_eq!(LogHeader::open(b"log", &longer), Ok(header));
        assert!(LogHeader::open(b"log", &seal(b"log", b"something else, long enough")).is_err());
    }
}
