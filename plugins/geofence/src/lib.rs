//! The geofence rule of Drover (taking shape).
use plugin_sdk::{Description, GeofenceRule, Position, Proposals, Rows, kind};

struct Placeholder;

impl GeofenceRule for Placeholder {
    fn describe() -> Description {
        Description::new("geofence", match option_env!("DROVER_PLUGIN_VERSION") { Some(v) => v, None => "1.0.0" }).with_state(1, 200).with_config("{}")
    }
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Placeholder)
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
plugin_sdk::export_geofence!(Placeholder);
