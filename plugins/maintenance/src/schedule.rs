//! Maintenance by distance, engine hours and calendar: the first of several counts.

use crate::calendar::{DAY_MS, add_months};
use crate::event::{Event, Kind, details};
use crate::signal::Condition;
use crate::state::{Reader, Writer};

/// A schedule that was checked. Distances are metres here; kilometres are for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Names it in events.
    pub id: String,
    /// Metres from one maintenance to the next.
    pub every_m: Option<f64>,
    /// Engine hours from one to the next.
    pub every_hours: Option<f64>,
    /// Milliseconds from one to the next.
    pub every_ms: Option<i64>,
    /// Calendar months from one to the next.
    pub every_months: Option<u32>,
    /// How early it is due soon.
    pub warn_before: Margin,
    /// How late it is overdue.
    pub overdue_after: Margin,
    /// What the first maintenance is counted from.
    pub count_from: CountFrom,
    /// A reading that fulfils all of them, when there are any, is the maintenance done.
    pub reset_when: Vec<Condition>,
}

/// A distance from the moment that something is due; what is absent counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Margin {
    /// Metres.
    pub metres: Option<f64>,
    /// Engine hours.
    pub hours: Option<f64>,
    /// Milliseconds.
    pub ms: Option<i64>,
}

/// What the first maintenance is counted from.
#[derive(serde::Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum CountFrom {
    /// What the vehicle's first reading says.
    #[default]
    FirstReading,
    /// The last whole multiple of the interval on the odometer and the engine hours (15,000 km, 30,000 km, ...).
    Zero,
}

/// A maintenance that was done: a record of the config.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What the odometer said, metres.
    pub odometer_m: Option<f64>,
    /// What the engine's hours were.
    pub engine_hours: Option<f64>,
}

/// What a reading says of the counters that schedules live by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count {
    /// Event time, milliseconds.
    pub now_ms: i64,
    /// The odometer: metres over all resets, and what is added to a reported number to come to that.
    pub odometer: Option<(f64, f64)>,
    /// The same for the engine's hours.
    pub engine_hours: Option<(f64, f64)>,
}

/// How far a schedule has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Level {
    #[default]
    Fine,
    DueSoon,
    Due,
    Overdue,
}

/// What a row remembers of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Event time of the last maintenance, or of the first reading; none before it.
    base_ms: Option<i64>,
    /// The odometer then, metres over all resets.
    base_m: Option<f64>,
    /// The engine's hours then, over all resets.
    base_hours: Option<f64>,
    /// Event time of the last maintenance that is known; none without one.
    reset_ms: Option<i64>,
    /// What was told last.
    level: Level,
    /// A number of calendar months, and milliseconds that they take from the base: a date costs more than all the rest
    /// of a reading, and changes only with the base. 0 months: not computed yet.
    months: (u16, i64),
}

impl Progress {
    /// Bytes of a record.
    pub const BYTES: usize = 44;

    /// Takes it out of a record.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let (flags, level) = (reader.u8(), reader.u8());
        let (base_ms, base_m, base_hours, reset_ms) = (reader.i64(), reader.f64(), reader.f64(), reader.i64());
        let months = (reader.u16(), reader.i64());
        Self {
            base_ms: (flags & 1 != 0).then_some(base_ms),
            base_m: (flags & 2 != 0).then_some(base_m),
            base_hours: (flags & 4 != 0).then_some(base_hours),
            reset_ms: (flags & 8 != 0).then_some(reset_ms),
            level: match level {
                0 => Level::Fine,
                1 => Level::DueSoon,
                2 => Level::Due,
                _ => Level::Overdue,
            },
            months,
        }
    }

    /// Puts it into a record.
    pub fn write(&self, bytes: &mut [u8]) {
        let mut writer = Writer::new(bytes);
        writer.u8(u8::from(self.base_ms.is_some())
            | u8::from(self.base_m.is_some()) << 1
            | u8::from(self.base_hours.is_some()) << 2
            | u8::from(self.reset_ms.is_some()) << 3);
        writer.u8(self.level as u8);
        writer.i64(self.base_ms.unwrap_or(0));
        writer.f64(self.base_m.unwrap_or(0.0));
        writer.f64(self.base_hours.unwrap_or(0.0));
        writer.i64(self.reset_ms.unwrap_or(0));
        writer.u16(self.months.0);
        writer.i64(self.months.1);
        writer.finish();
    }
}

