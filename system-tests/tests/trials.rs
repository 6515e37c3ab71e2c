//! A stricter geofence is tried beside the live one through real processes: compared in its shadow, ended, tried again, and
//! made live by its rule.

use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Programs, Semantics};

const WITHIN: Duration = Duration::from_secs(60);

/// A yard; of 500 m it holds both vehicles, of 100 m one.
fn config(radius_m: u32, scratch: &Path) -> Result<PathBuf> {
    let yard = json!({"type": "Feature", "id": "yard", "properties": {"radius_m": radius_m},
        "geometry": {"type": "Point", "coordinates": [21.0, 52.0]}});
    let path = scratch.join(format!("{radius_m}.json"));
    std::fs::write(&path, json!({"zones": {"type": "FeatureCollection", "features": [yard]}}).to_string())?;
    Ok(path)
}

/// Two vehicles are away, come, or go.
fn drive(fleet: &Fleet, minute: u32, is_there: bool) -> Result<()> {
    let readings: Vec<Value> = [("near", 52.0001), ("far", 52.003)]
        .map(|(vehicle, latitude)| {
            json!({"vehicle": vehicle, "event_time": format!("2026-05-04T08:{minute:02}:00Z"),
                "latitude": if is_there { latitude } else { 52.5 }, "longitude": 21.0})
        })
        .into();
    fleet.post_readings(&readings.into())?;
    Ok(())
}

fn deployment(fleet: &Fleet) -> Result<Value> {
    Ok(serde_json::from_str(&fleet.run(fleet.drover().args(["deployment", "zones", "--format", "json"]))?)?)
}

/// The alerts that a partner reads: vehicle and type.
fn alerts(fleet: &mut Fleet) -> Result<Vec<String>> {
    fleet.wait_until_delivered(WITHIN)?;
    let lines = fleet.run(fleet.drover().args(["events", "--class", "alerts", "--format", "ndjson"]))?;
    let mut alerts = Vec::new();
    for line in lines.lines() {
        let alert: Value = serde_json::from_str(line)?;
        alerts.push(format!("{} {}", alert["vehicle"].as_str().unwrap_or("?"), alert["type"].as_str().unwrap_or("?")));
    }
    alerts.sort();
    Ok(alerts)
}

#[test]
fn a_stricter_geofence_is_compared_in_the_shadow_ended_and_at_last_goes_live_by_its_rule() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::beside_this_test()?;
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Normal))?;
    let (wide, narrow) = (config(500, scratch.path())?, config(100, scratch.path())?);
    let deploy = |fleet: &Fleet, config: &Path, more: &[&str]| {
        let mut deploy = fleet.drover();
        fleet.run(
            deploy
                .args(["deploy", "zones", "--plugin"])
                .arg(programs.geofence())
                .arg("--config")
                .arg(config)
                .args(more),
        )
    };
    deploy(&fleet, &wide, &["--depot", "depot-1", "--vehicle", "near", "--vehicle", "far"])?;
    drive(&fleet, 0, false)?;
    let said = deploy(
        &fleet,
        &narrow,
        &["--shadow", "1s", "--promote-if-differences", "10", "--promote-after-readings", "4"],
    )?;
    assert!(said.contains("revision 2 is tried") && said.contains("in the shadow"), "{said}");
    drive(&fleet, 1, true)?;
    drive(&fleet, 2, false)?;
    // `far` entered and left only by the live rule: half of all differs, which is too much.
    let seen = wait_for("what the trial differs in", WITHIN, || {
        let now = deployment(&fleet)?;
        Ok((now["trial"]["figures"]["removed"] == 2).then_some(now))
    })?;
    let figures = &seen["trial"]["figures"];
    assert_eq!((&figures["same"], &figures["added"], &figures["changed"]), (&json!(2), &json!(0), &json!(0)), "{seen}");
    let waits = wait_for("why it waits", WITHIN, || {
        let why = deployment(&fleet)?["trial"]["waiting_for"].as_str().unwrap_or_default().to_owned();
        Ok(why.contains("differ").then_some(why))
    })?;
    assert!(waits.contains("50.00 %") && waits.contains("10 % may"), "{waits}");
    let page = fleet.run(fleet.drover().args(["deployment", "zones"]))?;
    assert!(page.contains("2 removed") && page.contains("for 2 vehicles: far, near"), "{page}");
    let both = ["far geofence.entered", "far geofence.exited", "near geofence.entered", "near geofence.exited"];
    assert_eq!(alerts(&mut fleet)?, both, "nothing of the trial became an alert");

    let ended = fleet.run(fleet.drover().args(["rollback", "zones"]))?;
    assert!(ended.contains("the trial of revision 2 ended; revision 1 goes on"), "{ended}");
    // Tried again with a rule that lets it differ; a crash in between loses nothing of it.
    deploy(&fleet, &narrow, &["--shadow", "1s", "--promote-if-differences", "100", "--promote-after-readings", "4"])?;
    fleet.kill_edge()?;
    fleet.start_edge()?;
    drive(&fleet, 3, true)?;
    drive(&fleet, 4, false)?;
    wait_for("the promotion", WITHIN, || {
        let now = deployment(&fleet)?;
        let is_live = now["revision"] == 3 && now["trial"].is_null() && now["edges"][0]["state"] == "active";
        Ok(is_live.then_some(()))
    })?;
    let before = alerts(&mut fleet)?.len();
    assert_eq!(before, 8, "until it was live the old one decided");
    drive(&fleet, 5, true)?;
    let after = wait_for("the alert", WITHIN, || {
        let alerts = alerts(&mut fleet)?;
        Ok((alerts.len() > before).then_some(alerts))
    })?;
    assert_eq!(after.len(), before + 1, "{after:?}");
    let acts = fleet.run(fleet.drover().args(["events", "--class", "audit"]))?;
    for act in ["trial.started", "trial.ended", "deployment.promoted", "deployment.activated"] {
        assert!(acts.contains(act), "{act}: {acts}");
    }
    fleet.stop()
}
