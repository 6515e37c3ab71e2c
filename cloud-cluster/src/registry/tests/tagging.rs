//! What becomes of deployments when vehicles are tagged.

use super::*;
use event_log::Stream;
use fleet_model::audit::Chain;
use fleet_model::{Scope, Tags, VehicleId};
use fleet_wire::Frame;
use fleet_wire::control::DEPLOYMENTS_LEN_MAX;

fn tags(names: &[&str]) -> Tags {
    Tags::new(names.iter().map(|name| name.parse().unwrap())).unwrap()
}

fn vehicle(name: &str) -> VehicleId {
    name.parse().unwrap()
}

fn only(names: &[&str]) -> Scope {
    Scope::only(names.iter().map(|name| vehicle(name)))
}

impl World {
    /// A deployment of tenant demo after its checks.
    async fn deploy_for(&self, name: &str, config: &Value, target: Target) -> Result<Changed, DeployError> {
        let next = Revision {
            revision: 1,
            plugin: PluginHash::of(b"x"),
            plugin_name: "geofence".into(),
            plugin_version: "1.0.0".into(),
            config: self.registry.0.configs.put(config.to_string().as_bytes()).unwrap(),
            changed_time: Timestamp(0),
            depots: Depots::ALL,
            target,
        };
        self.registry.change("demo".parse().unwrap(), name.parse().unwrap(), Place::Edge, next, "alice").await
    }

    async fn tag(&self, vehicle_name: &str, names: &[&str]) -> Result<Tagged, TagError> {
        let (tenant, by) = ("demo".parse().unwrap(), "alice".into());
        self.registry.tag(tenant, vehicle(vehicle_name), tags(names), by).await
    }

    /// For which vehicles edges are told that a deployment of tenant demo is.
    fn vehicles_told(&self, name: &str) -> Scope {
        let set = self.registry.deployments().borrow().clone();
        set.deployments.iter().find(|spec| spec.name.as_str() == name).unwrap().vehicles.clone()
    }

    fn record(&self, name: &str) -> DeploymentRecord {
        self.registry.deployment(&"demo".parse().unwrap(), &name.parse().unwrap()).unwrap()
    }

    /// The acts that are recorded, whose chain holds.
    fn acts(&self) -> Vec<Act> {
        let mut chain = Chain::default();
        let blocks = self.log.read(Stream::AUDIT, 0, usize::MAX).unwrap();
        let frames = blocks.into_iter().map(|block| Frame::parse(block.bytes).unwrap().into_audit().unwrap());
        let of_frame = |frame: fleet_wire::AuditFrame| {
            frame.block().records.iter().map(|record| record.to_record().unwrap()).collect::<Vec<_>>()
        };
        let records = frames.flat_map(of_frame).inspect(|record| chain.follow(record).unwrap());
        records.map(|record| record.act).collect()
    }
}

#[tokio::test]
async fn a_deployment_follows_the_tags_of_vehicles_without_a_revision_and_after_a_restart() {
    let mut world = World::new();
    let target = Target::only([vehicle("tram")], tags(&["night", "airport"]));
    world.deploy_for("zones", &json!({}), target).await.unwrap();
    world.deploy_for("all", &json!({}), Target::ALL).await.unwrap();
    world.deploy_for("empty", &json!({}), Target::only([], tags(&["nobody-has-it"]))).await.unwrap();
    assert_eq!(world.vehicles_told("zones"), only(&["tram"]));
    assert_eq!(world.vehicles_told("empty"), only(&[]), "nobody, not everybody");
    let generation = world.registry.deployments().borrow().generation;

    let tagged = world.tag("bus-1", &["night", "electric"]).await.unwrap();
    assert_eq!(tagged.deployments, ["zones".parse().unwrap()]);
    world.tag("bus-2", &["airport"]).await.unwrap();
    world.tag("bus-3", &["electric"]).await.unwrap();
    assert_eq!(world.vehicles_told("zones"), only(&["bus-1", "bus-2", "tram"]));
    assert!(world.vehicles_told("all").is_all());
    assert_eq!((world.record("zones").current.revision, world.record("zones").changes), (1, 3));
    assert_eq!(world.registry.deployments().borrow().generation, generation + 2);

    let told =
        world.registry.deployments().borrow().deployments.iter().map(|spec| (***spec).clone()).collect::<Vec<_>>();
    world.restart();
    let after: Vec<_> =
        world.registry.deployments().borrow().deployments.iter().map(|spec| (***spec).clone()).collect();
    let sorted = |mut specs: Vec<fleet_wire::control::DeploymentSpec>| {
        specs.sort_by(|a, b| a.name.cmp(&b.name));
        specs
    };
    assert_eq!(sorted(after), sorted(told));

    // One that is named stays without its tags, and tags that are gone are gone from the log too.
    world.tag("tram", &["night"]).await.unwrap();
    assert_eq!(world.tag("tram", &[]).await.unwrap().deployments, []);
    world.tag("bus-1", &[]).await.unwrap();
    world.tag("bus-2", &["electric"]).await.unwrap();
    assert_eq!(world.vehicles_told("zones"), only(&["tram"]));
    let kept: Vec<_> = world.log.snapshots(record::TAGS.as_bytes()).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(kept, [&b"registry/tags/demo/bus-2"[..], b"registry/tags/demo/bus-3"]);
    world.restart();
    assert_eq!(world.vehicles_told("zones"), only(&["tram"]));
}

