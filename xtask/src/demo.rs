//! `cargo xtask demo`: the main job on this machine, from device to partner.

use crate::{build, setup};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use system_tests::fleet::Fleet;
use system_tests::scenario::{Drive, Flow, Scenario, Swap, play};
use system_tests::{Process, Semantics};

/// How long the simulated fleet drives when nothing is said.
const SIMULATED_SECONDS: u64 = 45;
/// When the simulated fleet's rule is swapped.
const STRICTER_AFTER: Duration = Duration::from_secs(15);

/// Drive a fleet through depot and cloud to a partner, and swap its geofence on the way.
///
/// Without options, 200 simulated vehicles drive through a made-up town for 45 seconds. With --recording and --zones it
/// plays a recording of your own.
///
/// Examples:
///   cargo xtask demo
///   cargo xtask demo --for 2m --vehicles 500
///   cargo xtask demo --recording buses.csv.gz --zones districts.geojson --plain --speed max --headless --swap-at 50% --export out
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A recording (CSV or CSV.gz with columns vehicle, ts or ts_ms, lat, lon) instead of the simulated fleet
    #[arg(long, requires = "zones")]
    recording: Option<PathBuf>,
    /// The zones of the recording: GeoJSON, gzipped or not
    #[arg(long, requires = "recording")]
    zones: Option<PathBuf>,
    /// A config of the geofence (JSON); "zones" is filled in when it has none
    #[arg(long)]
    config: Option<PathBuf>,
    /// Plain semantics: no hysteresis, no accuracy gate, initial_state "emit", future clocks are not refused
    #[arg(long)]
    plain: bool,
    /// 1 (as recorded), 10, or max (as fast as the edge acknowledges)
    #[arg(long, default_value = "1")]
    speed: String,
    /// No live table of alerts
    #[arg(long)]
    headless: bool,
    /// Swap the component for a rebuilt one of another version when this share of the recording is through, such as 50%
    #[arg(long, value_parser = parse_share, requires = "recording")]
    swap_at: Option<f64>,
    /// Write alerts.ndjson, report.json and the programs' logs into this directory
    #[arg(long)]
    export: Option<PathBuf>,
    /// End after this long, such as 30s or 2m (default: 45s for the simulated fleet, the whole recording otherwise)
    #[arg(long = "for", value_parser = parse_duration)]
    for_: Option<Duration>,
    /// Simulated vehicles
    #[arg(long, default_value_t = 200)]
    vehicles: u32,
}

/// Runs the demo.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    let programs = build::programs()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst)).context("catch Ctrl-C")?;

    let own = tempfile::Builder::new().prefix("drover-demo-").tempdir().context("a temporary directory")?;
    let scenario = scenario(args);
    if args.recording.is_none() {
        println!("{} simulated vehicles; Ctrl-C ends it cleanly, --for changes how long it runs\n", args.vehicles);
    }
    let started = Instant::now();
    let mut table: Option<Process> = None;
    let say = |line: &str| println!("[{:>5.1} s] {line}", started.elapsed().as_secs_f64());
    let outcome = play(&programs, &scenario, own.path(), &say, &mut |fleet, _| {
        if table.is_none() && !args.headless {
            table = Some(live_table(fleet)?);
        }
        let over = args.for_.is_some_and(|limit| args.recording.is_some() && started.elapsed() >= limit);
        Ok(if over || interrupted.load(Ordering::SeqCst) { Flow::Stop } else { Flow::On })
    });
    drop(table);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            let kept = own.keep();
            return Err(error.context(format!("the demo failed; logs and data are in {}", kept.display())));
        }
    };
    if let Some(export) = &args.export {
        std::fs::create_dir_all(export).with_context(|| format!("create {}", export.display()))?;
        for entry in std::fs::read_dir(own.path())? {
            let path = entry?.path();
            let wanted = path.extension().is_some_and(|e| matches!(e.to_str(), Some("ndjson" | "json" | "log")));
            if let (true, Some(name)) = (wanted, path.file_name()) {
                std::fs::copy(&path, export.join(name)).with_context(|| format!("write into {}", export.display()))?;
            }
        }
        println!("wrote alerts.ndjson, report.json and the logs to {}", export.display());
    }
    println!("{}", serde_json::to_string_pretty(&outcome.report)?);
    outcome.check_promises()?;
    println!(
        "every reading acknowledged to a device is durable at the edge and in the cloud; the partner has every alert once"
    );
    Ok(())
}

fn scenario(args: &Args) -> Scenario {
    let drive = match (&args.recording, &args.zones) {
        (Some(recording), Some(zones)) => Drive::Recording { recording: recording.clone(), zones: Some(zones.clone()) },
        _ => Drive::Simulated {
            vehicles: args.vehicles,
            seconds: args.for_.map_or(SIMULATED_SECONDS, |limit| limit.as_secs()),
        },
    };
    // Faster drives are over sooner; one at full speed is over before anything could be seen.
    let times: Option<f64> = args.speed.parse().ok().filter(|times: &f64| *times > 0.0);
    let swap = match (&drive, args.swap_at) {
        (_, Some(at_share)) => Some(Swap::Rebuilt { at_share }),
        (Drive::Simulated { seconds, .. }, None) => times.map(|times| Swap::Stricter {
            after: STRICTER_AFTER.min(Duration::from_secs(seconds / 2)).div_f64(times.max(1.0)),
        }),
        (Drive::Recording { .. }, None) => None,
    };
    Scenario {
        config: args.config.clone(),
        semantics: if args.plain { Semantics::Plain } else { Semantics::Normal },
        speed: args.speed.clone(),
        swap,
        ..Scenario::new(drive)
    }
}

/// What a partner sees, on our terminal.
fn live_table(fleet: &Fleet) -> Result<Process> {
    let log = fleet.directory().join("table.log");
    let mut command = fleet.drover();
    command.args(["events", "--class", "alerts", "--follow", "--format", "table"]);
    Process::start_with_output("drover events", &mut command, Stdio::inherit(), &log)
}

fn parse_share(text: &str) -> Result<f64> {
    let number: f64 = text.trim_end_matches('%').parse().context("write it as 50%")?;
    let share = if text.ends_with('%') { number / 100.0 } else { number };
    if !(0.0..1.0).contains(&share) {
        bail!("{text} is not between 0% and 100%");
    }
    Ok(share)
}

fn parse_duration(text: &str) -> Result<Duration> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.trim_end_matches('s'), 1),
    };
    Ok(Duration::from_secs(number.parse::<u64>().with_context(|| format!("{text}: write it as 30s or 2m"))? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_durations_as_people_write_them() {
        assert_eq!(parse_share("50%").unwrap(), 0.5);
        assert_eq!(parse_share("0.25").unwrap(), 0.25);
        assert!(parse_share("150%").is_err());
        assert_eq!(parse_duration("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        assert!(parse_duration("soon").is_err());
    }
}
