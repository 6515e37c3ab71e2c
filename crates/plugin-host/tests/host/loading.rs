//! What is refused before anything runs, and why.

use crate::guest::{Guest, WIT, engine, wrapped};
use plugin_host::{ConfigError, InstantiateError, LoadError, PluginHash, PluginKind, UPLOAD_BYTES_MAX};
use serde_json::json;

#[test]
fn a_sound_component_says_who_it_is() {
    let wasm = Guest { version: "1.2.3", ..Guest::default() }.component();
    let plugin = engine().load(&wasm).unwrap();
    let descriptor = plugin.descriptor();
    assert_eq!((descriptor.name.as_str(), descriptor.version.as_str()), ("test-rule", "1.2.3"));
    assert_eq!((descriptor.kind, descriptor.state_version, descriptor.row_bytes), (PluginKind::Geofence, 1, 8));
    assert_eq!(descriptor.config_schema, json!({"type": "object"}));
    assert_eq!(plugin.hash(), PluginHash::of(&wasm));
}

#[test]
fn what_is_no_component_is_refused_for_what_it_is() {
    let engine = engine();
    let guest = Guest::default();
    assert!(matches!(engine.load(b""), Err(LoadError::NotWebAssembly)));
    assert!(matches!(engine.load(b"#!/bin/sh"), Err(LoadError::NotWebAssembly)));
    assert!(matches!(engine.load(&guest.core_module()), Err(LoadError::CoreModule)));
    let large = vec![0; UPLOAD_BYTES_MAX + 1];
    assert!(matches!(engine.load(&large), Err(LoadError::TooLarge { bytes }) if bytes == large.len()));
}

#[test]
fn a_component_cut_anywhere_is_refused() {
    let engine = engine();
    let wasm = Guest::default().component();
    for len in (0..wasm.len()).step_by(7) {
        assert!(engine.load(&wasm[..len]).is_err(), "{len} of {} bytes", wasm.len());
    }
    assert!(matches!(engine.load(&wasm[..wasm.len() / 2]), Err(LoadError::Invalid(_))));
}

/// A component that also imports and calls `now` of another interface.
fn importing(interface: &str, world_import: &str, more_wit: &str) -> Vec<u8> {
    let wit = WIT.replace("  import log;", &format!("  import log;\n  import {world_import}")) + more_wit;
    let imports = format!(r#"(import "{interface}" "now" (func $now (result i64)))"#);
    let evaluate = format!("(drop (call $now)) {}", Guest::default().evaluate);
    Guest { wit, imports, evaluate, ..Guest::default() }.component()
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    let engine = engine();
    let inline = importing("clock", "clock: interface { now: func() -> u64; }", "");
    let error = engine.load(&inline).unwrap_err();
    assert!(matches!(&error, LoadError::UnknownImport(name) if name == "clock"), "{error}");

    let ours = importing("drover:plugin/clock@1.1.0", "clock;", "interface clock { now: func() -> u64; }");
    let error = engine.load(&ours).unwrap_err();
    assert!(error.to_string().contains("drover:plugin/clock@1.1.0"), "{error}");
}

#[test]
fn a_function_of_log_that_is_not_offered_is_named() {
    let wit = WIT.replace(
        "write: func(level: level, message: string);",
        "write: func(level: level, message: string); now: func() -> u64;",
    );
    let imports = r#"(import "drover:plugin/log@1.1.0" "now" (func $now (result i64)))"#.to_owned();
    let evaluate = format!("(drop (call $now)) {}", Guest::default().evaluate);
    let error = engine().load(&Guest { wit, imports, evaluate, ..Guest::default() }.component()).unwrap_err();
    assert!(matches!(&error, LoadError::Mismatch(text) if text.contains("now")), "{error}");
}

/// The smallest module that has the exports of a plugin; every function traps.
pub(crate) fn wasmless_text() -> String {
    r#"(module
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "drover:plugin/rule@1.1.0#describe") (result i32) unreachable)
        (func (export "drover:plugin/rule@1.1.0#configure") (param i32 i32) (result i32) unreachable)
        (func (export "drover:plugin/rule@1.1.0#migrates-from") (result i32) unreachable)
        (func (export "drover:plugin/rule@1.1.0#migrate") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "drover:plugin/rule@1.1.0#evaluate") (param i32 i32 i32 i32) (result i32) unreachable))"#
        .into()
}

