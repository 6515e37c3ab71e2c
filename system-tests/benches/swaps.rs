//! The geofence is swapped again and again: how long from the upload until an edge runs it, and which batch of readings
//! waited longest for it. While a town drives as fast as it can, and while all is quiet.
//!
//! `cargo xtask bench plugins` builds what it needs and runs it.
#![allow(missing_docs)]

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use system_tests::figures::{self, median};
use system_tests::fleet::{DEPLOYMENT, Fleet, Setup};
use system_tests::process::{run, wait_for};
use system_tests::programs::REBUILT_VERSION;
use system_tests::{Programs, Semantics};

/// Swaps under load, and as many without.
const SWAPS: usize = 20;
const WITHIN: Duration = Duration::from_secs(60);
/// A drive that lasts longer than the swaps; it is interrupted then.
const DRIVE: [&str; 8] = ["--simulate", "200", "--for", "40000s", "--speed", "max", "--readings-per-message", "10"];

/// The geofence under another version: each is another component to the cloud and to the edge.
fn version(rebuilt: &[u8], number: usize) -> Result<Vec<u8>> {
    let (from, to) = (REBUILT_VERSION.as_bytes(), format!("1.0.1-swap{number:03}"));
    ensure!(from.len() == to.len(), "the component's length must stay");
    let mut wasm = rebuilt.to_vec();
    let at =
        wasm.windows(from.len()).position(|window| window == from).context("the component has no version in it")?;
    wasm[at..at + from.len()].copy_from_slice(to.as_bytes());
    Ok(wasm)
}

/// One swap, as a customer does it. Milliseconds from the start of the command until the edge runs the version, and what
/// the edge says of the swap.
fn swap(fleet: &Fleet, scratch: &Path, rebuilt: &[u8], number: usize) -> Result<(f64, Value)> {
    let plugin = scratch.join("geofence.wasm");
    std::fs::write(&plugin, version(rebuilt, number)?)?;
    let mut command = fleet.drover();
    command.args(["deploy", DEPLOYMENT, "--no-wait", "--plugin"]).arg(&plugin);
    command.arg("--config").arg(scratch.join("zones.json"));
    let expected = format!("1.0.1-swap{number:03}");
    let begun = Instant::now();
    fleet.run(&mut command)?;
    let found = wait_for("the swap", WITHIN, || {
        let it = fleet.edge_status()?["deployments"][0].clone();
        Ok((it["plugin_version"] == expected.as_str() && it["state"] == "active").then_some(it))
    })?;
    Ok((begun.elapsed().as_secs_f64() * 1_000.0, found["swap"].clone()))
}

fn main() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    let rebuilt = std::fs::read(programs.geofence_rebuilt()).context("cargo xtask bench builds it")?;
    let scratch = tempfile::tempdir()?;
    let zones = scratch.path().join("zones.geojson");
    run(programs.command("fleet-replay").args(["--simulate", "200", "--zones-out"]).arg(&zones))?;
    let fleet = Fleet::start(programs, &scratch.path().join("fleet"), Setup::new(Semantics::Normal))?;
    let zones: Value = serde_json::from_str(&std::fs::read_to_string(&zones)?)?;
    std::fs::write(scratch.path().join("zones.json"), json!({ "zones": zones }).to_string())?;
    swap(&fleet, scratch.path(), &rebuilt, 0)?;

    let mut replay = fleet.start_replay(&DRIVE, &scratch.path().join("summary.json"))?;
    let applied = || fleet.edge_status()?["applied_offset"].as_u64().context("an offset");
    wait_for("the first reading", WITHIN, || Ok((applied()? > 0).then_some(())))?;
    let (before, begun) = (applied()?, Instant::now());
    let (mut loaded, mut slowest, mut delayed, mut took) = (Vec::new(), Vec::new(), 0, Vec::new());
    for number in 1..=SWAPS {
        let (ms, figures) = swap(&fleet, scratch.path(), &rebuilt, number)?;
        loaded.push(ms);
        slowest.push(figures["slowest_batch_ms"].as_f64().context("the slowest batch")?);
        delayed += figures["batches_delayed"].as_u64().context("batches delayed")?;
        took.push(figures["swap_ms"].as_f64().context("the swap's time")?);
    }
    let rate = (applied()? - before) as f64 / begun.elapsed().as_secs_f64();
    ensure!(replay.ended()?.is_none(), "the drive ended before the last swap");
    replay.interrupt(WITHIN)?;
    let mut idle = Vec::new();
    for number in SWAPS + 1..=2 * SWAPS {
        idle.push(swap(&fleet, scratch.path(), &rebuilt, number)?.0);
    }
    fleet.stop()?;

    let worst = slowest.iter().copied().fold(0.0, f64::max);
    println!("{SWAPS} swaps at {rate:.0} readings/s:");
    println!(
        "  batches that waited: {delayed}; the slowest of each swap: median {:.2} ms, at most {worst:.2} ms",
        median(&slowest)
    );
    println!("  from the order until every worker runs it: median {:.2} ms", median(&took));
    println!(
        "upload to active on the edge: median {:.0} ms under that load, {:.0} ms without",
        median(&loaded),
        median(&idle)
    );
    figures::add(&json!({
        "swap_load_readings_per_s": rate,
        "swap_batches_delayed": delayed,
        "swap_slowest_batch_median_ms": median(&slowest),
        "swap_slowest_batch_max_ms": worst,
        "swap_median_ms": median(&took),
        "upload_to_active_loaded_median_ms": median(&loaded),
        "upload_to_active_idle_median_ms": median(&idle),
    }))
}
