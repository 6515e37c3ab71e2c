//! Tells when a vehicle goes north of a latitude, and when it comes back.
use plugin_sdk::{Description, Proposals, Reading, Rows, Rule, kind};
use serde::Deserialize;

#[derive(Deserialize)]
struct North {
    latitude: f64,
}

impl Rule for North {
    fn describe() -> Description {
        // One byte of state per vehicle: whether it was north.
        Description::geofence("{name}", "0.1.0").with_state(1, 1).with_config(include_str!("../config.schema.json"))
    }

    fn configure(config: &str) -> Result<Self, String> {
        serde_json::from_str(config).map_err(|error| error.to_string())
    }

    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, reading) in readings.iter().enumerate() {
            let row = rows.of(reading);
            let (was, is) = (row[0] == 1, reading.latitude >= self.latitude);
            row[0] = u8::from(is);
            if was != is {
                proposals.propose(index, reading, if is { kind::ENTERED } else { kind::EXITED }, "north");
            }
        }
        Ok(())
    }
}

plugin_sdk::export_plugin!(North);