/// One counter of a schedule at a reading.
struct Leg {
    counter: &'static str,
    /// In the unit of the counter's name, since the last maintenance.
    used: f64,
    limit: f64,
    level: Level,
}

impl Schedule {
    /// Counts from now on anew: the maintenance was done at this reading.
    pub fn reset(&self, progress: &mut Progress, count: &Count) {
        *progress = Progress {
            base_ms: Some(count.now_ms),
            base_m: count.odometer.map(|it| it.0),
            base_hours: count.engine_hours.map(|it| it.0),
            reset_ms: Some(count.now_ms),
            ..Progress::default()
        };
    }

    /// Takes in the latest maintenance on record that is not in the future, when it is later than what is known.
    /// `services` in order of their time. True when it did.
    pub fn apply_services(&self, progress: &mut Progress, count: &Count, services: &[Service]) -> bool {
        let done = &services[..services.partition_point(|it| it.at_ms <= count.now_ms)];
        let Some(service) = done.last().filter(|it| progress.reset_ms.is_none_or(|known| it.at_ms > known)) else {
            return false;
        };
        self.reset(progress, count);
        progress.base_ms = Some(service.at_ms);
        progress.reset_ms = Some(service.at_ms);
        // What the record says is a number of the counter as it counts today.
        if let (Some(recorded), Some((_, offset))) = (service.odometer_m, count.odometer) {
            progress.base_m = Some(recorded + offset);
        }
        if let (Some(recorded), Some((_, offset))) = (service.engine_hours, count.engine_hours) {
            progress.base_hours = Some(recorded + offset);
        }
        true
    }

    /// Takes in a reading. An event where the schedule came further: the furthest it came, so one that is overdue at
    /// once is not due first. And the used share of the interval, of the counter that is furthest: 0 to 1 and beyond, NaN
    /// when no counter is known yet.
    #[must_use]
    pub fn observe(&self, progress: &mut Progress, count: &Count) -> (Option<Event>, f64) {
        self.begin(progress, count);
        let Some(leading) = self.leading(progress, count) else { return (None, f64::NAN) };
        let share = leading.used / leading.limit;
        let before = std::mem::replace(&mut progress.level, leading.level);
        if leading.level <= before {
            return (None, share);
        }
        let kind = match leading.level {
            Level::Fine => return (None, share),
            Level::DueSoon => Kind::DueSoon,
            Level::Due => Kind::Due,
            Level::Overdue => Kind::Overdue,
        };
        let remaining = leading.limit - leading.used;
        let event = Event {
            kind,
            time_ms: count.now_ms,
            subject: self.id.clone(),
            value: remaining,
            details: details([
                ("counter", leading.counter.into()),
                ("limit", leading.limit.into()),
                ("remaining", remaining.into()),
                ("since_ms", progress.base_ms.into()),
                ("used", leading.used.into()),
            ]),
        };
        (Some(event), share)
    }

    /// A counter that is reported for the first time begins to count.
    fn begin(&self, progress: &mut Progress, count: &Count) {
        let serviced = progress.reset_ms.is_some();
        let first = |total: f64, every: Option<f64>| match (self.count_from, every) {
            (CountFrom::Zero, Some(every)) if !serviced => (total / every).floor() * every,
            _ => total,
        };
        progress.base_ms.get_or_insert(count.now_ms);
        if let (None, Some((total, _))) = (progress.base_m, count.odometer) {
            progress.base_m = Some(first(total, self.every_m));
        }
        if let (None, Some((total, _))) = (progress.base_hours, count.engine_hours) {
            progress.base_hours = Some(first(total, self.every_hours));
        }
        if let (Some(months), Some(base_ms)) = (self.every_months, progress.base_ms)
            && u32::from(progress.months.0) != months
        {
            progress.months = (months as u16, add_months(base_ms, months).saturating_sub(base_ms));
        }
    }

