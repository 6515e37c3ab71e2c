//! `/v1/status`: how the edges and this cloud stand, for operators.

use super::App;
use super::auth::Caller;
use super::deployments::phase;
use super::problem::Problem;
use super::trials::stage;
use crate::registry::DeploymentRecord;
use axum::Json;
use axum::extract::State;
use fleet_model::{EdgeId, EventClass, Place, TenantId};
use fleet_wire::control::{DeploymentStatus, EdgeStatus, StreamStatus};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Who knows the edges: cloud ingest.
pub trait Edges: Send + Sync + 'static {
    /// Every edge that ever connected since the start, by name.
    fn edges(&self) -> Vec<KnownEdge>;

    /// How the rules stand that the cloud runs itself.
    fn here(&self) -> Vec<DeploymentStatus>;
}

impl dyn Edges {
    /// Who shall run a deployment: the edges of its depots that speak for its tenant, or the cloud.
    pub(crate) fn of(&self, record: &DeploymentRecord) -> Vec<KnownEdge> {
        match record.place {
            Place::Cloud => vec![KnownEdge::cloud(self.here())],
            Place::Edge => {
                let named = |edge: &KnownEdge| edge.edge.parse().is_ok_and(|name| record.current.depots.has(&name));
                self.edges().into_iter().filter(|edge| edge.serves(&record.tenant) && named(edge)).collect()
            }
        }
    }
}

/// What is known of an edge.
#[derive(Debug, Clone)]
pub struct KnownEdge {
    /// Its name, as its certificate has it.
    pub edge: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// Milliseconds since it last said something.
    pub last_seen_ms: u64,
    /// What it said last.
    pub status: EdgeStatus,
    /// By class: the cloud has everything of this edge below this offset.
    pub received: BTreeMap<EventClass, u64>,
    /// The tenants it speaks for; `None`: for all.
    pub tenants: Option<Arc<[TenantId]>>,
}

impl KnownEdge {
    /// The cloud, as one that runs rules.
    fn cloud(deployments: Vec<DeploymentStatus>) -> Self {
        Self {
            edge: EdgeId::CLOUD.to_owned(),
            connected: true,
            last_seen_ms: 0,
            status: EdgeStatus { deployments, ..EdgeStatus::default() },
            received: BTreeMap::new(),
            tenants: None,
        }
    }

    /// What it says of a deployment.
    pub(crate) fn said(&self, record: &DeploymentRecord) -> Option<&DeploymentStatus> {
        self.status.deployments.iter().find(|said| said.tenant == record.tenant && said.name == record.name)
    }

    /// Whether it speaks for `tenant`.
    pub(crate) fn serves(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

/// How everything stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Of this cloud.
    version: &'static str,
    edges: Vec<Edge>,
    /// What runs in the cloud.
    deployments: Vec<EdgeDeploymentStatus>,
    /// Vehicles of all tenants.
    vehicles: usize,
    events: EventCounts,
}

/// How many events were ever written.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventCounts {
    alerts: u64,
}

/// How an edge stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Edge {
    edge: String,
    connected: bool,
    software: String,
    last_seen_ms: u64,
    streams: Vec<EdgeStream>,
    /// The edge's actors have applied all readings below.
    applied_offset: u64,
    counters: EdgeCounters,
    deployments: Vec<EdgeDeploymentStatus>,
}

/// One class's way from an edge to here, in offsets of the edge's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeStream {
    class: &'static str,
    /// Where the edge's next record would stand when it last said so.
    edge_next: u64,
    /// The cloud has everything below.
    cloud_next: u64,
    /// The difference; null of an edge that is not connected: nobody knows what it wrote since.
    #[schema(required)]
    lag_offsets: Option<u64>,
    /// Seconds since the oldest record that is not here yet was written; null of an edge that is not connected.
    #[schema(required)]
    lag_s: Option<f64>,
}

/// What an edge's admission counted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeCounters {
    admitted: u64,
    repeats: u64,
    late: u64,
    conflicts: u64,
    /// By reason.
    refused: BTreeMap<String, u64>,
    vehicles: u64,
}

/// How a deployment fares on an edge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeDeploymentStatus {
    tenant: String,
    name: String,
    revision: u64,
    /// `loading`, `active` or `refused`.
    state: &'static str,
    #[schema(required)]
    error: Option<String>,
    plugin_name: String,
    plugin_version: String,
    #[schema(required)]
    swap: Option<Swap>,
    /// What is tried beside it there.
    #[schema(required)]
    trial: Option<TrialThere>,
}

