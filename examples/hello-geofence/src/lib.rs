//! Tells when a vehicle crosses the Arctic Circle.
use plugin_sdk::{Description, Rule, Proposals, Reading, Rows, kind};

struct Arctic;

impl Rule for Arctic {
    fn describe() -> Description {
        Description::geofence("hello-geofence", "1.0.0").with_state(1, 1)
    }
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Arctic)
    }
    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, reading) in readings.iter().enumerate() {
            let (was_inside, inside) = (rows.of(reading)[0] == 1, reading.latitude >= 66.5636);
            if inside != was_inside {
                proposals.propose(index, reading, if inside { kind::ENTERED } else { kind::EXITED }, "arctic");
                rows.of(reading)[0] = u8::from(inside);
            }
        }
        Ok(())
    }
}
plugin_sdk::export_plugin!(Arctic);