    /// The counter that came furthest.
    fn leading(&self, progress: &Progress, count: &Count) -> Option<Leg> {
        const KM: f64 = 1_000.0;
        let mut legs: [Option<Leg>; 4] = [const { None }; 4];
        let mut leg = |at: usize, counter, unit: f64, used: f64, limit: f64, warn: Option<f64>, late: Option<f64>| {
            let remaining = limit - used;
            let level = if late.is_some_and(|late| remaining <= -late) {
                Level::Overdue
            } else if remaining <= 0.0 {
                Level::Due
            } else if warn.is_some_and(|warn| remaining <= warn) {
                Level::DueSoon
            } else {
                Level::Fine
            };
            legs[at] = Some(Leg { counter, used: used / unit, limit: limit / unit, level });
        };
        let (warn, late) = (&self.warn_before, &self.overdue_after);
        if let (Some(every), Some(base), Some((total, _))) = (self.every_m, progress.base_m, count.odometer) {
            leg(0, "odometer_km", KM, total - base, every, warn.metres, late.metres);
        }
        if let (Some(every), Some(base), Some((total, _))) = (self.every_hours, progress.base_hours, count.engine_hours)
        {
            leg(1, "engine_hours", 1.0, total - base, every, warn.hours, late.hours);
        }
        if let Some(base) = progress.base_ms {
            let day = DAY_MS as f64;
            let used = count.now_ms.saturating_sub(base) as f64;
            let (warn, late) = (warn.ms.map(|it| it as f64), late.ms.map(|it| it as f64));
            if let Some(every) = self.every_ms {
                leg(2, "days", day, used, every as f64, warn, late);
            }
            if self.every_months.is_some() {
                leg(3, "days", day, used, progress.months.1 as f64, warn, late);
            }
        }
        let further = |one: &Leg, other: &Leg| {
            one.level > other.level || one.level == other.level && one.used / one.limit > other.used / other.limit
        };
        legs.into_iter().flatten().reduce(|best, it| if further(&it, &best) { it } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oil() -> Schedule {
        Schedule {
            id: "oil".to_owned(),
            every_m: Some(15_000_000.0),
            every_hours: Some(500.0),
            every_ms: None,
            every_months: Some(12),
            warn_before: Margin { metres: Some(1_000_000.0), hours: Some(20.0), ms: Some(14 * DAY_MS) },
            overdue_after: Margin { metres: Some(500_000.0), hours: None, ms: Some(0) },
            count_from: CountFrom::FirstReading,
            reset_when: Vec::new(),
        }
    }

    fn at(days: i64, km: f64, hours: f64) -> Count {
        let now_ms = days * DAY_MS;
        Count { now_ms, odometer: Some((km * 1_000.0, 0.0)), engine_hours: Some((hours, 0.0)) }
    }

    fn kinds(schedule: &Schedule, counts: &[Count]) -> Vec<Option<Kind>> {
        let mut progress = Progress::default();
        let mut kinds = Vec::new();
        for count in counts {
            kinds.push(schedule.observe(&mut progress, count).0.map(|it| it.kind));
            let mut bytes = [0xff; Progress::BYTES];
            progress.write(&mut bytes);
            assert_eq!(Progress::read(&bytes), progress);
        }
        kinds
    }

    #[test]
    fn each_level_is_told_once() {
        let counts = [
            at(0, 100_000.0, 0.0),
            at(1, 113_999.0, 1.0),
            at(2, 114_000.0, 2.0),
            at(3, 114_500.0, 3.0),
            at(4, 115_000.0, 4.0),
            at(5, 115_499.0, 5.0),
            at(6, 115_500.0, 6.0),
            at(7, 130_000.0, 7.0),
        ];
        let expected = [None, None, Some(Kind::DueSoon), None, Some(Kind::Due), None, Some(Kind::Overdue), None];
        assert_eq!(kinds(&oil(), &counts), expected);
    }

    #[test]
    fn the_first_of_several_counts() {
        assert_eq!(kinds(&oil(), &[at(0, 0.0, 0.0), at(1, 5.0, 485.0)]), [None, Some(Kind::DueSoon)]);
        assert_eq!(kinds(&oil(), &[at(0, 0.0, 0.0), at(352, 5.0, 1.0)]), [None, Some(Kind::DueSoon)]);
        // Overdue by calendar at once: not due first.
        assert_eq!(kinds(&oil(), &[at(0, 0.0, 0.0), at(400, 5.0, 1.0)]), [None, Some(Kind::Overdue)]);
        let event = {
            let mut progress = Progress::default();
            let _ = oil().observe(&mut progress, &at(0, 0.0, 0.0));
            oil().observe(&mut progress, &at(1, 15_010.0, 510.0)).0.unwrap()
        };
        assert_eq!(event.value, -10.0);
        assert_eq!(event.details["counter"], "engine_hours", "2 % beyond its limit, the odometer less");
    }

    #[test]
    fn a_reset_starts_over() {
        let (schedule, mut progress) = (oil(), Progress::default());
        let _ = schedule.observe(&mut progress, &at(0, 0.0, 0.0));
        assert_eq!(schedule.observe(&mut progress, &at(1, 15_000.0, 1.0)).0.map(|it| it.kind), Some(Kind::Due));
        schedule.reset(&mut progress, &at(2, 15_100.0, 2.0));
        assert_eq!(schedule.observe(&mut progress, &at(2, 15_100.0, 2.0)).0, None);
        assert_eq!(schedule.observe(&mut progress, &at(3, 29_000.0, 3.0)).0, None);
        assert_eq!(schedule.observe(&mut progress, &at(4, 30_100.0, 4.0)).0.map(|it| it.kind), Some(Kind::Due));
    }

    #[test]
    fn a_service_on_record_counts_from_its_own_figures_and_once() {
        let (schedule, mut progress) = (oil(), Progress::default());
        let service = Service { at_ms: 10 * DAY_MS, odometer_m: Some(90_000_000.0), engine_hours: None };
        let later = Service { at_ms: 50 * DAY_MS, odometer_m: None, engine_hours: None };
        let services = [service, later];
        // The first reading came after the service: the vehicle is already due.
        let first = at(20, 105_000.0, 7.0);
        assert!(schedule.apply_services(&mut progress, &first, &services));
        assert_eq!(schedule.observe(&mut progress, &first).0.map(|it| it.kind), Some(Kind::Due));
        assert!(!schedule.apply_services(&mut progress, &at(21, 105_001.0, 7.0), &services));
        assert!(schedule.apply_services(&mut progress, &at(51, 106_000.0, 7.0), &services));
        assert_eq!(schedule.observe(&mut progress, &at(51, 106_000.0, 7.0)).0, None);
        assert_eq!(schedule.observe(&mut progress, &at(51, 113_500.0, 7.0)).1, 0.5);
    }

    #[test]
    fn whole_multiples_count_where_the_config_asks_for_them() {
        let schedule = Schedule { count_from: CountFrom::Zero, every_hours: None, every_months: None, ..oil() };
        assert_eq!(
            kinds(&schedule, &[at(0, 119_500.0, 0.0), at(1, 120_000.0, 0.0)]),
            [Some(Kind::DueSoon), Some(Kind::Due)]
        );
    }

    #[test]
    fn months_are_those_after_the_last_maintenance() {
        let schedule = Schedule { every_m: None, every_hours: None, every_months: Some(1), ..oil() };
        let mut progress = Progress::default();
        let _ = schedule.observe(&mut progress, &at(0, 0.0, 0.0));
        assert_eq!(schedule.observe(&mut progress, &at(20, 0.0, 0.0)).1, 20.0 / 31.0);
        schedule.reset(&mut progress, &at(31, 0.0, 0.0));
        assert_eq!(schedule.observe(&mut progress, &at(45, 0.0, 0.0)).1, 14.0 / 28.0);
    }

    #[test]
    fn without_its_counter_a_schedule_says_nothing() {
        let schedule = Schedule { every_months: None, ..oil() };
        let silent = Count { now_ms: 400 * DAY_MS, odometer: None, engine_hours: None };
        assert_eq!(kinds(&schedule, &[silent, silent]), [None, None]);
        assert!(schedule.observe(&mut Progress::default(), &silent).1.is_nan());
    }
}
