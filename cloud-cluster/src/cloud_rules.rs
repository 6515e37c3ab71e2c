//! Rules that run in the cloud, beside those on edges: the same runtime brings them about, and they are reported in the
//! same way.

use crate::plugin_reports::PluginReports;
use crate::registry::Registry;
use fleet_model::{EdgeId, Place};
use fleet_wire::control::{DeploymentSet, DeploymentSpec, DeploymentStatus, EncodedSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vehicle_runtime::{Clock, Deployer, PluginReports as OwnReports, ReportsProgress, Runtime};

/// What they logged is shown so soon.
const LINES_EVERY: Duration = Duration::from_secs(1);
/// What they used is stored with every so manieth look at their lines.
const USAGE_AFTER_LINES: u32 = 5;

/// Starts what brings them about and reports of them, until `stop`. Answers how they stand.
pub(crate) fn start(
    registry: &Registry,
    runtime: Arc<Runtime>,
    reports: PluginReports,
    clock: Clock,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> watch::Receiver<Vec<DeploymentStatus>> {
    let (wanted, seen) = watch::channel(None);
    let (deployer, status) = Deployer::new(runtime.clone(), registry.clone(), seen);
    let (deployments, ended) = (registry.deployments(), stop.clone());
    tasks.spawn(async move { ended.run_until_cancelled(pass_on(deployments, wanted)).await });
    tasks.spawn(deployer.run(stop.clone()));
    let own = OwnReports::new(runtime, clock, rand::random());
    tasks.spawn(own.clone().keep_days(stop.clone()));
    tasks.spawn(report(own, reports, stop.clone()));
    status
}

/// Those of the registry's deployments that are for the cloud.
async fn pass_on(mut deployments: watch::Receiver<EncodedSet>, wanted: watch::Sender<Option<DeploymentSet>>) {
    let mut last: Option<EncodedSet> = None;
    loop {
        let set = deployments.borrow_and_update().only(|spec| spec.place == Place::Cloud);
        if !last.as_ref().is_some_and(|last| last.is_same(&set)) {
            let specs = set.deployments.iter().map(|spec| DeploymentSpec::clone(spec)).collect();
            wanted.send_replace(Some(DeploymentSet { generation: set.generation, deployments: specs }));
            last = Some(set);
        }
        if deployments.changed().await.is_err() {
            // Nobody will change them any more.
            return;
        }
    }
}

/// What they use and log goes where that of edges goes; at the end what is new since.
async fn report(own: OwnReports, reports: PluginReports, stop: CancellationToken) {
    let Ok(here) = EdgeId::new(EdgeId::CLOUD) else { return };
    let mut told = ReportsProgress::default();
    let mut interval = tokio::time::interval(LINES_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0_u32.. {
        let ended = tokio::select! {
            () = stop.cancelled() => true,
            _ = interval.tick() => false,
        };
        while let Some(lines) = own.lines(&mut told) {
            reports.take_lines(&here, lines, |_| true);
        }
        if ended || round % USAGE_AFTER_LINES == 0 {
            while let Some(usage) = own.usage(&mut told) {
                if let Err(error) = reports.take_usage(&here, usage, |_| true).await {
                    // Its next change brings the sums again.
                    tracing::error!(%error, "what rules in the cloud used was not stored");
                }
            }
        }
        if ended {
            return;
        }
    }
}
