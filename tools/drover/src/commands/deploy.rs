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
  drover deploy zones --plugin geofence@1.0.0 --depot depot-1 --vehicle BUS-1 --vehicle BUS-2
  drover deploy fares --plugin pricing@1.0.0 --config tariff.json --where cloud
  drover deploy zones --plugin geofence@1.0.0 --config zones.json --tag night-bus --tag airport
  drover deploy zones --plugin geofence@1.1.0 --config zones.json --shadow 10m --canary 10 --canary-for 1h
  drover deploy zones --plugin geofence@1.1.0 --config zones.json --shadow 10m --promote-if-differences 1

In the shadow a new version sees what the live one sees; what both propose is compared, and nothing of it becomes an event.
As a canary it decides for a share of the vehicles. `drover deployment zones` shows how it fares, `drover promote` has it go
on, `drover rollback` ends it. What fails on an edge meanwhile ends by itself.

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

    /// Where it decides: on edges, at once and without an uplink, or in the cloud, about what came of all depots. It stays
    /// where it is [default: as it is, at first edge]
    #[arg(long = "where", value_name = "PLACE", value_parser = ["edge", "cloud"])]
    place: Option<String>,

    /// Only in this depot, by its edge's name; may be repeated; "*" for all [default: as it is, at first all]
    #[arg(long, value_name = "EDGE")]
    depot: Vec<String>,

    /// Only for this vehicle; may be repeated; "*" for all [default: as it is, at first all]
    #[arg(long, value_name = "VEHICLE")]
    vehicle: Vec<String>,

    /// Only for vehicles with this tag; may be repeated, then for those with any of them; with --vehicle for both together
    ///
    /// Which vehicles they are is followed: `drover tag` changes it without another deployment. --vehicle and --tag replace
    /// what was before when one of them is given.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,

    /// Try it in the shadow of the live version first, for so long
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    shadow: Option<Duration>,

    /// Try it on so many percent of the vehicles first, after the shadow
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    canary: Option<u8>,

    /// For so long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = super::duration, requires = "canary")]
    canary_for: Duration,

    /// Go on by itself when a stage's time is over and at most so many percent of the proposals differed in the shadow
    #[arg(long, value_name = "PERCENT")]
    promote_if_differences: Option<f64>,

    /// And when it was shown so many readings
    #[arg(long, value_name = "READINGS", default_value_t = 100, requires = "promote_if_differences")]
    promote_after_readings: u64,

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
        let body = Bytes::from(self.request(&plugin, &config)?.to_string());
        let path = format!("/v1/deployments/{}", encoded(self.name.as_str()));
        let after: Deployment = client.send(Method::PUT, &path, "application/json", body).await?;
        match &after.trial {
            Some(trial) => output::say(&trial.line(&after.name))?,
            None => {
                for line in rollout::changes(before.as_ref(), &after, Some(&config)) {
                    output::say(&line)?;
                }
            }
        }
        if !self.no_wait {
            for line in rollout::wait(&mut client, self.name.as_str(), after.revision, self.timeout).await? {
                output::say(&line)?;
            }
            if let Some(tried) = &after.trial {
                self.check_trial(&mut client, tried.revision).await?;
            }
        }
        client.close().await;
        Ok(())
    }

    /// A trial that an edge refused has ended by now, or is about to.
    async fn check_trial(&self, client: &mut Client, revision: u64) -> Result<(), Failure> {
        let Some(now) = rollout::current(client, self.name.as_str()).await? else { return Ok(()) };
        let ended = now.ended_trial.filter(|ended| ended.revision == revision && now.trial.is_none());
        let refused = now.trial.into_iter().flat_map(|trial| trial.edges).find(|edge| edge.is_refused());
        match ended.map(|ended| ended.reason).or_else(|| refused.map(|edge| edge.to_string())) {
            Some(reason) => Err(Failure::RefusedByEdge(format!("the trial of revision {revision} ended: {reason}"))),
            None => Ok(()),
        }
    }

    fn request(&self, plugin: &str, config: &serde_json::Value) -> Result<serde_json::Value, Failure> {
        let mut request = json!({ "plugin": plugin, "config": config });
        for (field, names) in [("depots", &self.depot), ("vehicles", &self.vehicle), ("tags", &self.tag)] {
            if !names.is_empty() {
                request[field] = json!(names);
            }
        }
        if let Some(place) = &self.place {
            request["where"] = json!(place);
        }
        let tries = self.shadow.is_some() || self.canary.is_some();
        if self.promote_if_differences.is_some() && !tries {
            return Err(Failure::Usage("--promote-if-differences needs --shadow or --canary: it ends a trial".into()));
        }
        if tries {
            request["trial"] = json!({
                "shadow_s": self.shadow.map(|shadow| shadow.as_secs()),
                "canary_percent": self.canary,
                "canary_s": self.canary.map_or(0, |_| self.canary_for.as_secs()),
                "promote": self.promote_if_differences.map(|percent| json!({
                    "max_differences_percent": percent, "min_readings": self.promote_after_readings,
                })),
            });
        }
        Ok(request)
    }
}
