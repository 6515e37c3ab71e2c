//! A rule for vehicles with a tag, through real processes: vehicles are tagged and untagged while they drive, and the rule
//! begins and ends to decide for them.

use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Programs, Semantics};

const WITHIN: Duration = Duration::from_secs(60);

/// A yard that holds every vehicle which is not away.
fn config(scratch: &Path) -> Result<PathBuf> {
    let yard = json!({"type": "Feature", "id": "yard", "properties": {"radius_m": 500},
        "geometry": {"type": "Point", "coordinates": [21.0, 52.0]}});
    let path = scratch.join("yard.json");
    std::fs::write(&path, json!({"zones": {"type": "FeatureCollection", "features": [yard]}}).to_string())?;
    Ok(path)
}

/// Two buses come and go again: each time in the minutes after those before.
fn come_and_go(fleet: &Fleet, time: u32) -> Result<()> {
    for (minute, latitude) in [(2 * time, 52.0001), (2 * time + 1, 52.5)] {
        let event_time = format!("2026-05-04T{:02}:{:02}:00Z", 8 + minute / 60, minute % 60);
        let readings: Vec<Value> = ["bus-1", "bus-2"]
            .map(|vehicle| json!({"vehicle": vehicle, "event_time": event_time, "latitude": latitude, "longitude": 21.0}))
            .into();
        fleet.post_readings(&readings.into())?;
    }
    Ok(())
}

/// How many alerts each bus has, for a partner.
fn alerts(fleet: &mut Fleet) -> Result<[usize; 2]> {
    fleet.wait_until_delivered(WITHIN)?;
    let lines = fleet.run(fleet.drover().args(["events", "--class", "alerts", "--format", "ndjson"]))?;
    Ok(["bus-1", "bus-2"].map(|bus| lines.lines().filter(|line| line.contains(&format!("\"{bus}\""))).count()))
}

/// Waits until the edge has recorded so many changes of the deployment; from then on it decides for other vehicles.
fn edge_changed(fleet: &Fleet, times: usize) -> Result<()> {
    wait_for("the edge's change", WITHIN, || {
        let acts = fleet.run(fleet.drover().args(["events", "--class", "audit", "--format", "ndjson"]))?;
        Ok((acts.matches("deployment.activated").count() >= times).then_some(()))
    })
}

#[test]
fn a_rule_follows_the_tags_of_vehicles_while_they_drive() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::beside_this_test()?;
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Normal))?;
    let config = config(scratch.path())?;
    let tag = |fleet: &Fleet, words: &[&str]| fleet.run(fleet.drover().arg("tag").args(words));
    fleet.run(
        fleet
            .drover()
            .args(["deploy", "zones", "--tag", "night-bus", "--plugin"])
            .arg(programs.geofence())
            .arg("--config")
            .arg(&config),
    )?;
    edge_changed(&fleet, 1)?;
    come_and_go(&fleet, 0)?;
    assert_eq!(alerts(&mut fleet)?, [0, 0], "nobody is tagged, and nobody is not everybody");

    let said = tag(&fleet, &["bus-1", "night-bus", "electric"])?;
    assert!(said.contains("bus-1: electric, night-bus") && said.contains("other vehicles now: zones"), "{said}");
    edge_changed(&fleet, 2)?;
    come_and_go(&fleet, 1)?;
    assert_eq!(alerts(&mut fleet)?, [2, 0]);
    let page = fleet.run(fleet.drover().args(["deployment", "zones"]))?;
    assert!(page.contains("zones revision 1") && page.contains("tagged night-bus: 1 now"), "{page}");
    let listed = fleet.run(fleet.drover().args(["vehicles", "--tag", "night-bus"]))?;
    assert!(listed.contains("electric, night-bus") && !listed.contains("bus-2"), "{listed}");

    // While the edge is away, after a crash of both: what it is told when it comes back is what is tagged then.
    fleet.kill_edge()?;
    tag(&fleet, &["bus-2", "night-bus"])?;
    tag(&fleet, &["bus-1", "electric"])?;
    fleet.kill_cloud()?;
    fleet.start_cloud()?;
    fleet.start_edge()?;
    edge_changed(&fleet, 3)?;
    come_and_go(&fleet, 2)?;
    assert_eq!(alerts(&mut fleet)?, [2, 2]);

    tag(&fleet, &["bus-2"])?;
    edge_changed(&fleet, 4)?;
    come_and_go(&fleet, 3)?;
    assert_eq!(alerts(&mut fleet)?, [2, 2], "untagged, it is left alone");
    let acts = fleet.run(fleet.drover().args(["events", "--class", "audit"]))?;
    assert_eq!(acts.matches("vehicle.tagged").count(), 4, "{acts}");
    fleet.run(fleet.drover().args(["audit", "verify"]))?;
    fleet.stop()
}
