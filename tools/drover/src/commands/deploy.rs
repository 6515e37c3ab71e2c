//! `drover deploy`.

use super::plugin::{is_file, read_config, upload};
use super::rollout::{self, Deployment};
use crate::Connection;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::output;
use bytes::Bytes;
use fleet_model::DeploymentName;
use http::Method;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Deploy a plugin with a config, or change a deployment
///
/// The fleet keeps driving: each edge changes between two batches of readings, skips none and doubles none. What ran
/// before stays for `drover rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover deploy zones --plugin geofence@1.0.0 --config zones.json
  drover deploy zones --plugin target/plugins/geofence.wasm --config stricter.json

The config is checked against the plugin's schema before anything runs; each field that does not fit is named.
Exit code 3 when the cloud or an edge refused it: what ran before still runs.")]
pub(crate) struct Deploy {
    /// What the deployment is called
    name: DeploymentName,

    /// name@version, the hash of a component, or a file to upload first
    #[arg(long, value_name = "PLUGIN")]
    plugin: String,

    /// The plugin's config: a JSON file; without it {}
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Do not wait until the edges have taken it up
    #[arg(long)]
    no_wait: bool,

    /// Wait until every connected edge has taken it up or refused it (the default)
    #[arg(long, conflicts_with = "no_wait", hide = true)]
    wait: bool,

    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = super::duration)]
    timeout: Duration,
}

impl Deploy {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let config = self.config.as_deref().map_or_else(|| Ok(json!({})), read_config)?;
        let mut client = Client::of_cloud(connection)?;
        let plugin = if is_file(&self.plugin) {
            let uploaded = upload(&mut client, Path::new(&self.plugin)).await?;
            output::say(&format!("uploaded {}@{}", uploaded.name, uploaded.version))?;
            uploaded.hash
        } else {
            self.plugin.clone()
        };
        let before = rollout::current(&mut client, self.name.as_str()).await?;
        let body = Bytes::from(json!({ "plugin": plugin, "config": config }).to_string());
        let path = format!("/v1/deployments/{}", encoded(self.name.as_str()));
        let after: Deployment = client.send(Method::PUT, &path, "application/json", body).await?;
        for line in rollout::changes(before.as_ref(), &after, Some(&config)) {
            output::say(&line)?;
        }
        if !self.no_wait {
            for line in rollout::wait(&mut client, self.name.as_str(), after.revision, self.timeout).await? {
                output::say(&line)?;
            }
        }
        client.close().await;
        Ok(())
    }
}
