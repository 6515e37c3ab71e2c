//! Readings per second from a device to a partner, with a swap on the way.

use super::{Args, median_of, recording};
use crate::build;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use system_tests::figures;
use system_tests::scenario::{Flow, Scenario, play};

pub(super) fn run(args: &Args, to: &Path) -> Result<()> {
    let (recording, zones) = recording(args)?;
    let programs = build::release_programs()?;
    println!("pipeline: {} at full speed, {} runs, the rule swapped half way", recording.display(), args.runs);
    let mut reports = Vec::new();
    for run in 1..=args.runs.max(1) {
        let scratch = tempfile::Builder::new().prefix("drover-bench-").tempdir().context("a temporary directory")?;
        let scenario = Scenario::reference(recording.clone(), zones.clone());
        let outcome = play(&programs, &scenario, scratch.path(), &|_| {}, &mut |_, _| Ok(Flow::On))?;
        println!("  run {run}: {} readings/s; swap {}", outcome.report["readings_per_second"], outcome.report["swap"]);
        reports.push(outcome.report);
    }
    let of = |figure: fn(&Value) -> Option<f64>| median_of(&reports, figure);
    let medians = json!({
        "readings_per_s": of(|r| r["readings_per_second"].as_f64()),
        "seconds": of(|r| r["seconds"].as_f64()),
        "swap_slowest_batch_ms": of(|r| r["swap"]["slowest_batch_ms"].as_f64()),
        "swap_ms": of(|r| r["swap"]["swap_ms"].as_f64()),
        "lost": of(|r| r["swap"]["lost"].as_f64()),
        "doubled": of(|r| r["swap"]["doubled"].as_f64()),
        "runs": reports.len(),
    });
    println!("pipeline, medians: {}", serde_json::to_string_pretty(&medians)?);
    figures::add_to(to, &medians)
}
