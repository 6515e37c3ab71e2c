//! `drover deployment`.

use super::rollout::{Deployment, Trial};
use crate::Connection;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::output::{self, TableOrJson};
use fleet_model::{DeploymentName, Place};

/// One deployment: what runs, for whom, and how what is tried beside it fares
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover deployment zones
  drover deployment zones --format json | jq .trial.figures")]
pub(crate) struct Show {
    /// What the deployment is called
    name: DeploymentName,

    /// table or json
    #[arg(long, value_enum, default_value = "table")]
    format: TableOrJson,
}

impl Show {
    pub(crate) async fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut client = Client::of_cloud(connection)?;
        let body = client.get_bytes(&format!("/v1/deployments/{}", encoded(self.name.as_str()))).await?;
        match self.format {
            TableOrJson::Json => {
                output::print(&body)?;
                output::print(b"\n")?;
            }
            TableOrJson::Table => {
                let deployment: Deployment = serde_json::from_slice(&body)
                    .map_err(|error| Failure::Failed(format!("the answer is not as expected: {error}")))?;
                for line in page(&deployment) {
                    output::say(&line)?;
                }
            }
        }
        client.close().await;
        Ok(())
    }
}

fn page(deployment: &Deployment) -> Vec<String> {
    let plugin = &deployment.plugin;
    let named = |what: &str, names: &Option<Vec<String>>| match names {
        None => format!("  for all {what}"),
        Some(names) => format!("  for {} {what}: {}", names.len(), names.join(", ")),
    };
    let mut lines =
        vec![format!("{} revision {}: {}@{}", deployment.name, deployment.revision, plugin.name, plugin.version)];
    lines.push(match deployment.place {
        Place::Cloud => "  in the cloud".to_owned(),
        Place::Edge => named("depots", &deployment.depots),
    });
    let by_tags_alone = !deployment.tags.is_empty() && deployment.vehicles.as_ref().is_some_and(Vec::is_empty);
    if !by_tags_alone {
        lines.push(named("vehicles", &deployment.vehicles));
    }
    if !deployment.tags.is_empty() {
        let tags = deployment.tags.join(" or ");
        lines.push(format!("  for vehicles tagged {tags}: {} now", deployment.tagged_vehicles));
    }
    lines.extend(deployment.edges.iter().map(|edge| format!("  {edge}")));
    if let Some(trial) = &deployment.trial {
        lines.push(trial.line(&deployment.name));
        lines.extend(of_trial(trial));
    }
    if let Some(ended) = &deployment.ended_trial {
        lines.push(format!("  the trial of revision {} ended: {}", ended.revision, ended.reason));
    }
    lines
}

fn of_trial(trial: &Trial) -> Vec<String> {
    let figures = &trial.figures;
    let mut lines = vec![match trial.stage.as_str() {
        "shadow" => format!(
            "  {} readings; of its proposals {} are the same, {} changed, {} added, {} removed: {:.2} % differ",
            figures.readings,
            figures.same,
            figures.changed,
            figures.added,
            figures.removed,
            figures.differences_percent
        ),
        _ => format!("  {} readings, {} events", figures.readings, figures.events),
    }];
    lines.extend(figures.differences.iter().map(|difference| format!("    {difference}")));
    lines.extend(trial.edges.iter().map(|edge| format!("  {edge}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trial_is_shown_beside_what_runs() {
        let deployment = json!({
            "name": "zones", "revision": 1, "depots": null, "vehicles": ["BUS-1"],
            "plugin": {"name": "geofence", "version": "1.0.0"},
            "edges": [{"edge": "depot-1", "state": "active", "error": null}],
            "trial": {
                "revision": 2, "stage": "shadow", "canary_percent": null, "waiting_for": "30 s of 60 s are left",
                "plugin": {"name": "geofence", "version": "1.1.0"},
                "figures": {"readings": 7, "events": 0, "same": 1, "changed": 0, "added": 1, "removed": 0,
                    "differences_percent": 50.0, "differences": ["BUS-1: only the new one"]},
                "edges": [{"edge": "depot-1", "state": "active", "error": null}],
            },
        });
        assert_eq!(
            page(&serde_json::from_value(deployment).unwrap()),
            [
                "zones revision 1: geofence@1.0.0",
                "  for all depots",
                "  for 1 vehicles: BUS-1",
                "  depot-1: active",
                "zones revision 2 is tried: geofence@1.1.0 in the shadow (30 s of 60 s are left)",
                "  7 readings; of its proposals 1 are the same, 0 changed, 1 added, 0 removed: 50.00 % differ",
                "    BUS-1: only the new one",
                "  depot-1: active",
            ]
        );
    }
    #[test]
    fn tags_are_shown_with_how_many_vehicles_have_them() {
        let deployment = |vehicles: &[&str]| {
            let deployment = json!({
                "name": "zones", "revision": 1, "depots": null, "vehicles": vehicles, "tags": ["electric", "night-bus"],
                "tagged_vehicles": 12, "plugin": {"name": "geofence", "version": "1.0.0"},
            });
            page(&serde_json::from_value(deployment).unwrap())[2..].to_vec()
        };
        let tagged = "  for vehicles tagged electric or night-bus: 12 now";
        assert_eq!(deployment(&[]), [tagged]);
        assert_eq!(deployment(&["BUS-1"]), ["  for 1 vehicles: BUS-1", tagged]);
    }
}
