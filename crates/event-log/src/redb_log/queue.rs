//! The bounded queue of what waits for the writer. The writer takes all that waits, up to what one transaction holds.

use std::collections::VecDeque;
use std::sync::mpsc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::contract::{Commit, CommitError, Committed, Offset, Stream};
use crate::memory::commit_bytes;

/// Commits in one transaction: bounds how long the first waits for the others.
const GROUP_COMMITS_MAX: usize = 1_024;
/// Bytes in one transaction, unless a single commit brings more.
const GROUP_BYTES_MAX: u64 = 8 * 1_024 * 1_024;

/// A commit with the way back to whoever handed it in.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) commit: Commit,
    pub(super) resolve: oneshot::Sender<Result<Committed, CommitError>>,
}

/// A trim with the way back.
#[derive(Debug)]
pub(super) struct Trim {
    pub(super) stream: Stream,
    pub(super) before: Offset,
    pub(super) answer: mpsc::SyncSender<Result<Offset, CommitError>>,
}

#[derive(Debug)]
pub(super) enum Job {
    Commit(Waiting),
    Trim(Trim),
}

/// What the writer does next, in the order it was handed in.
#[derive(Debug)]
pub(super) enum Work {
    Commits(Vec<Waiting>),
    Trim(Trim),
}

/// Most that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    pub(super) commits_max: usize,
    pub(super) bytes_max: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    /// The writer waits here for work.
    work: Condvar,
    /// Whoever hands in waits here for a place.
    place: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<(Job, u64)>,
    bytes: u64,
    closed: bool,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::default(), work: Condvar::new(), place: Condvar::new() }
    }

    /// Waits for a place. A closed queue takes nothing: the job is dropped, which its ticket reports.
    pub(super) fn put(&self, job: Job) {
        let len = match &job {
            Job::Commit(waiting) => commit_bytes(&waiting.commit),
            Job::Trim(_) => 0,
        };
        let mut state = self.state.lock();
        // One job always has a place, however large it is.
        while !state.closed
            && !state.jobs.is_empty()
            && (state.jobs.len() >= self.limits.commits_max || state.bytes + len > self.limits.bytes_max)
        {
            self.place.wait(&mut state);
        }
        if state.closed {
            return;
        }
        state.bytes += len;
        state.jobs.push_back((job, len));
        drop(state);
        self.work.notify_one();
    }

    /// Waits for work; `None` when the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Work> {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            self.work.wait(&mut state);
        }
        let mut group = Vec::new();
        let mut group_bytes = 0;
        while let Some((job, len)) = state.jobs.pop_front() {
            match job {
                Job::Commit(waiting) if group.is_empty() || group_bytes + len <= GROUP_BYTES_MAX => {
                    state.bytes -= len;
                    group_bytes += len;
                    group.push(waiting);
                }
                Job::Trim(trim) if group.is_empty() => {
                    drop(state);
                    self.place.notify_all();
                    return Some(Work::Trim(trim));
                }
                other => {
                    state.jobs.push_front((other, len));
                    break;
                }
            }
            if group.len() >= GROUP_COMMITS_MAX {
                break;
            }
        }
        drop(state);
        self.place.notify_all();
        Some(Work::Commits(group))
    }

    /// Takes no more; what waits is still worked off.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
        self.place.notify_all();
    }

    /// Takes no more, and drops what waits: its tickets report that the writer ended.
    pub(super) fn close_and_clear(&self) -> Vec<Job> {
        self.close();
        let mut state = self.state.lock();
        state.bytes = 0;
        state.jobs.drain(..).map(|(job, _)| job).collect()
    }
}
