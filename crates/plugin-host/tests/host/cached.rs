//! Compiled plugins are kept, and a damaged one is compiled again.

use crate::guest::{Guest, limits, positions};
use plugin_host::{Compiler, EngineConfig, EngineFigures, PluginEngine};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

fn engine(dir: &Path) -> PluginEngine {
    let cache_dir = Some(dir.join("plugins"));
    PluginEngine::new(EngineConfig { cache_dir, limits: limits(), compiler: Compiler::InProcess, ..Default::default() })
        .unwrap()
}

fn works(engine: &PluginEngine, wasm: &[u8]) {
    let plugin = engine.load(wasm).unwrap();
    let mut instance = plugin.configure(&json!({})).unwrap().instantiate().unwrap();
    instance.evaluate(&positions(1), &[0; 8]).unwrap();
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("plugins")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_second_start_does_not_compile() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = Guest::default().component();
    let first = engine(dir.path());
    works(&first, &wasm);
    works(&first, &wasm);
    assert_eq!(first.figures(), EngineFigures { compiles: 1, cache_hits: 1 });
    let second = engine(dir.path());
    works(&second, &wasm);
    assert_eq!(second.figures(), EngineFigures { compiles: 0, cache_hits: 1 });
    assert_eq!(entries(dir.path()).len(), 1);
}

#[test]
fn another_component_is_another_entry() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    works(&engine, &Guest::default().component());
    works(&engine, &Guest { version: "1.0.1", ..Guest::default() }.component());
    assert_eq!(engine.figures(), EngineFigures { compiles: 2, cache_hits: 0 });
    assert_eq!(entries(dir.path()).len(), 2);
}

#[test]
fn a_damaged_entry_is_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let wasm = Guest::default().component();
    works(&engine(dir.path()), &wasm);
    let entry = entries(dir.path()).remove(0);
    let mut bytes = fs::read(&entry).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&entry, bytes).unwrap();
    let engine = engine(dir.path());
    works(&engine, &wasm);
    works(&engine, &wasm);
    assert_eq!(engine.figures(), EngineFigures { compiles: 1, cache_hits: 1 });
}

#[test]
fn what_is_refused_leaves_no_entry() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let wasm = Guest { describe_first: "unreachable".into(), ..Guest::default() }.component();
    engine.load(&wasm).unwrap_err();
    assert_eq!(engine.figures().compiles, 1, "it was refused after it had been compiled");
    assert!(entries(dir.path()).is_empty());
}