#[test]
fn a_missing_export_is_named() {
    let evaluate = "  evaluate: func(readings: list<reading>, rows: list<u8>) -> result<outcome, string>;\n";
    assert!(WIT.contains(evaluate));
    let text: Vec<_> = wasmless_text().lines().filter(|line| !line.contains("#evaluate")).map(String::from).collect();
    let wasm = wrapped(wat::parse_str(text.join("\n") + ")").unwrap(), &WIT.replace(evaluate, ""), "plugin");
    let error = engine().load(&wasm).unwrap_err();
    assert!(matches!(&error, LoadError::MissingExport(name) if name.ends_with("#evaluate")), "{error}");

    let nothing = wrapped(wat::parse_str("(module)").unwrap(), &WIT.replace("  export rule;\n", ""), "plugin");
    let error = engine().load(&nothing).unwrap_err();
    assert!(matches!(&error, LoadError::MissingExport(name) if name == "drover:plugin/rule"), "{error}");
}

#[test]
fn a_changed_signature_is_named() {
    let wit = WIT.replace("vehicle: u64,", "vehicle: s64,");
    let error = engine().load(&Guest { wit, ..Guest::default() }.component()).unwrap_err();
    assert!(matches!(&error, LoadError::Mismatch(text) if text.contains("rule.evaluate")), "{error}");
}

#[test]
fn a_plugin_that_traps_in_describe_is_refused() {
    let wasm = wrapped(wat::parse_str(wasmless_text()).unwrap(), WIT, "plugin");
    let error = engine().load(&wasm).unwrap_err();
    assert!(matches!(error, LoadError::Describe(InstantiateError::Trapped(_))), "{error}");
}

#[test]
fn a_description_that_is_not_acceptable_names_the_field() {
    let engine = engine();
    for (guest, field) in [
        (Guest { name: "Test Rule", ..Guest::default() }, "name"),
        (Guest { version: "one", ..Guest::default() }, "version"),
        (Guest { row_bytes: 1 << 20, ..Guest::default() }, "row-bytes"),
        (Guest { schema: json!({"type": "objekt"}), ..Guest::default() }, "config-schema"),
        (Guest { schema: json!({"$ref": "https://example.org/x"}), ..Guest::default() }, "config-schema"),
    ] {
        let error = engine.load(&guest.component()).unwrap_err();
        assert!(matches!(&error, LoadError::Descriptor(text) if text.starts_with(field)), "{error}");
    }
}

#[test]
fn a_config_that_breaks_the_schema_is_refused_with_every_place() {
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"zones": {"items": {"type": "string"}}, "exit_buffer_m": {"type": "number", "minimum": 0}},
    });
    let plugin = Guest { schema, ..Guest::default() }.plugin();
    let error = plugin.configure(&json!({"zones": ["a", 1, "b", 2], "exit_buffer_m": -1, "extra": 1})).unwrap_err();
    let ConfigError::Schema(problems) = &error else { panic!("{error}") };
    let mut pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["", "/exit_buffer_m", "/zones/1", "/zones/3"]);
    assert!(error.to_string().contains("/zones/3"), "{error}");
    plugin.configure(&json!({"zones": ["a"]})).unwrap();
}

#[test]
fn what_a_plugin_has_against_a_config_is_told_in_its_words() {
    let plugin = Guest { configure: crate::guest::refusal(), ..Guest::default() }.plugin();
    let error = plugin.configure(&json!({})).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Plugin(InstantiateError::Refused(text)) if text == crate::guest::SUBJECT),
        "{error}"
    );
}
