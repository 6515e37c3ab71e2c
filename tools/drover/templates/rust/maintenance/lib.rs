//! Asks for service when the coolant gets too hot, once until it has cooled down.
use plugin_sdk::{Description, Proposal, Proposals, Reading, Rows, Rule, service};
use serde::Deserialize;

#[derive(Deserialize)]
struct Coolant {
    hot: f32,
    cool: f32,
}

impl Rule for Coolant {
    fn describe() -> Description {
        // One byte of state per vehicle: whether service was asked for.
        Description::maintenance("{name}", "0.1.0").with_state(1, 1).with_config(include_str!("../config.schema.json"))
    }

    fn configure(config: &str) -> Result<Self, String> {
        let coolant: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if coolant.cool > coolant.hot { Err("cool is above hot".to_owned()) } else { Ok(coolant) }
    }

    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, reading) in readings.iter().enumerate() {
            let row = rows.of(reading);
            // Nothing is true of a signal that was not reported (NaN).
            let temperature = reading.engine_coolant_temperature;
            if row[0] == 0 && temperature >= self.hot {
                row[0] = 1;
                proposals.push(Proposal {
                    reading: index as u32,
                    kind: service::DUE,
                    event_time_ms: reading.event_time_ms,
                    value: f64::from(temperature),
                    subject: "coolant".to_owned(),
                    details: None,
                });
            } else if temperature <= self.cool {
                row[0] = 0;
            }
        }
        Ok(())
    }
}

plugin_sdk::export_plugin!(Coolant);
