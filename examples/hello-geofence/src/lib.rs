//! Tells when a vehicle crosses the Arctic Circle.
use plugin_sdk::{Description, GeofenceRule, Position, Proposals, Rows, kind};

struct Arctic;

impl GeofenceRule for Arctic {
    fn describe() -> Description {
        Description::new("hello-geofence", "1.0.0").with_state(1, 1)
    }
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Arctic)
    }
    fn evaluate(&mut self, positions: &[Position], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, position) in positions.iter().enumerate() {
            let (was_inside, inside) = (rows.of(position)[0] == 1, position.latitude >= 66.5636);
            if inside != was_inside {
                proposals.propose(index, position, if inside { kind::ENTERED } else { kind::EXITED }, "arctic");
                rows.of(position)[0] = u8::from(inside);
            }
        }
        Ok(())
    }
}
plugin_sdk::export_geofence!(Arctic);
