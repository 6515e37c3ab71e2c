//! Bytes from outside: whatever they are, `load` gives a plugin or a reason.

use crate::geofence;
use crate::guest::{Guest, engine_with, limits};
use plugin_host::{InstanceLimits, PluginEngine};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;

/// What is mutated: a component of ours, or the geofence where it has been built.
fn originals() -> Vec<Vec<u8>> {
    let mut originals = vec![Guest::default().component()];
    originals.extend(geofence::component());
    originals
}

/// Some mutants are endless: they shall end soon. None has to work.
fn engine() -> PluginEngine {
    engine_with(InstanceLimits { configure_ms_max: 200, ..limits() })
}

/// Failing cases are printed; nothing is stored.
fn cases(count: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(count) }
}

#[test]
fn random_bytes_never_panic() {
    let engine = engine();
    let mut runner = TestRunner::new(cases(300));
    let bytes = (
        prop_oneof![Just(&b""[..]), Just(&b"\0asm"[..]), Just(&b"\0asm\x0d\0\x01\0"[..])],
        prop::collection::vec(any::<u8>(), 0..600),
    );
    runner
        .run(&bytes, |(head, tail)| {
            prop_assert!(engine.load(&[head, &tail[..]].concat()).is_err());
            Ok(())
        })
        .unwrap();
}

#[test]
fn mutated_components_never_panic() {
    for original in originals() {
        let engine = engine();
        let accepted = RefCell::new(0);
        let mut runner = TestRunner::new(cases(200));
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
        runner
            .run(&changes, |changes| {
                let mut wasm = original.clone();
                for (at, byte) in changes {
                    let at = at.index(wasm.len());
                    wasm[at] = byte;
                }
                if let Ok(plugin) = engine.load(&wasm) {
                    *accepted.borrow_mut() += 1;
                    // A mutant may pass every check; then it must be contained like any other plugin.
                    drop(plugin.configure(&serde_json::json!({})));
                }
                Ok(())
            })
            .unwrap();
        println!("{} of 200 mutants were taken", accepted.borrow());
    }
}
