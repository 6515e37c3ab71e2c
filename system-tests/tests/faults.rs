//! The city's buses drive while processes are killed and the link is cut: the partner's alerts are the same, and every
//! acknowledged reading is in the cloud's log once.

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use system_tests::fleet::Fleet;
use system_tests::process::wait_for;
use system_tests::reference::{compare, expected_transitions, transitions};
use system_tests::scenario::{Drive, Flow, Progress, Scenario, Swap, play};
use system_tests::{Programs, alerts, data};

mod stored;

/// Every instant at which something happens, as shares of the recording. The seed is printed; set `DROVER_SEED` to
/// play it again. None is after `until`.
fn instants(count: usize, until: f64) -> Vec<f64> {
    let given = std::env::var("DROVER_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| rand::rng().random());
    println!("DROVER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut instants: Vec<f64> = (0..count).map(|_| random.random_range(0.01..until)).collect();
    instants.sort_by(f64::total_cmp);
    instants
}

/// The recording waits this far behind an instant at which something is due, and mostly it happens before.
const WAIT_AFTER_SHARE: f64 = 0.03;

/// For the fleet whose link is cut: short, so that the connection is lost and another is made.
const SHORT_IDLE_TIMEOUT_MS: u32 = 1_000;
/// An edge has noticed that its link is cut, or works again, by then.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// What happens when the recording has come that far.
type Disturbance<'a> = &'a mut dyn FnMut(&mut Fleet) -> Result<()>;

/// The city's buses, to be disturbed.
fn buses(directory: &Path) -> Scenario {
    let recording = directory.join("gps_warsaw_bus.csv.gz");
    let zones = directory.join("zones_warsaw_districts.geojson.gz");
    Scenario { swap: None, ..Scenario::reference(recording, zones) }
}

fn buses_survive(
    instants: &[f64],
    change: impl FnOnce(Scenario) -> Scenario,
    disturbance: Disturbance<'_>,
) -> Result<()> {
    let Some(directory) = data::directory_or_skip()? else { return Ok(()) };
    let scratch = tempfile::tempdir()?;
    let acknowledged = scratch.path().join("acknowledged.ndjson");
    let replay_arguments = vec!["--acknowledged".to_owned(), acknowledged.display().to_string()];
    let scenario = Scenario { replay_arguments, ..change(buses(&directory)) };
    let Drive::Recording { recording, .. } = scenario.drive.clone() else { bail!("buses drive from a recording") };
    let mut due = instants.iter().copied().peekable();
    let mut happened = 0;
    let programs = Programs::beside_this_test()?;
    let mut disturb = |fleet: &mut Fleet, progress: Progress| {
        if due.next_if(|share| progress.dealt_with as f64 >= share * progress.total as f64).is_some() {
            happened += 1;
            disturbance(fleet)?;
        }
        let next = |share: &f64| Flow::UpTo(((share + WAIT_AFTER_SHARE) * progress.total as f64) as u64);
        Ok(due.peek().map_or(Flow::On, next))
    };
    let outcome = play(&programs, &scenario, scratch.path(), &|line| println!("{line}"), &mut disturb)?;
    assert_eq!(happened, instants.len(), "every fault happened while readings flowed");

    let comparison = compare(&expected_transitions(&directory, "warsaw")?, &transitions(&outcome.alerts));
    assert!(comparison.is_exact(), "{comparison:#?}");
    assert_eq!(alerts::doubled(&outcome.alerts), 0);
    every_acknowledged_reading_is_there_once(&recording, &acknowledged, scratch.path())
}

fn every_acknowledged_reading_is_there_once(recording: &Path, acknowledged: &Path, fleet: &Path) -> Result<()> {
    let acknowledged: BTreeSet<(String, i64)> = std::fs::read_to_string(acknowledged)?
        .lines()
        .filter_map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).ok()?;
            Some((row["vehicle"].as_str()?.to_owned(), row["event_time_ms"].as_i64()?))
        })
        .collect();
    let mut admissible = BTreeSet::new();
    for row in data::open_csv(recording)?.deserialize() {
        let row: std::collections::HashMap<String, String> = row?;
        let field = |name: &str| row.get(name).with_context(|| format!("the recording has no column {name}"));
        let at_null = field("lat")?.parse::<f64>()? == 0.0 && field("lon")?.parse::<f64>()? == 0.0;
        if !at_null && let Ok(seconds) = field("ts")?.parse::<i64>() {
            admissible.insert((field("vehicle")?.clone(), seconds * 1_000));
        }
    }
    assert!(admissible.is_subset(&acknowledged), "everything was acknowledged in the end");
    let stored = stored::readings(&fleet.join("cloud/telemetry.redb"))?;
    let twice: Vec<_> = stored.iter().filter(|(_, times)| **times != 1).take(5).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
    let lost: Vec<_> = admissible.iter().filter(|key| !stored.contains_key(*key)).take(5).collect();
    assert!(lost.is_empty(), "acknowledged, but not in the cloud: {lost:?}");
    assert_eq!(stored.len(), admissible.len());
    Ok(())
}

#[test]
fn twenty_kills_of_the_edge_with_a_swap_in_between() -> Result<()> {
    let swapped = |buses| Scenario { swap: Some(Swap::Rebuilt { at_share: 0.5 }), ..buses };
    buses_survive(&instants(20, 0.95), swapped, &mut |fleet| {
        fleet.kill_edge()?;
        fleet.start_edge()
    })
}

#[test]
fn five_kills_of_the_cloud() -> Result<()> {
    buses_survive(&instants(5, 0.95), |buses| buses, &mut |fleet| {
        fleet.kill_cloud()?;
        fleet.start_cloud()
    })
}

#[test]
fn the_link_is_cut_for_a_third_of_the_day_until_the_connection_is_lost() -> Result<()> {
    let cuttable = |buses| Scenario { cuttable: true, idle_timeout_ms: SHORT_IDLE_TIMEOUT_MS, ..buses };
    let mut cut = false;
    buses_survive(&[0.3, 0.63], cuttable, &mut |fleet| {
        cut = !cut;
        if cut {
            fleet.link().context("this fleet's link can be cut")?.cut();
            return Ok(());
        }
        let becomes = |what: &str, connected: bool| {
            wait_for(what, NOTICED_WITHIN, || Ok((fleet.is_connected()? == connected).then_some(())))
        };
        becomes("the loss of the connection", false)?;
        fleet.link().context("this fleet's link can be cut")?.restore();
        becomes("another connection", true)
    })
}
