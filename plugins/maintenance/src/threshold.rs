//! Runs of readings that fulfil conditions: `coolant >= 95 for 60 s`, a long idle, a warm-up.
//!
//! ```text
//! when:          .  x  x  x  x  .            when:   x  x  .  .  .  .
//!                                            until:  .  .  .  .  x  .
//! run:              [=======]                run:    [===========]
//! told:                 ▲     ▲              told:                ▲
//!          started, when the  ended, at the          the reading that ends such
//!          duration is reached  reading after        a run belongs to it
//! ```
//!
//! A run is *maximal*: it holds every reading of the vehicle from the first that fulfils `when` to the last before one
//! that does not. Its duration is from its first reading to its last; a run that does not come to the duration asked for
//! is forgotten. Between trips a run ends with the last reading of the old one, unless the config lets it go on; that is
//! noticed at the first reading of the new trip.

use plugin_sdk::Reading;
use serde::Deserialize;
use serde_json::Value;

use crate::event::{Event, Kind, details};
use crate::signal::{Condition, Signal, all_hold, all_reported};
use crate::state::{Reader, Writer};

/// A threshold that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// Names it in events.
    pub id: String,
    /// All must hold for a run to begin and, without `until`, to go on.
    pub when: Vec<Condition>,
    /// With any: the run goes on until a reading fulfils all of them.
    pub until: Vec<Condition>,
    /// Milliseconds that a run must last.
    pub duration_ms: i64,
    /// A run begins only at the first reading of a trip.
    pub at_trip_start: bool,
    /// A run goes on over the end of a trip.
    pub across_trips: bool,
    /// What a reading does to a run when it does not report a signal that is compared.
    pub missing: Missing,
    /// The signal whose extreme is kept.
    pub extreme_of: Signal,
    /// Whether the extreme is the highest.
    pub extreme_is_max: bool,
    /// The kind of event.
    pub event: Kind,
    /// Which ends of a run are told.
    pub report: Report,
    /// Whether the end is told of a run with `until` that the trip's end cut short.
    pub report_cut_short: bool,
}

/// What a reading does to a run when it does not report a signal that is compared.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// It fulfils nothing.
    #[default]
    Fails,
    /// It is passed over: for devices that report a signal only now and then.
    PassedOver,
}

/// Which ends of a run are told.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// That it came to its duration.
    Start,
    /// That it is over.
    End,
    /// Both.
    #[default]
    Both,
}

/// What a row remembers of a threshold: the run that is open.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Run {
    phase: Phase,
    start_ms: i64,
    last_ms: i64,
    first_sequence: u64,
    last_sequence: u64,
    readings: u32,
    /// NaN when the signal was never reported.
    extreme: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    None,
    /// Not long enough yet.
    Short,
    /// It came to its duration.
    Long,
}

/// A reading and what the trip has to do with it.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The reading.
    pub reading: &'a Reading,
    /// It is the first of a trip.
    pub starts_trip: bool,
}

impl Run {
    /// Bytes of a record.
    pub const BYTES: usize = 45;

    /// Takes it out of a record.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        Self {
            phase: match reader.u8() {
                0 => Phase::None,
                1 => Phase::Short,
                _ => Phase::Long,
            },
            start_ms: reader.i64(),
            last_ms: reader.i64(),
            first_sequence: reader.u64(),
            last_sequence: reader.u64(),
            readings: reader.u32(),
            extreme: reader.f64(),
        }
    }

    /// Puts it into a record.
    pub fn write(&self, bytes: &mut [u8]) {
        let mut writer = Writer::new(bytes);
        if self.phase != Phase::None {
            writer.u8(self.phase as u8);
            writer.i64(self.start_ms);
            writer.i64(self.last_ms);
            writer.u64(self.first_sequence);
            writer.u64(self.last_sequence);
            writer.u32(self.readings);
            writer.f64(self.extreme);
        }
        writer.finish();
    }
}

