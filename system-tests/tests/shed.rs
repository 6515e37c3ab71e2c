//! The uplink is cut for longer than the disk's budget lasts, and the edge is killed on the way. The oldest readings are
//! shed; what is in the cloud afterwards and what the gap events tell of is together every reading.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Programs, Semantics, alerts};

const WITHIN: Duration = Duration::from_secs(120);
/// For an edge that notices a cut: short.
const SHORT_IDLE_TIMEOUT_MS: u32 = 1_000;
/// 40 vehicles, a reading a second for 20 minutes, in twelve seconds: more than four MiB of blocks, of which one may be kept.
const DRIVE: [&str; 6] = ["--simulate", "40", "--for", "1200s", "--speed", "100"];
/// Delivered before the link is cut.
const BEFORE_THE_CUT: u64 = 1_000;

/// Half a second's readings.
const ON_THEIR_WAY_MAX: usize = 1_700;

/// Sequences of each vehicle.
type Sequences = BTreeMap<String, Vec<u64>>;

/// The readings in the cloud.
fn readings(fleet: &Fleet) -> Result<Sequences> {
    let text = fleet.run(fleet.drover().args(["events", "--class", "telemetry", "--format", "ndjson"]))?;
    let mut all = Sequences::new();
    for line in text.lines() {
        let reading: Value = serde_json::from_str(line)?;
        let vehicle = reading["vehicle"].as_str().context("a vehicle")?.to_owned();
        all.entry(vehicle).or_default().push(reading["sequence"].as_u64().context("a sequence")?);
    }
    Ok(all)
}

/// The readings that gap events tell of.
fn gaps(fleet: &Fleet) -> Result<(Sequences, usize)> {
    let events = fleet.events(alerts::Class::Alerts)?;
    ensure!(alerts::doubled(&events) == 0, "an event is there twice");
    let mut all = Sequences::new();
    let gaps: Vec<_> = events.iter().filter(|event| event.kind == "telemetry.gap").collect();
    for gap in &gaps {
        let of = |name: &str| gap.details[name].as_u64().with_context(|| format!("{name} of {gap:?}"));
        let (first, last, count) = (of("first_sequence")?, of("last_sequence")?, of("count")?);
        ensure!(last - first + 1 == count && gap.value == Some(count as f64), "a drive without late readings: {gap:?}");
        ensure!(gap.details["reason"] == "disk_budget" && gap.details["from"].is_string(), "{gap:?}");
        all.entry(gap.vehicle.clone()).or_default().extend(first..=last);
    }
    Ok((all, gaps.len()))
}

/// `first`, `next` or `acked` of telemetry.
fn telemetry(fleet: &Fleet, what: &str) -> Result<u64> {
    fleet.edge_status()?["streams"][0][what].as_u64().with_context(|| format!("{what} of telemetry"))
}

#[test]
fn what_is_shed_while_the_link_is_cut_is_told_and_everything_else_arrives_once() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let setup = Setup {
        cuttable: true,
        idle_timeout_ms: SHORT_IDLE_TIMEOUT_MS,
        telemetry_mib_max: Some(1),
        ..Setup::new(Semantics::Normal)
    };
    let mut fleet = Fleet::start(Programs::beside_this_test()?, &scratch.path().join("fleet"), setup)?;
    wait_for("the uplink", WITHIN, || Ok(fleet.is_connected()?.then_some(())))?;
    let summary = scratch.path().join("summary.json");
    let mut replay = fleet.start_replay(&DRIVE, &summary)?;
    wait_for("readings in the cloud", WITHIN, || Ok((telemetry(&fleet, "acked")? > BEFORE_THE_CUT).then_some(())))?;
    fleet.link().context("a link")?.cut();
    let delivered = telemetry(&fleet, "acked")?;
    wait_for("the first shedding", WITHIN, || Ok((telemetry(&fleet, "first")? > delivered).then_some(())))?;
    fleet.kill_edge()?;
    fleet.start_edge()?;
    ensure!(replay.wait(WITHIN)?.success(), "{}", replay.log_end());
    let sent: Value = serde_json::from_str(&std::fs::read_to_string(&summary)?)?;
    ensure!(sent["acknowledged"] == sent["sent"] && sent["refused"] == 0, "{sent}");

    fleet.link().context("a link")?.restore();
    fleet.wait_until_delivered(WITHIN)?;
    let (arrived, (gaps, events)) = (readings(&fleet)?, gaps(&fleet)?);
    for (vehicle, sequences) in &gaps {
        ensure!(
            sequences.is_sorted_by(|a, b| a < b),
            "{vehicle}: told twice of a reading, or not in order: {sequences:?}"
        );
    }
    let (kept, shed): (usize, usize) = (arrived.values().map(Vec::len).sum(), gaps.values().map(Vec::len).sum());
    println!("{kept} readings arrived, {shed} were shed, of which {events} events tell");
    ensure!(kept > 5_000 && shed > 20_000, "{kept} arrived, {shed} shed");
    ensure!(arrived.len() == 40, "{} vehicles", arrived.len());
    // What was on its way when the link was cut arrived perhaps, and the edge could not hear of it.
    let mut both = 0;
    let mut all = 0;
    for (vehicle, sequences) in arrived {
        let (came, told) = (sequences.len(), gaps.get(&vehicle).map_or(0, Vec::len));
        let each: BTreeSet<u64> =
            sequences.into_iter().chain(gaps.get(&vehicle).into_iter().flatten().copied()).collect();
        ensure!(
            each.iter().copied().eq(1..=each.len() as u64),
            "{vehicle}: what arrived and what is told of: {each:?}"
        );
        all += each.len();
        both += came + told - each.len();
    }
    ensure!(sent["acknowledged"] == all, "{all} readings, {sent}");
    ensure!(both <= ON_THEIR_WAY_MAX, "{both} readings arrived and are told of");
    let log = std::fs::read_to_string(fleet.directory().join("cloud.log"))?;
    ensure!(log.contains("has shed readings before they came here"), "{log}");
    fleet.stop()
}
