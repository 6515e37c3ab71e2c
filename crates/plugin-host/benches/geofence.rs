//! ns per position: the geofence component against the same code native, in pairs, in batches of several sizes.
//!
//! `cargo xtask bench plugins` builds the component and runs this; it names it in `DROVER_GEOFENCE`.
#![allow(missing_docs, clippy::unwrap_used)]

use fleet_model::{Reading, Sequence, Timestamp, VehicleKey};
use geofence::Geofence;
use plugin_host::{Compiler, EngineConfig, PluginEngine, Position};
use plugin_sdk::{Proposals, Rows, Rule};
use serde_json::json;
use std::time::Instant;

/// Sizes of batches.
const BATCHES: [usize; 4] = [1, 16, 64, 256];
/// Pairs of runs a size; the median counts.
const PAIRS: usize = 11;
/// Positions a run.
const POSITIONS: usize = 65_536;
/// Vehicles that take turns.
const VEHICLES: usize = 256;

fn main() {
    let Some(component) = std::env::var_os("DROVER_GEOFENCE") else {
        println!("skipped: `cargo xtask bench plugins` builds the component first");
        return;
    };
    let wasm = std::fs::read(component).unwrap();
    let engine = PluginEngine::new(EngineConfig { compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap();
    let loading = Instant::now();
    let plugin = engine.load(&wasm).unwrap();
    println!("compile {} bytes: {:.1} ms", wasm.len(), loading.elapsed().as_secs_f64() * 1e3);

    for corners in [20, 380] {
        let config = zones(18, corners);
        let configured = plugin.configure(&config).unwrap();
        let instantiating = Instant::now();
        let mut instance = configured.instantiate().unwrap();
        println!(
            "\n18 zones of {corners} corners; instantiate and configure: {:.0} us",
            instantiating.elapsed().as_secs_f64() * 1e6
        );
        println!("{:>6} {:>12} {:>15} {:>7}", "batch", "native ns", "component ns", "ratio");
        let row_bytes = plugin.descriptor().row_bytes;
        let mut rule = Geofence::configure(&config.to_string()).unwrap();
        for batch in BATCHES {
            let mut native = Vec::new();
            let mut component = Vec::new();
            for _ in 0..PAIRS {
                native.push(run_native(&mut rule, batch, row_bytes));
                component.push(run_component(&mut instance, batch, row_bytes as usize));
            }
            let (native, component) = (median(native), median(component));
            println!("{batch:>6} {native:>12.1} {component:>15.1} {:>7.2}", component / native);
        }
    }
}

/// Where the vehicle numbered `index % VEHICLES` is: it wanders over the grid of zones.
fn place(index: usize) -> (f64, f64) {
    let step = index as f64;
    (50.0 + 0.6 * (0.5 + 0.5 * (step * 0.013_7).sin()), 20.0 + 0.3 * (0.5 + 0.5 * (step * 0.007_1).cos()))
}

fn run_native(rule: &mut Geofence, batch: usize, row_bytes: u32) -> f64 {
    let readings: Vec<plugin_sdk::Reading> = (0..POSITIONS)
        .map(|index| {
            let (latitude, longitude) = place(index);
            plugin_sdk::Reading {
                vehicle: (index % VEHICLES) as u64,
                sequence: index as u64,
                slot: (index % batch) as u32,
                ..plugin_sdk::Reading::fix(index as i64 * 10, latitude, longitude)
            }
        })
        .collect();
    let mut rows = Rows::zeroed(batch, row_bytes);
    let start = Instant::now();
    for chunk in readings.chunks(batch) {
        let mut proposals = Proposals::new();
        rule.evaluate(chunk, &mut rows, &mut proposals).unwrap();
        std::hint::black_box(proposals.as_slice().len());
    }
    start.elapsed().as_secs_f64() * 1e9 / POSITIONS as f64
}

fn run_component(instance: &mut plugin_host::Instance, batch: usize, row_bytes: usize) -> f64 {
    let positions: Vec<Position> = (0..POSITIONS)
        .map(|index| {
            let (latitude, longitude) = place(index);
            let reading = Reading::fix(Timestamp(index as i64 * 10), Timestamp(0), latitude, longitude);
            let vehicle = VehicleKey((index % VEHICLES) as u64);
            Position::of(vehicle, Sequence(index as u64), &reading, (index % batch) as u32)
        })
        .collect();
    let mut rows = vec![0; batch * row_bytes];
    let start = Instant::now();
    for chunk in positions.chunks(batch) {
        rows = instance.evaluate(chunk, &rows).unwrap().rows;
    }
    start.elapsed().as_secs_f64() * 1e9 / POSITIONS as f64
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
