//! The city's buses drive while processes are killed and the link is cut: the partner's alerts are the same, and every
//! acknowledged reading is in the cloud's log once.

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::path::Path;
use system_tests::fleet::Fleet;
use system_tests::reference::{compare, expected_transitions, transitions};
use system_tests::scenario::{Drive, Flow, Progress, Scenario, Swap, play};
use system_tests::{Programs, Semantics, alerts, data};

mod stored;

/// Every instant at which something happens, as shares of the recording. The seed is printed; set `DROVER_SEED` to
/// play it again. None is after `until`: what happens must be over before the recording is.
fn instants(count: usize, until: f64) -> Vec<f64> {
    let given = std::env::var("DROVER_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| rand::rng().random());
    println!("DROVER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut instants: Vec<f64> = (0..count).map(|_| random.random_range(0.01..until)).collect();
    instants.sort_by(f64::total_cmp);
    instants
}

/// A little after the swap is due, so that it is due while the recording is held.
const HELD_AT_SHARE: f64 = 0.52;

/// What happens when the recording has come that far.
type Disturbance<'a> = &'a mut dyn FnMut(&mut Fleet) -> Result<()>;

fn buses_survive(instants: &[f64], swap: Option<Swap>, disturbance: Disturbance<'_>) -> Result<()> {
    let Some(directory) = data::directory() else {
        println!("skipped: this needs the reference data ({})", data::DATA_VARIABLE);
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let acknowledged = scratch.path().join("acknowledged.ndjson");
    let recording = directory.join("gps_warsaw_bus.csv.gz");
    let mut replay_arguments = vec!["--acknowledged".to_owned(), acknowledged.display().to_string()];
    if swap.is_some() {
        // Compiling takes a busy machine longer than the rest of the recording: it is held until the swap is over.
        let rows = (HELD_AT_SHARE * data::rows(&recording)? as f64) as u64;
        replay_arguments.extend(["--hold-after".to_owned(), rows.to_string(), "--hold-until".to_owned()]);
        replay_arguments.push(scratch.path().join("go-on").display().to_string());
    }
    let scenario = Scenario {
        drive: Drive::Recording {
            recording: recording.clone(),
            zones: directory.join("zones_warsaw_districts.geojson.gz"),
        },
        config: None,
        semantics: Semantics::Plain,
        speed: "max".to_owned(),
        swap,
        replay_arguments,
        cuttable: true,
    };
    let mut due = instants.iter().copied().peekable();
    let mut happened = 0;
    let programs = Programs::beside_this_test()?;
    let mut disturb = |fleet: &mut Fleet, progress: Progress| {
        if due.next_if(|share| progress.dealt_with as f64 >= share * progress.total as f64).is_some() {
            happened += 1;
            disturbance(fleet)?;
        }
        Ok(Flow::On)
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
    buses_survive(&instants(20, 0.9), Some(Swap::Rebuilt { at_share: 0.5 }), &mut |fleet| {
        fleet.kill_edge()?;
        fleet.start_edge()
    })
}

#[test]
fn five_kills_of_the_cloud() -> Result<()> {
    // The edge takes readings while the cloud is down, so that five restarts use up a good part of the recording.
    buses_survive(&instants(5, 0.3), None, &mut |fleet| {
        fleet.kill_cloud()?;
        fleet.start_cloud()
    })
}

#[test]
fn the_link_is_cut_for_a_third_of_the_day() -> Result<()> {
    let mut cut = false;
    buses_survive(&[0.3, 0.63], None, &mut |fleet| {
        let link = fleet.link().context("this fleet's link can be cut")?;
        if cut {
            link.restore()
        } else {
            link.cut()
        }
        cut = !cut;
        Ok(())
    })
}
