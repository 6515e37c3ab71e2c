//! A worker's share of a block while its vehicles work on it.

use super::job::ToWorker;
use crate::work_block::{Slice, WorkBlock};
use fleet_model::{Applied, Sequence, VehicleKey, VehicleState};
use parking_lot::Mutex;
use ractor::ActorRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Called before each reading is applied; a test makes it panic. `None` outside of tests.
pub(crate) type Fault = Option<Arc<dyn Fn(VehicleKey, Sequence) + Send + Sync>>;

const NOT_APPLIED: u8 = 0;
const LIVE: u8 = 1;
const LATE: u8 = 2;

/// Shared by the supervisor and the vehicles of one batch.
pub(crate) struct Batch {
    pub work: Arc<WorkBlock>,
    worker: usize,
    /// Place in the order where this worker's part begins.
    base: u32,
    supervisor: ActorRef<ToWorker>,
    pending: AtomicUsize,
    /// By slice: the vehicle's state after it. Absent when its actor failed.
    states: Mutex<Vec<Option<VehicleState>>>,
    /// By place in the order, from `base`.
    verdicts: Vec<AtomicU8>,
}

impl Batch {
    pub(crate) fn new(work: Arc<WorkBlock>, worker: usize, supervisor: ActorRef<ToWorker>) -> Self {
        let slices = work.slices(worker);
        let base = slices.first().map_or(0, |slice| slice.from);
        let len = slices.last().map_or(base, |slice| slice.to) - base;
        let states = Mutex::new(vec![None; slices.len()]);
        let verdicts = (0..len).map(|_| AtomicU8::new(NOT_APPLIED)).collect();
        Self { work, worker, base, supervisor, pending: AtomicUsize::new(0), states, verdicts }
    }

    pub(crate) fn slices(&self) -> &[Slice] {
        self.work.slices(self.worker)
    }

    /// Before slices are handed out: how many will come back.
    pub(crate) fn expect(&self, slices: usize) {
        self.pending.store(slices, Ordering::Release);
    }

    /// A stretch of a slice, for the actor of its vehicle. Whatever becomes of it, it comes back.
    pub(crate) fn task(self: &Arc<Self>, slice: usize, from: u32, to: u32) -> SliceTask {
        SliceTask { batch: self.clone(), slice, from, to }
    }

    pub(crate) fn state_after(&self, slice: usize) -> Option<VehicleState> {
        self.states.lock()[slice]
    }

    /// Takes the state away, so that a failure of the next stretch shows.
    pub(crate) fn clear(&self, slice: usize) {
        self.states.lock()[slice] = None;
    }

    /// What became of the reading at a place of the order.
    pub(crate) fn verdict(&self, at: u32) -> Applied {
        match self.verdicts[(at - self.base) as usize].load(Ordering::Relaxed) {
            LIVE => Applied::Live,
            LATE => Applied::Late,
            _ => Applied::Already,
        }
    }

    /// The reading at this place counts as not applied: its actor failed on it.
    pub(crate) fn give_up(&self, at: u32) {
        self.verdicts[(at - self.base) as usize].store(NOT_APPLIED, Ordering::Relaxed);
    }
}

/// One zero-copy slice of a batch on its way to a vehicle. Dropped - done, undeliverable, or in a panic - it reports
/// itself back, and the last one reports the batch.
pub(crate) struct SliceTask {
    batch: Arc<Batch>,
    slice: usize,
    from: u32,
    to: u32,
}

impl SliceTask {
    /// Applies the readings to `state`. A panic leaves `state` as it was.
    pub(crate) fn apply(self, state: &mut VehicleState, fault: &Fault) {
        let mut next = *state;
        let key = || {
            let block = self.batch.work.frame.block();
            block.vehicles[self.batch.slices()[self.slice].vehicle as usize].key()
        };
        let counted_by = self.batch.work.frame.header().epoch;
        for at in self.from..self.to {
            let (_, record) = self.batch.work.record(at);
            if let Some(fault) = fault {
                fault(key(), record.sequence());
            }
            let verdict = match next.apply(counted_by, record.sequence(), &record.reading()) {
                Applied::Live => LIVE,
                Applied::Late => LATE,
                Applied::Already => NOT_APPLIED,
            };
            self.batch.verdicts[(at - self.batch.base) as usize].store(verdict, Ordering::Relaxed);
        }
        *state = next;
        self.batch.states.lock()[self.slice] = Some(next);
    }
}

impl Drop for SliceTask {
    fn drop(&mut self) {
        if self.batch.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            // It fails only when the worker ends, and then nobody waits.
            let _ = self.batch.supervisor.send_message(ToWorker::BatchDone);
        }
    }
}
