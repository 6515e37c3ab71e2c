//! The rule as the host sees it: batches in, proposals out.

use plugin_sdk::{Description, Proposal, Proposals, Reading, Rows, log};

use crate::config::SCHEMA;
use crate::counter::{Counter, ENGINE_HOURS, ODOMETER};
use crate::event::Event;
use crate::plan::Plan;
use crate::schedule::{Count, Progress};
use crate::signal::{Signal, all_hold};
use crate::state::{ROW_BYTES, Row, VERSION};
use crate::threshold::{Moment, Run};
use crate::trend::{self, Source};
use crate::trouble_codes::{self, Report, text_of};
use plugin_sdk::Rule;

/// The maintenance rule with its config.
pub struct Maintenance {
    plan: Plan,
    /// Kept between readings to save allocations.
    events: Vec<Event>,
    /// Of each schedule, at the reading at hand.
    shares: Vec<Share>,
    values: Vec<f64>,
    /// Reports of vehicles with more trouble codes than the config remembers.
    overflows: u64,
}

/// A schedule as the trends see it.
#[derive(Clone, Copy)]
struct Share {
    /// Used share of the interval, or NaN.
    used: f64,
    was_reset: bool,
}

impl Maintenance {
    /// Reports, since this instance was made, of vehicles with more trouble codes than the config remembers.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Takes in a reading of the vehicle with this row; fills `events`.
    fn observe(&mut self, reading: &Reading, bytes: &mut [u8]) -> Result<(), String> {
        let Self { plan, events, shares, values, overflows } = self;
        let mut row = Row::new(bytes, &plan.layout)?;
        let now_ms = reading.event_time_ms;
        let starts_trip = starts_trip(plan, &row, reading);
        let count = count(&mut row, reading);
        let mut record = 0..;
        let mut next = || record.next().unwrap_or(usize::MAX);

        shares.clear();
        for (number, schedule) in plan.schedules.iter().enumerate() {
            let bytes = row.record(next());
            let mut progress = Progress::read(bytes);
            let mut was_reset = match plan.services.get(&(reading.vehicle, number)) {
                Some(services) => schedule.apply_services(&mut progress, &count, services),
                None => false,
            };
            if !schedule.reset_when.is_empty() && all_hold(&schedule.reset_when, reading) {
                schedule.reset(&mut progress, &count);
                was_reset = true;
            }
            let (event, used) = schedule.observe(&mut progress, &count);
            events.extend(event);
            shares.push(Share { used, was_reset });
            progress.write(bytes);
        }
        for threshold in &plan.thresholds {
            let bytes = row.record(next());
            let mut run = Run::read(bytes);
            threshold.observe(&mut run, Moment { reading, starts_trip }, events);
            run.write(bytes);
        }
        for trend in &plan.trends {
            let bytes = row.record(next());
            let mut memory = trend::Memory::read(bytes, trend.method);
            let value = match trend.source {
                Source::Signal(signal) => signal.of(reading),
                Source::Schedule(number) => {
                    if shares[number].was_reset {
                        trend.reset(&mut memory);
                    }
                    shares[number].used
                }
            };
            let value = if all_hold(&trend.when, reading) { value } else { f64::NAN };
            events.extend(trend.observe(&mut memory, value, now_ms));
            memory.write(bytes);
        }
        for life in &plan.remaining_life {
            let bytes = row.record(next());
            let mut memory = life.read(bytes);
            values.clear();
            values.extend(life.inputs.iter().map(|it| it.of(reading)));
            let counts = all_hold(&life.when, reading);
            events.extend(life.observe(&mut memory, counts.then_some(values), now_ms));
            memory.write(bytes);
        }
        if let Some(codes) = &plan.trouble_codes {
            let report = Report::of(reading);
            if report.reported {
                let bytes = row.record(next());
                let mut memory = trouble_codes::Memory::read(bytes);
                if let Some(code) = codes.observe(&mut memory, &report, now_ms, events) {
                    note_overflow(overflows, codes.slots, reading, code);
                }
                memory.write(bytes);
            }
        }
        // A run that is over ended before this reading.
        events.sort_by_key(|it| it.time_ms);
        Ok(())
    }
}

/// Whether the reading is the first of a trip; keeps what that is decided by.
fn starts_trip(plan: &Plan, row: &Row<'_>, reading: &Reading) -> bool {
    let silence_ms = reading.event_time_ms.saturating_sub(row.last_ms());
    let turned_on = row.ignition() == Some(false) && reading.ignition() == Some(true);
    !row.is_seen()
        || plan.trip_gap_ms.is_some_and(|gap_ms| silence_ms > gap_ms)
        || (plan.trip_starts_with_ignition && turned_on)
}

/// Takes the reading's time, ignition and counters into the row.
fn count(row: &mut Row<'_>, reading: &Reading) -> Count {
    let now_ms = reading.event_time_ms;
    row.set_last_ms(now_ms);
    if let Some(on) = reading.ignition() {
        row.set_ignition(on);
    }
    let odometer = Counter::after(row.odometer(), Signal::Odometer.of(reading), now_ms, ODOMETER);
    let engine_hours = Counter::after(row.engine_hours(), Signal::EngineHours.of(reading), now_ms, ENGINE_HOURS);
    if let Some(odometer) = odometer {
        row.set_odometer(odometer);
    }
    if let Some(engine_hours) = engine_hours {
        row.set_engine_hours(engine_hours);
    }
    let total = |counter: Counter| (counter.total(), counter.offset);
    Count { now_ms, odometer: odometer.map(total), engine_hours: engine_hours.map(total) }
}

fn note_overflow(overflows: &mut u64, slots: usize, reading: &Reading, code: u16) {
    if *overflows == 0 {
        // The rule does not know the vehicle's name: its key finds it.
        log::warn(&format!(
            "a vehicle has more than {slots} trouble codes at once: {} and others are not told until one is cleared; \
             vehicle {:#018x}, reading {} of {} ms; this is said once",
            text_of(code),
            reading.vehicle,
            reading.sequence,
            reading.event_time_ms,
        ));
    }
    *overflows += 1;
}

impl Rule for Maintenance {
    fn describe() -> Description {
        // A rebuilt plugin may call itself by another version.
        let version = option_env!("DROVER_PLUGIN_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"));
        Description::maintenance("maintenance", version).with_state(VERSION, ROW_BYTES as u32).with_config(SCHEMA)
    }

    fn configure(config: &str) -> Result<Self, String> {
        let plan = Plan::parse(config)?;
        Ok(Self { plan, events: Vec::new(), shares: Vec::new(), values: Vec::new(), overflows: 0 })
    }

    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, reading) in readings.iter().enumerate() {
            self.events.clear();
            self.observe(reading, rows.of(reading))?;
            for event in self.events.drain(..) {
                proposals.push(Proposal {
                    reading: index as u32,
                    kind: event.kind.code(),
                    event_time_ms: event.time_ms,
                    value: event.value,
                    subject: event.subject,
                    details: Some(serde_json::Value::Object(event.details).to_string()),
                });
            }
        }
        Ok(())
    }
}
