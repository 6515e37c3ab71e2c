//! From fixes to trips: one fix of one vehicle, the state before, the state after and what has happened.
//!
//! ```text
//!            opens                              closes
//!  Closed ──────────▶ Open ───────────────────────────────▶ Held ──── too late to go on ───▶ Closed
//!                      ▲    a section is passed ─▶ Step      │
//!                      └──────── opens soon enough ──────────┘    with what was charged: the next closing corrects it
//! ```
//!
//! Nothing is interpolated: a trip opens and closes at fixes, and a stretch between two fixes belongs to the zones in
//! which it began. A trip by motion ends where its vehicle became idle; how long it stood there since is not part of it.

use geo::{Distance, Geodesic, Point};
use rust_decimal::Decimal;

use crate::config::{OpensBy, Side, TripSettings};
use crate::state::{Idle, LastFix, OpenTrip, Phase, State, ZONES_MAX, ZoneSlot};
use crate::usage::{Section, Trip, ZoneUse, decimal_kph, decimal_metres};
use crate::zones::Zones;

/// An odometer that went back, or ahead by more than this beyond what the time allows, is not believed.
const ODOMETER_SLACK_M: f64 = 1_000.0;
/// Metres per second that a vehicle can have gone for long.
const SPEED_MAX: f64 = 100.0;

/// A fix, and the zones that hold it.
pub struct Fix<'a> {
    /// Event time in milliseconds.
    pub time_ms: i64,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres, or NaN.
    pub odometer: f64,
    /// Metres per second, or NaN.
    pub speed: f32,
    /// Whether the ignition is on, if that is known.
    pub ignition: Option<bool>,
    /// In order.
    pub covering: &'a [u32],
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The vehicle has passed a toll section of its trip, or its trip has ended in one.
    Section {
        /// The trip as far as it is.
        trip: Trip,
        /// The section.
        section: Section,
        /// When the vehicle was out of it.
        left_ms: i64,
    },
    /// The trip is over.
    Closed {
        /// The whole of it.
        trip: Trip,
    },
}

/// Takes what has happened, with the trip's state as it is then: the one place where amounts are written into it.
pub trait Sink {
    /// Takes a step.
    ///
    /// # Errors
    /// When it can't be charged.
    fn take(&mut self, step: Step, trip: &mut OpenTrip) -> Result<(), String>;
}

/// Applies fixes by the settings of a config.
pub struct Machine<'a> {
    /// How.
    pub settings: &'a TripSettings,
    /// Where.
    pub zones: &'a Zones,
    /// Names the config.
    pub config_key: u64,
}

/// The way from the last fix to this one.
#[derive(Clone, Copy)]
struct Stretch {
    metres: f64,
    ms: i64,
    speed: f32,
}

