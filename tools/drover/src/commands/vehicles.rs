//! `drover vehicles`.

use crate::Connection;
use crate::client::{Client, with_query};
use crate::failure::Failure;
use crate::output::{self, TableOrJson};
use fleet_model::Tag;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

const PAGE: &str = "1000";

/// List vehicles with their last position
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover vehicles
  drover vehicles --tag night-bus
  drover vehicles --format json | jq '.[] | select(.data_age_ms > 60000) | .vehicle'")]
pub(crate) struct Vehicles {
    /// Only vehicles with this tag (`drover tag` gives tags)
    #[arg(long, value_name = "TAG")]
    tag: Option<Tag>,

    /// table or json
    #[arg(long, value_enum, default_value = "table")]
    format: TableOrJson,
}

#[derive(Deserialize)]
struct Page {
    vehicles: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<String>,
}

impl Vehicles {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let mut vehicles: Vec<Box<RawValue>> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let tag = self.tag.as_ref().map(Tag::as_str);
            let query = [("after", after.as_deref()), ("limit", Some(PAGE)), ("tag", tag)];
            let page: Page = client.get(&with_query("/v1/vehicles", &query)).await?;
            vehicles.extend(page.vehicles);
            match page.next {
                Some(next) if after.as_ref() != Some(&next) => after = Some(next),
                _ => break,
            }
        }
        match self.format {
            TableOrJson::Json => {
                let all: Vec<&str> = vehicles.iter().map(|vehicle| vehicle.get()).collect();
                output::say(&format!("[{}]", all.join(",\n")))?;
            }
            TableOrJson::Table => {
                let rows = vehicles.iter().map(|vehicle| row(vehicle)).collect::<Result<Vec<_>, _>>()?;
                let heads =
                    ["VEHICLE", "EVENT TIME", "AGE", "LATITUDE", "LONGITUDE", "SPEED m/s", "READINGS", "LATE", "TAGS"];
                output::table(&heads, &rows)?;
            }
        }
        client.close().await;
        Ok(())
    }
}

fn row(vehicle: &RawValue) -> Result<Vec<String>, Failure> {
    let vehicle: Value = serde_json::from_str(vehicle.get())
        .map_err(|error| Failure::Failed(format!("the answer is not as expected: {error}")))?;
    let age = vehicle["data_age_ms"].as_i64().map_or_else(|| "-".to_owned(), output::age);
    let cells = ["vehicle", "event_time", "", "latitude", "longitude", "speed", "readings", "late"];
    let mut row = cells.map(|name| if name.is_empty() { age.clone() } else { output::cell(&vehicle[name]) }).to_vec();
    let tags: Vec<&str> = vehicle["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    row.push(if tags.is_empty() { "-".to_owned() } else { tags.join(", ") });
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_stand_at_the_end_of_a_row() {
        let row = |json: &str| row(serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!(row(r#"{"vehicle": "BUS-1", "tags": ["electric", "night-bus"]}"#)[8], "electric, night-bus");
        assert_eq!(row(r#"{"vehicle": "BUS-1", "tags": []}"#)[8], "-");
        assert_eq!(row(r#"{"vehicle": "BUS-1"}"#)[8], "-", "an older cloud knows no tags");
    }
}
