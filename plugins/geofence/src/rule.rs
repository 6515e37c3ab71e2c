//! The rule as the host sees it: batches in, proposals out.

use geo::Coord;
use plugin_sdk::{Description, Proposal, Proposals, Reading, Rows, Rule, kind, log};

use crate::config::{Config, SCHEMA};
use crate::migration;
use crate::state::{ROW_BYTES, Row, VERSION};
use crate::step::{self, Fix};
use crate::transition::{Change, Kind};
use crate::zones::Met;

/// The geofence rule with its config.
pub struct Geofence {
    config: Config,
    /// Kept between readings to save allocations.
    covering: Vec<u32>,
    met: Vec<Met>,
    changes: Vec<Change>,
    /// Readings of vehicles that were in more zones than a row has slots.
    overflows: u64,
}

impl Geofence {
    /// Readings, since this instance was made, of vehicles that were in more zones than a row has slots.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    fn note_overflow(&mut self, reading: &Reading, zone: u32) {
        if self.overflows == 0 {
            // The rule does not know the vehicle's name: place and time find it.
            log::warn(&format!(
                "a vehicle is in more than {} zones at once: {:?} and others are not tracked for it until it leaves \
                 one; vehicle {:#018x} at {}, {} (latitude, longitude), reading {} of {} ms; this is said once",
                crate::state::SLOTS,
                self.config.zones.id(zone),
                reading.vehicle,
                reading.latitude,
                reading.longitude,
                reading.sequence,
                reading.event_time_ms,
            ));
        }
        self.overflows += 1;
    }
}

impl Rule for Geofence {
    const MIGRATES_FROM: &[u32] = &[1];

    fn describe() -> Description {
        // A rebuilt plugin may call itself by another version.
        let version = option_env!("DROVER_PLUGIN_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"));
        Description::geofence("geofence", version).with_state(VERSION, ROW_BYTES as u32).with_config(SCHEMA)
    }

    fn configure(config: &str) -> Result<Self, String> {
        let config = Config::parse(config)?;
        Ok(Self { config, covering: Vec::new(), met: Vec::new(), changes: Vec::new(), overflows: 0 })
    }

    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, reading) in readings.iter().enumerate() {
            let place = Coord { x: reading.longitude, y: reading.latitude };
            // A fix that is not usable leaves everything as it is. An accuracy that was not reported is NaN, and passes.
            let too_vague = f64::from(reading.horizontal_accuracy) > self.config.settings.max_accuracy_m;
            if too_vague || !place.x.is_finite() || !place.y.is_finite() {
                continue;
            }
            let mut row = Row::new(rows.of(reading))?;
            self.config.zones.find_covering(place, &mut self.covering);
            let (altitude, time_ms) = (reading.altitude, reading.event_time_ms);
            if self.config.zones.have_conditions() {
                self.covering.retain(|&zone| self.config.zones.admits(zone, altitude, time_ms));
            }
            let fix = Fix { time_ms, place, altitude, speed: reading.speed, covering: &self.covering };
            let without_slot = step::apply(&self.config, &mut row, &fix, &mut self.met, &mut self.changes);
            let zones = &self.config.zones;
            for change in self.changes.drain(..) {
                proposals.push(Proposal {
                    reading: index as u32,
                    kind: match change.kind {
                        Kind::Exit => kind::EXITED,
                        Kind::Enter => kind::ENTERED,
                        Kind::Crossed => kind::CROSSED,
                        Kind::Dwell => kind::DWELL,
                        Kind::Overspeed => kind::OVERSPEED,
                    },
                    event_time_ms: change.time_ms,
                    value: change.value,
                    subject: zones.id(change.zone).to_owned(),
                    details: None,
                });
            }
            if let Some(zone) = without_slot {
                self.note_overflow(reading, zone);
            }
        }
        Ok(())
    }

    fn migrate(from_version: u32, row_bytes: u32, rows: &[u8]) -> Result<Vec<u8>, String> {
        migration::migrate(from_version, row_bytes, rows)
    }
}
