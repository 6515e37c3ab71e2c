//! What a frame must hold beyond being well-formed. `Frame::parse` has proved that it can be read; here it is proved
//! that it makes sense, so that nothing after this door has to ask again.

use fleet_model::{VehicleKey, VehicleName};
use fleet_wire::block::ArchivedVehicleNameV1;
use fleet_wire::{ArchivedReadingV1, Frame};
use hashbrown::HashMap;

/// Vehicles whose names are remembered as checked, per stream. A key costs 200 ns to compute.
const NAMES_MAX: usize = 65_536;

/// Why a well-formed frame is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameRefused {
    #[error("a vehicle's name is none: {0}")]
    Name(#[from] fleet_model::InvalidId),
    #[error("the key of vehicle {0} of tenant {1} is not made from its name")]
    Key(String, String),
    #[error("the reading of vehicle {vehicle:?}, sequence {sequence}, is at {latitude}, {longitude}")]
    Position { vehicle: String, sequence: u64, latitude: f64, longitude: f64 },
}

/// Checks frames of one stream.
#[derive(Default)]
pub(super) struct Validator {
    names: HashMap<VehicleKey, VehicleName>,
}

impl Validator {
    /// Checks the names, and where readings claim to be.
    pub(super) fn check(&mut self, frame: &Frame) -> Result<(), FrameRefused> {
        match frame.clone().into_readings() {
            Ok(readings) => {
                let block = readings.block();
                self.names(block.vehicles.iter())?;
                match block.readings.iter().find(|reading| !is_on_earth(reading)) {
                    None => Ok(()),
                    Some(reading) => Err(FrameRefused::Position {
                        vehicle: block.vehicles[reading.vehicle_index()].vehicle.to_string(),
                        sequence: reading.sequence().0,
                        latitude: reading.latitude.to_native(),
                        longitude: reading.longitude.to_native(),
                    }),
                }
            }
            Err(frame) => match frame.into_events() {
                Ok(events) => self.names(events.block().vehicles.iter()),
                Err(_) => Ok(()),
            },
        }
    }

    fn names<'a>(&mut self, vehicles: impl Iterator<Item = &'a ArchivedVehicleNameV1>) -> Result<(), FrameRefused> {
        for archived in vehicles {
            let known = self.names.get(&archived.key());
            if known.is_some_and(|name| {
                name.tenant.as_str() == &*archived.tenant && name.vehicle.as_str() == &*archived.vehicle
            }) {
                continue;
            }
            let name = archived.to_name()?;
            if name.key != archived.key() {
                return Err(FrameRefused::Key(name.vehicle.to_string(), name.tenant.to_string()));
            }
            if self.names.len() >= NAMES_MAX {
                self.names.clear();
            }
            self.names.insert(name.key, name);
        }
        Ok(())
    }
}

fn is_on_earth(reading: &ArchivedReadingV1) -> bool {
    (-90.0..=90.0).contains(&reading.latitude.to_native()) && (-180.0..=180.0).contains(&reading.longitude.to_native())
}
