//! A made-up town on an island that does not exist, and a fleet that drives in it. The same seed makes the same town and
//! the same drives.

mod geography;
mod town;
mod vehicle;
mod zones;

pub(crate) use town::Town;

use crate::message::{Reading, Vehicle};
use fleet_model::{TenantId, VehicleId};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use vehicle::Driver;

/// A parked vehicle with its ignition off reports this many times less often.
const PARKED_REPORTS_ONE_IN: u64 = 10;

/// The readings of all vehicles in the order of time. Endless; [`within`](Self::within) ends it.
pub(crate) struct Fleet {
    town: Town,
    vehicles: Vec<(Arc<Vehicle>, Driver)>,
    start_ms: i64,
    every_ms: u64,
    round: u64,
    turn: usize,
}

impl Fleet {
    pub(crate) fn new(town: Town, vehicles: u32, seed: u64, tenant: &TenantId, start_ms: i64, every: Duration) -> Self {
        let vehicles = (1..=vehicles)
            .filter_map(|number| {
                let id = VehicleId::new(&format!("SIM-{number:04}")).ok()?;
                // Each vehicle has its own dice: how many others there are changes nothing for it.
                let random = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number));
                Some((Arc::new(Vehicle::new(tenant, id)), Driver::new(&town, random)))
            })
            .collect();
        Self { town, vehicles, start_ms, every_ms: (every.as_millis() as u64).max(1), round: 0, turn: 0 }
    }

    /// Ends after this much simulated time.
    pub(crate) fn within(self, until: Duration) -> impl Iterator<Item = Reading> + Send {
        let end_ms = self.start_ms + until.as_millis() as i64;
        self.take_while(move |reading| reading.event_time_ms.is_some_and(|time| time < end_ms))
    }

    /// At most how many readings there are within this much simulated time: parked vehicles report less often.
    pub(crate) fn readings_within(&self, until: Duration) -> u64 {
        (until.as_millis() as u64).div_ceil(self.every_ms) * self.vehicles.len() as u64
    }
}

impl Iterator for Fleet {
    type Item = Reading;

    fn next(&mut self) -> Option<Reading> {
        if self.vehicles.is_empty() {
            return None;
        }
        loop {
            let (round, turn) = (self.round, self.turn);
            self.turn += 1;
            if self.turn == self.vehicles.len() {
                (self.round, self.turn) = (round + 1, 0);
            }
            let count = self.vehicles.len() as u64;
            let (vehicle, driver) = &mut self.vehicles[turn];
            if round > 0 {
                driver.drive(&self.town, self.every_ms as f64 / 1_000.0);
            }
            if !driver.ignition() && !(round + turn as u64).is_multiple_of(PARKED_REPORTS_ONE_IN) {
                continue;
            }
            // Reports are spread over the interval, so that they make a stream and not bursts.
            let elapsed_ms = (round * self.every_ms + turn as u64 * self.every_ms / count) as i64;
            let event_time_ms = self.start_ms + elapsed_ms;
            let payload = driver.report(&self.town, event_time_ms).into();
            return Some(Reading {
                vehicle: vehicle.clone(),
                clock_ms: Some(elapsed_ms),
                event_time_ms: Some(event_time_ms),
                payload,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn drive(seed: u64, vehicles: u32, seconds: u64) -> Vec<Reading> {
        let tenant = TenantId::new("demo").unwrap();
        let fleet = Fleet::new(Town::new(seed), vehicles, seed, &tenant, 1_700_000_000_000, Duration::from_secs(1));
        fleet.within(Duration::from_secs(seconds)).collect()
    }

    fn payloads(readings: &[Reading]) -> Vec<&str> {
        readings.iter().map(|reading| &*reading.payload).collect()
    }

    #[test]
    fn the_seed_decides_everything() {
        let (one, again, other) = (drive(7, 20, 60), drive(7, 20, 60), drive(8, 20, 60));
        assert_eq!(payloads(&one), payloads(&again));
        assert_ne!(payloads(&one), payloads(&other));
    }

    #[test]
    fn drives_are_plausible() {
        let town = Town::new(3);
        let readings = drive(3, 40, 900);
        assert!(readings.is_sorted_by_key(|reading| reading.event_time_ms));
        let mut before: HashMap<&str, (i64, f64, f64, f64)> = HashMap::new();
        let (mut driving, mut standing, mut travelled_m) = (0, 0, 0.0);
        for reading in &readings {
            let value: serde_json::Value = serde_json::from_str(&reading.payload).unwrap();
            let number = |field: &str| value[field].as_f64().unwrap();
            let (latitude, longitude) = (number("latitude"), number("longitude"));
            let (x, y) = town.geography().metres(latitude, longitude);
            let (width, height) = town.size_m();
            assert!((-40.0..=width + 40.0).contains(&x) && (-40.0..=height + 40.0).contains(&y), "in town: {x} {y}");
            assert!((0.0..=16.0).contains(&number("speed")), "{value}");
            assert!((0.0..360.0).contains(&number("heading")));
            assert!((0.0..=100.0).contains(&number("fuel_level")));
            assert!((10.0..=105.0).contains(&number("engine_coolant_temperature")));
            if number("speed") > 0.5 {
                driving += 1
            } else {
                standing += 1
            };
            let odometer = number("odometer");
            let now = (reading.event_time_ms.unwrap(), x, y, odometer);
            if let Some((time, was_x, was_y, was_odometer)) = before.insert(reading.vehicle.id.as_str(), now) {
                let seconds = (now.0 - time) as f64 / 1_000.0;
                let moved = (x - was_x).hypot(y - was_y);
                assert!(seconds > 0.0 && odometer >= was_odometer);
                // Never faster than a main street allows, apart from the receiver's noise.
                assert!(moved <= 15.5 * seconds + 15.0, "{moved} m in {seconds} s");
                travelled_m += odometer - was_odometer;
            }
        }
        assert!(driving > 2 * standing / 3 && standing > driving / 20, "{driving} driving, {standing} standing");
        let metres_each_second = travelled_m / (40.0 * 900.0);
        assert!((1.5..12.0).contains(&metres_each_second), "{metres_each_second} m/s on average");
    }

    #[test]
    fn vehicles_cross_the_borders_of_zones_within_half_a_minute() {
        let town = Town::new(1);
        let mut crossings = 0;
        let mut before: HashMap<String, Vec<bool>> = HashMap::new();
        for reading in drive(1, 200, 30) {
            let value: serde_json::Value = serde_json::from_str(&reading.payload).unwrap();
            let (latitude, longitude) = (value["latitude"].as_f64().unwrap(), value["longitude"].as_f64().unwrap());
            let (x, y) = town.geography().metres(latitude, longitude);
            let inside: Vec<bool> = town.zones().iter().map(|zone| zone.contains(x, y)).collect();
            if let Some(was) = before.insert(reading.vehicle.id.to_string(), inside.clone()) {
                crossings += was.iter().zip(&inside).filter(|(was, is)| was != is).count();
            }
        }
        assert!(crossings > 40, "{crossings}");
    }
}
