//! The rows of one deployment on one worker: a plugin's state per vehicle, kept by the host.

use crate::deployment::RowsShape;

/// No row yet.
const NONE: u32 = u32::MAX;

/// Rows of equal length, found by the worker's vehicle number. A vehicle without a row has one of zeros.
#[derive(Debug, Default)]
pub(crate) struct RowStore {
    row_bytes: usize,
    bytes: Vec<u8>,
    /// By vehicle number: index of its row.
    row_of: Vec<u32>,
    /// By row: the vehicle number.
    vehicle_of: Vec<u32>,
    dirty: Vec<bool>,
}

/// Rows, and which they are.
#[derive(Debug)]
pub(crate) struct ShapedRows {
    pub shape: RowsShape,
    pub rows: RowStore,
}

impl ShapedRows {
    /// None yet.
    pub(crate) fn new(shape: RowsShape) -> Self {
        Self { shape, rows: RowStore::new(shape.row_bytes) }
    }
}

impl RowStore {
    pub(crate) fn new(row_bytes: u32) -> Self {
        Self { row_bytes: row_bytes as usize, ..Self::default() }
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Rows that exist.
    pub(crate) fn len(&self) -> usize {
        self.vehicle_of.len()
    }

    /// Appends the row of a vehicle to `to`.
    pub(crate) fn copy_to(&self, vehicle: u32, to: &mut Vec<u8>) {
        match self.row_of.get(vehicle as usize) {
            Some(row) if *row != NONE => to.extend_from_slice(self.at(*row)),
            _ => to.resize(to.len() + self.row_bytes, 0),
        }
    }

    /// Takes over the row of a vehicle. It is dirty when it changed.
    pub(crate) fn put(&mut self, vehicle: u32, row: &[u8]) {
        let known = self.row_of.get(vehicle as usize).copied().unwrap_or(NONE);
        if known == NONE {
            if row.iter().any(|byte| *byte != 0) {
                self.insert(vehicle, row, true);
            }
            return;
        }
        let start = known as usize * self.row_bytes;
        let kept = &mut self.bytes[start..start + self.row_bytes];
        if kept != row {
            kept.copy_from_slice(row);
            self.dirty[known as usize] = true;
        }
    }

    /// Takes up a row that is stored already.
    pub(crate) fn load(&mut self, vehicle: u32, row: &[u8]) {
        self.insert(vehicle, row, false);
    }

    /// Gives `other`, whose rows are as long, the rows of the vehicles that are wanted.
    pub(crate) fn copy_into(&self, other: &mut Self, wanted: impl Fn(u32) -> bool) {
        for (row, vehicle) in self.vehicle_of.iter().enumerate() {
            if wanted(*vehicle) {
                other.put(*vehicle, self.at(row as u32));
            }
        }
    }

    /// All rows, one after the other.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same vehicles with other rows, all dirty. `bytes` holds one row of the new length for each.
    pub(crate) fn rewritten(&self, row_bytes: u32, bytes: Vec<u8>) -> Self {
        Self {
            row_bytes: row_bytes as usize,
            bytes,
            row_of: self.row_of.clone(),
            vehicle_of: self.vehicle_of.clone(),
            dirty: vec![true; self.len()],
        }
    }

    /// Rows that changed since the last call: vehicle number and bytes.
    pub(crate) fn take_dirty(&mut self) -> Vec<(u32, Vec<u8>)> {
        let mut changed = Vec::new();
        for row in 0..self.vehicle_of.len() {
            if std::mem::take(&mut self.dirty[row]) {
                changed.push((self.vehicle_of[row], self.at(row as u32).to_vec()));
            }
        }
        changed
    }

    fn at(&self, row: u32) -> &[u8] {
        let start = row as usize * self.row_bytes;
        &self.bytes[start..start + self.row_bytes]
    }

    fn insert(&mut self, vehicle: u32, row: &[u8], dirty: bool) {
        if self.row_of.len() <= vehicle as usize {
            self.row_of.resize(vehicle as usize + 1, NONE);
        }
        self.row_of[vehicle as usize] = self.vehicle_of.len() as u32;
        self.vehicle_of.push(vehicle);
        self.bytes.extend_from_slice(row);
        self.dirty.push(dirty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_start_at_zero_and_only_changes_are_dirty() {
        let mut rows = RowStore::new(2);
        let read = |rows: &RowStore, vehicle| {
            let mut bytes = Vec::new();
            rows.copy_to(vehicle, &mut bytes);
            bytes
        };
        assert_eq!(read(&rows, 7), [0, 0]);
        rows.put(7, &[0, 0]);
        assert_eq!(rows.len(), 0, "a row of zeros need not exist");
        rows.put(7, &[1, 2]);
        rows.put(3, &[3, 4]);
        assert_eq!((read(&rows, 7), read(&rows, 3), read(&rows, 4)), (vec![1, 2], vec![3, 4], vec![0, 0]));
        assert_eq!(rows.take_dirty(), [(7, vec![1, 2]), (3, vec![3, 4])]);
        rows.put(3, &[3, 4]);
        rows.put(7, &[0, 0]);
        assert_eq!(rows.take_dirty(), [(7, vec![0, 0])], "a row that went back to zero is stored as such");
        let mut wider = rows.rewritten(1, vec![8, 9]);
        assert_eq!((read(&wider, 7), read(&wider, 3)), (vec![8], vec![9]));
        assert_eq!(wider.take_dirty().len(), 2);
    }
}