impl Threshold {
    /// Takes in a reading; events go to `events` in the order of their times.
    pub fn observe(&self, run: &mut Run, moment: Moment<'_>, events: &mut Vec<Event>) {
        let Moment { reading, starts_trip } = moment;
        if starts_trip && !self.across_trips && run.phase != Phase::None {
            self.end(run, !self.until.is_empty(), events);
        }
        let open = run.phase != Phase::None;
        let asked = if open && !self.until.is_empty() { &self.until } else { &self.when };
        if self.missing == Missing::PassedOver && !all_reported(asked, reading) {
            return;
        }
        let may_begin = starts_trip || !self.at_trip_start;
        match (open, self.until.is_empty()) {
            (false, _) if may_begin && all_hold(&self.when, reading) => {
                self.begin(run, reading);
                self.tell_start(run, events);
                if !self.until.is_empty() && all_hold(&self.until, reading) {
                    self.end(run, false, events);
                }
            }
            (false, _) => {}
            (true, true) if all_hold(&self.when, reading) => {
                self.extend(run, reading);
                self.tell_start(run, events);
            }
            (true, true) => self.end(run, false, events),
            (true, false) => {
                self.extend(run, reading);
                self.tell_start(run, events);
                if all_hold(&self.until, reading) {
                    self.end(run, false, events);
                }
            }
        }
    }

    fn begin(&self, run: &mut Run, reading: &Reading) {
        *run = Run {
            phase: Phase::Short,
            start_ms: reading.event_time_ms,
            last_ms: reading.event_time_ms,
            first_sequence: reading.sequence,
            last_sequence: reading.sequence,
            readings: 1,
            extreme: self.extreme_of.of(reading),
        };
    }

    fn extend(&self, run: &mut Run, reading: &Reading) {
        run.last_ms = reading.event_time_ms;
        run.last_sequence = reading.sequence;
        run.readings = run.readings.saturating_add(1);
        let value = self.extreme_of.of(reading);
        // Not f64::max: which of 0 and -0 it gives is left to the machine.
        let beyond = if self.extreme_is_max { value > run.extreme } else { value < run.extreme };
        if beyond || run.extreme.is_nan() {
            run.extreme = value;
        }
    }

    fn tell_start(&self, run: &mut Run, events: &mut Vec<Event>) {
        if run.phase != Phase::Short || run.last_ms.saturating_sub(run.start_ms) < self.duration_ms {
            return;
        }
        run.phase = Phase::Long;
        if self.report != Report::End {
            events.push(self.event(run, "started", false));
        }
    }

    fn end(&self, run: &mut Run, cut_short: bool, events: &mut Vec<Event>) {
        let ended = std::mem::take(run);
        if ended.phase == Phase::Long && self.report != Report::Start && (!cut_short || self.report_cut_short) {
            events.push(self.event(&ended, "ended", cut_short));
        }
    }

