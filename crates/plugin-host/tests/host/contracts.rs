//! Versions of the contract: what was built against an older one goes on, what is newer than this host is told so.

use crate::guest::{Guest, WIT, answer_with, engine, positions, wrapped};
use crate::loading::wasmless_text;
use fleet_model::EventKind;
use plugin_host::{LoadError, MigrationError, Outcome, Plugin};
use serde_json::json;

/// Built against `wit/v1.0` on the day before 1.1; tests/golden/README.md says how.
const FOR_1_0: &[u8] = include_bytes!("../golden/hello-geofence-for-1.0.wasm");

/// A vehicle goes over the Arctic Circle and comes back.
fn decided(plugin: &Plugin) -> Outcome {
    let mut way = positions(3);
    for (position, latitude) in way.iter_mut().zip([66.0, 67.0, 66.5]) {
        (position.slot, position.latitude) = (0, latitude);
    }
    plugin.configure(&json!({})).unwrap().instantiate().unwrap().evaluate(&way, &[0]).unwrap()
}

#[test]
fn a_component_for_1_0_decides_as_before() {
    let plugin = engine().load(FOR_1_0).unwrap();
    let descriptor = plugin.descriptor();
    assert_eq!((descriptor.name.as_str(), descriptor.version.as_str()), ("hello-geofence", "1.0.0"));
    assert_eq!(descriptor.migrates_from, None, "its contract does not ask");
    let outcome = decided(&plugin);
    let events: Vec<_> = outcome.proposals.iter().map(|it| (it.position, it.kind, it.subject.as_str())).collect();
    assert_eq!(events, [(1, EventKind::GeofenceEntered, "arctic"), (2, EventKind::GeofenceExited, "arctic")]);
}

#[test]
fn the_same_rule_for_the_newest_contract_decides_the_same() {
    let Some(newest) = crate::geofence::built("hello-geofence") else { return };
    let engine = engine();
    let newest = engine.load(&newest).unwrap();
    assert_eq!(newest.descriptor().migrates_from, Some(vec![]));
    // As text: a value of NaN is not equal to itself.
    assert_eq!(format!("{:?}", decided(&newest)), format!("{:?}", decided(&engine.load(FOR_1_0).unwrap())));
}

#[test]
fn a_contract_that_is_newer_than_this_host_is_named_with_those_it_knows() {
    for version in ["1.2.0", "1.9.3", "2.0.0", "0.9.0"] {
        let (wit, text) = (WIT.replace("@1.1.0", &format!("@{version}")), wasmless_text());
        let wasm = wrapped(wat::parse_str(text.replace("@1.1.0", &format!("@{version}"))).unwrap(), &wit, "plugin");
        let error = engine().load(&wasm).unwrap_err();
        assert!(matches!(error, LoadError::UnknownContract(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains(version) && said.contains("1.0, 1.1"), "{said}");
    }
}

#[test]
fn rows_of_a_version_that_a_plugin_does_not_read_are_refused_before_it_runs() {
    let one_row = answer_with(0, "(local.get $rows)", "(local.get $rows_len)");
    // The shape of a migrated answer is that of a refusal: a list behind the tag.
    let migrate = "(i32.store8 (i32.const 64) (i32.const 0)) (i32.store offset=4 (i32.const 64) (local.get $rows))
        (i32.store offset=8 (i32.const 64) (local.get $rows_len)) (i32.const 64)";
    let reads =
        Guest { state_version: 3, migrates_from: 2, migrate: migrate.into(), evaluate: one_row, ..Guest::default() };
    let plugin = reads.configured();
    assert_eq!(plugin.plugin().descriptor().migrates_from, Some(vec![1, 2]));
    plugin.check_migration(2, 8).unwrap();
    let error = plugin.check_migration(7, 8).unwrap_err();
    assert_eq!(error, MigrationError::Unread { from_version: 7, state_version: 3 });
    // It says that it reads them, and does not.
    let lies = Guest { migrate: "unreachable".into(), ..reads };
    let error = lies.configured().check_migration(1, 8).unwrap_err();
    assert!(matches!(error, MigrationError::Failed(_)), "{error}");
    // One for 1.0 does not say; it is tried.
    let old = engine().load(FOR_1_0).unwrap().configure(&json!({})).unwrap();
    let error = old.check_migration(2, 8).unwrap_err();
    assert!(matches!(error, MigrationError::Failed(_)), "{error}");
}
