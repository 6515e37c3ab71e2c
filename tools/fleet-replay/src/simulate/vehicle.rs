//! A vehicle on its round: it drives from address to address along the streets, waits at lights, stands while it
//! delivers, and returns to its depot for fuel.

use super::town::{Crossing, Town};
use rand::Rng;
use rand::rngs::StdRng;
use std::fmt::Write as _;

/// m/s².
const ACCELERATION: f64 = 1.4;
const BRAKING: f64 = 1.8;
/// Around a corner, m/s.
const CORNER_SPEED: f64 = 4.5;
/// The simulation's own step.
const STEP_S: f64 = 0.5;
/// A deeper change of direction than this is a corner.
const CORNER_DEGREES: f64 = 40.0;
const RED_LIGHT_PROBABILITY: f64 = 0.35;
/// With less fuel the next way leads to the depot.
const FUEL_RESERVE_PERCENT: f64 = 15.0;
const FUEL_PERCENT_PER_KM: f64 = 0.45;
const FUEL_PERCENT_PER_IDLE_HOUR: f64 = 1.2;
/// A stop that is longer than this is made with the engine off.
const ENGINE_OFF_BEYOND_S: f64 = 60.0;
const COOLANT_WARM: f64 = 89.0;
const COOLANT_COLD: f64 = 18.0;
/// How far the receiver is off, about.
const NOISE_M: f64 = 1.5;

/// One vehicle and its driver.
#[derive(Debug)]
pub(crate) struct Driver {
    random: StdRng,
    /// Likes to drive at this share of the limit.
    temper: f64,
    from: Crossing,
    to: Crossing,
    goal: Crossing,
    goal_is_depot: bool,
    /// Metres from `from` on the way to `to`.
    along: f64,
    speed: f64,
    heading: f64,
    stands_for_s: f64,
    ignition: bool,
    stops_at_next: bool,
    odometer_m: f64,
    engine_hours: f64,
    fuel_percent: f64,
    coolant: f64,
}

impl Driver {
    /// Somewhere in town, on its way.
    pub(crate) fn new(town: &Town, mut random: StdRng) -> Self {
        let from = town.any_crossing(&mut random);
        let mut driver = Self {
            temper: random.random_range(0.82..1.04),
            from,
            to: from,
            goal: from,
            goal_is_depot: false,
            along: 0.0,
            speed: 0.0,
            heading: 0.0,
            stands_for_s: 0.0,
            ignition: true,
            stops_at_next: false,
            odometer_m: random.random_range(2e6..2.5e8_f64).round(),
            engine_hours: random.random_range(100.0..9_000.0),
            fuel_percent: random.random_range(25.0..95.0),
            coolant: random.random_range(60.0..COOLANT_WARM),
            random,
        };
        driver.choose_goal(town);
        driver.turn_towards_goal(town);
        driver.along = driver.random.random_range(0.0..0.8) * driver.length(town);
        driver.speed = 0.6 * town.limit(driver.from, driver.to);
        driver
    }

    pub(crate) fn ignition(&self) -> bool {
        self.ignition
    }

    /// Lives through this much time.
    pub(crate) fn drive(&mut self, town: &Town, seconds: f64) {
        let mut left = seconds;
        while left > 0.0 {
            let step = left.min(STEP_S);
            self.step(town, step);
            left -= step;
        }
    }

    fn step(&mut self, town: &Town, seconds: f64) {
        let (towards, pace) = if self.ignition { (COOLANT_WARM, 240.0) } else { (COOLANT_COLD, 5_400.0) };
        self.coolant += (towards - self.coolant) * (seconds / pace);
        if self.ignition {
            self.engine_hours += seconds / 3_600.0;
            self.fuel_percent = (self.fuel_percent - FUEL_PERCENT_PER_IDLE_HOUR * seconds / 3_600.0).max(0.0);
        }
        if self.stands_for_s > 0.0 {
            self.speed = 0.0;
            self.stands_for_s -= seconds;
            if self.stands_for_s <= 0.0 {
                self.ignition = true;
                self.turn_towards_goal(town);
            }
            return;
        }
        let left = (self.length(town) - self.along).max(0.0);
        let end_speed = if self.stops_at_next { 0.0 } else { CORNER_SPEED };
        let wanted = self.temper * town.limit(self.from, self.to);
        let can_brake = (end_speed * end_speed + 2.0 * BRAKING * left).sqrt();
        // Never stuck in front of a stop line.
        self.speed = (self.speed + ACCELERATION * seconds).min(wanted).min(can_brake).max(0.6);
        let moved = (self.speed * seconds).min(left);
        self.along += moved;
        self.odometer_m += moved;
        self.fuel_percent = (self.fuel_percent - FUEL_PERCENT_PER_KM * moved / 1_000.0).max(0.0);
        if left - moved < 0.3 {
            self.arrive(town);
        }
    }

