//! `cargo xtask bench`: what it costs, measured on optimised programs.

use crate::{build, setup, workspace};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;
use system_tests::Semantics;
use system_tests::data;
use system_tests::fleet::{DEPLOYMENT, Fleet, Setup};
use system_tests::scenario::{Flow, Scenario, play};

/// Measure speed on optimised programs. Prints medians, and the machine they were measured on.
///
/// Without a name every benchmark runs: `pipeline` (readings per second from device to partner, and the swap of a rule
/// on the way), `preview` (recorded readings per second that the cloud shows to a rule) and `plugins` (ns per position in
/// the geofence component against the same code native).
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only this benchmark
    #[arg(value_parser = ["pipeline", "preview", "plugins"])]
    only: Option<String>,
    /// Runs of pipeline and preview; the median is reported
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// A recording for the pipeline (default: the bus recording of the reference data)
    #[arg(long, requires = "zones")]
    recording: Option<PathBuf>,
    /// The recording's zones
    #[arg(long, requires = "recording")]
    zones: Option<PathBuf>,
    /// Write the figures of the pipeline as JSON, flat keys with their units
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the benchmarks.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    println!("machine: {}", machine());
    let is_wanted = |name: &str| args.only.as_deref().is_none_or(|only| only == name);
    if is_wanted("pipeline") {
        pipeline(args)?;
    }
    if is_wanted("preview") {
        preview(args)?;
    }
    if is_wanted("plugins") {
        plugins()?;
    }
    Ok(())
}

/// The recording and its zones.
fn recording(args: &Args) -> Result<(PathBuf, PathBuf)> {
    match (&args.recording, &args.zones, data::directory()?) {
        (Some(recording), Some(zones), _) => Ok((recording.clone(), zones.clone())),
        (_, _, Some(data)) => Ok((data.join("gps_warsaw_bus.csv.gz"), data.join("zones_warsaw_districts.geojson.gz"))),
        _ => {
            bail!("there is no recording: name one with --recording FILE --zones FILE, or set {}", data::DATA_VARIABLE)
        }
    }
}

/// The recording is played once; then the cloud shows what it has kept to the rule, alone and beside what is live.
fn preview(args: &Args) -> Result<()> {
    let (recording, zones) = recording(args)?;
    let programs = build::release_programs()?;
    let scratch = tempfile::Builder::new().prefix("drover-bench-").tempdir().context("a temporary directory")?;
    let scenario = Scenario { swap: None, ..Scenario::reference(recording, zones) };
    play(&programs, &scenario, scratch.path(), &|_| {}, &mut |_, _| Ok(Flow::On))?;
    let fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Plain))?;
    for against in [None, Some(DEPLOYMENT)] {
        let mut results = Vec::new();
        for _ in 0..args.runs.max(1) {
            let mut drover = fleet.drover();
            drover.args(["plugin", "preview", "--json", "--config"]).arg(scratch.path().join("rule.json"));
            drover.args(against.into_iter().flat_map(|name| ["--against", name])).arg(programs.geofence());
            results.push(serde_json::from_str::<Value>(&fleet.run(&mut drover)?)?);
        }
        let of = |figure: fn(&Value) -> Option<f64>| median(&results, figure).unwrap_or(f64::NAN);
        println!(
            "preview {}: {} readings, {:.0} readings/s, {:.0} ns a reading in the rule, medians of {}",
            if against.is_some() { "against what is live" } else { "alone" },
            results[0]["readings"],
            of(|r| r["readings_per_second"].as_f64()),
            of(|r| r["candidate"]["ns_per_reading"].as_f64()),
            results.len(),
        );
    }
    fleet.stop()
}

fn pipeline(args: &Args) -> Result<()> {
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
    let figures = json!({
        "readings_per_s": median(&reports, |r| r["readings_per_second"].as_f64()),
        "seconds": median(&reports, |r| r["seconds"].as_f64()),
        "swap_slowest_batch_ms": median(&reports, |r| r["swap"]["slowest_batch_ms"].as_f64()),
        "swap_ms": median(&reports, |r| r["swap"]["swap_ms"].as_f64()),
        "lost": median(&reports, |r| r["swap"]["lost"].as_f64()),
        "doubled": median(&reports, |r| r["swap"]["doubled"].as_f64()),
        "runs": reports.len(),
    });
    println!("pipeline, medians: {}", serde_json::to_string_pretty(&figures)?);
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn plugins() -> Result<()> {
    println!("plugins: the geofence component against the same code native, in pairs");
    let component = crate::plugin_build::build_plugin(&build::drover("release", "release")?, "geofence", None)?;
    let mut bench = workspace::cargo();
    // The whole workspace, so that it gets the features with which the programs were built.
    bench.args(["bench", "--workspace", "--bench", "geofence"]).env("DROVER_GEOFENCE", component);
    if let Some(data) = data::directory()? {
        bench.env(data::DATA_VARIABLE, data);
    }
    workspace::run(&mut bench)
}

fn median(reports: &[Value], figure: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
    let mut figures: Vec<f64> = reports.iter().filter_map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.unwrap_or("unknown processor"))
}
