//! The same geofence decides on an edge and in the cloud. Both say the same, though the cloud is killed while they drive
//! and its rule is swapped.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use system_tests::alerts::{self, Class};
use system_tests::fleet::{DEPLOYMENT, Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Programs, Semantics};

const IN_CLOUD: &str = "zones-in-cloud";
const WITHIN: Duration = Duration::from_secs(120);

/// What an event says, whoever decided it.
type Said = (String, String, String, i64, u64, String);

/// The alerts that a partner reads, by deployment, each in an order of its own.
fn said_by_deployment(fleet: &Fleet) -> Result<BTreeMap<String, Vec<Said>>> {
    let text = fleet.run(fleet.drover().args(["events", "--class", "alerts", "--format", "ndjson"]))?;
    ensure!(alerts::doubled(&alerts::parse(&text)?) == 0, "an event is there twice");
    let mut all: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line)?;
        let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| event[name].as_i64().with_context(|| format!("{name}: {line}"));
        let said = (
            word("vehicle"),
            word("type"),
            word("subject"),
            number("event_time_ms")?,
            u64::try_from(number("sequence")?)?,
            event["details"].to_string(),
        );
        let deployment = event["plugin"]["deployment"].as_str().context("a deployment")?;
        all.entry(deployment.to_owned()).or_default().push(said);
    }
    all.values_mut().for_each(|said| said.sort());
    Ok(all)
}

/// The readings that the cloud's rule answered, as its tenant is told.
fn used_in_cloud(fleet: &Fleet) -> Result<u64> {
    let cost: Value = serde_json::from_str(&fleet.run(fleet.drover().args(["plugin", "cost", "geofence", "--json"]))?)?;
    let of_cloud = cost[0]["days"].as_array().into_iter().flatten().filter(|day| day["edge"] == "cloud");
    Ok(of_cloud.filter_map(|day| day["readings"].as_u64()).sum())
}

fn wait_until_both_say_the_same(fleet: &mut Fleet) -> Result<usize> {
    fleet.wait_until_delivered(WITHIN)?;
    let mut last = String::new();
    wait_for("the cloud's rule to say what the edge's says", WITHIN, || {
        fleet.check_alive()?;
        let all = said_by_deployment(fleet)?;
        let of = |name: &str| all.get(name).map(Vec::as_slice).unwrap_or_default();
        let (edge, cloud) = (of(DEPLOYMENT), of(IN_CLOUD));
        let now = format!("{} on the edge, {} in the cloud", edge.len(), cloud.len());
        if now != last {
            println!("{now}");
            last = now;
        }
        Ok((!edge.is_empty() && edge == cloud).then_some(edge.len()))
    })
}

#[test]
fn a_rule_in_the_cloud_says_what_it_says_on_an_edge_through_kills_and_swaps() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::beside_this_test()?;
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Normal))?;
    let (zones, config) = (scratch.path().join("zones.geojson"), scratch.path().join("rule.json"));
    fleet.run(fleet.replay().args(["--simulate", "200", "--for", "0s", "--zones-out"]).arg(&zones))?;
    std::fs::write(&config, format!("{{\"zones\": {}}}", std::fs::read_to_string(&zones)?))?;
    fleet.deploy(&programs.geofence(), &config)?;
    let in_cloud = |fleet: &Fleet, plugin: std::path::PathBuf, more: &[&str]| {
        let mut deploy = fleet.drover();
        deploy.args(["deploy", IN_CLOUD, "--plugin"]).arg(plugin).arg("--config").arg(&config).args(more);
        deploy
    };
    let said = fleet.run(&mut in_cloud(&fleet, programs.geofence(), &["--where", "cloud"]))?;
    ensure!(said.contains("cloud: active"), "{said}");

    let summary = scratch.path().join("summary.json");
    // One vehicle only: for it, what is played below is late.
    let mut warm_up = fleet.start_replay(&["--simulate", "1", "--for", "20s", "--speed", "max"], &summary)?;
    ensure!(warm_up.wait(WITHIN)?.success(), "{}", warm_up.log_end());
    let admitted = |fleet: &Fleet| Ok::<_, anyhow::Error>(fleet.edge_status()?["counters"]["admitted"].as_u64());
    let first = admitted(&fleet)?.context("admitted")?;
    wait_for("what the rule used in the cloud", WITHIN, || Ok((used_in_cloud(&fleet)? == first).then_some(())))?;

    let arguments = ["--simulate", "200", "--for", "600s", "--speed", "max"];
    let mut replay = fleet.start_replay(&arguments, &summary)?;
    for kill in 1..=3_u64 {
        // While they drive, or after: the cloud has to go on from where it was.
        wait_for("some of the drive", WITHIN, || {
            Ok(admitted(&fleet)?.filter(|admitted| *admitted >= first + kill * 10_000))
        })?;
        fleet.kill_cloud()?;
        fleet.start_cloud()?;
        if kill == 2 {
            let said = fleet.run(&mut in_cloud(&fleet, programs.geofence_rebuilt(), &[]))?;
            ensure!(said.contains("swapped from"), "{said}");
        }
    }
    ensure!(replay.wait(WITHIN)?.success(), "{}", replay.log_end());
    let before = wait_until_both_say_the_same(&mut fleet)?;
    println!("{before} alerts from each");

    // Its state is where it is, and there are no depots there.
    for (more, words) in [
        (["--where", "edge"], "runs in the cloud: state does not move"),
        (["--depot", "depot-1"], "wherever it reports"),
    ] {
        let refused = in_cloud(&fleet, programs.geofence(), &more).output()?;
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(3) && text.contains(words), "{:?}: {text}", refused.status);
    }
    let back = fleet.run(fleet.drover().args(["rollback", IN_CLOUD]))?;
    ensure!(back.contains("cloud: active"), "{back}");
    let page = fleet.run(fleet.drover().args(["deployment", IN_CLOUD]))?;
    ensure!(page.contains("in the cloud") && page.contains("cloud: active"), "{page}");
    let status = fleet.status()?;
    ensure!(
        status["deployments"][0]["name"] == IN_CLOUD && status["edges"][0]["deployments"][0]["name"] == DEPLOYMENT,
        "{status}"
    );
    ensure!(fleet.events(Class::Alerts)?.len() == 2 * before, "the swaps back and forth decided nothing anew");
    fleet.stop()
}
