//! Deployments, with the real geofence where `cargo xtask build-plugins` has made it.

use bytes::Bytes;
use drover_edge::deployments::{Deployer, PluginFetch, PluginStore};
use drover_edge::uplink::FetchError;
use event_log::MemoryLog;
use fleet_wire::control::{DeploymentPhase, DeploymentSet, DeploymentSpec, DeploymentStatus};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use plugin_host::{Compiler, EngineConfig, PluginEngine, PluginHash};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{Logs, NoSink, Runtime, RuntimeConfig, system_clock};

/// A cloud that has some plugins, and may be out of reach.
#[derive(Default)]
struct Cloud {
    plugins: Mutex<HashMap<String, Bytes>>,
    out_of_reach: Mutex<u32>,
}

impl PluginFetch for Cloud {
    fn fetch<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        let mut out_of_reach = self.out_of_reach.lock();
        if *out_of_reach > 0 {
            *out_of_reach -= 1;
            return Box::pin(async { Err(FetchError::NotConnected) });
        }
        let found = self.plugins.lock().get(hash).cloned();
        Box::pin(async move { found.ok_or_else(|| FetchError::Refused("there is no such plugin".into())) })
    }
}

struct World {
    runtime: Arc<Runtime>,
    cloud: Arc<Cloud>,
    wanted: watch::Sender<Option<DeploymentSet>>,
    status: watch::Receiver<Vec<DeploymentStatus>>,
    shutdown: CancellationToken,
    logs: Logs,
    store: Arc<PluginStore>,
    generation: u64,
}

impl World {
    async fn start() -> (Self, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let engine =
            PluginEngine::new(EngineConfig { compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap();
        let store = Arc::new(PluginStore::open(dir.path().join("plugins"), engine).unwrap());
        let logs = Logs { telemetry: Arc::new(MemoryLog::new()), events: Arc::new(MemoryLog::new()) };
        (Self::with(logs, store).await, dir)
    }

    async fn with(logs: Logs, store: Arc<PluginStore>) -> Self {
        let config = RuntimeConfig { workers: 2, ..Default::default() };
        let runtime =
            Runtime::start(config, logs.clone(), Arc::new(NoSink), store.clone(), system_clock()).await.unwrap();
        let cloud = Arc::new(Cloud::default());
        let (wanted, seen) = watch::channel(None);
        let (deployer, status) = Deployer::new(runtime.clone(), store.clone(), seen, cloud.clone());
        let shutdown = CancellationToken::new();
        tokio::spawn(deployer.run(shutdown.clone()));
        Self { runtime, cloud, wanted, status, shutdown, logs, store, generation: 0 }
    }

    fn want(&mut self, deployments: Vec<DeploymentSpec>) {
        self.generation += 1;
        self.wanted.send_replace(Some(DeploymentSet { generation: self.generation, deployments }));
    }

    async fn reported(&mut self, what: impl Fn(&DeploymentStatus) -> bool) -> DeploymentStatus {
        let found = self.status.wait_for(|all| all.iter().any(&what)).await.unwrap();
        found.iter().find(|status| what(status)).unwrap().clone()
    }
}

fn spec(revision: u64, hash: &str, config: serde_json::Value) -> DeploymentSpec {
    DeploymentSpec {
        tenant: "demo".parse().unwrap(),
        name: "zones".parse().unwrap(),
        revision,
        plugin_hash: hash.into(),
        plugin_name: "geofence".into(),
        plugin_version: "1.0.0".into(),
        config,
    }
}

fn geofence() -> Option<Bytes> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let path = target.join("plugins/geofence.wasm");
    let wasm = std::fs::read(&path).ok();
    if wasm.is_none() {
        crate::skipped::note("the geofence component", "cargo xtask build-plugins");
    }
    wasm.map(Bytes::from)
}

fn no_zones() -> serde_json::Value {
    serde_json::json!({"zones": {"type": "FeatureCollection", "features": []}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_or_is_no_plugin_is_reported_as_refused() {
    let (mut world, _dir) = World::start().await;
    world.want(vec![spec(1, "nonsense", no_zones())]);
    let refused = world.reported(|status| status.state == DeploymentPhase::Refused).await;
    assert!(refused.error.unwrap().contains("no plugin hash"));

    world.want(vec![spec(2, &PluginHash::of(b"unknown").to_string(), no_zones())]);
    let refused = world.reported(|s| s.revision == 2 && s.state == DeploymentPhase::Refused).await;
    assert!(refused.error.unwrap().contains("no such plugin"));

    let hash = PluginHash::of(b"no component").to_string();
    world.cloud.plugins.lock().insert(hash.clone(), Bytes::from_static(b"no component"));
    world.want(vec![spec(3, &hash, no_zones())]);
    let refused = world.reported(|s| s.revision == 3 && s.state == DeploymentPhase::Refused).await;
    let error = refused.error.unwrap();
    assert!(error.to_lowercase().contains("webassembly"), "{error}");

    // The bytes are not those that were asked for: never loaded, tried again, and told meanwhile.
    let hash = PluginHash::of(b"expected").to_string();
    world.cloud.plugins.lock().insert(hash.clone(), Bytes::from_static(b"something else"));
    world.want(vec![spec(4, &hash, no_zones())]);
    let loading = world.reported(|s| s.revision == 4 && s.error.is_some()).await;
    assert_eq!(loading.state, DeploymentPhase::Loading);
    assert!(loading.error.unwrap().contains("asked for"));
    world.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_version_stays_when_the_next_is_refused_and_comes_back_without_the_cloud() {
    let Some(wasm) = geofence() else { return };
    let (mut world, _dir) = World::start().await;
    let hash = PluginHash::of(&wasm).to_string();
    world.cloud.plugins.lock().insert(hash.clone(), wasm);
    *world.cloud.out_of_reach.lock() = 1;
    world.want(vec![spec(1, &hash, no_zones())]);
    let active = world.reported(|status| status.state == DeploymentPhase::Active).await;
    assert_eq!((active.revision, active.plugin_name.as_str()), (1, "geofence"));

    world.want(vec![spec(2, &hash, serde_json::json!({"zones": 5}))]);
    let refused = world.reported(|s| s.revision == 2 && s.state == DeploymentPhase::Refused).await;
    assert!(refused.error.unwrap().contains("/zones"));
    assert_eq!(world.runtime.deployments()[0].revision, 1, "the running version stays");

    world.shutdown.cancel();
    world.runtime.shutdown().await.unwrap();
    let mut world = World::with(world.logs.clone(), world.store.clone()).await;
    assert_eq!(world.status.borrow()[0].revision, 1, "from disk, without a word from the cloud");
    world.want(Vec::new());
    world.status.wait_for(Vec::is_empty).await.unwrap();
    assert!(world.runtime.deployments().is_empty());
    world.shutdown.cancel();
}
