//! `drover promote`.

use super::rollout::{self, Deployment};
use crate::Connection;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::output;
use bytes::Bytes;
use fleet_model::DeploymentName;
use http::Method;
use std::time::Duration;

/// Have what is tried go on: from the shadow to its canary, or live
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  drover deploy zones --plugin geofence@1.1.0 --config zones.json --shadow 10m
  drover deployment zones
  drover promote zones

What each vehicle was is kept. `drover rollback` goes back, before and after.")]
pub(crate) struct Promote {
    /// What the deployment is called
    name: DeploymentName,

    /// Do not wait until the edges have taken it up
    #[arg(long)]
    no_wait: bool,

    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = super::duration)]
    timeout: Duration,
}

impl Promote {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let name = self.name.as_str();
        let path = format!("/v1/deployments/{}/promote", encoded(name));
        let after: Deployment = client.send(Method::POST, &path, "application/json", Bytes::new()).await?;
        match &after.trial {
            Some(trial) => output::say(&trial.line(name))?,
            None => output::say(&format!("{name} revision {} is live", after.revision))?,
        }
        if !self.no_wait {
            for line in rollout::wait(&mut client, name, after.revision, self.timeout).await? {
                output::say(&line)?;
            }
        }
        client.close().await;
        Ok(())
    }
}