impl Machine<'_> {
    /// Applies a fix. One that is older than the last is passed over.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn apply(&self, state: &mut State, fix: &Fix<'_>, sink: &mut impl Sink) -> Result<(), String> {
        if state.last.is_some_and(|last| fix.time_ms < last.time_ms) {
            return Ok(());
        }
        let silent_ms = state.last.map_or(0, |last| fix.time_ms.saturating_sub(last.time_ms));
        if state.phase == Phase::Open && silent_ms > self.settings.max_gap_ms {
            self.close_at_last_fix(state, sink)?;
        }
        let too_late = fix.time_ms.saturating_sub(state.trip.end_ms) > self.settings.reopen_within_ms;
        if state.phase == Phase::Held && (too_late || state.trip.config_key != self.config_key) {
            self.forget(state);
        }
        let stretch = self.stretch(state.last, fix);
        match state.phase {
            Phase::Open => self.go_on(state, fix, stretch, sink)?,
            Phase::Closed | Phase::Held if self.opens(fix, stretch) => self.open(state, fix),
            Phase::Closed | Phase::Held => {}
        }
        let Fix { time_ms, latitude, longitude, odometer, .. } = *fix;
        state.last = Some(LastFix { time_ms, latitude, longitude, odometer });
        Ok(())
    }

    fn stretch(&self, last: Option<LastFix>, fix: &Fix<'_>) -> Stretch {
        let Some(last) = last else { return Stretch { metres: 0.0, ms: 0, speed: fix.speed.max(0.0) } };
        let ms = fix.time_ms.saturating_sub(last.time_ms);
        let driven = fix.odometer - last.odometer;
        let believable = 0.0..=SPEED_MAX * ms as f64 / 1_000.0 + ODOMETER_SLACK_M;
        let metres = if self.settings.use_odometer && believable.contains(&driven) {
            driven
        } else {
            Geodesic.distance(Point::new(last.longitude, last.latitude), Point::new(fix.longitude, fix.latitude))
        };
        let reported = fix.speed.is_finite() && fix.speed >= 0.0;
        let speed = match (reported, ms > 0) {
            (true, _) => fix.speed,
            (false, true) => (metres * 1_000.0 / ms as f64) as f32,
            (false, false) => 0.0,
        };
        Stretch { metres, ms, speed }
    }

    fn opens(&self, fix: &Fix<'_>, stretch: Stretch) -> bool {
        match self.settings.opens_by {
            OpensBy::Ignition => fix.ignition == Some(true),
            OpensBy::Motion => stretch.speed >= self.settings.moving_speed,
            OpensBy::Zone => self.is_on_trip_side(fix),
        }
    }

    fn is_on_trip_side(&self, fix: &Fix<'_>) -> bool {
        let inside = fix.covering.iter().any(|zone| self.settings.zones.contains(zone));
        inside == (self.settings.side == Side::Inside)
    }

    fn open(&self, state: &mut State, fix: &Fix<'_>) {
        if state.phase == Phase::Held {
            // The pause belongs to the trip, as waiting; what the vehicle may have moved in it does not.
            let trip = &mut state.trip;
            trip.waiting_ms = trip.waiting_ms.saturating_add(fix.time_ms.saturating_sub(trip.end_ms));
            trip.end_ms = 0;
            trip.reopened = true;
            for zone in &mut trip.zones {
                zone.ended_in = false;
            }
        } else {
            state.trip = OpenTrip { start_ms: fix.time_ms, ..OpenTrip::default() };
        }
        state.phase = Phase::Open;
        state.idle = None;
        let started_in = !state.trip.reopened;
        self.come_into(&mut state.trip, fix, started_in);
    }

    fn go_on(&self, state: &mut State, fix: &Fix<'_>, stretch: Stretch, sink: &mut impl Sink) -> Result<(), String> {
        let moves = stretch.speed >= self.settings.moving_speed;
        match self.settings.opens_by {
            OpensBy::Ignition | OpensBy::Zone => {
                self.drive(&mut state.trip, stretch);
                self.change_zones(&mut state.trip, fix, sink)?;
                let over = match self.settings.opens_by {
                    OpensBy::Ignition => fix.ignition == Some(false),
                    _ => !self.is_on_trip_side(fix),
                };
                if over { self.close(state, fix.time_ms, sink) } else { Ok(()) }
            }
            OpensBy::Motion => match state.idle {
                None => {
                    self.drive(&mut state.trip, stretch);
                    self.change_zones(&mut state.trip, fix, sink)?;
                    if !moves {
                        state.idle = Some(Idle { since_ms: fix.time_ms, metres: 0.0 });
                    }
                    self.close_if_idle(state, fix, sink)
                }
                Some(idle) if moves => {
                    // It stood and goes on: what was held back is part of the trip after all.
                    let stood_ms = fix.time_ms.saturating_sub(stretch.ms).saturating_sub(idle.since_ms);
                    self.drive(&mut state.trip, Stretch { metres: idle.metres, ms: stood_ms, speed: 0.0 });
                    self.drive(&mut state.trip, stretch);
                    state.idle = None;
                    self.change_zones(&mut state.trip, fix, sink)
                }
                Some(idle) => {
                    state.idle = Some(Idle { metres: idle.metres + stretch.metres, ..idle });
                    self.close_if_idle(state, fix, sink)
                }
            },
        }
    }

    fn close_if_idle(&self, state: &mut State, fix: &Fix<'_>, sink: &mut impl Sink) -> Result<(), String> {
        match state.idle {
            Some(idle) if fix.time_ms.saturating_sub(idle.since_ms) >= self.settings.idle_ms => {
                self.close(state, idle.since_ms, sink)
            }
            _ => Ok(()),
        }
    }

    fn close_at_last_fix(&self, state: &mut State, sink: &mut impl Sink) -> Result<(), String> {
        let last_ms = state.last.map_or(state.trip.start_ms, |last| last.time_ms);
        let end_ms = state.idle.map_or(last_ms, |idle| idle.since_ms);
        self.close(state, end_ms, sink)
    }

    /// Adds a stretch to the trip and to the zones in which it began.
    fn drive(&self, trip: &mut OpenTrip, stretch: Stretch) {
        trip.metres += stretch.metres;
        trip.top_speed = trip.top_speed.max(stretch.speed);
        if stretch.speed < self.settings.waiting_speed {
            trip.waiting_ms = trip.waiting_ms.saturating_add(stretch.ms);
        }
        for zone in trip.zones.iter_mut().filter(|zone| zone.inside) {
            zone.metres += stretch.metres;
            zone.inside_ms = zone.inside_ms.saturating_add(stretch.ms);
            zone.top_speed = zone.top_speed.max(stretch.speed);
        }
    }

    fn change_zones(&self, trip: &mut OpenTrip, fix: &Fix<'_>, sink: &mut impl Sink) -> Result<(), String> {
        let holds = |key: u64| fix.covering.iter().any(|zone| self.zones.key(*zone) == key);
        let mut at = 0;
        while at < trip.zones.len() {
            let zone = &mut trip.zones[at];
            if zone.inside {
                zone.last_ms = fix.time_ms;
                zone.inside = holds(zone.key);
            }
            if !zone.inside && self.section_length(zone.key).is_some() {
                let slot = trip.zones.remove(at);
                self.pass(trip, slot, fix.time_ms, sink)?;
            } else {
                at += 1;
            }
        }
        self.come_into(trip, fix, false);
        Ok(())
    }

    fn come_into(&self, trip: &mut OpenTrip, fix: &Fix<'_>, started_in: bool) {
        for &zone in fix.covering {
            let key = self.zones.key(zone);
            if let Some(slot) = trip.zones.iter_mut().find(|slot| slot.key == key) {
                if !slot.inside {
                    slot.inside = true;
                    slot.passes = slot.passes.saturating_add(1);
                    slot.last_ms = fix.time_ms;
                }
            } else if trip.zones.len() < ZONES_MAX {
                let (first_ms, last_ms) = (fix.time_ms, fix.time_ms);
                let slot =
                    ZoneSlot { key, first_ms, last_ms, passes: 1, inside: true, started_in, ..ZoneSlot::default() };
                trip.zones.push(slot);
            } else {
                trip.overflowed = true;
            }
        }
    }

    /// The length of a toll section, by the key of its zone.
    fn section_length(&self, key: u64) -> Option<(u32, Decimal)> {
        let zone = self.zones.by_key(key)?;
        Some((zone, self.zones.section_length_m(zone)?))
    }

    fn pass(&self, trip: &mut OpenTrip, slot: ZoneSlot, left_ms: i64, sink: &mut impl Sink) -> Result<(), String> {
        let Some((zone, length_m)) = self.section_length(slot.key) else { return Ok(()) };
        let section = Section { zone: self.zones.id(zone).to_owned(), length_m, entered_ms: slot.first_ms };
        sink.take(Step::Section { trip: self.summary(trip, left_ms), section, left_ms }, trip)
    }

    fn close(&self, state: &mut State, end_ms: i64, sink: &mut impl Sink) -> Result<(), String> {
        let trip = &mut state.trip;
        trip.end_ms = end_ms;
        while let Some(at) = trip.zones.iter().position(|zone| self.section_length(zone.key).is_some()) {
            let slot = trip.zones.remove(at);
            self.pass(trip, slot, end_ms, sink)?;
        }
        for zone in &mut trip.zones {
            zone.ended_in = zone.inside;
            zone.inside = false;
        }
        sink.take(Step::Closed { trip: self.summary(trip, end_ms) }, trip)?;
        trip.config_key = self.config_key;
        state.phase = Phase::Held;
        state.idle = None;
        if self.settings.reopen_within_ms == 0 {
            self.forget(state);
        }
        Ok(())
    }

    fn forget(&self, state: &mut State) {
        state.phase = Phase::Closed;
        state.trip = OpenTrip::default();
    }

    /// The trip as a charge wants it. Zones that the config no longer has are left out.
    fn summary(&self, trip: &OpenTrip, end_ms: i64) -> Trip {
        let uses = trip.zones.iter().filter_map(|slot| {
            let zone = self.zones.by_key(slot.key)?;
            Some(ZoneUse {
                zone: self.zones.id(zone).to_owned(),
                started_in: slot.started_in,
                ended_in: slot.ended_in,
                passes: u32::from(slot.passes),
                distance_m: decimal_metres(slot.metres),
                inside_ms: slot.inside_ms,
                first_ms: slot.first_ms,
                last_ms: slot.last_ms,
                top_speed_kph: decimal_kph(slot.top_speed),
            })
        });
        Trip {
            start_ms: trip.start_ms,
            end_ms,
            distance_m: decimal_metres(trip.metres),
            waiting_ms: trip.waiting_ms,
            top_speed_kph: decimal_kph(trip.top_speed),
            zones: uses.collect(),
            ..Trip::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Keeps the steps.
    #[derive(Default)]
    struct Steps(Vec<Step>);

    impl Sink for Steps {
        fn take(&mut self, step: Step, _: &mut OpenTrip) -> Result<(), String> {
            self.0.push(step);
            Ok(())
        }
    }

    /// Time in seconds, longitude in thousandths of a degree, and whether the ignition is on.
    fn run(trip: &str, fixes: &[(i64, f64, bool)]) -> (State, Vec<Step>) {
        let zones = r#"{"type":"FeatureCollection","features":[
            {"id":"a","properties":{"radius_m":500},"geometry":{"type":"Point","coordinates":[0.01,0]}}]}"#;
        let config = Config::parse(&format!(r#"{{"trip":{trip},"zones":{zones},"tariffs":[]}}"#)).unwrap();
        let machine = Machine { settings: &config.trip, zones: &config.zones, config_key: config.key };
        let (mut state, mut steps, mut covering) = (State::default(), Steps::default(), Vec::new());
        for &(second, thousandths, on) in fixes {
            let longitude = thousandths / 1_000.0;
            config.zones.find_covering(Point::new(longitude, 0.0), &mut covering);
            let fix = Fix {
                time_ms: second * 1_000,
                latitude: 0.0,
                longitude,
                odometer: f64::NAN,
                speed: f32::NAN,
                ignition: Some(on),
                covering: &covering,
            };
            machine.apply(&mut state, &fix, &mut steps).unwrap();
        }
        (state, steps.0)
    }

    #[test]
    fn a_stretch_belongs_to_the_zones_in_which_it_began() {
        let fixes = [(0, 0.0, true), (100, 10.0, true), (200, 20.0, true), (250, 10.0, true), (300, 10.0, false)];
        let (state, steps) = run("{}", &fixes);
        let [Step::Closed { trip }] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!((trip.start_ms, trip.end_ms, trip.waiting_ms), (0, 300_000, 50_000));
        let zone = &trip.zones[0];
        assert_eq!((zone.passes, zone.inside_ms, zone.first_ms, zone.last_ms), (2, 150_000, 100_000, 300_000));
        assert_eq!((zone.started_in, zone.ended_in), (false, true));
        // A hundredth of a degree of the equator is 1,113.195 m.
        assert_eq!((trip.distance_m.to_string(), zone.distance_m.to_string()), ("3339.585".into(), "1113.195".into()));
        assert_eq!((state.phase, state.trip), (Phase::Closed, OpenTrip::default()));
    }

    #[test]
    fn what_is_charged_is_held_as_long_as_the_trip_may_go_on() {
        let soon = r#"{"reopen_within_s":60}"#;
        assert_eq!(run(soon, &[(0, 0.0, true), (10, 1.0, false)]).0.phase, Phase::Held);
        assert_eq!(run(soon, &[(0, 0.0, true), (10, 1.0, false), (70, 1.0, false)]).0.phase, Phase::Held);
        assert_eq!(run(soon, &[(0, 0.0, true), (10, 1.0, false), (71, 1.0, false)]).0.phase, Phase::Closed);
        let (state, _) = run(soon, &[(0, 0.0, true), (10, 1.0, false), (70, 1.0, true)]);
        assert_eq!((state.phase, state.trip.reopened, state.trip.start_ms), (Phase::Open, true, 0));
    }
}
