//! Waits until the edges have taken up a deployment, and says what changed.

use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::output;
use fleet_model::{EdgeId, Place};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often the cloud is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// When no edge is connected, one may just be connecting.
const EDGE_APPEARS_WITHIN: Duration = Duration::from_secs(10);

/// Zones that are named where some are new, gone or changed.
const FEATURES_NAMED: usize = 3;

/// A deployment, as the cloud answers it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) name: String,
    pub(crate) revision: u64,
    pub(crate) plugin: DeployedPlugin,
    #[serde(default, rename = "where")]
    pub(crate) place: Place,
    #[serde(default)]
    pub(crate) edges: Vec<OnEdge>,
    #[serde(default)]
    pub(crate) config: Option<Value>,
    #[serde(default)]
    pub(crate) depots: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) vehicles: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) tagged_vehicles: u64,
    #[serde(default)]
    pub(crate) trial: Option<Trial>,
    #[serde(default)]
    pub(crate) ended_trial: Option<EndedTrial>,
}

/// A revision on trial.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Trial {
    pub(crate) revision: u64,
    pub(crate) plugin: DeployedPlugin,
    pub(crate) stage: String,
    pub(crate) canary_percent: Option<u8>,
    pub(crate) waiting_for: Option<String>,
    pub(crate) figures: TrialFigures,
    pub(crate) edges: Vec<OnEdge>,
}

/// What it did, on all edges.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TrialFigures {
    pub(crate) readings: u64,
    pub(crate) events: u64,
    pub(crate) same: u64,
    pub(crate) changed: u64,
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) differences_percent: f64,
    pub(crate) differences: Vec<String>,
}

/// One that did not become live.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EndedTrial {
    pub(crate) revision: u64,
    pub(crate) reason: String,
}

impl Trial {
    /// In one line.
    pub(crate) fn line(&self, deployment: &str) -> String {
        let how = match self.canary_percent {
            Some(percent) => format!("as a canary for {percent} % of the vehicles"),
            None => "in the shadow".to_owned(),
        };
        let waiting = self.waiting_for.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let (plugin, version) = (&self.plugin.name, &self.plugin.version);
        format!("{deployment} revision {} is tried: {plugin}@{version} {how}{waiting}", self.revision)
    }
}

impl OnEdge {
    pub(crate) fn is_refused(&self) -> bool {
        self.state == "refused"
    }
}

impl std::fmt::Display for OnEdge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.edge, self.state)?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DeployedPlugin {
    pub(crate) name: String,
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) hash: String,
}

/// How it fares on an edge.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OnEdge {
    edge: String,
    state: String,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    edges: Vec<EdgeStatus>,
    /// In the cloud.
    #[serde(default)]
    deployments: Vec<OfEdge>,
}

#[derive(Debug, Deserialize)]
struct EdgeStatus {
    edge: String,
    connected: bool,
    #[serde(default)]
    deployments: Vec<OfEdge>,
}

#[derive(Debug, Deserialize)]
struct OfEdge {
    name: String,
    revision: u64,
    swap: Option<Swap>,
}

#[derive(Debug, Deserialize)]
struct Swap {
    #[serde(default)]
    from_version: String,
    batches_delayed: u64,
    slowest_batch_ms: f64,
    swap_ms: f64,
}