    /// At the crossing: on, or a wait at lights, or a stop at the goal.
    fn arrive(&mut self, town: &Town) {
        self.from = self.to;
        self.along = 0.0;
        if self.from == self.goal {
            if self.goal_is_depot {
                self.fuel_percent = 96.0;
                self.stands_for_s = self.random.random_range(120.0..420.0);
            } else {
                self.stands_for_s = self.random.random_range(15.0..110.0);
            }
            self.ignition = self.stands_for_s < ENGINE_OFF_BEYOND_S;
            self.speed = 0.0;
            self.choose_goal(town);
        } else if self.stops_at_next {
            self.stands_for_s = self.random.random_range(4.0..25.0);
            self.speed = 0.0;
        } else {
            self.turn_towards_goal(town);
        }
    }

    fn choose_goal(&mut self, town: &Town) {
        self.goal_is_depot = self.fuel_percent < FUEL_RESERVE_PERCENT || self.random.random_bool(0.12);
        loop {
            self.goal =
                if self.goal_is_depot { town.any_depot(&mut self.random) } else { town.any_crossing(&mut self.random) };
            if self.goal != self.from {
                return;
            }
            self.goal_is_depot = false;
        }
    }

    fn turn_towards_goal(&mut self, town: &Town) {
        self.to = town.towards(self.from, self.goal, &mut self.random).unwrap_or(self.from);
        let ((x, y), (to_x, to_y)) = (town.place(self.from), town.place(self.to));
        let heading = (to_x - x).atan2(to_y - y).to_degrees().rem_euclid(360.0);
        let change = (heading - self.heading + 540.0).rem_euclid(360.0) - 180.0;
        if change.abs() > CORNER_DEGREES {
            self.speed = self.speed.min(CORNER_SPEED);
        }
        self.heading = heading;
        let red = town.has_lights(self.to) && self.random.random_bool(RED_LIGHT_PROBABILITY);
        self.stops_at_next = red || self.to == self.goal;
    }

    fn length(&self, town: &Town) -> f64 {
        let ((x, y), (to_x, to_y)) = (town.place(self.from), town.place(self.to));
        (to_x - x).hypot(to_y - y)
    }

    /// The reading as JSON. The receiver is a little off, and says so.
    pub(crate) fn report(&mut self, town: &Town, event_time_ms: i64) -> String {
        let share = (self.along / self.length(town).max(1.0)).min(1.0);
        let ((x, y), (to_x, to_y)) = (town.place(self.from), town.place(self.to));
        let accuracy = self.random.random_range(2.5..8.0);
        let mut noise = || self.random.random_range(-NOISE_M..NOISE_M);
        let (x, y) = (x + (to_x - x) * share + noise(), y + (to_y - y) * share + noise());
        let (latitude, longitude) = town.geography().degrees(x, y);
        let engine_speed = self.engine_speed();
        let voltage = if self.ignition { 14.1 } else { 12.6 } + self.random.random_range(-0.15..0.15);
        let mut json = String::with_capacity(320);
        let _ = write!(
            json,
            "{{\"event_time_ms\":{event_time_ms},\"latitude\":{latitude:.7},\"longitude\":{longitude:.7},\
             \"heading\":{:.1},\"speed\":{:.2},\"horizontal_accuracy\":{accuracy:.1},\"odometer\":{:.0},\
             \"engine_hours\":{:.2},\"engine_speed\":{engine_speed:.0},\"fuel_level\":{:.1},\
             \"engine_coolant_temperature\":{:.1},\"battery_voltage\":{voltage:.2},\"ignition\":{}}}",
            // 359.96 would be written as 360.0.
            self.heading.min(359.9),
            self.speed,
            self.odometer_m,
            self.engine_hours,
            self.fuel_percent,
            self.coolant,
            self.ignition,
        );
        json
    }

    /// rpm for the speed, through five gears.
    fn engine_speed(&self) -> f64 {
        if !self.ignition {
            return 0.0;
        }
        let rpm_each_mps = match self.speed {
            s if s < 3.0 => 420.0,
            s if s < 6.0 => 270.0,
            s if s < 9.0 => 190.0,
            s if s < 12.0 => 145.0,
            _ => 115.0,
        };
        (self.speed * rpm_each_mps).max(760.0)
    }
}
