//! The real geofence component in the plugin stage. Skipped where `cargo xtask build-plugins` has not run.

use super::fleet::{Admitted, recording};
use super::world::World;
use crate::plugin::PluginFinder;
use crate::{Deployment, PluginSource};
use fleet_model::Reading;
use plugin_host::{Compiler, ConfiguredPlugin, EngineConfig, Plugin, PluginEngine, PluginHash};
use std::path::PathBuf;
use std::sync::Arc;

struct OnePlugin(Plugin);

impl PluginSource for OnePlugin {
    fn plugin(&self, hash: PluginHash, config: &serde_json::Value) -> Result<ConfiguredPlugin, String> {
        assert_eq!(hash.0, self.0.hash().0);
        self.0.configure(config).map_err(|error| error.to_string())
    }
}

fn geofence() -> Option<Plugin> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let path = target.join("plugins/geofence.wasm");
    let Ok(wasm) = std::fs::read(&path) else {
        super::skipped::note("the geofence component", "cargo xtask build-plugins");
        return None;
    };
    let engine = PluginEngine::new(EngineConfig { compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap();
    Some(engine.load(&wasm).unwrap())
}

/// Vehicles that drive north, through a square between 52.010 and 52.020.
fn drive() -> Vec<Admitted> {
    let mut recording = recording(&[0, 1, 2, 3].repeat(40));
    for admitted in &mut recording {
        let latitude = 52.0 + admitted.sequence.0 as f64 / 1_000.0 + 0.000_5;
        admitted.reading = Reading { latitude, ..admitted.reading };
    }
    recording
}

fn config() -> serde_json::Value {
    let square = [[20.0, 52.010], [22.0, 52.010], [22.0, 52.020], [20.0, 52.020], [20.0, 52.010]];
    serde_json::json!({
        "initial_state": "emit",
        "zones": {"type": "FeatureCollection", "features": [{
            "type": "Feature", "id": "square", "properties": {},
            "geometry": {"type": "Polygon", "coordinates": [square]},
        }]},
    })
}

#[tokio::test]
async fn a_crash_in_the_zone_neither_loses_nor_doubles_an_enter() {
    let Some(plugin) = geofence() else { return };
    let recording = drive();
    let mut results = Vec::new();
    for crash in [false, true] {
        let mut world = World::with_finder(2, Arc::new(PluginFinder(Arc::new(OnePlugin(plugin.clone())))));
        let mut runtime = world.start().await;
        let deployment = Deployment {
            tenant: "demo".parse().unwrap(),
            name: "zones".parse().unwrap(),
            revision: 1,
            config: config(),
            plugin: plugin.configure(&config()).unwrap(),
            scope: fleet_model::Scope::ALL,
        };
        runtime.deploy(deployment).await.unwrap();
        for (turn, block) in recording.chunks(12).enumerate() {
            world.take(&runtime, block).await;
            if crash && turn == 3 {
                runtime.core.checkpoint().await.unwrap();
            }
            if crash && turn % 4 == 0 {
                drop(runtime);
                world.config.workers = turn % 3 + 1;
                runtime = world.start().await;
            }
        }
        runtime.shutdown().await.unwrap();
        // Three vehicles of the tenant, each in once and out once.
        assert_eq!(world.events().len(), 6, "{:?}", world.events());
        assert!(world.events().iter().all(|event| event.subject == "square"));
        results.push(world.result());
    }
    assert_eq!(results[0], results[1]);
}
