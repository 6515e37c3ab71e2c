//! Up to where everything is applied and durable.

use event_log::Offset;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Counts the open parts of each block; blocks are done in any order, and `applied` moves over those in front.
pub(crate) struct Progress {
    state: Mutex<State>,
    applied: watch::Sender<Offset>,
    broken: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct State {
    /// Number of the block in front.
    front: u64,
    blocks: VecDeque<Open>,
}

struct Open {
    next: Offset,
    parts: usize,
}

/// A block that is not done. Holds its place in the bound on such blocks until it is.
pub(crate) struct OpenBlock {
    number: u64,
    progress: Arc<Progress>,
    _permit: OwnedSemaphorePermit,
}

/// One worker's part of a block. Says `done` when its events are durable; dropped, it never will be.
pub(crate) struct OpenPart(Arc<OpenBlock>);

impl OpenPart {
    pub(crate) fn done(self) {
        self.0.progress.part_done(self.0.number);
    }
}

impl Progress {
    pub(crate) fn new(applied: Offset) -> Self {
        Self { state: Mutex::default(), applied: watch::channel(applied).0, broken: watch::channel(None).0 }
    }

    pub(crate) fn applied(&self) -> Offset {
        *self.applied.borrow()
    }

    /// Takes up a block of `parts` parts that ends before `next`.
    pub(crate) fn open(self: &Arc<Self>, next: Offset, parts: usize, permit: OwnedSemaphorePermit) -> Vec<OpenPart> {
        let mut state = self.state.lock();
        let number = state.front + state.blocks.len() as u64;
        state.blocks.push_back(Open { next, parts });
        let block = Arc::new(OpenBlock { number, progress: self.clone(), _permit: permit });
        (0..parts).map(|_| OpenPart(block.clone())).collect()
    }

    fn part_done(&self, number: u64) {
        let mut state = self.state.lock();
        let index = (number - state.front) as usize;
        if let Some(open) = state.blocks.get_mut(index) {
            open.parts -= 1;
        }
        let mut applied = None;
        while let Some(open) = state.blocks.front().filter(|open| open.parts == 0) {
            applied = Some(open.next);
            state.blocks.pop_front();
            state.front += 1;
        }
        if let Some(applied) = applied {
            self.applied.send_replace(applied);
        }
    }

    /// From here on nothing moves any more.
    pub(crate) fn break_down(&self, reason: &str) {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            if first {
                *broken = Some(reason.to_owned());
            }
            first
        });
    }

    pub(crate) fn broken(&self) -> Option<String> {
        self.broken.borrow().clone()
    }

    /// Waits for `credit` unless nothing moves any more: then the reason.
    pub(crate) async fn permit(&self, credit: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, String> {
        let mut broken = self.broken.subscribe();
        tokio::select! {
            biased;
            reason = broken.wait_for(Option::is_some) => {
                Err(reason.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "it ended".into()))
            }
            permit = credit.clone().acquire_owned() => permit.map_err(|_| "it is closing".into()),
        }
    }

    /// Waits until everything below `offset` is applied and durable.
    pub(crate) async fn settled(&self, offset: Offset) -> Result<(), String> {
        let mut applied = self.applied.subscribe();
        let mut broken = self.broken.subscribe();
        tokio::select! {
            biased;
            _ = applied.wait_for(|applied| *applied >= offset) => Ok(()),
            reason = broken.wait_for(Option::is_some) => {
                Err(reason.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "it ended".into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_count_in_order_whatever_order_their_parts_end_in() {
        let progress = Arc::new(Progress::new(0));
        let bound = Arc::new(Semaphore::new(2));
        let open = |next, parts| progress.open(next, parts, bound.clone().try_acquire_owned().unwrap());
        let mut first = open(10, 2);
        let second = open(20, 1);
        assert_eq!(bound.available_permits(), 0);
        second.into_iter().for_each(OpenPart::done);
        assert_eq!((progress.applied(), bound.available_permits()), (0, 1));
        first.remove(0).done();
        assert_eq!(progress.applied(), 0);
        first.remove(0).done();
        assert_eq!((progress.applied(), bound.available_permits()), (20, 2));
    }

    #[tokio::test]
    async fn who_waits_is_told_when_it_breaks() {
        let progress = Arc::new(Progress::new(5));
        assert_eq!(progress.settled(5).await, Ok(()));
        progress.break_down("the disk is gone");
        progress.break_down("and so on");
        assert_eq!(progress.settled(6).await, Err("the disk is gone".to_owned()));
    }
}
