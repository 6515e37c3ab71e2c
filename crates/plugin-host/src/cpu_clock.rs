//! The time that a thread really worked.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// A call that does not use the CPU (the machine swaps, or gives the core to others) may take so many times its limit of
/// CPU time by the clock on the wall.
const WALL_FACTOR: u32 = 20;

/// A call that takes longer than this is measured. Whoever is interrupted by others is as a rule away for longer.
const PROBE_AFTER: Duration = Duration::from_millis(1);

/// CPU time of the calling thread since it began. Others on a busy machine do not make it longer.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// The CPU time of a call under way. Asking for it costs a microsecond and more, as much as a whole batch, so it is first
/// asked when [`PROBE_AFTER`] has passed: until then the wall's time is taken for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallClock {
    cpu_max: Duration,
    probed: Option<Probe>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    cpu: Duration,
    at: Instant,
}

impl CallClock {
    pub(crate) fn start(cpu_max: Duration) -> Self {
        Self { cpu_max, probed: None }
    }

    /// When to look for the first time.
    pub(crate) fn first_look(&self) -> Duration {
        self.cpu_max.min(PROBE_AFTER)
    }

    /// What the call may still use, to be asked after [`CallClock::first_look`] on the call's thread; `None` when it has
    /// used up what it may.
    pub(crate) fn rest(&mut self) -> Option<Duration> {
        let probe = *self.probed.get_or_insert_with(|| Probe { cpu: thread_cpu_time(), at: Instant::now() });
        let in_time = probe.at.elapsed() < self.cpu_max * WALL_FACTOR;
        let rest = self.cpu_max.checked_sub(PROBE_AFTER + thread_cpu_time().saturating_sub(probe.cpu));
        rest.filter(|rest| in_time && !rest.is_zero())
    }

    /// What a call used that took `elapsed` by the wall's clock.
    pub(crate) fn used(&self, elapsed: Duration) -> Duration {
        match self.probed {
            Some(probe) => elapsed.min(PROBE_AFTER + thread_cpu_time().saturating_sub(probe.cpu)),
            None => elapsed,
        }
    }
}
