//! Charges each full kilometre that a vehicle drives.
use plugin_sdk::{Description, Proposal, Proposals, Reading, Rows, Rule, charge};
use serde::Deserialize;

#[derive(Deserialize)]
struct PerKilometre {
    cents: u32,
    currency: String,
}

impl Rule for PerKilometre {
    fn describe() -> Description {
        // The kilometre that was charged last, plus one; 0 for a vehicle that was never seen.
        Description::pricing("{name}", "0.1.0").with_state(1, 8).with_config(include_str!("../config.schema.json"))
    }

    fn configure(config: &str) -> Result<Self, String> {
        serde_json::from_str(config).map_err(|error| error.to_string())
    }

    fn evaluate(&mut self, readings: &[Reading], rows: &mut Rows, proposals: &mut Proposals) -> Result<(), String> {
        for (index, reading) in readings.iter().enumerate() {
            if reading.odometer.is_nan() || reading.odometer < 0.0 {
                continue;
            }
            let row = rows.of(reading);
            let before = u64::from_le_bytes(row.try_into().map_err(|_| "a row has 8 bytes")?);
            let now = (reading.odometer / 1_000.0) as u64 + 1;
            // A counter that goes back is a new one: nothing was driven.
            let kilometres = if before == 0 { 0 } else { now.saturating_sub(before) };
            row.copy_from_slice(&now.to_le_bytes());
            if kilometres > 0 {
                let cents = kilometres * u64::from(self.cents);
                let (units, rest, currency) = (cents / 100, cents % 100, &self.currency);
                proposals.push(Proposal {
                    reading: index as u32,
                    kind: charge::LINE,
                    event_time_ms: reading.event_time_ms,
                    value: f64::NAN,
                    subject: "distance".to_owned(),
                    details: Some(format!(
                        r#"{{"amount":"{units}.{rest:02}","currency":"{currency}","quantity":"{kilometres}","unit":"km"}}"#
                    )),
                });
            }
        }
        Ok(())
    }
}

plugin_sdk::export_plugin!(PerKilometre);