/// What a deployment is now; `None` when there is none of this name.
pub(crate) async fn current(client: &mut Client, name: &str) -> Result<Option<Deployment>, Failure> {
    match client.get(&format!("/v1/deployments/{}", encoded(name))).await {
        Ok(deployment) => Ok(Some(deployment)),
        Err(Failure::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Says what differs between two revisions.
pub(crate) fn changes(before: Option<&Deployment>, after: &Deployment, config: Option<&Value>) -> Vec<String> {
    let plugin = |d: &Deployment| format!("{}@{}", d.plugin.name, d.plugin.version);
    let mut lines = Vec::new();
    let Some(before) = before else {
        lines.push(format!("{} revision {}: {} (new)", after.name, after.revision, plugin(after)));
        return lines;
    };
    if before.plugin.hash != after.plugin.hash || plugin(before) != plugin(after) {
        let rebuilt = if plugin(before) == plugin(after) { " (another build)" } else { "" };
        lines.push(format!(
            "{} revision {}: {} -> {}{rebuilt}",
            after.name,
            after.revision,
            plugin(before),
            plugin(after)
        ));
    } else {
        lines.push(format!("{} revision {}: {}, the same plugin", after.name, after.revision, plugin(after)));
    }
    let (Some(Value::Object(was)), Some(Value::Object(is))) = (&before.config, config) else { return lines };
    for key in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
        match (was.get(key), is.get(key)) {
            (was, is) if was == is => {}
            (None, Some(is)) => lines.push(format!("  {key}: {} (new)", short(is))),
            (Some(was), None) => lines.push(format!("  {key}: {} -> not given", short(was))),
            (Some(was), Some(is)) => lines.push(match (features(was), features(is)) {
                (Some(was), Some(is)) => format!("  {key}: {}", changed_features(was, is)),
                _ => format!("  {key}: {} -> {}", short(was), short(is)),
            }),
            (None, None) => {}
        }
    }
    lines
}

fn features(value: &Value) -> Option<&[Value]> {
    value.get("features")?.as_array().map(Vec::as_slice)
}

/// Which zones are new, gone or other than before, by their ids.
fn changed_features(was: &[Value], is: &[Value]) -> String {
    let id = |feature: &Value| match feature.get("id").or_else(|| feature.pointer("/properties/id")) {
        Some(Value::String(id)) => id.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    };
    let by_id = |features: &[Value]| features.iter().map(|it| (id(it), it.clone())).collect::<BTreeMap<_, _>>();
    let (was, is) = (by_id(was), by_id(is));
    let new: Vec<_> = is.keys().filter(|id| !was.contains_key(*id)).collect();
    let gone: Vec<_> = was.keys().filter(|id| !is.contains_key(*id)).collect();
    let changed: Vec<_> = is.iter().filter(|(id, it)| was.get(*id).is_some_and(|was| was != *it)).collect();
    let changed: Vec<_> = changed.into_iter().map(|(id, _)| id).collect();
    let said: Vec<String> = [("new", new), ("gone", gone), ("changed", changed)]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(what, ids)| {
            let named: Vec<&str> = ids.iter().take(FEATURES_NAMED).map(|id| id.as_str()).collect();
            let more = if ids.len() > FEATURES_NAMED { ", ..." } else { "" };
            format!("{} {what} ({}{more})", ids.len(), named.join(", "))
        })
        .collect();
    if said.is_empty() { "in another order".to_owned() } else { said.join(", ") }
}

/// A value in a few words: zones are too long to print.
fn short(value: &Value) -> String {
    if let Some(features) = features(value) {
        return format!("{} features", features.len());
    }
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

/// Waits until every connected edge runs the revision or has refused it.
pub(crate) async fn wait(
    client: &mut Client,
    name: &str,
    revision: u64,
    timeout: Duration,
) -> Result<Vec<String>, Failure> {
    let started = Instant::now();
    let mut may_see_status = true;
    loop {
        let deployment: Deployment = client.get(&format!("/v1/deployments/{}", encoded(name))).await?;
        if deployment.revision > revision {
            return Err(Failure::Failed(format!("{name} was changed meanwhile: revision {}", deployment.revision)));
        }
        // Only an operator's key sees which edges are connected. Without one, all that are known are waited for.
        let status: Option<Status> = match may_see_status {
            true => match client.get("/v1/status").await {
                Ok(status) => Some(status),
                Err(Failure::Refused(problem)) if matches!(problem.status, 403 | 404) => None,
                Err(failure) => return Err(failure),
            },
            false => None,
        };
        may_see_status = status.is_some();
        let waiting_for: Vec<&OnEdge> =
            deployment.edges.iter().filter(|edge| is_connected(status.as_ref(), &edge.edge)).collect();
        let of_trial = deployment.trial.iter().flat_map(|trial| &trial.edges);
        let of_trial = of_trial.filter(|edge| is_connected(status.as_ref(), &edge.edge));
        let undecided: Vec<&str> = waiting_for
            .iter()
            .copied()
            .chain(of_trial)
            .filter(|edge| !matches!(edge.state.as_str(), "active" | "refused"))
            .map(|edge| edge.edge.as_str())
            .collect();
        if !waiting_for.is_empty() && undecided.is_empty() {
            return said(&waiting_for, status.as_ref(), name, revision);
        }
        if waiting_for.is_empty() && started.elapsed() > EDGE_APPEARS_WITHIN.min(timeout) {
            return Ok(vec!["no edge is connected; an edge takes it up when it connects".to_owned()]);
        }
        if started.elapsed() > timeout {
            let undecided = undecided.join(", ");
            return Err(Failure::Failed(format!(
                "deployed, but after {} s these edges have not taken it up: {undecided} (drover status says more)",
                timeout.as_secs_f64()
            )));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn is_connected(status: Option<&Status>, edge: &str) -> bool {
    edge == EdgeId::CLOUD
        || status.is_none_or(|status| status.edges.iter().any(|known| known.edge == edge && known.connected))
}

fn said(edges: &[&OnEdge], status: Option<&Status>, name: &str, revision: u64) -> Result<Vec<String>, Failure> {
    let mut swaps: BTreeMap<&str, &Swap> = BTreeMap::new();
    let of_edges = status.iter().flat_map(|status| &status.edges).map(|edge| (edge.edge.as_str(), &edge.deployments));
    let of_cloud = status.iter().map(|status| (EdgeId::CLOUD, &status.deployments));
    for (edge, deployments) in of_edges.chain(of_cloud) {
        let of_edge = deployments.iter().find(|of_edge| of_edge.name == name && of_edge.revision == revision);
        if let Some(swap) = of_edge.and_then(|of_edge| of_edge.swap.as_ref()) {
            swaps.insert(edge, swap);
        }
    }
    let mut lines = Vec::new();
    let mut refused = Vec::new();
    for edge in edges {
        if edge.is_refused() {
            let why = edge.error.as_deref().unwrap_or("it does not say why");
            refused.push(format!("{} refused it; what ran before still runs: {why}", edge.edge));
            continue;
        }
        let mut line = format!("{}: active", edge.edge);
        if let Some(swap) = swaps.get(edge.edge.as_str()).filter(|swap| !swap.from_version.is_empty()) {
            line.push_str(&format!(
                " (swapped from {} in {:.2} ms, {} batches delayed, the slowest by {:.2} ms)",
                swap.from_version, swap.swap_ms, swap.batches_delayed, swap.slowest_batch_ms
            ));
        }
        lines.push(line);
    }
    if refused.is_empty() {
        return Ok(lines);
    }
    for line in lines {
        output::say(&line)?;
    }
    Err(Failure::RefusedByEdge(refused.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(revision: u64, version: &str, config: Value) -> Deployment {
        serde_json::from_value(json!({
            "name": "zones", "revision": revision, "config": config,
            "plugin": {"hash": format!("h{version}"), "name": "geofence", "version": version},
            "edges": [{"edge": "depot-1", "state": "active", "error": null}],
        }))
        .unwrap()
    }

    #[test]
    fn what_changed_is_said_in_a_few_words() {
        let zone = |id: &str, radius_m: u32| json!({"id": id, "properties": {"radius_m": radius_m}});
        let zones = |zones: Vec<Value>| json!({"type": "FeatureCollection", "features": zones});
        let was = zones(vec![zone("a", 1), zone("b", 1), zone("c", 1)]);
        let is = zones(vec![zone("d", 1), zone("c", 1), zone("b", 2), zone("e", 1), zone("f", 1), zone("g", 1)]);
        let before = deployment(1, "1.0.0", json!({"zones": was, "exit_buffer_m": 15, "min_inside_s": 3}));
        let config = json!({"zones": is, "exit_buffer_m": 15, "max_accuracy_m": 20});
        let after = deployment(2, "1.1.0", Value::Null);
        assert_eq!(
            changes(Some(&before), &after, Some(&config)),
            [
                "zones revision 2: geofence@1.0.0 -> geofence@1.1.0",
                "  max_accuracy_m: 20 (new)",
                "  min_inside_s: 3 -> not given",
                "  zones: 4 new (d, e, f, ...), 1 gone (a), 1 changed (b)",
            ]
        );
        assert_eq!(changes(None, &after, None), ["zones revision 2: geofence@1.1.0 (new)"]);
    }
}
