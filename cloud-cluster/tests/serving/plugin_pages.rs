//! One plugin: what it is, what it logged, what it used.

use crate::client::{ALL, Version};
use crate::cloud::{Cloud, OPERATOR_KEY, OTHER_KEY};
use crate::rules::{circle, deploy, geofences, upload};
use drover_cloud::plugin_reports::Day;
use fleet_wire::control::{LinesReport, ReportedLine, ReportedRule, UsageCounts, UsageEntry, UsageReport};
use serde_json::{Value, json};

/// The day on which the clock of every cloud here stands still.
const TODAY: u32 = 19_772;

fn rule(deployment: &str) -> ReportedRule {
    let (tenant, deployment) = ("demo".parse().unwrap(), deployment.parse().unwrap());
    ReportedRule { tenant, deployment, plugin: "geofence".into(), trial: false }
}

async fn report(cloud: &Cloud) {
    let edge = "depot-1".parse().unwrap();
    let entry = |day, deployment, readings| {
        let used = UsageCounts { readings, cpu_us: 1_500, log_lines_dropped: 2, ..UsageCounts::default() };
        UsageEntry { day, of: rule(deployment), used }
    };
    let entries = vec![entry(TODAY, "zones", 10), entry(TODAY, "yards", 5), entry(TODAY - 40, "zones", 100)];
    cloud.plugin_reports.take_usage(&edge, UsageReport { start: 1, entries }, |_| true).await.unwrap();
    let line = |number, vehicle: Option<&str>| ReportedLine {
        of: rule("zones"),
        number,
        time_ms: crate::cloud::NOW.0,
        level: "warn".into(),
        vehicle: vehicle.map(str::to_owned),
        text: format!("line {number}"),
    };
    let lines = vec![line(0, Some("bus-1")), line(1, None)];
    cloud.plugin_reports.take_lines(&edge, LinesReport { start: 1, lines }, |_| true);
}

async fn get(cloud: &Cloud, version: Version, path: &str) -> (u16, Value) {
    let answer = cloud.get(version, path).send().await;
    (answer.status.as_u16(), answer.json().await)
}

#[tokio::test]
async fn a_plugin_is_shown_with_its_versions_lines_and_cost_to_its_tenant_alone() {
    let Some([wasm, newer]) = geofences() else { return };
    assert_eq!(Day::of(crate::cloud::NOW), Day(TODAY));
    let cloud = Cloud::start().await;
    let (_, first) = upload(&cloud, Version::Http3, wasm).await;
    let (_, second) = upload(&cloud, Version::Http2, newer).await;
    deploy(&cloud, "zones", second["hash"].as_str().unwrap(), &circle("a", 100.0)).await;
    report(&cloud).await;
    for version in ALL {
        let (status, page) = get(&cloud, version, "/v1/plugins/geofence").await;
        assert_eq!((status, page["versions"].as_array().unwrap().len()), (200, 2), "{page}");
        assert!(
            page["versions"]
                .as_array()
                .unwrap()
                .iter()
                .all(|it| it["uploaded_by"] == "demo" && it["kind"] == "geofence")
        );
        assert_eq!(page["config_schema"]["type"], "object", "{page}");
        let deployed = &page["deployments"][0];
        assert_eq!((&deployed["name"], &deployed["hash"]), (&json!("zones"), &second["hash"]), "{page}");
        let old = format!("/v1/plugins/geofence?version={}", first["version"].as_str().unwrap());
        assert_eq!(get(&cloud, version, &old).await.1["schema_of"], first["version"]);

        let (_, logs) = get(&cloud, version, "/v1/plugins/geofence/logs").await;
        let expected = json!({"time": "2024-02-19T14:41:54.000Z", "edge": "depot-1", "deployment": "zones", "trial": false,
            "vehicle": "bus-1", "level": "warn", "text": "line 0"});
        assert_eq!(
            (&logs["lines"][0], logs["lines"].as_array().unwrap().len(), &logs["missed"]),
            (&expected, 2, &json!(0))
        );
        let rest = format!("/v1/plugins/geofence/logs?after={}", logs["next"].as_str().unwrap());
        assert_eq!(get(&cloud, version, &rest).await.1["lines"], json!([]));

        let (_, cost) = get(&cloud, version, "/v1/plugins/geofence/cost").await;
        assert_eq!((&cost["from"], &cost["to"]), (&json!("2024-01-21"), &json!("2024-02-19")));
        assert_eq!((&cost["total"]["readings"], &cost["total"]["cpu_ms"]), (&json!(15), &json!(3.0)), "{cost}");
        assert_eq!(cost["days"].as_array().unwrap().len(), 2);
        let (_, cost) = get(&cloud, version, "/v1/plugins/geofence/cost?from=2024-01-01&to=2024-02-18").await;
        assert_eq!(
            (&cost["days"][0]["day"], &cost["days"][0]["readings"]),
            (&json!("2024-01-10"), &json!(100)),
            "{cost}"
        );
    }
    for (path, status) in [
        ("/v1/plugins/geofence?version=9.9.9", 404),
        ("/v1/plugins/nothing", 404),
        ("/v1/plugins/nothing/logs", 404),
        ("/v1/plugins/nothing/cost", 404),
        ("/v1/plugins/geofence/logs?after=x", 400),
        ("/v1/plugins/geofence/cost?from=yesterday", 400),
        ("/v1/plugins/geofence/cost?from=2024-03-01&to=2024-02-01", 400),
        ("/v1/plugins/geofence/cost?until=2024-02-01", 400),
    ] {
        let (found, problem) = get(&cloud, Version::Http3, path).await;
        assert_eq!(found, status, "{path}: {problem}");
    }
    for path in ["/v1/plugins/geofence", "/v1/plugins/geofence/logs", "/v1/plugins/geofence/cost"] {
        for (key, status) in [(OTHER_KEY, 404), (OPERATOR_KEY, 403)] {
            let answer = cloud.get(Version::Http2, path).key(key).send().await;
            assert_eq!(answer.status.as_u16(), status, "{path}");
        }
    }
}
