//! The child process that compiles: this program has a `main` of its own, which starts itself again as the binaries do.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "host/guest.rs"]
#[allow(dead_code, reason = "shared with the other test program")]
mod guest;

use guest::{Guest, limits, positions};
use plugin_host::{
    CompileError, CompileLimits, Compiler, ConfigError, EngineConfig, LoadError, PluginEngine, run_compiler_if_asked,
};
use serde_json::json;
use std::time::{Duration, Instant};

fn main() {
    run_compiler_if_asked();
    let tests: [(&str, fn()); 6] = [
        ("compiles_and_checks_configs", compiles_and_checks_configs),
        ("cpu_time_is_limited", cpu_time_is_limited),
        ("memory_is_limited", memory_is_limited),
        ("wall_time_is_limited", wall_time_is_limited),
        ("a_schema_without_end_is_contained", a_schema_without_end_is_contained),
        ("a_faulty_schema_is_the_plugins_fault", a_faulty_schema_is_the_plugins_fault),
    ];
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    for (name, test) in tests {
        if wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
}

fn engine(compile_limits: CompileLimits) -> PluginEngine {
    let compiler = Compiler::ChildProcess;
    PluginEngine::new(EngineConfig { limits: limits(), compiler, compile_limits, cache_dir: None }).unwrap()
}

fn compiles_and_checks_configs() {
    let schema = json!({"type": "object", "properties": {"exit_buffer_m": {"type": "number"}}});
    let engine = engine(CompileLimits::default());
    let plugin = engine.load(&Guest { schema, ..Guest::default() }.component()).unwrap();
    assert_eq!(engine.figures().compiles, 1);
    let mut instance = plugin.configure(&json!({"exit_buffer_m": 5})).unwrap().instantiate().unwrap();
    assert_eq!(instance.evaluate(&positions(2), &[0; 16]).unwrap().rows, [0; 16]);
    let error = plugin.configure(&json!({"exit_buffer_m": "5"})).unwrap_err();
    let ConfigError::Schema(problems) = &error else { panic!("{error}") };
    assert_eq!(problems[0].pointer, "/exit_buffer_m");
}

/// A valid component that is a lot of work for the compiler: many functions of many locals and branches.
fn expensive() -> Vec<u8> {
    let body: String = (0..400)
        .map(|n| {
            format!(
                "(local.set {} (i64.mul (local.get {}) (i64.const {n})))
        (if (i64.eqz (local.get {})) (then (local.set {} (i64.add (local.get {}) (local.get {})))))",
                n % 200,
                (n * 7) % 200,
                (n * 3) % 200,
                (n * 5) % 200,
                (n * 11) % 200,
                (n * 13) % 200
            )
        })
        .collect();
    let locals = "(local i64)".repeat(200);
    let functions: String = (0..60).map(|n| format!("(func $heavy{n} {locals} {body})")).collect();
    Guest { extra: functions, ..Guest::default() }.component()
}

fn compile_error(limits: CompileLimits, wasm: &[u8]) -> CompileError {
    match engine(limits).load(wasm) {
        Err(LoadError::Compile(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn cpu_time_is_limited() {
    let started = Instant::now();
    let limits = CompileLimits { cpu_s_max: 0, ..CompileLimits::default() };
    let error = compile_error(limits, &expensive());
    assert!(matches!(error, CompileError::TooExpensive(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

fn memory_is_limited() {
    let limits = CompileLimits { memory_bytes_max: 48 * 1024 * 1024, ..CompileLimits::default() };
    let error = compile_error(limits, &expensive());
    assert!(matches!(error, CompileError::TooExpensive(_)), "{error}");
}

fn wall_time_is_limited() {
    let limits = CompileLimits { wall_ms_max: 1, ..CompileLimits::default() };
    let error = compile_error(limits, &expensive());
    assert!(matches!(&error, CompileError::TooExpensive(text) if text.contains("1 ms")), "{error}");
}

fn a_schema_without_end_is_contained() {
    // Each refers to itself at the same place of the config, or doubles the work 60 times over.
    let doubling = (0..60).fold(json!({"d60": true}), |mut defs, n| {
        let next = format!("#/$defs/d{}", n + 1);
        defs[format!("d{n}")] = json!({"allOf": [{"$ref": next}, {"$ref": next}]});
        defs
    });
    let limits = CompileLimits { cpu_s_max: 2, ..CompileLimits::default() };
    for schema in
        [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]}), json!({"$ref": "#/$defs/d0", "$defs": doubling})]
    {
        let started = Instant::now();
        let outcome = engine(limits.clone()).load(&Guest { schema: schema.clone(), ..Guest::default() }.component());
        let outcome = outcome
            .map_err(|error| error.to_string())
            .and_then(|plugin| plugin.configure(&json!({})).map(drop).map_err(|error| error.to_string()));
        println!("  {outcome:?} after {:?}", started.elapsed());
    }
}

fn a_faulty_schema_is_the_plugins_fault() {
    let guest = Guest { schema: json!({"type": "objekt"}), ..Guest::default() };
    let error = engine(CompileLimits::default()).load(&guest.component()).unwrap_err();
    assert!(matches!(&error, LoadError::Descriptor(text) if text.contains("config-schema")), "{error}");
}
