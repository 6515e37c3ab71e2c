//! `cargo xtask bench`: what it costs, measured on optimised programs.

mod pipeline;
mod plugins;
mod preview;

use crate::{setup, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use system_tests::{data, figures};

/// Measure speed on optimised programs. Prints medians, and the machine they were measured on.
///
/// Without a name both run: `pipeline` (readings per second from device to partner, and the swap of a rule on the way) and
/// `plugins`, which is all of
///   positions   the geofence component against the same code native, ns per position; compiling, loading, instances
///   swaps       from upload to active on an edge, and the slowest batch of readings that a swap delays
///   preview     recorded readings per second that the cloud shows to a rule
///   neighbour   what a tenant notices of one whose rules loop, eat memory and flood
/// each of which may be named as well.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Only this benchmark
    #[arg(value_parser = ["pipeline", "plugins", "positions", "swaps", "preview", "neighbour"])]
    only: Option<String>,
    /// Runs of pipeline and preview; the median is reported
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// A recording for pipeline and preview (default: the bus recording of the reference data)
    #[arg(long, requires = "zones")]
    recording: Option<PathBuf>,
    /// The recording's zones
    #[arg(long, requires = "recording")]
    zones: Option<PathBuf>,
    /// Write the figures as JSON, flat keys with their units
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Args {
    fn wants(&self, name: &str, group: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name || only == group)
    }
}

/// Runs the benchmarks.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    println!("machine: {}", machine());
    let collected = tempfile::NamedTempFile::new().context("a file for figures")?;
    // Everything below runs in this process or in one that it starts.
    let to = collected.path();
    if args.wants("pipeline", "pipeline") {
        pipeline::run(args, to)?;
    }
    if args.wants("positions", "plugins") {
        plugins::positions(to)?;
    }
    if args.wants("swaps", "plugins") {
        plugins::fleet("swaps", to)?;
    }
    if args.wants("preview", "plugins") {
        preview::run(args, to)?;
    }
    if args.wants("neighbour", "plugins") {
        plugins::fleet("neighbour", to)?;
    }
    let mut figures = figures::collected(&std::fs::read_to_string(to)?)?;
    figures.insert("machine".to_owned(), machine().into());
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&Value::Object(figures))?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
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

/// One of the benchmarks that cargo runs, which adds its figures to a file.
fn cargo_bench(name: &str, figures: &Path) -> Result<std::process::Command> {
    let mut bench = workspace::cargo();
    // The whole workspace, so that it gets the features with which the programs were built.
    bench.args(["bench", "--workspace", "--bench", name]).env(figures::FIGURES_VARIABLE, figures);
    if let Some(data) = data::directory()? {
        bench.env(data::DATA_VARIABLE, data);
    }
    Ok(bench)
}

/// The median of a figure of reports that have it; NaN when none has.
fn median_of(reports: &[Value], figure: impl Fn(&Value) -> Option<f64>) -> f64 {
    figures::median(&reports.iter().filter_map(figure).collect::<Vec<f64>>())
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.unwrap_or("unknown processor"))
}
