//! The rule as the host sees it: batches in, proposals out.

use geo::Coord;
use plugin_sdk::{Description, GeofenceRule, Position, Proposal, Proposals, Rows, kind, log};

use crate::config::{Config, SCHEMA};
use crate::state::{ROW_BYTES, Row, VERSION};
use crate::transition::{self, Change, Fix, Kind};

/// The geofence rule with its config.
pub struct Geofence {
    config: Config,
    /// Kept between positions to save allocations.
    covering: Vec<u32>,
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

    fn note_overflow(&mut self, position: &Position, zone: u32) {
        if self.overflows == 0 {
            log::warn(&format!(
                "vehicle {:#018x} is in more than {} zones at once: {:?} and others are not tracked for it until it \
                 leaves one; this is said once",
                position.vehicle,
                crate::state::SLOTS,
                self.config.zones.id(zone),
            ));
        }
        self.overflows += 1;
    }
}

impl GeofenceRule for Geofence {
    fn describe() -> Description {
        // A rebuilt plugin may call itself by another version.
        let version = option_env!("DROVER_PLUGIN_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"));
        Description::new("geofence", version).with_state(VERSION, ROW_BYTES as u32).with_config(SCHEMA)
    }

    fn configure(config: &str) -> Result<Self, String> {
        let config = Config::parse(config)?;
        Ok(Self { config, covering: Vec::new(), changes: Vec::new(), overflows: 0 })
    }

    fn evaluate(&mut self, positions: &[Position], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, position) in positions.iter().enumerate() {
            let place = Coord { x: position.longitude, y: position.latitude };
            // A fix that is not usable leaves everything as it is. An accuracy that was not reported is NaN, and passes.
            let too_vague = f64::from(position.horizontal_accuracy) > self.config.settings.max_accuracy_m;
            if too_vague || !place.x.is_finite() || !place.y.is_finite() {
                continue;
            }
            let mut row = Row::new(rows.of(position))?;
            self.config.zones.find_covering(place, &mut self.covering);
            let fix = Fix { time_ms: position.event_time_ms, place, covering: &self.covering };
            let Config { zones, settings } = &self.config;
            let without_slot = transition::apply(zones, settings, &mut row, &fix, &mut self.changes);
            for change in self.changes.drain(..) {
                proposals.push(Proposal {
                    position: index as u32,
                    kind: match change.kind {
                        Kind::Exit => kind::EXITED,
                        Kind::Enter => kind::ENTERED,
                    },
                    event_time_ms: change.time_ms,
                    value: f64::NAN,
                    subject: zones.id(change.zone).to_owned(),
                });
            }
            if let Some(zone) = without_slot {
                self.note_overflow(position, zone);
            }
        }
        Ok(())
    }
}