/// How a trial fares in one place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialThere {
    revision: u64,
    /// `shadow` or `canary`.
    stage: &'static str,
    /// `loading`, `active` or `refused`.
    state: &'static str,
    #[schema(required)]
    error: Option<String>,
}

/// What the last swap cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Swap {
    from_version: String,
    to_version: String,
    batches_delayed: u64,
    slowest_batch_ms: f64,
    swap_ms: f64,
}

impl EdgeStream {
    fn of(stream: &StreamStatus, received: &BTreeMap<EventClass, u64>, connected: bool) -> Self {
        let cloud_next = received.get(&stream.class).copied().unwrap_or(stream.acked).max(stream.acked);
        let lag_offsets = stream.next.saturating_sub(cloud_next);
        let lag_ms = if lag_offsets == 0 { 0 } else { stream.oldest_unacked_ms.unwrap_or(0).max(0) };
        Self {
            class: stream.class.as_str(),
            edge_next: stream.next,
            cloud_next,
            lag_offsets: connected.then_some(lag_offsets),
            lag_s: connected.then_some(lag_ms as f64 / 1_000.0),
        }
    }
}

impl From<DeploymentStatus> for EdgeDeploymentStatus {
    fn from(said: DeploymentStatus) -> Self {
        Self {
            tenant: said.tenant.to_string(),
            name: said.name.to_string(),
            revision: said.revision,
            state: phase(said.state),
            error: said.error,
            plugin_name: said.plugin_name,
            plugin_version: said.plugin_version,
            swap: said.swap.map(|swap| Swap {
                from_version: swap.from_version,
                to_version: swap.to_version,
                batches_delayed: swap.batches_delayed,
                slowest_batch_ms: swap.slowest_batch_ms,
                swap_ms: swap.swap_ms,
            }),
            trial: said.trial.map(|trial| TrialThere {
                revision: trial.revision,
                stage: stage(trial.mode),
                state: phase(trial.state),
                error: trial.error,
            }),
        }
    }
}

impl From<KnownEdge> for Edge {
    fn from(known: KnownEdge) -> Self {
        let status = known.status;
        let counters = status.counters;
        Self {
            edge: known.edge,
            connected: known.connected,
            software: status.software,
            last_seen_ms: known.last_seen_ms,
            streams: status
                .streams
                .iter()
                .map(|stream| EdgeStream::of(stream, &known.received, known.connected))
                .collect(),
            applied_offset: status.applied_offset,
            counters: EdgeCounters {
                admitted: counters.admitted,
                repeats: counters.repeats,
                late: counters.late,
                conflicts: counters.conflicts,
                refused: counters.refused,
                vehicles: counters.vehicles,
            },
            deployments: status.deployments.into_iter().map(EdgeDeploymentStatus::from).collect(),
        }
    }
}

/// How edges and cloud stand. For operators.
#[utoipa::path(get, path = "/v1/status", tag = "operations", responses(
    (status = 200, description = "Now", body = Status),
    (status = 403, description = "Not an operator's key", body = Problem),
))]
pub(crate) async fn get_status(State(app): State<App>, caller: Caller) -> Result<Json<Status>, Problem> {
    caller.operator()?;
    Ok(Json(Status {
        version: app.version,
        edges: app.edges.edges().into_iter().map(Edge::from).collect(),
        deployments: app.edges.here().into_iter().map(EdgeDeploymentStatus::from).collect(),
        vehicles: app.latest.count(),
        events: EventCounts { alerts: app.feeds.of(EventClass::Alerts).next() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_an_edge_is_behind_is_known_only_while_it_is_connected() {
        let class = EventClass::Alerts;
        let stream = StreamStatus { class, first: 0, next: 12, acked: 5, oldest_unacked_ms: Some(2_500) };
        let received = BTreeMap::from([(EventClass::Alerts, 7)]);
        let up = EdgeStream::of(&stream, &received, true);
        assert_eq!((up.cloud_next, up.lag_offsets, up.lag_s), (7, Some(5), Some(2.5)));
        let down = EdgeStream::of(&stream, &received, false);
        assert_eq!((down.edge_next, down.cloud_next, down.lag_offsets, down.lag_s), (12, 7, None, None));
    }
}
