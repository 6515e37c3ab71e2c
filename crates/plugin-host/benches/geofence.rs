//! ns per position: the geofence component against the same code native, in pairs, in batches of several sizes. And what it
//! takes to compile it, to load it compiled, and to make an instance.
//!
//! `cargo xtask bench plugins` builds the component and runs this; it names it in `DROVER_GEOFENCE`, and where the figures
//! go in `DROVER_BENCH_FIGURES`.
#![allow(missing_docs, clippy::unwrap_used)]

use fleet_model::{Reading, Sequence, Timestamp, VehicleKey};
use geofence::Geofence;
use plugin_host::{Compiler, EngineConfig, PluginEngine, Position};
use plugin_sdk::{Proposals, Rows, Rule};
use serde_json::json;
use std::io::Write as _;
use std::time::Instant;

/// Sizes of batches.
const BATCHES: [usize; 4] = [1, 16, 64, 256];
/// Pairs of runs a size; the median counts.
const PAIRS: usize = 11;
/// Positions a run.
const POSITIONS: usize = 65_536;
/// How vehicles move, and the corners of each zone.
const DRIVES: [(Motion, usize); 3] = [(Motion::Driving, 20), (Motion::Driving, 380), (Motion::Jumping, 20)];

#[derive(Debug, Clone, Copy)]
enum Motion {
    /// Some metres between two readings, as vehicles do: hardly any is an event.
    Driving,
    /// Kilometres: nearly every reading enters and leaves zones.
    Jumping,
}

impl Motion {
    fn name(self) -> &'static str {
        match self {
            Self::Driving => "driving",
            Self::Jumping => "jumping",
        }
    }

    /// Where a vehicle is after so many readings, degrees of latitude and longitude.
    fn place(self, vehicle: usize, readings: usize) -> (f64, f64) {
        let step = match self {
            Self::Driving => 0.000_2,
            Self::Jumping => 1.3,
        };
        let way = vehicle as f64 * 0.7 + readings as f64 * step;
        (50.0 + 0.6 * (0.5 + 0.5 * way.sin()), 20.0 + 0.3 * (0.5 + 0.5 * (way * 0.8).cos()))
    }
}

/// The readings of as many vehicles as a batch has, in turn.
fn drive<T>(motion: Motion, batch: usize, reading: impl Fn(usize, i64, (f64, f64)) -> T) -> Vec<T> {
    let of = |index| {
        let (vehicle, readings) = (index % batch, index / batch);
        reading(vehicle, readings as i64 * 1_000, motion.place(vehicle, readings))
    };
    (0..POSITIONS).map(of).collect()
}

