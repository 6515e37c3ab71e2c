//! The real geofence under the limits as shipped, but for time, where `cargo xtask build-plugins` has built it.

use crate::guest::{engine, positions};
use fleet_model::EventKind;
use plugin_host::{CONFIG_BYTES_MAX, ConfigError, InstanceLimits, Plugin};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The component, if it has been built.
pub(crate) fn component() -> Option<Vec<u8>> {
    built("geofence")
}

pub(crate) fn built(name: &str) -> Option<Vec<u8>> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let path = target.join("plugins").join(name).with_extension("wasm");
    let wasm = std::fs::read(&path).ok();
    if wasm.is_none() {
        crate::skipped::note(&format!("the component {name}"), "cargo xtask test builds it");
    }
    wasm
}

fn plugin() -> Option<Plugin> {
    component().map(|wasm| engine().load(&wasm).unwrap())
}

/// `count` round zones of `corners` corners each, with all the digits a coordinate has.
fn zones(count: u32, corners: u32) -> Value {
    let zone = |n: u32| {
        let corner = |c: u32| {
            let angle = f64::from(c % corners) / f64::from(corners) * std::f64::consts::TAU;
            let (east, north) = (f64::from(n % 16) * 0.01, f64::from(n / 16) * 0.01);
            json!([21.0 + east + 0.004 * angle.cos(), 52.0 + north + 0.004 * angle.sin()])
        };
        let ring: Vec<Value> = (0..=corners).map(corner).collect();
        json!({"type": "Feature", "id": format!("zone-{n}"), "properties": {"name": format!("Zone {n}")},
            "geometry": {"type": "Polygon", "coordinates": [ring]}})
    };
    json!({"type": "FeatureCollection", "features": (0..count).map(zone).collect::<Vec<_>>()})
}

#[test]
fn a_city_fits_the_limits() {
    let Some(plugin) = plugin() else { return };
    let config = json!({"zones": zones(263, 380)});
    assert!(config.to_string().len() < CONFIG_BYTES_MAX);
    let configured = plugin.configure(&config).unwrap();
    let started = std::time::Instant::now();
    let mut instance = configured.instantiate().unwrap();
    println!("{} KiB of memory and {:?} for the config", instance.memory_bytes() / 1024, started.elapsed());
    assert!(instance.memory_bytes() < InstanceLimits::default().memory_bytes_max);
    let row_bytes = plugin.descriptor().row_bytes as usize;
    let outcome = instance.evaluate(&positions(64), &vec![0; 64 * row_bytes]).unwrap();
    assert_eq!(outcome.rows.len(), 64 * row_bytes);
}

#[test]
fn a_vehicle_in_a_zone_enters_it_and_a_second_run_is_the_same() {
    let Some(plugin) = plugin() else { return };
    let configured = plugin.configure(&json!({"zones": zones(400, 20)})).unwrap();
    let row_bytes = plugin.descriptor().row_bytes as usize;
    let run = || configured.instantiate().unwrap().evaluate(&positions(16), &vec![0; 16 * row_bytes]).unwrap();
    let (one, other) = (run(), run());
    assert!(!one.proposals.is_empty());
    // As text: a value of NaN is not equal to itself.
    assert!(format!("{one:?}") == format!("{other:?}"), "two runs differ");
}

#[test]
fn a_wrong_config_is_refused_with_its_places() {
    let Some(plugin) = plugin() else { return };
    let error = plugin.configure(&json!({"zones": zones(1, 4), "exit_buffer_m": -1, "zonez": 1})).unwrap_err();
    let ConfigError::Schema(problems) = &error else { panic!("{error}") };
    assert!(problems.iter().any(|problem| problem.pointer == "/exit_buffer_m"), "{error}");
    assert!(problems.iter().any(|problem| problem.message.contains("zonez")), "{error}");
}

/// The example that authors begin with.
#[test]
fn a_rule_of_ones_own_is_loaded_and_decides() {
    let Some(wasm) = built("hello-geofence") else { return };
    let plugin = engine().load(&wasm).unwrap();
    assert_eq!((plugin.descriptor().name.as_str(), plugin.descriptor().row_bytes), ("hello-geofence", 1));
    let mut instance = plugin.configure(&json!({})).unwrap().instantiate().unwrap();
    let mut way = positions(3);
    for (position, latitude) in way.iter_mut().zip([66.0, 67.0, 66.5]) {
        (position.slot, position.latitude) = (0, latitude);
    }
    let outcome = instance.evaluate(&way, &[0]).unwrap();
    let decided: Vec<_> = outcome.proposals.iter().map(|it| (it.position, it.kind, it.subject.as_str())).collect();
    assert_eq!(decided, [(1, EventKind::GeofenceEntered, "arctic"), (2, EventKind::GeofenceExited, "arctic")]);
}

/// Prints what a position costs; what it should cost is for the benchmarks to say.
#[test]
fn figures() {
    let Some(plugin) = plugin() else { return };
    let mut instance = plugin.configure(&json!({"zones": zones(100, 20)})).unwrap().instantiate().unwrap();
    let row_bytes = plugin.descriptor().row_bytes as usize;
    for batch in [1, 64, 256, 512] {
        let (positions, mut rows) = (positions(batch), vec![0; batch as usize * row_bytes]);
        let started = std::time::Instant::now();
        let rounds = 20_000 / batch;
        for _ in 0..rounds {
            rows = instance.evaluate(&positions, &rows).unwrap().rows;
        }
        let ns = started.elapsed().as_nanos() / u128::from(rounds * batch);
        println!("batches of {batch}: {ns} ns a position");
    }
}
