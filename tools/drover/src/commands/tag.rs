//! `drover tag`.

use crate::Connection;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::output;
use bytes::Bytes;
use fleet_model::{Tag, VehicleId};
use http::Method;
use serde::Deserialize;
use serde_json::json;

/// Give a vehicle tags in the place of those that it has; without any, take them away
///
/// A deployment can be for vehicles with a tag (`drover deploy --tag`). Edges are told by themselves when that changes, no
/// revision is made, and what is tried beside a deployment goes on. A vehicle that a rule is no longer for keeps its state
/// under that rule, and goes on with it when it is tagged again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover tag BUS-1 night-bus electric
  drover tag BUS-1
  drover vehicles --tag night-bus
  xargs -n 1 -I BUS drover tag BUS night-bus < buses.txt

The vehicle need not have sent a reading yet. A tag has up to 64 letters, digits and . _ : -, a vehicle up to 16 tags. Exit
code 3 when the cloud refused it: the tags of before are still there.")]
pub(crate) struct TagVehicle {
    /// Which vehicle
    vehicle: VehicleId,

    /// All that it shall have; none takes away what it has
    #[arg(value_name = "TAG")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tagged {
    tags: Vec<String>,
    #[serde(default)]
    deployments: Vec<String>,
}

impl TagVehicle {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let path = format!("/v1/vehicles/{}/tags", encoded(self.vehicle.as_str()));
        let body = Bytes::from(json!({ "tags": self.tags }).to_string());
        let tagged: Tagged = client.send(Method::PUT, &path, "application/json", body).await?;
        for line in lines(self.vehicle.as_str(), &tagged) {
            output::say(&line)?;
        }
        client.close().await;
        Ok(())
    }
}

fn lines(vehicle: &str, tagged: &Tagged) -> Vec<String> {
    let tags = if tagged.tags.is_empty() { "no tags".to_owned() } else { tagged.tags.join(", ") };
    let mut lines = vec![format!("{vehicle}: {tags}")];
    if !tagged.deployments.is_empty() {
        lines.push(format!("  deployments that are for other vehicles now: {}", tagged.deployments.join(", ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_vehicle_has_and_which_deployments_changed() {
        let tagged = |tags: &[&str], deployments: &[&str]| Tagged {
            tags: tags.iter().map(ToString::to_string).collect(),
            deployments: deployments.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            lines("BUS-1", &tagged(&["electric", "night-bus"], &["zones", "fares"])),
            ["BUS-1: electric, night-bus", "  deployments that are for other vehicles now: zones, fares"]
        );
        assert_eq!(lines("BUS-1", &tagged(&[], &[])), ["BUS-1: no tags"]);
    }
}