#[tokio::test]
async fn a_change_of_tags_is_one_act_and_the_same_tags_again_are_none() {
    let world = World::new();
    world.deploy_for("zones", &json!({}), Target::only([], tags(&["night"]))).await.unwrap();
    world.tag("bus-1", &["night", "electric"]).await.unwrap();
    let told = world.registry.deployments().borrow().clone();
    assert_eq!(world.tag("bus-1", &["electric", "night"]).await.unwrap().deployments, []);
    world.tag("bus-1", &["night"]).await.unwrap();
    assert!(told.is_same(&world.registry.deployments().borrow()), "edges are told only of other vehicles");
    let acts = world.acts();
    let kinds: Vec<_> = acts.iter().map(|act| act.act.as_str()).collect();
    assert_eq!(kinds, ["deployment.changed", "vehicle.tagged", "vehicle.tagged"]);
    assert!(acts[0].details.contains(r#""tags":["night"]"#), "{}", acts[0].details);
    assert_eq!((acts[1].about.as_str(), acts[1].who.as_str()), ("bus-1", "alice"));
    assert_eq!(acts[1].details, r#"{"before":[],"deployments":["zones"],"tags":["electric","night"]}"#);
    assert_eq!(acts[2].details, r#"{"before":["electric","night"],"deployments":[],"tags":["night"]}"#);
}

#[tokio::test]
async fn an_act_about_many_deployments_says_how_many_they_are() {
    let world = World::new();
    for number in 0..80 {
        let name = format!("a-deployment-with-quite-a-long-name-of-its-own-{number}");
        world.deploy_for(&name, &json!({}), Target::only([], tags(&["night"]))).await.unwrap();
    }
    assert_eq!(world.tag("bus-1", &["night"]).await.unwrap().deployments.len(), 80);
    assert_eq!(world.acts()[80].details, r#"{"before":[],"deployments":80,"tags":["night"]}"#);
}

#[tokio::test]
async fn what_one_tenant_tags_changes_nothing_of_another() {
    let world = World::new();
    world.deploy_for("zones", &json!({}), Target::only([], tags(&["night"]))).await.unwrap();
    let other: TenantId = "other".parse().unwrap();
    let tagged = world.registry.tag(other.clone(), vehicle("bus-1"), tags(&["night"]), "bob".into()).await.unwrap();
    assert_eq!(tagged.deployments, []);
    assert_eq!(world.vehicles_told("zones"), only(&[]));
    assert!(world.registry.vehicle_tags(&"demo".parse().unwrap()).of(&vehicle("bus-1")).is_empty());
    assert_eq!(world.registry.vehicle_tags(&other).of(&vehicle("bus-1")), &tags(&["night"]));
}

#[tokio::test]
async fn a_tenant_has_so_many_tagged_vehicles_and_no_more() {
    let world = World::new();
    let mut full = VehicleTags::default();
    for number in 0..TAGGED_VEHICLES_PER_TENANT_MAX {
        full.set(vehicle(&format!("bus-{number}")), tags(&["night"]));
    }
    world.registry.0.known.write().tags.insert("demo".parse().unwrap(), Arc::new(full));
    let refused = world.tag("tram", &["night"]).await.unwrap_err();
    assert!(matches!(refused, TagError::TooManyVehicles), "{refused}");
    world.tag("bus-7", &["day"]).await.unwrap();
    world.tag("tram", &[]).await.unwrap();
    world.tag("bus-8", &[]).await.unwrap();
    world.tag("tram", &["night"]).await.unwrap();
    let acts = world.acts();
    assert_eq!((acts[0].act.as_str(), acts[0].about.as_str()), ("tags.refused", "tram"));
    assert!(acts[0].reason.contains("20000 vehicles"), "{}", acts[0].reason);
}

#[tokio::test]
async fn tags_with_which_edges_could_not_be_told_are_refused_and_change_nothing() {
    let mut world = World::new();
    let large = |len: usize| json!({ "zones": "x".repeat(len) });
    world.deploy_for("zones", &json!({}), Target::only([], tags(&["night"]))).await.unwrap();
    for n in 0..3 {
        world.deploy_for(&format!("large-{n}"), &large(10 * 1_024 * 1_024), Target::ALL).await.unwrap();
    }
    world.deploy_for("filler", &large(1), Target::ALL).await.unwrap();
    // Room for a vehicle with a short name, and not for one with a long one.
    let left = DEPLOYMENTS_LEN_MAX - world.registry.deployments().borrow().message_len();
    world.deploy_for("filler", &large(left - 20), Target::ALL).await.unwrap();
    world.tag("bus-1", &["night"]).await.unwrap();
    let told = world.registry.deployments().borrow().clone();
    let refused = world.tag(&"x".repeat(64), &["night"]).await.unwrap_err();
    assert!(matches!(refused, TagError::TooLong { len } if len > DEPLOYMENTS_LEN_MAX), "{refused}");
    assert!(refused.to_string().contains("33554432 is the limit"), "{refused}");
    assert!(told.is_same(&world.registry.deployments().borrow()));
    assert_eq!(world.acts().last().unwrap().act, "tags.refused");
    world.restart();
    assert_eq!(world.vehicles_told("zones"), only(&["bus-1"]), "nothing was committed");
    world.tag(&"x".repeat(64), &["day"]).await.unwrap();
    world.tag("bus-1", &[]).await.unwrap();
    assert_eq!(world.vehicles_told("zones"), only(&[]));
}

#[tokio::test]
async fn a_damaged_config_holds_up_no_tags_and_a_new_deployment_finds_them() {
    let mut world = World::new();
    let (damaged, whole) = (json!({"a": 1}), json!({"b": 2}));
    for (name, config) in [("damaged", &damaged), ("whole", &whole)] {
        world.deploy_for(name, config, Target::only([], tags(&["night"]))).await.unwrap();
    }
    std::fs::remove_file(world.config_file(&damaged)).unwrap();
    world.restart();
    world.tag("bus-1", &["night"]).await.unwrap();
    assert_eq!(world.vehicles_told("whole"), only(&["bus-1"]));
    let (tenant, name) = ("demo".parse().unwrap(), "damaged".parse().unwrap());
    assert!(!world.registry.is_available(&tenant, &name), "tags do not mend it");
    world.deploy_for("damaged", &damaged, Target::only([], tags(&["night"]))).await.unwrap();
    assert!(world.registry.is_available(&tenant, &name));
    assert_eq!(world.vehicles_told("damaged"), only(&["bus-1"]));
}

#[tokio::test]
async fn going_back_brings_back_the_tags_of_before_for_the_vehicles_of_now() {
    let world = World::new();
    world.deploy_for("zones", &json!({}), Target::only([], tags(&["night"]))).await.unwrap();
    world.deploy_for("zones", &json!({}), Target::only([vehicle("tram")], Tags::NONE)).await.unwrap();
    assert_eq!(world.tag("bus-1", &["night"]).await.unwrap().deployments, [], "it is for the tram alone now");
    let back =
        world.registry.rollback("demo".parse().unwrap(), "zones".parse().unwrap(), "alice".into()).await.unwrap();
    assert_eq!((back.current.revision, &back.current.target.tags), (3, &tags(&["night"])));
    assert_eq!(world.vehicles_told("zones"), only(&["bus-1"]));
}

#[tokio::test]
async fn tags_that_cannot_be_read_keep_the_registry_from_opening_with_the_record_named() {
    let world = World::new();
    world.tag("bus-1", &["night"]).await.unwrap();
    let key = b"registry/tags/demo/bus-1".to_vec();
    let snapshots = vec![Snapshot { key, value: Some(Bytes::from_static(b"{\"tags\":[\"a b\"]}")) }];
    world.log.submit(Commit { snapshots, ..Commit::default() }).durable().await.unwrap();
    let engine = world.registry.0.engine.clone();
    let log = Arc::new(world.log.clone());
    let opened = Registry::open(world.folder.path(), log, engine, Signers::lenient(), Arc::new(|| Timestamp(7)));
    let Err(refused) = opened else { panic!("it opened") };
    assert!(refused.to_string().contains("registry/tags/demo/bus-1 cannot be read"), "{refused}");
}
