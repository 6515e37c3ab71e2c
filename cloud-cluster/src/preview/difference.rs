//! What a candidate changes: events that are added, removed, moved in time, or say something else.

use super::Money;
use fleet_model::{EventId, EventKind, Timestamp, VehicleName};
use std::collections::HashMap;

/// An event that is gone and one of the same vehicle, type and subject that is new are one that moved, when they are at
/// most so far apart, milliseconds.
const MOVED_WITHIN_MS: i64 = 600_000;

/// An event that a rule proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Made from its cause.
    pub id: EventId,
    /// To whom.
    pub vehicle: VehicleName,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub event_time: Timestamp,
    /// What it is about.
    pub subject: String,
    /// A figure, or NaN.
    pub value: f64,
    /// What else belongs to it.
    pub details: Option<String>,
    /// What is to be paid, when it is a charge.
    pub money: Option<Money>,
}

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that is live.
    Live,
    /// The one that may be.
    Candidate,
}

/// What is different. In order of time, then vehicle.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Events that both have, in the same words.
    pub same: u64,
    /// Only the candidate has these.
    pub added: Vec<Found>,
    /// Only the live rule has these.
    pub removed: Vec<Found>,
    /// Live, then candidate: the same at another time.
    pub moved: Vec<(Found, Found)>,
    /// Live, then candidate: at the same time, with another value or other details.
    pub changed: Vec<(Found, Found)>,
}

/// Compares what two rules proposed over the same readings. The same cause twice from one rule is one event.
pub(super) fn between(live: Vec<Found>, candidate: Vec<Found>) -> Difference {
    let mut difference = Difference::default();
    let mut left: HashMap<EventId, Found> = live.into_iter().map(|found| (found.id, found)).collect();
    let new: HashMap<EventId, Found> = candidate.into_iter().map(|found| (found.id, found)).collect();
    for (id, found) in new {
        match left.remove(&id) {
            None => difference.added.push(found),
            Some(was) if was.says_as(&found) => difference.same += 1,
            Some(was) if was.event_time == found.event_time => difference.changed.push((was, found)),
            Some(was) => difference.moved.push((was, found)),
        }
    }
    difference.removed = left.into_values().collect();
    pair_moved(&mut difference);
    difference.added.sort_by(by_time);
    difference.removed.sort_by(by_time);
    difference.moved.sort_by(|a, b| by_time(&a.1, &b.1));
    difference.changed.sort_by(|a, b| by_time(&a.1, &b.1));
    difference
}

impl Found {
    fn says_as(&self, other: &Self) -> bool {
        self.event_time == other.event_time
            && self.value.to_bits() == other.value.to_bits()
            && self.details == other.details
    }
}

fn by_time(a: &Found, b: &Found) -> std::cmp::Ordering {
    (a.event_time, &a.vehicle.vehicle, a.kind, &a.subject).cmp(&(b.event_time, &b.vehicle.vehicle, b.kind, &b.subject))
}

/// Pairs removed with added ones: per vehicle, type and subject, in order of time, each with the nearest that is free.
fn pair_moved(difference: &mut Difference) {
    type Lane = (VehicleName, EventKind, String);
    let lane = |found: &Found| -> Lane { (found.vehicle.clone(), found.kind, found.subject.clone()) };
    let mut removed = std::mem::take(&mut difference.removed);
    removed.sort_by(by_time);
    let mut free: HashMap<Lane, std::collections::VecDeque<Found>> = HashMap::new();
    for found in removed {
        free.entry(lane(&found)).or_default().push_back(found);
    }
    let mut added = std::mem::take(&mut difference.added);
    added.sort_by(by_time);
    for found in added {
        let Some(waiting) = free.get_mut(&lane(&found)) else {
            difference.added.push(found);
            continue;
        };
        let apart = |was: &Found| (was.event_time.0 - found.event_time.0).abs();
        // Those before it that are too old have no partner any more.
        while waiting.len() > 1 && apart(&waiting[1]) <= apart(&waiting[0]) {
            difference.removed.extend(waiting.pop_front());
        }
        match waiting.front().map(apart) {
            Some(apart) if apart <= MOVED_WITHIN_MS => {
                difference.moved.extend(waiting.pop_front().map(|was| (was, found)));
            }
            _ => difference.added.push(found),
        }
    }
    difference.removed.extend(free.into_values().flatten());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(vehicle: &str, ms: i64, subject: &str) -> Found {
        let vehicle = VehicleName::new("demo".parse().unwrap(), vehicle.parse().unwrap());
        let kind = EventKind::GeofenceEntered;
        Found {
            id: EventId::of(vehicle.key, Timestamp(ms), kind, "", subject),
            vehicle,
            kind,
            event_time: Timestamp(ms),
            subject: subject.into(),
            value: f64::NAN,
            details: None,
            money: None,
        }
    }

    fn times(all: &[Found]) -> Vec<i64> {
        all.iter().map(|found| found.event_time.0).collect()
    }

    #[test]
    fn the_same_in_another_order_is_no_difference() {
        let all = [found("a", 1, "z"), found("b", 2, "z"), found("a", 3, "y")];
        let difference = between(all.to_vec(), all.iter().rev().cloned().collect());
        assert_eq!(difference, Difference { same: 3, ..Difference::default() });
    }

    #[test]
    fn added_removed_and_moved_are_told_apart() {
        let live = vec![found("a", 1_000, "z"), found("a", 9_000_000, "z"), found("b", 5_000, "z")];
        let candidate = vec![found("a", 61_000, "z"), found("b", 5_000, "z"), found("b", 6_000, "y")];
        let difference = between(live, candidate);
        assert_eq!(
            (difference.same, times(&difference.added), times(&difference.removed)),
            (1, vec![6_000], vec![9_000_000])
        );
        let [(was, is)] = &difference.moved[..] else { panic!("{difference:?}") };
        assert_eq!((was.event_time.0, is.event_time.0), (1_000, 61_000));
    }

    #[test]
    fn far_apart_is_not_moved() {
        let difference = between(vec![found("a", 0, "z")], vec![found("a", MOVED_WITHIN_MS + 1, "z")]);
        assert_eq!((difference.moved.len(), difference.added.len(), difference.removed.len()), (0, 1, 1));
    }

    #[test]
    fn other_details_are_a_change() {
        let was = found("a", 1, "km");
        let is = Found { details: Some("{}".into()), ..was.clone() };
        let difference = between(vec![was], vec![is]);
        let [(was, is)] = &difference.changed[..] else { panic!("{difference:?}") };
        assert_eq!((&was.details, &is.details), (&None, &Some("{}".to_owned())));
        assert_eq!((difference.same, difference.added.len(), difference.removed.len()), (0, 0, 0));
    }

    #[test]
    fn nothing_is_lost_in_pairing() {
        let live: Vec<_> = (0..50).map(|n| found("a", n * 100_000, "z")).collect();
        let candidate: Vec<_> = (0..70).map(|n| found("a", n * 70_000 + 13, "z")).collect();
        let difference = between(live, candidate);
        assert_eq!(difference.moved.len() + difference.removed.len(), 50);
        assert_eq!(difference.moved.len() + difference.added.len(), 70);
        assert!(difference.moved.iter().all(|(was, is)| (was.event_time.0 - is.event_time.0).abs() <= MOVED_WITHIN_MS));
    }
}