    fn event(&self, run: &Run, phase: &str, cut_short: bool) -> Event {
        let extreme = self.extreme_of.shown(run.extreme);
        let duration_s = run.last_ms.saturating_sub(run.start_ms) as f64 / 1_000.0;
        let mut details = details([
            ("phase", phase.into()),
            ("start_ms", run.start_ms.into()),
            ("end_ms", run.last_ms.into()),
            ("duration_s", duration_s.into()),
            ("readings", run.readings.into()),
            ("first_sequence", run.first_sequence.into()),
            ("last_sequence", run.last_sequence.into()),
            ("signal", self.extreme_of.name().into()),
            (if self.extreme_is_max { "max" } else { "min" }, extreme.into()),
        ]);
        if cut_short {
            details.insert("cut_short".to_owned(), Value::from(true));
        }
        Event { kind: self.event, time_ms: run.last_ms, subject: self.id.clone(), value: extreme, details }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Comparison;

    fn coolant(is: Comparison, value: f64) -> Condition {
        Condition { signal: Signal::EngineCoolantTemperature, is, value }.ready()
    }

    fn hot() -> Threshold {
        Threshold {
            id: "hot".to_owned(),
            when: vec![coolant(Comparison::AtLeast, 95.0)],
            until: Vec::new(),
            duration_ms: 2_000,
            at_trip_start: false,
            across_trips: false,
            missing: Missing::Fails,
            extreme_of: Signal::EngineCoolantTemperature,
            extreme_is_max: true,
            event: Kind::Due,
            report: Report::Both,
            report_cut_short: true,
        }
    }

    /// Readings a second apart; an event is told as (index of the reading, phase, start, end, extreme). A trip begins
    /// with each number in `trips`.
    fn told(threshold: &Threshold, temperatures: &[f32], trips: &[usize]) -> Vec<(usize, String, i64, i64, f64)> {
        let mut bytes = [0; Run::BYTES];
        let mut told = Vec::new();
        for (index, &engine_coolant_temperature) in temperatures.iter().enumerate() {
            let time_ms = index as i64 * 1_000;
            let reading = Reading { engine_coolant_temperature, ..Reading::fix(time_ms, 0.0, 0.0) };
            let mut run = Run::read(&bytes);
            let mut events = Vec::new();
            let starts_trip = trips.contains(&index);
            threshold.observe(&mut run, Moment { reading: &reading, starts_trip }, &mut events);
            run.write(&mut bytes);
            told.extend(events.into_iter().map(|it| {
                let time = |name: &str| it.details[name].as_i64().unwrap() / 1_000;
                assert!(it.time_ms <= time_ms);
                (index, it.details["phase"].as_str().unwrap().to_owned(), time("start_ms"), time("end_ms"), it.value)
            }));
        }
        told
    }

    fn end(index: usize, start: i64, end: i64, extreme: f64) -> (usize, String, i64, i64, f64) {
        (index, "ended".to_owned(), start, end, extreme)
    }

    #[test]
    fn a_run_is_told_when_it_is_long_enough_and_when_it_is_over() {
        let started = (4, "started".to_owned(), 2, 4, 97.0);
        assert_eq!(
            told(&hot(), &[90.0, 96.0, 95.0, 97.0, 96.0, 99.0, 94.0], &[0])[1..],
            [end(6, 1, 5, 99.0)],
            "until the last reading that fulfils it"
        );
        assert_eq!(told(&hot(), &[90.0, 94.0, 95.0, 97.0, 96.0], &[0]), [started]);
        assert_eq!(told(&hot(), &[96.0, 97.0, 94.0, 96.0, 96.0, 94.0], &[0]), [], "short ones are forgotten");
    }

    #[test]
    fn a_trip_ends_a_run_unless_it_may_go_on() {
        let threshold = Threshold { report: Report::End, ..hot() };
        let temperatures = [96.0, 96.0, 96.0, 97.0, 98.0, 90.0];
        assert_eq!(told(&threshold, &temperatures, &[0, 3]), [end(3, 0, 2, 96.0)]);
        let threshold = Threshold { across_trips: true, ..threshold };
        assert_eq!(told(&threshold, &temperatures, &[0, 3]), [end(5, 0, 4, 98.0)]);
    }

    #[test]
    fn a_signal_that_is_missing_ends_a_run_or_is_passed_over() {
        let threshold = Threshold { report: Report::End, ..hot() };
        let temperatures = [96.0, 96.0, 96.0, f32::NAN, 98.0, 90.0];
        assert_eq!(told(&threshold, &temperatures, &[0]), [end(3, 0, 2, 96.0)]);
        let threshold = Threshold { missing: Missing::PassedOver, ..threshold };
        assert_eq!(told(&threshold, &temperatures, &[0]), [end(5, 0, 4, 98.0)]);
    }

    #[test]
    fn a_warm_up_ends_with_the_first_warm_reading() {
        let warm_up = Threshold {
            when: vec![coolant(Comparison::Below, 60.0)],
            until: vec![coolant(Comparison::AtLeast, 80.0)],
            duration_ms: 0,
            at_trip_start: true,
            report: Report::End,
            ..hot()
        };
        assert_eq!(told(&warm_up, &[50.0, 70.0, 79.0, 81.0, 50.0, 90.0], &[0]), [end(3, 0, 3, 81.0)]);
        assert_eq!(told(&warm_up, &[60.0, 50.0, 81.0], &[0]), [], "the trip began warm");
        assert_eq!(told(&warm_up, &[50.0, 70.0, 60.0, 90.0], &[0, 2]), [end(2, 0, 1, 70.0)], "cut short");
        let warm_up = Threshold { report_cut_short: false, ..warm_up };
        assert_eq!(told(&warm_up, &[50.0, 70.0, 60.0, 90.0], &[0, 2]), []);
    }

    #[test]
    fn one_reading_may_be_a_run() {
        let threshold = Threshold { duration_ms: 0, ..hot() };
        let told = told(&threshold, &[96.0, 90.0], &[0]);
        assert_eq!(told, [(0, "started".to_owned(), 0, 0, 96.0), end(1, 0, 0, 96.0)]);
    }
}
