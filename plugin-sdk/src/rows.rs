//! The state of the vehicles of a batch.

use crate::Reading;

/// The rows of a batch: one per vehicle in it, all of the size that the rule declared. A row of zeros is a vehicle that
/// the rule never saw.
pub struct Rows {
    bytes: Vec<u8>,
    row_bytes: usize,
}

impl Rows {
    /// Takes the rows as the host sent them.
    ///
    /// # Errors
    /// When they are not whole rows.
    pub fn new(bytes: Vec<u8>, row_bytes: u32) -> Result<Self, String> {
        let row_bytes = row_bytes as usize;
        let whole = if row_bytes == 0 { bytes.is_empty() } else { bytes.len().is_multiple_of(row_bytes) };
        if !whole {
            return Err(format!("{} bytes are no whole rows of {row_bytes} bytes", bytes.len()));
        }
        Ok(Self { bytes, row_bytes })
    }

    /// Rows of vehicles that were never seen.
    #[must_use]
    pub fn zeroed(vehicles: usize, row_bytes: u32) -> Self {
        Self { bytes: vec![0; vehicles * row_bytes as usize], row_bytes: row_bytes as usize }
    }

    /// The row of the reading's vehicle.
    ///
    /// # Panics
    /// When the reading's slot names no row; the host refuses to send such a batch.
    #[inline]
    pub fn of(&mut self, reading: &Reading) -> &mut [u8] {
        let start = reading.slot as usize * self.row_bytes;
        &mut self.bytes[start..start + self.row_bytes]
    }

    /// All rows, one behind the other.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The rows as the host takes them back.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_must_be_whole() {
        assert!(Rows::new(vec![0; 6], 3).is_ok());
        assert!(Rows::new(vec![0; 7], 3).is_err());
        assert!(Rows::new(vec![], 0).is_ok());
        assert!(Rows::new(vec![0], 0).is_err());
    }
}
