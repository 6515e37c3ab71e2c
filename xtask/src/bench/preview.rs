//! Recorded readings per second that the cloud shows to a rule: alone, and beside what is live.

use super::{Args, median_of, recording};
use crate::build;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use system_tests::fleet::{DEPLOYMENT, Fleet, Setup};
use system_tests::scenario::{Flow, Scenario, play};
use system_tests::{Semantics, figures};

/// The recording is played once; then the cloud shows what it has kept to the rule.
pub(super) fn run(args: &Args, to: &Path) -> Result<()> {
    let (recording, zones) = recording(args)?;
    let programs = build::release_programs()?;
    let scratch = tempfile::Builder::new().prefix("drover-bench-").tempdir().context("a temporary directory")?;
    let scenario = Scenario { swap: None, ..Scenario::reference(recording, zones) };
    play(&programs, &scenario, scratch.path(), &|_| {}, &mut |_, _| Ok(Flow::On))?;
    let fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Plain))?;
    for (key, against) in [("preview_alone", None), ("preview_against_live", Some(DEPLOYMENT))] {
        let mut results = Vec::new();
        for _ in 0..args.runs.max(1) {
            let mut drover = fleet.drover();
            drover.args(["plugin", "preview", "--json", "--config"]).arg(scratch.path().join("rule.json"));
            drover.args(against.into_iter().flat_map(|name| ["--against", name])).arg(programs.geofence());
            results.push(serde_json::from_str::<Value>(&fleet.run(&mut drover)?)?);
        }
        let rate = median_of(&results, |r| r["readings_per_second"].as_f64());
        let in_rule = median_of(&results, |r| r["candidate"]["ns_per_reading"].as_f64());
        let (readings, runs) = (&results[0]["readings"], results.len());
        println!(
            "{key}: {readings} readings, {rate:.0} readings/s, {in_rule:.0} ns a reading in the rule, medians of {runs}"
        );
        figures::add_to(
            to,
            &json!({
                (format!("{key}_readings_per_s")): rate,
                (format!("{key}_ns_per_reading_in_rule")): in_rule,
            }),
        )?;
    }
    fleet.stop()
}
