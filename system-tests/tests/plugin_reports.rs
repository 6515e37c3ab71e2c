//! What a customer sees of a rule at work: what it is, what it logged, what it used; counted once, though the edge was killed
//! and the link cut.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Programs, Semantics};

const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// More zones in one place than the geofence follows for a vehicle: it says so, once.
const ZONES: usize = 40;

fn post(fleet: &Fleet, seconds: std::ops::Range<u32>) -> Result<()> {
    let reading = |second: u32| {
        json!({"vehicle": "van-1", "event_time": format!("2026-05-04T08:00:{second:02}Z"),
            "latitude": 52.2, "longitude": 21.0, "speed": 0.0})
    };
    let readings: Vec<Value> = seconds.map(reading).collect();
    fleet.post_readings(&readings.into())?;
    Ok(())
}

/// The readings that the cloud knows the geofence has answered.
fn counted(fleet: &Fleet) -> Result<u64> {
    let said = fleet.run(fleet.drover().args(["plugin", "cost", "geofence", "--json"]))?;
    let costs: Value = serde_json::from_str(&said)?;
    costs[0]["total"]["readings"].as_u64().with_context(|| said)
}

fn wait_until_counted(fleet: &Fleet, readings: u64) -> Result<()> {
    wait_for("what the rule used", SEEN_WITHIN, || Ok((counted(fleet)? >= readings).then_some(())))?;
    assert_eq!(counted(fleet)?, readings, "once");
    Ok(())
}

#[test]
fn a_rule_at_work_is_shown_with_its_lines_and_its_cost() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    let scratch = tempfile::tempdir()?;
    let setup = Setup { cuttable: true, ..Setup::new(Semantics::Normal) };
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), setup)?;
    let zone = |number: usize| {
        json!({"type": "Feature", "id": format!("zone-{number}"), "properties": {"radius_m": 500.0},
            "geometry": {"type": "Point", "coordinates": [21.0, 52.2]}})
    };
    let zones: Vec<Value> = (0..ZONES).map(zone).collect();
    let config = scratch.path().join("zones.json");
    std::fs::write(&config, json!({"zones": {"type": "FeatureCollection", "features": zones}}).to_string())?;
    fleet.run(
        fleet.drover().args(["deploy", "zones", "--plugin"]).arg(programs.geofence()).arg("--config").arg(&config),
    )?;
    wait_for("the deployment", SEEN_WITHIN, || {
        let shown = fleet.run(fleet.drover().args(["plugin", "show", "geofence"]))?;
        Ok(shown.contains("active").then_some(()))
    })?;

    post(&fleet, 0..10)?;
    wait_until_counted(&fleet, 10)?;
    let shown = fleet.run(fleet.drover().args(["plugin", "show", "geofence"]))?;
    for part in ["geofence, a rule of kind geofence", "UPLOADED", "demo", "exit_buffer_m", "zones", "depot-1"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let logs = fleet.run(fleet.drover().args(["plugin", "logs", "geofence", "--json"]))?;
    let lines: Vec<Value> = logs.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 1, "{logs}");
    assert_eq!(
        (&lines[0]["vehicle"], &lines[0]["edge"], &lines[0]["level"]),
        (&json!("van-1"), &json!("depot-1"), &json!("warn"))
    );
    assert!(lines[0]["text"].as_str().is_some_and(|text| text.contains("zones at once")), "{logs}");

    let mut follow = fleet.drover();
    let mut follow =
        follow.args(["plugin", "logs", "geofence", "--follow", "--json"]).stdout(Stdio::piped()).spawn()?;
    let mut first = String::new();
    BufReader::new(follow.stdout.take().context("its output")?).read_line(&mut first)?;
    assert_eq!(first, logs, "who follows sees what is kept first");
    follow.kill()?;
    follow.wait()?;

    // Without the link: told when it is there again. Killed: what was told stays, and what is applied again is not counted.
    let link = fleet.link().context("a link")?;
    link.cut();
    post(&fleet, 10..15)?;
    fleet.link().context("a link")?.restore();
    wait_until_counted(&fleet, 15)?;
    fleet.kill_edge()?;
    fleet.start_edge()?;
    post(&fleet, 15..18)?;
    wait_until_counted(&fleet, 18)?;

    let table = fleet.run(fleet.drover().args(["plugin", "cost"]))?;
    assert!(table.starts_with("PLUGIN ") && table.contains("geofence") && table.contains(" MiB"), "{table}");
    let metrics = Command::new("curl").args(["--silent", &format!("http://{}/metrics", fleet.admin())]).output()?;
    let metrics = String::from_utf8(metrics.stdout)?;
    for name in ["drover_plugin_readings", "drover_plugin_cpu_ms", "drover_plugin_memory_bytes_high"] {
        let line = metrics.lines().find(|line| line.starts_with(name) && line.contains("plugin=\"geofence\""));
        assert!(line.is_some_and(|line| line.contains("tenant=\"demo\"")), "{name}:\n{metrics}");
    }
    let unknown = fleet.drover().args(["plugin", "show", "nothing"]).output()?;
    assert_eq!(unknown.status.code(), Some(3), "{}", String::from_utf8(unknown.stderr)?);
    fleet.stop()
}
