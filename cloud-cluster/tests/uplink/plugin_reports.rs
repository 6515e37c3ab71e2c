//! What edges tell of their rules: across cuts and restarts nothing is counted or shown twice, and nothing is lost.

use crate::certificates::Authority;
use crate::relay::Relay;
use crate::world::{Cloud, Edge, Shelf, memory, soon, uplink_config};
use drover_cloud::plugin_reports::Day;
use fleet_model::TenantId;
use fleet_wire::control::{ReportedLine, ReportedRule, UsageCounts};
use parking_lot::Mutex;
use std::sync::Arc;
use vehicle_runtime::{Meters, PluginReports, system_clock};

/// Rules of two tenants that have used so much and said so many lines.
#[derive(Default)]
struct Rules(Mutex<u64>);

fn rule(tenant: &str) -> ReportedRule {
    let (tenant, deployment) = (tenant.parse().unwrap(), "zones".parse().unwrap());
    ReportedRule { tenant, deployment, plugin: "geofence".into(), trial: false }
}

impl Rules {
    fn use_more(&self, count: u64) {
        *self.0.lock() += count;
    }
}

impl Meters for Rules {
    fn usage(&self) -> Vec<(ReportedRule, UsageCounts)> {
        let readings = *self.0.lock();
        let used = UsageCounts { readings, cpu_us: readings * 3, ..UsageCounts::default() };
        ["demo", "other"].map(|tenant| (rule(tenant), used)).into()
    }

    fn lines(&self, from: &dyn Fn(&ReportedRule) -> u64) -> Vec<ReportedLine> {
        let all = *self.0.lock();
        let of = |tenant: &str| {
            let of = rule(tenant);
            let line = |number: u64| ReportedLine {
                of: rule(tenant),
                number,
                time_ms: 1_000,
                level: "info".into(),
                vehicle: None,
                text: format!("line {number}"),
            };
            (from(&of)..all).map(line).collect::<Vec<_>>()
        };
        ["demo", "other"].map(of).concat()
    }
}

fn start(rules: &Arc<Rules>) -> PluginReports {
    PluginReports::new(rules.clone(), system_clock(), 7)
}

fn readings(cloud: &Cloud, tenant: &str) -> u64 {
    let sums = cloud.plugin_reports.usage(&tenant.parse().unwrap(), "geofence", Day(0), Day(u32::MAX));
    assert!(sums.iter().all(|sum| sum.used.cpu_us == sum.used.readings * 3 && sum.edge.as_str() == "depot-1"));
    sums.iter().map(|sum| sum.used.readings).sum()
}

fn lines(cloud: &Cloud, tenant: &str) -> Vec<String> {
    let tenant: TenantId = tenant.parse().unwrap();
    let page = cloud.plugin_reports.lines(&tenant, "geofence", None).unwrap();
    page.lines.into_iter().map(|line| line.text).collect()
}

/// Looks again with every status of the edge, which comes each second.
async fn until(what: &str, cloud: &Cloud, there: impl Fn() -> bool) {
    let mut changes = cloud.edges.changes();
    soon(what, async {
        while !there() {
            changes.changed().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rules_used_and_said_is_there_once_across_cuts_and_restarts() {
    let authority = Authority::new();
    let cloud_logs = memory();
    let cloud = Cloud::start(&authority, cloud_logs.clone()).await;
    let address = cloud.address;
    let relay = Relay::to(address).await;
    let pair = authority.issue("depot-1");
    let edge =
        |reports| Edge::start_reporting("depot-1", uplink_config(&authority, &pair, relay.address), memory(), reports);
    let rules = Arc::new(Rules::default());
    rules.use_more(10);
    let first = edge(Some(start(&rules)));
    until("the first sums", &cloud, || readings(&cloud, "demo") == 10 && lines(&cloud, "demo").len() == 10).await;
    for round in 1..=2_u64 {
        relay.cut();
        rules.use_more(5);
        first.refused().await;
        relay.mend();
        let (all, lines_all) = (10 + 5 * round, 10 + 5 * round as usize);
        until("after a cut", &cloud, || readings(&cloud, "demo") == all && lines(&cloud, "demo").len() == lines_all)
            .await;
    }
    assert_eq!(lines(&cloud, "demo"), (0..20).map(|number| format!("line {number}")).collect::<Vec<_>>());
    first.stop().await;

    // Another start of the edge counts from zero; the cloud, too, starts again and has the sums, not the lines.
    cloud.stop().await;
    let config = crate::world::cloud_config(&authority, &authority.issue("drover-cloud"), address);
    let cloud =
        Cloud::start_with(config, Default::default(), cloud_logs, crate::world::Applied::new(), Shelf::default()).await;
    assert_eq!((readings(&cloud, "demo"), readings(&cloud, "other"), lines(&cloud, "demo").len()), (20, 20, 0));
    let rules = Arc::new(Rules::default());
    rules.use_more(7);
    let second = edge(Some(start(&rules)));
    until("the second start", &cloud, || readings(&cloud, "demo") == 27 && lines(&cloud, "demo").len() == 7).await;
    second.stop().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_reports_of_its_tenants_rules_only() {
    let authority = Authority::new();
    let cloud = Cloud::start_for(&authority, memory(), Shelf::default(), &[("depot-1", &["other"])]).await;
    let rules = Arc::new(Rules::default());
    rules.use_more(3);
    let config = uplink_config(&authority, &authority.issue("depot-1"), cloud.address);
    let edge = Edge::start_reporting("depot-1", config, memory(), Some(start(&rules)));
    until("its own", &cloud, || readings(&cloud, "other") == 3 && lines(&cloud, "other").len() == 3).await;
    assert_eq!((readings(&cloud, "demo"), lines(&cloud, "demo").len()), (0, 0));
    edge.stop().await;
    cloud.stop().await;
}
