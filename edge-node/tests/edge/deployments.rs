//! Deployments, with the real geofence where `cargo xtask build-plugins` has made it.

use bytes::Bytes;
use drover_edge::deployments::{EdgePlugins, PluginFetch, PluginStore};
use drover_edge::uplink::FetchError;
use event_log::{MemoryLog, Stream};
use fleet_model::{Act, Depots, Place, Scope, Share, TrialMode};
use fleet_wire::control::{DeploymentPhase, DeploymentSet, DeploymentSpec, DeploymentStatus, TrialSpec, TrialStatus};
use fleet_wire::{AuditFrame, Frame};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use plugin_host::{Compiler, EngineConfig, PluginEngine, PluginHash};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{AuditTrail, BudgetConfig, Deployer, Logs, NoSink, Runtime, RuntimeConfig, system_clock};

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
        Self::with_budgets(logs, store, BudgetConfig::default()).await
    }

    async fn with_budgets(logs: Logs, store: Arc<PluginStore>, budgets: BudgetConfig) -> Self {
        let config = RuntimeConfig { workers: 2, budgets, ..Default::default() };
        let audit = AuditTrail::new(logs.events.clone(), system_clock(), "edge:depot-1");
        let started = Runtime::start(config, logs.clone(), Arc::new(NoSink), store.clone(), system_clock(), audit);
        let runtime = started.await.unwrap();
        let cloud = Arc::new(Cloud::default());
        let (wanted, seen) = watch::channel(None);
        let supply = EdgePlugins { store: store.clone(), fetch: cloud.clone() };
        let (deployer, status) = Deployer::new(runtime.clone(), supply, seen);
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
        vehicles: Scope::ALL,
        trial: None,
        changes: 0,
        depots: Depots::ALL,
        place: Place::Edge,
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
    // What will not go better is an act; what is tried again is none yet.
    let told = acts(&world.logs);
    let refused: Vec<_> = told.iter().map(|act| (act.act.as_str(), act.revision.unwrap(), act.who.as_str())).collect();
    assert_eq!(refused, [("deployment.refused", 2, "edge:depot-1"), ("deployment.refused", 3, "edge:depot-1")]);
    assert!(told[0].reason.contains("no such plugin"), "{}", told[0].reason);
}

fn acts(logs: &Logs) -> Vec<Act> {
    let blocks = logs.events.read(Stream::AUDIT, 0, usize::MAX).unwrap();
    let frames = blocks.into_iter().map(|block| Frame::parse(block.bytes).unwrap().into_audit().unwrap());
    let records = |frame: AuditFrame| -> Vec<Act> {
        frame.block().records.iter().map(|record| record.to_record().unwrap().act).collect()
    };
    frames.flat_map(records).collect()
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

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_tried_in_the_shadow_then_as_a_canary_and_promoted_for_fewer_vehicles() {
    let Some(wasm) = geofence() else { return };
    let (mut world, _dir) = World::start().await;
    let hash = PluginHash::of(&wasm).to_string();
    world.cloud.plugins.lock().insert(hash.clone(), wasm);
    let mut config = no_zones();
    config["exit_buffer_m"] = 25.into();
    let trial = |mode| TrialSpec {
        revision: 2,
        plugin_hash: hash.clone(),
        plugin_name: "geofence".into(),
        plugin_version: "1.0.0".into(),
        config: config.clone(),
        mode,
    };
    let share = Share::new(10).unwrap();
    for mode in [TrialMode::Shadow, TrialMode::Canary { share }] {
        world.want(vec![DeploymentSpec { trial: Some(trial(mode)), ..spec(1, &hash, no_zones()) }]);
        let on_trial = |trial: &TrialStatus| trial.mode == mode && trial.state == DeploymentPhase::Active;
        let status = world.reported(|status| status.trial.as_ref().is_some_and(on_trial)).await;
        assert_eq!((status.revision, status.state, status.trial.unwrap().revision), (1, DeploymentPhase::Active, 2));
    }
    // A config that it refuses is not tried, and what runs stays.
    let refused = TrialSpec { revision: 3, config: serde_json::json!({"zones": 5}), ..trial(TrialMode::Shadow) };
    world.want(vec![DeploymentSpec { trial: Some(refused), ..spec(1, &hash, no_zones()) }]);
    let is_refused = |trial: &TrialStatus| trial.revision == 3 && trial.state == DeploymentPhase::Refused;
    let status = world.reported(|status| status.trial.as_ref().is_some_and(is_refused)).await;
    assert!(status.trial.unwrap().error.unwrap().contains("/zones"));
    assert_eq!(status.state, DeploymentPhase::Active);

    let vehicles = Scope::only(["BUS-1".parse().unwrap()]);
    world.want(vec![DeploymentSpec { vehicles: vehicles.clone(), ..spec(2, &hash, config.clone()) }]);
    world.reported(|status| status.revision == 2 && status.state == DeploymentPhase::Active).await;
    let running = &world.runtime.deployments()[0];
    assert_eq!((&running.scope, &running.trial), (&vehicles, &None));
    world.want(vec![spec(2, &hash, config.clone())]);
    let mut changed = world.runtime.deployments_changed();
    changed.wait_for(|()| world.runtime.deployments()[0].scope.is_all()).await.unwrap();
    world.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_have_more_memory_than_its_tenant_may_is_refused_with_the_budgets_name() {
    let Some(wasm) = geofence() else { return };
    let (first, _dir) = World::start().await;
    first.shutdown.cancel();
    first.runtime.shutdown().await.unwrap();
    // Two workers, 16 MiB each.
    let budgets = BudgetConfig { tenant_memory_mib: 31, ..BudgetConfig::default() };
    let mut world = World::with_budgets(first.logs.clone(), first.store.clone(), budgets).await;
    let hash = PluginHash::of(&wasm).to_string();
    world.cloud.plugins.lock().insert(hash.clone(), wasm);
    world.want(vec![spec(1, &hash, no_zones())]);
    let refused = world.reported(|status| status.state == DeploymentPhase::Refused).await.error.unwrap();
    assert!(refused.contains("32 MiB") && refused.contains("tenant_memory_mib allows 31"), "{refused}");
    let recorded = acts(&world.logs);
    assert!(recorded[0].act == "deployment.refused" && recorded[0].reason == refused, "{recorded:?}");
    assert!(world.runtime.deployments().is_empty());
    world.shutdown.cancel();
}