fn main() {
    let Some(component) = std::env::var_os("DROVER_GEOFENCE") else {
        println!("skipped: `cargo xtask bench plugins` builds the component first");
        return;
    };
    let wasm = std::fs::read(component).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let engine = || {
        let cache_dir = Some(cache.path().join("plugins"));
        PluginEngine::new(EngineConfig { cache_dir, compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap()
    };
    let timed_load = |engine: PluginEngine| {
        let begun = Instant::now();
        let plugin = engine.load(&wasm).unwrap();
        (plugin, begun.elapsed().as_secs_f64() * 1e3)
    };
    let (plugin, compile_ms) = timed_load(engine());
    // Each time as after a restart.
    let load_ms = median((0..PAIRS).map(|_| timed_load(engine()).1).collect());
    println!("{} bytes: compile {compile_ms:.1} ms; load compiled {load_ms:.2} ms", wasm.len());
    let mut figures = json!({
        "geofence_bytes": wasm.len(), "geofence_compile_ms": compile_ms, "geofence_load_compiled_ms": load_ms,
    });

    for (motion, corners) in DRIVES {
        let config = zones(18, corners);
        let configured = plugin.configure(&config).unwrap();
        let instantiate = || {
            let begun = Instant::now();
            let instance = configured.instantiate().unwrap();
            (instance, begun.elapsed().as_secs_f64() * 1e6)
        };
        let instantiate_us = median((0..PAIRS).map(|_| instantiate().1).collect());
        let (mut instance, _) = instantiate();
        let name = motion.name();
        println!("\n{name} over 18 zones of {corners} corners; instantiate and configure: {instantiate_us:.0} us");
        figures[format!("geofence_instantiate_{corners}_corners_us")] = json!(instantiate_us);
        println!("{:>6} {:>10} {:>12} {:>15} {:>7}", "batch", "events", "native ns", "component ns", "ratio");
        let row_bytes = plugin.descriptor().row_bytes;
        let mut rule = Geofence::configure(&config.to_string()).unwrap();
        for batch in BATCHES {
            let mut native = Vec::new();
            let mut component = Vec::new();
            let mut events = 0;
            for _ in 0..PAIRS {
                let (ns, by_native) = run_native(&mut rule, motion, batch, row_bytes);
                native.push(ns);
                let (ns, by_component) = run_component(&mut instance, motion, batch, row_bytes as usize);
                component.push(ns);
                assert_eq!(by_native, by_component, "the same code decides alike");
                events = by_native;
            }
            let (native, component) = (median(native), median(component));
            println!("{batch:>6} {events:>10} {native:>12.1} {component:>15.1} {:>7.2}", component / native);
            let key = |what: &str| format!("geofence_{what}_{name}_{corners}_corners_batch_{batch}");
            figures[key("native") + "_ns"] = json!(native);
            figures[key("component") + "_ns"] = json!(component);
            figures[key("ratio")] = json!(component / native);
        }
    }
    if let Some(path) = std::env::var_os("DROVER_BENCH_FIGURES") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{figures}").unwrap();
    }
}

fn run_native(rule: &mut Geofence, motion: Motion, batch: usize, row_bytes: u32) -> (f64, usize) {
    let readings = drive(motion, batch, |vehicle, time_ms, (latitude, longitude)| plugin_sdk::Reading {
        vehicle: vehicle as u64,
        slot: vehicle as u32,
        ..plugin_sdk::Reading::fix(time_ms, latitude, longitude)
    });
    let mut rows = Rows::zeroed(batch, row_bytes);
    let mut events = 0;
    let start = Instant::now();
    for chunk in readings.chunks(batch) {
        let mut proposals = Proposals::new();
        rule.evaluate(chunk, &mut rows, &mut proposals).unwrap();
        events += proposals.as_slice().len();
    }
    (start.elapsed().as_secs_f64() * 1e9 / POSITIONS as f64, events)
}

fn run_component(instance: &mut plugin_host::Instance, motion: Motion, batch: usize, row_bytes: usize) -> (f64, usize) {
    let positions = drive(motion, batch, |vehicle, time_ms, (latitude, longitude)| {
        let reading = Reading::fix(Timestamp(time_ms), Timestamp(0), latitude, longitude);
        Position::of(VehicleKey(vehicle as u64), Sequence(0), &reading, vehicle as u32)
    });
    let mut rows = vec![0; batch * row_bytes];
    let mut events = 0;
    let start = Instant::now();
    for chunk in positions.chunks(batch) {
        let outcome = instance.evaluate(chunk, &rows).unwrap();
        rows = outcome.rows;
        events += outcome.proposals.len();
    }
    (start.elapsed().as_secs_f64() * 1e9 / POSITIONS as f64, events)
}

/// `count` round zones on a grid, `corners` corners each.
fn zones(count: usize, corners: usize) -> serde_json::Value {
    let features: Vec<_> = (0..count)
        .map(|zone| {
            let centre = (20.05 + 0.1 * (zone % 3) as f64, 50.05 + 0.1 * (zone / 3) as f64);
            let mut ring: Vec<[f64; 2]> = (0..corners)
                .map(|corner| {
                    let angle = corner as f64 / corners as f64 * std::f64::consts::TAU;
                    [centre.0 + 0.055 * angle.cos(), centre.1 + 0.055 * angle.sin()]
                })
                .collect();
            ring.push(ring[0]);
            json!({"type": "Feature", "id": format!("zone-{zone}"), "properties": {},
                   "geometry": {"type": "Polygon", "coordinates": [ring]}})
        })
        .collect();
    json!({"zones": {"type": "FeatureCollection", "features": features}})
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
