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

/// A valid component that is a lot of work for the compiler: functions of many locals, operations and branches.
fn expensive(functions: u32, statements: u32) -> Vec<u8> {
    let statement = |n: u32| {
        let local = |factor: u32| n.wrapping_mul(factor) % 200;
        let (a, b, c, d) = (local(1), local(7), local(3), local(5));
        format!(
            "(local.set {a} (i64.mul (local.get {b}) (i64.const {n})))
             (if (i64.eqz (local.get {c})) (then (local.set {d} (i64.add (local.get {a}) (local.get {b})))))"
        )
    };
    let (locals, body) = ("(local i64)".repeat(200), (0..statements).map(statement).collect::<String>());
    let function = |n: u32| format!("(func $heavy{n} {locals} {body})");
    Guest { extra: (0..functions).map(function).collect(), ..Guest::default() }.component()
}

fn compile_error(limits: CompileLimits, wasm: &[u8]) -> CompileError {
    match engine(limits).load(wasm) {
        Err(LoadError::Compile(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn cpu_time_is_limited() {
    let limits = CompileLimits { cpu_s_max: 0, ..CompileLimits::default() };
    let error = compile_error(limits, &expensive(100, 400));
    assert!(matches!(error, CompileError::TooExpensive(_)), "{error}");
}

fn memory_is_limited() {
    let limits = CompileLimits { memory_bytes_max: 64 * 1024 * 1024, ..CompileLimits::default() };
    let error = compile_error(limits, &expensive(1, 40_000));
    assert!(matches!(error, CompileError::TooExpensive(_)), "{error}");
}

fn wall_time_is_limited() {
    let limits = CompileLimits { wall_ms_max: 1, ..CompileLimits::default() };
    let error = compile_error(limits, &expensive(100, 400));
    assert!(matches!(&error, CompileError::TooExpensive(text) if text.contains("1 ms")), "{error}");
}

fn a_schema_without_end_is_contained() {
    let limits = CompileLimits { cpu_s_max: 2, ..CompileLimits::default() };
    let load =
        |schema: serde_json::Value| engine(limits.clone()).load(&Guest { schema, ..Guest::default() }.component());
    // Schemas that refer to themselves at the same place: whatever the verdict, this process lives.
    for endless in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]})] {
        drop(load(endless));
    }
    // One that doubles the work 60 times over.
    let doubling = (0..60).fold(json!({"d60": true}), |mut defs, n| {
        let next = format!("#/$defs/d{}", n + 1);
        defs[format!("d{n}")] = json!({"allOf": [{"$ref": next}, {"$ref": next}]});
        defs
    });
    let error = load(json!({"$ref": "#/$defs/d0", "$defs": doubling})).unwrap_err();
    assert!(matches!(&error, LoadError::Descriptor(text) if text.contains("config-schema")), "{error}");
}

fn a_faulty_schema_is_the_plugins_fault() {
    let guest = Guest { schema: json!({"type": "objekt"}), ..Guest::default() };
    let error = engine(CompileLimits::default()).load(&guest.component()).unwrap_err();
    assert!(matches!(&error, LoadError::Descriptor(text) if text.contains("config-schema")), "{error}");
}
