//! Says once what an edge does wrong, not at each of its attempts: an edge never gives up.

use hashbrown::HashMap;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The same complaint about the same address is repeated this often.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Complaints that are remembered. More than this and some are said twice.
const REMEMBERED_MAX: usize = 1_024;

/// What was said, about whom, when.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<(IpAddr, String), Instant>>);

impl Complaints {
    /// Whether this is worth a line at `now`.
    pub(super) fn is_new(&self, about: IpAddr, reason: &str, now: Instant) -> bool {
        let mut said = self.0.lock();
        let key = (about, reason.to_owned());
        if said.get(&key).is_some_and(|at| now.duration_since(*at) < AGAIN_AFTER) {
            return false;
        }
        if said.len() >= REMEMBERED_MAX {
            said.clear();
        }
        said.insert(key, now);
        true
    }

    /// It went well: the next failure is news.
    pub(super) fn forget(&self, about: IpAddr) {
        self.0.lock().retain(|(address, _), _| *address != about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_news_once_until_it_went_well_or_time_has_passed() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().unwrap());
        assert!(complaints.is_new(one, "expired", now));
        assert!(!complaints.is_new(one, "expired", now));
        assert!(complaints.is_new(one, "unknown", now));
        assert!(complaints.is_new(two, "expired", now));
        complaints.forget(one);
        assert!(complaints.is_new(one, "expired", now));
        assert!(!complaints.is_new(two, "expired", now));
        assert!(complaints.is_new(two, "expired", now + AGAIN_AFTER));
    }
}
