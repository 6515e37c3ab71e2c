//! What the edge node tells about itself, to the cloud and on the admin page.

use crate::metrics::Counts;
use crate::uplink::UplinkState;
use event_log::{Offset, Stream};
use fleet_model::{EventClass, Refusal};
use fleet_wire::control::{DeploymentStatus, EdgeCounters, EdgeStatus, StreamStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{Logs, Runtime};

/// Name and version of this program.
pub const SOFTWARE: &str = concat!("drover-edge ", env!("CARGO_PKG_VERSION"));

/// How often the status is made anew; deployments are told at once.
const INTERVAL: Duration = Duration::from_millis(500);

/// Where the status comes from.
#[derive(Clone)]
pub struct Sources {
    /// Both logs.
    pub logs: Logs,
    /// The actors.
    pub runtime: Arc<Runtime>,
    /// What ingest counted.
    pub counts: Arc<Counts>,
}

impl Sources {
    /// The status now.
    #[must_use]
    pub fn status(&self, deployments: Vec<DeploymentStatus>, uplink: Option<&UplinkState>) -> EdgeStatus {
        let counted = self.counts.read();
        let conflicts = counted.refused.get(Refusal::ConflictingRepeat.code()).copied().unwrap_or_default();
        // First: what it caused is then within the bounds that are read below.
        let applied_offset = self.applied();
        let mut streams = self.streams();
        // The uplink's are a moment old: what it knows alone is taken from them.
        for told in uplink.into_iter().flat_map(|state| &state.streams) {
            if let Some(stream) = streams.iter_mut().find(|stream| stream.class == told.class) {
                stream.acked = told.acked;
                stream.oldest_unacked_ms = told.oldest_unacked_ms;
            }
        }
        EdgeStatus {
            software: SOFTWARE.into(),
            streams,
            applied_offset,
            counters: EdgeCounters {
                admitted: counted.admitted,
                repeats: counted.repeats,
                late: counted.late,
                conflicts,
                refused: counted.refused,
                vehicles: counted.vehicles,
            },
            deployments,
        }
    }

    fn applied(&self) -> Offset {
        self.runtime.applied()
    }

    /// Without an uplink nobody has acknowledged anything.
    fn streams(&self) -> Vec<StreamStatus> {
        let of = |class, bounds: event_log::Bounds| StreamStatus {
            class,
            first: bounds.first,
            next: bounds.next,
            acked: bounds.first,
            oldest_unacked_ms: None,
        };
        vec![
            of(EventClass::Telemetry, self.logs.telemetry.bounds(Stream::TELEMETRY)),
            of(EventClass::Alerts, self.logs.events.bounds(Stream::ALERTS)),
            of(EventClass::Billing, self.logs.events.bounds(Stream::BILLING)),
            of(EventClass::Audit, self.logs.events.bounds(Stream::AUDIT)),
        ]
    }
}

/// Keeps `status` up to date until `shutdown`.
pub async fn publish(
    sources: Sources,
    mut deployments: watch::Receiver<Vec<DeploymentStatus>>,
    status: watch::Sender<EdgeStatus>,
    shutdown: CancellationToken,
) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut deployer_lives = true;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            changed = deployments.changed(), if deployer_lives => deployer_lives = changed.is_ok(),
        }
        let now = sources.status(deployments.borrow_and_update().clone(), None);
        status.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
    }
}
