//! What the registry does when disks fail, space ends and people repeat themselves. With real components it is tested
//! through the API (tests/serving/rules.rs).

use super::record::VERSION;
use super::*;
use bytes::Bytes;
use event_log::MemoryLog;
use fleet_model::{Depots, Place, Timestamp};
use plugin_host::{Compiler, EngineConfig, PluginKind};
use serde_json::{Value, json};

mod tagging;

struct World {
    folder: tempfile::TempDir,
    log: MemoryLog,
    registry: Registry,
}

fn open(folder: &Path, log: &MemoryLog) -> Registry {
    let engine = PluginEngine::new(EngineConfig { compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap();
    Registry::open(folder, Arc::new(log.clone()), engine, super::Signers::lenient(), Arc::new(|| Timestamp(7))).unwrap()
}

impl World {
    fn new() -> Self {
        let (folder, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
        let registry = open(folder.path(), &log);
        Self { folder, log, registry }
    }

    fn restart(&mut self) {
        self.registry = open(self.folder.path(), &self.log);
    }

    /// A deployment after its checks.
    async fn deploy(&self, tenant: &str, plugin: &[u8], config: &Value) -> Result<Changed, DeployError> {
        let next = Revision {
            revision: 1,
            plugin: PluginHash::of(plugin),
            plugin_name: "geofence".into(),
            plugin_version: "1.0.0".into(),
            config: self.registry.0.configs.put(config.to_string().as_bytes()).unwrap(),
            changed_time: Timestamp(0),
            depots: Depots::ALL,
            target: Target::ALL,
        };
        self.registry.change(tenant.parse().unwrap(), "zones".parse().unwrap(), Place::Edge, next, "alice").await
    }

    fn config_file(&self, config: &Value) -> std::path::PathBuf {
        let hash = PluginHash::of(config.to_string().as_bytes());
        self.folder.path().join("configs").join(format!("{hash}.json"))
    }

    /// What edges are told of a tenant's deployment: revision, config, and whether it can be put to work.
    fn told(&self, tenant: &str) -> Option<(u64, Value, bool)> {
        let set = self.registry.deployments().borrow().clone();
        let spec = set.deployments.iter().find(|spec| spec.tenant.as_str() == tenant)?;
        Some((spec.revision, spec.config.clone(), spec.is_available()))
    }
}

#[tokio::test]
async fn the_same_deployment_again_changes_nothing() {
    let world = World::new();
    let (first, second) = (json!({"a": 1}), json!({"a": 2}));
    assert!(world.deploy("demo", b"x", &first).await.unwrap().created);
    let deployed = world.deploy("demo", b"x", &second).await.unwrap();
    let told = world.registry.deployments().borrow().clone();
    let again = world.deploy("demo", b"x", &second).await.unwrap();
    assert_eq!((again.record, again.created), (deployed.record, false));
    assert!(told.is_same(&world.registry.deployments().borrow()), "edges are not told anything");
    // So the revision before is another one.
    let back =
        world.registry.rollback("demo".parse().unwrap(), "zones".parse().unwrap(), "alice".into()).await.unwrap();
    assert_eq!((back.current.revision, world.told("demo")), (3, Some((3, first.clone(), true))));
    // Another component is another deployment.
    assert_eq!(world.deploy("demo", b"y", &first).await.unwrap().record.current.revision, 4);
}

/// It happened: four tenants with large zones, and every edge was thrown out again and again, after restarts too.
#[tokio::test]
async fn what_edges_could_not_be_told_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let large = |n: u32| json!({"zones": "x".repeat(10 * 1_024 * 1_024), "n": n});
    for n in 0..3 {
        world.deploy(&format!("tenant-{n}"), b"x", &large(n)).await.unwrap();
    }
    let told = world.registry.deployments().borrow().clone();
    let refused = world.deploy("tenant-3", b"x", &large(3)).await.unwrap_err();
    assert!(matches!(refused, DeployError::TooMany), "{refused}");
    assert!(refused.to_string().contains("33554432 bytes"), "{refused}");
    assert!(told.is_same(&world.registry.deployments().borrow()));
    world.restart();
    assert_eq!(world.told("tenant-3"), None, "nothing was committed");
    assert!(world.told("tenant-2").unwrap().2);
    // There is room for a small one, and for a large one in the place of a large one.
    world.deploy("tenant-3", b"x", &json!({})).await.unwrap();
    world.deploy("tenant-0", b"x", &large(4)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_config_harms_no_other_deployment_and_edges_keep_what_they_run() {
    let mut world = World::new();
    let (damaged, missing, whole) = (json!({"a": 1}), json!({"b": 2}), json!({"c": 3}));
    for (tenant, config) in [("damaged", &damaged), ("missing", &missing), ("whole", &whole)] {
        world.deploy(tenant, b"x", config).await.unwrap();
    }
    std::fs::write(world.config_file(&damaged), "{").unwrap();
    std::fs::remove_file(world.config_file(&missing)).unwrap();
    // While the cloud runs nobody notices.
    world.deploy("another", b"x", &json!({"d": 4})).await.unwrap();
    assert_eq!(world.told("damaged"), Some((1, damaged.clone(), true)));

    world.restart();
    assert_eq!(world.told("whole"), Some((1, whole.clone(), true)));
    for tenant in ["damaged", "missing"] {
        // In the set, or edges would end it.
        assert_eq!(world.told(tenant), Some((1, Value::Null, false)));
    }
    world.deploy("whole", b"x", &json!({"c": 4})).await.unwrap();
    assert_eq!(world.told("whole"), Some((2, json!({"c": 4}), true)));

    // Deployed again it is whole, as a revision that edges have not refused yet.
    for (tenant, config) in [("damaged", &damaged), ("missing", &missing)] {
        let changed = world.deploy(tenant, b"x", config).await.unwrap();
        assert_eq!((changed.record.current.revision, world.told(tenant)), (2, Some((2, config.clone(), true))));
    }
}

#[tokio::test]
async fn going_back_to_a_damaged_config_is_refused_before_anything_changes() {
    let world = World::new();
    let first = json!({"a": 1});
    world.deploy("demo", b"x", &first).await.unwrap();
    world.deploy("demo", b"x", &json!({"a": 2})).await.unwrap();
    std::fs::remove_file(world.config_file(&first)).unwrap();
    let (tenant, name) = ("demo".parse().unwrap(), "zones".parse().unwrap());
    let refused = world.registry.rollback(tenant, name, "alice".into()).await.unwrap_err();
    assert!(matches!(refused, DeployError::Storage(_)), "{refused}");
    assert_eq!(world.told("demo"), Some((2, json!({"a": 2}), true)));
}

/// As an upload leaves it.
async fn keep_component(registry: &Registry, wasm: &'static [u8]) -> PluginRecord {
    let hash = registry.0.components.put(wasm).unwrap();
    let record = PluginRecord {
        record_version: VERSION,
        tenant: "demo".parse().unwrap(),
        hash,
        name: "geofence".into(),
        version: "1.0.0".into(),
        kind: PluginKind::Geofence,
        size: wasm.len() as u64,
        uploaded_time: Timestamp(0),
        signed_by: None,
        uploaded_by: None,
    };
    registry.commit(record.key(), &record, registry.uploaded(&record, "alice")).await.unwrap();
    registry.0.known.write().plugins.insert((record.tenant.clone(), hash), record.clone());
    record
}

#[tokio::test]
async fn a_component_whose_file_is_lost_is_stored_by_uploading_it_again() {
    let world = World::new();
    let wasm: &[u8] = b"passed its checks";
    let record = keep_component(&world.registry, wasm).await;
    let file = world.folder.path().join("plugins").join(format!("{}.wasm", record.hash));
    for damage in [Some("damaged"), None] {
        match damage {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let uploaded = world
            .registry
            .upload("demo".parse().unwrap(), Bytes::from_static(wasm), None, "alice".into())
            .await
            .unwrap();
        assert_eq!(uploaded, (record.clone(), false));
        assert_eq!(world.registry.component(record.hash).unwrap().unwrap(), wasm);
    }
}

#[tokio::test]
async fn a_deployment_waits_for_its_turn_to_compile() {
    let world = World::new();
    let record = keep_component(&world.registry, b"no component: compiling it ends at once").await;
    let registry = world.registry.clone();
    let turn = registry.0.checks.acquire().await.unwrap();
    let wanted = Wanted { plugin: record.hash.to_string(), config: json!({}), ..Wanted::default() };
    let deployer = registry.clone();
    let deploying = tokio::spawn(async move {
        deployer.deploy("demo".parse().unwrap(), "zones".parse().unwrap(), wanted, "alice".into()).await
    });
    while registry.0.checks_waiting.available_permits() == CHECKS_WAITING_MAX {
        assert!(!deploying.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    assert!(!deploying.is_finished());
    drop(turn);
    assert!(matches!(deploying.await.unwrap(), Err(DeployError::Storage(_))));
    assert_eq!(registry.0.checks_waiting.available_permits(), CHECKS_WAITING_MAX);
}
