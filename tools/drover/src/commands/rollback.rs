//! `drover rollback`.

use super::rollout::{self, Deployment};
use crate::Connection;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::output;
use bytes::Bytes;
use fleet_model::DeploymentName;
use http::Method;
use std::time::Duration;

/// End what is tried; without a trial, go back to what a deployment was before: plugin and config
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  drover rollback zones

The edges still hold what ran before, so this is as quick as a swap. A second rollback goes back to what the first one
replaced.")]
pub(crate) struct Rollback {
    /// What the deployment is called
    name: DeploymentName,

    /// Do not wait until the edges have taken it up
    #[arg(long)]
    no_wait: bool,

    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = super::duration)]
    timeout: Duration,
}

impl Rollback {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let name = self.name.as_str();
        let before = rollout::current(&mut client, name).await?;
        let tried = before.as_ref().and_then(|before| before.trial.as_ref());
        let path = format!("/v1/deployments/{}/rollback", encoded(name));
        let after: Deployment = client.send(Method::POST, &path, "application/json", Bytes::new()).await?;
        let config = rollout::current(&mut client, name).await?.and_then(|deployment| deployment.config);
        if let Some(tried) = tried {
            let (ended, live) = (tried.revision, after.revision);
            output::say(&format!("the trial of revision {ended} ended; revision {live} goes on as it was"))?;
        }
        for line in rollout::changes(before.as_ref(), &after, config.as_ref()) {
            output::say(&line)?;
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
