//! Readings gathered into samples: a stretch of time, and the mean of each value over it.
//!
//! A bucket opens with a reading and closes before the first reading that is not younger by less than the sample's
//! length; so where it closes depends on the readings alone, not on how they come in batches.

use crate::state::{Reader, Writer};

/// The stretch of time of the sample that is being gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// False until the first reading.
    pub open: bool,
    /// Event time of the first reading, milliseconds.
    pub start_ms: i64,
    /// Event time of the last reading, milliseconds.
    pub last_ms: i64,
}

impl Bucket {
    /// Bytes in a record.
    pub const BYTES: usize = 17;

    /// Takes a bucket out of a record.
    #[must_use]
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self { open: reader.u8() == 1, start_ms: reader.i64(), last_ms: reader.i64() }
    }

    /// Puts it into a record.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(u8::from(self.open));
        writer.i64(self.start_ms);
        writer.i64(self.last_ms);
    }

    /// Whether a reading at this time is beyond the bucket.
    #[must_use]
    pub fn ends_before(&self, now_ms: i64, every_ms: i64) -> bool {
        self.open && now_ms.saturating_sub(self.start_ms) >= every_ms
    }

    /// Takes in a reading at this time; opens the bucket where it must.
    pub fn take(&mut self, now_ms: i64) {
        if !self.open {
            *self = Self { open: true, start_ms: now_ms, last_ms: now_ms };
        }
        self.last_ms = now_ms;
    }

    /// The middle of the readings' times, milliseconds.
    #[must_use]
    pub fn middle_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.last_ms.saturating_sub(self.start_ms) / 2)
    }
}

/// The mean of a value in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    /// Bytes in a record.
    pub const BYTES: usize = 12;

    /// Takes a mean out of a record.
    #[must_use]
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self { sum: reader.f64(), count: reader.u32() }
    }

    /// Puts it into a record.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.f64(self.sum);
        writer.u32(self.count);
    }

    /// Takes in a value; NaN is none.
    pub fn take(&mut self, value: f64) {
        if !value.is_nan() {
            self.sum += value;
            self.count = self.count.saturating_add(1);
        }
    }

    /// NaN without values.
    #[must_use]
    pub fn value(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { self.sum / f64::from(self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_ends_after_its_time() {
        let mut bucket = Bucket::default();
        assert!(!bucket.ends_before(i64::MAX, 1));
        bucket.take(1_000);
        bucket.take(1_900);
        assert!(!bucket.ends_before(1_999, 1_000) && bucket.ends_before(2_000, 1_000));
        assert_eq!((bucket.start_ms, bucket.last_ms, bucket.middle_ms()), (1_000, 1_900, 1_450));
    }

    #[test]
    fn a_mean_counts_what_was_reported() {
        let mut mean = Mean::default();
        assert!(mean.value().is_nan());
        for value in [1.0, f64::NAN, 4.0] {
            mean.take(value);
        }
        assert_eq!(mean.value(), 2.5);
    }
}
