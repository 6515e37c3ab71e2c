//! A block, grouped for the workers without decoding it: only the vehicle of each record is looked at.

use crate::config::SHARDS;
use event_log::Offset;
use fleet_model::VehicleKey;
use fleet_wire::{ArchivedReadingV1, ReadingFrame};
use std::ops::Range;
use std::time::Instant;
use tokio::sync::mpsc;

/// A block on its way through the workers, shared by all of them.
pub(crate) struct WorkBlock {
    pub frame: ReadingFrame,
    /// Offset after its last record.
    pub next: Offset,
    /// Indexes of its records: those of one vehicle stand together, those of one worker too, each vehicle's in the
    /// order of the log.
    order: Vec<u32>,
    slices: Vec<Slice>,
    parts: Vec<Range<usize>>,
    /// When it was handed in.
    pub entered: Instant,
    /// Somebody who measures a swap wants to know how long this block took.
    pub swap: Option<mpsc::UnboundedSender<f64>>,
}

/// The readings of one vehicle in a block: a range of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Index into the block's dictionary.
    pub vehicle: u32,
    pub from: u32,
    pub to: u32,
}

/// Which of `workers` a vehicle belongs to.
pub(crate) fn worker_of(key: VehicleKey, workers: usize) -> usize {
    key.shard(SHARDS) % workers
}

impl Drop for WorkBlock {
    /// The last worker is through with it.
    fn drop(&mut self) {
        if let Some(swap) = &self.swap {
            let _ = swap.send(self.entered.elapsed().as_secs_f64() * 1_000.0);
        }
    }
}

impl WorkBlock {
    pub(crate) fn of(
        first: Offset,
        frame: ReadingFrame,
        workers: usize,
        entered: Instant,
        swap: Option<mpsc::UnboundedSender<f64>>,
    ) -> Self {
        let block = frame.block();
        let mut counts = vec![0_u32; block.vehicles.len()];
        for reading in block.readings.iter() {
            counts[reading.vehicle_index()] += 1;
        }
        let mut slices = Vec::with_capacity(counts.len());
        let mut parts = vec![0..0; workers];
        let mut starts = vec![0_u32; counts.len()];
        let mut at = 0;
        let owners: Vec<usize> = block.vehicles.iter().map(|name| worker_of(name.key(), workers)).collect();
        for (worker, part) in parts.iter_mut().enumerate() {
            let from = slices.len();
            for (vehicle, count) in counts.iter().enumerate() {
                if owners[vehicle] == worker && *count > 0 {
                    starts[vehicle] = at;
                    slices.push(Slice { vehicle: vehicle as u32, from: at, to: at + count });
                    at += count;
                }
            }
            *part = from..slices.len();
        }
        let mut order = vec![0; block.readings.len()];
        for (record, reading) in block.readings.iter().enumerate() {
            let place = &mut starts[reading.vehicle_index()];
            order[*place as usize] = record as u32;
            *place += 1;
        }
        let next = first + block.readings.len() as u64;
        Self { next, order, slices, parts, entered, swap, frame }
    }

    /// The slices of one worker.
    pub(crate) fn slices(&self, worker: usize) -> &[Slice] {
        &self.slices[self.parts[worker].clone()]
    }

    /// The record at a place of the order: its index in the block, and itself.
    pub(crate) fn record(&self, at: u32) -> (u32, &ArchivedReadingV1) {
        let record = self.order[at as usize];
        (record, &self.frame.block().readings[record as usize])
    }

    /// Workers that have something to do.
    pub(crate) fn busy_workers(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts.iter().enumerate().filter(|(_, part)| !part.is_empty()).map(|(worker, _)| worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fleet::block_of;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_record_is_in_one_slice_of_its_vehicle_in_order(
            vehicles in proptest::collection::vec(0..20_u32, 1..200),
            workers in 1..5_usize,
        ) {
            let frame = block_of(&vehicles);
            let work = WorkBlock::of(100, frame, workers, Instant::now(), None);
            prop_assert_eq!(work.next, 100 + vehicles.len() as u64);
            let mut seen = vec![false; vehicles.len()];
            for worker in 0..workers {
                for slice in work.slices(worker) {
                    let key = work.frame.block().vehicles[slice.vehicle as usize].key();
                    prop_assert_eq!(worker_of(key, workers), worker);
                    let mut last = None;
                    for at in slice.from..slice.to {
                        let (record, reading) = work.record(at);
                        prop_assert_eq!(reading.vehicle_index() as u32, slice.vehicle);
                        prop_assert!(last < Some(record));
                        prop_assert!(!std::mem::replace(&mut seen[record as usize], true));
                        last = Some(record);
                    }
                }
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
