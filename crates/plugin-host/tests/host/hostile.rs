//! Plugins that misbehave at run time: contained, named, and the next instance works.

use crate::guest::{
    Guest, PROPOSAL_BYTES, PROPOSALS_AT, answer, answer_with, details, engine_with, limits, positions, proposal,
};
use plugin_host::{ConfigError, ConfiguredPlugin, EvaluateError, InstanceLimits, InstantiateError, LoadError};
use serde_json::json;
use std::time::Duration;

/// The limit on time where something endless meets it and something well-behaved must not, on a busy machine, milliseconds.
const BUSY_MS_MAX: u64 = 2_000;
/// The limit on time where only something endless meets it, milliseconds.
const ENDLESS_MS_MAX: u64 = 50;
const FOREVER: &str = "(loop $again (br $again))";
/// Two gigabytes, one MiB at a time.
const MEMORY_BOMB: &str = "(loop $again (drop (memory.grow (i32.const 16))) (br $again))";

/// Does `evil` for batches of one, and answers well otherwise.
fn evil_for_one(evil: &str) -> String {
    format!("(if (i32.eq (local.get $count) (i32.const 1)) (then {evil})) {}", answer(0))
}

fn configured(evaluate: String, limits: InstanceLimits) -> ConfiguredPlugin {
    let wasm = Guest { evaluate, ..Guest::default() }.component();
    engine_with(limits).load(&wasm).unwrap().configure(&json!({})).unwrap()
}

/// The batch of one ends like that, the instance is dead, and another serves the batch of two.
fn ends_in(evil: &str, limits: InstanceLimits) -> EvaluateError {
    let plugin = configured(evil_for_one(evil), limits);
    let mut instance = plugin.instantiate().unwrap();
    instance.evaluate(&positions(2), &[0; 16]).unwrap();
    let error = instance.evaluate(&positions(1), &[0; 8]).unwrap_err();
    assert!(error.instance_is_dead() && instance.is_dead(), "{error}");
    assert!(matches!(instance.evaluate(&positions(2), &[0; 16]), Err(EvaluateError::Trapped(_))));
    plugin.instantiate().unwrap().evaluate(&positions(2), &[0; 16]).unwrap();
    error
}

#[test]
fn an_endless_loop_is_timed_out() {
    let limits = InstanceLimits { batch_ms_max: BUSY_MS_MAX, ..limits() };
    assert_eq!(ends_in(FOREVER, limits), EvaluateError::TimedOut);
}

/// However the machine divides its cores: what counts is the time that the guest had.
#[test]
fn an_instance_may_be_given_less_time_than_the_limit_and_a_start_too() {
    let plugin = configured(evil_for_one(FOREVER), InstanceLimits { batch_ms_max: u64::from(u32::MAX), ..limits() });
    let mut instance = plugin.instantiate().unwrap();
    instance.allow(Duration::from_millis(5));
    assert_eq!(instance.evaluate(&positions(1), &[0; 8]), Err(EvaluateError::TimedOut));

    let slow = "(local $i i32) (loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 200000000))))";
    let guest = Guest { configure: format!("{slow} {}", Guest::default().configure), ..Guest::default() };
    let plugin = engine_with(limits()).load(&guest.component()).unwrap().configure(&json!({})).unwrap();
    let refused = plugin.instantiate_within(Duration::from_millis(1)).err();
    assert_eq!(refused, Some(InstantiateError::TimedOut));
}

#[test]
fn an_endless_recursion_traps() {
    let extra = "(func $down (result i32) (i32.add (i32.const 1) (call $down)))".to_owned();
    let evaluate = evil_for_one("(drop (call $down))");
    let plugin = Guest { extra, evaluate, ..Guest::default() }.configured();
    let error = plugin.instantiate().unwrap().evaluate(&positions(1), &[0; 8]).unwrap_err();
    assert!(matches!(&error, EvaluateError::Trapped(text) if text.contains("stack")), "{error}");
    plugin.instantiate().unwrap().evaluate(&positions(2), &[0; 16]).unwrap();
}

#[test]
fn a_memory_bomb_runs_out_of_memory() {
    assert_eq!(ends_in(MEMORY_BOMB, limits()), EvaluateError::OutOfMemory);
}

#[test]
fn memories_are_counted_together() {
    let extra = "(memory $second 200)".to_owned();
    let evaluate = evil_for_one("(drop (memory.grow (i32.const 60)))");
    let plugin = Guest { extra, evaluate, ..Guest::default() }.configured();
    let mut instance = plugin.instantiate().unwrap();
    assert!(instance.memory_bytes() > 200 * 65_536);
    assert_eq!(instance.evaluate(&positions(1), &[0; 8]), Err(EvaluateError::OutOfMemory));
}

#[test]
fn a_module_that_starts_too_large_is_refused() {
    let wasm = Guest { extra: "(memory $second 300)".into(), ..Guest::default() }.component();
    let error = engine_with(limits()).load(&wasm).unwrap_err();
    assert!(matches!(error, LoadError::Describe(InstantiateError::OutOfMemory)), "{error}");
}

#[test]
fn a_table_bomb_runs_out_of_memory() {
    let extra = "(table $wide 1 funcref)".to_owned();
    let evaluate = evil_for_one("(drop (table.grow $wide (ref.null func) (i32.const 1000000)))");
    let plugin = Guest { extra, evaluate, ..Guest::default() }.configured();
    let mut instance = plugin.instantiate().unwrap();
    assert_eq!(instance.evaluate(&positions(1), &[0; 8]), Err(EvaluateError::OutOfMemory));
}

#[test]
fn a_crash_is_contained() {
    for (evil, text) in [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const -4)))", "out of bounds"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "divide by zero"),
    ] {
        let error = ends_in(evil, limits());
        assert!(matches!(&error, EvaluateError::Trapped(found) if found.contains(text)), "{error}");
    }
}

#[test]
fn an_answer_that_lies_about_its_place_traps() {
    for (rows, len) in [("(i32.const -8)", "(i32.const 8)"), ("(i32.const 8)", "(i32.const -1)")] {
        let plugin = configured(answer_with(0, rows, len), limits());
        let error = plugin.instantiate().unwrap().evaluate(&positions(1), &[0; 8]).unwrap_err();
        assert!(error.instance_is_dead(), "{error}");
    }
}

#[test]
fn too_many_proposals_are_too_much_output() {
    let limits = InstanceLimits { proposals_max: 2, ..limits() };
    let copy = |to: u32| {
        let to = PROPOSALS_AT + to * PROPOSAL_BYTES;
        format!("(memory.copy (i32.const {to}) (i32.const {PROPOSALS_AT}) (i32.const {PROPOSAL_BYTES}))")
    };
    let write_three = [proposal(0, 1), copy(1), copy(2)].concat();
    let plugin = configured(format!("{write_three} {}", answer(3)), limits);
    let error = plugin.instantiate().unwrap().evaluate(&positions(1), &[0; 8]).unwrap_err();
    assert!(matches!(&error, EvaluateError::TooMuchOutput(text) if text.contains("3 proposals")), "{error}");
}

#[test]
fn too_many_bytes_are_too_much_output() {
    let limits = InstanceLimits { output_bytes_max: 10_000, ..limits() };
    let plugin = configured(answer_with(0, "(i32.const 0)", "(i32.const 10009)"), limits);
    let error = plugin.instantiate().unwrap().evaluate(&positions(1), &[0; 8]).unwrap_err();
    assert!(matches!(error, EvaluateError::TooMuchOutput(_)), "{error}");
}

/// Gives the first proposal another time.
fn event_time(ms: i64) -> String {
    format!("(i64.store offset=8 (i32.const {PROPOSALS_AT}) (i64.const {ms}))")
}

/// Gives the first proposal another value.
fn value(value: &str) -> String {
    format!("(f64.store offset=16 (i32.const {PROPOSALS_AT}) (f64.const {value}))")
}

#[test]
fn a_value_that_is_none_is_passed_on_as_nan() {
    let body = format!("{} {} {}", proposal(0, 1), value("nan"), answer(1));
    let outcome = configured(body, limits()).instantiate().unwrap().evaluate(&positions(1), &[0; 8]).unwrap();
    assert!(outcome.proposals[0].value.is_nan());
}

#[test]
fn a_flood_of_events_ends_the_call() {
    // As many as its memory holds; and a million, which it does not.
    let many = "(drop (memory.grow (i32.const 230)))";
    for count in [300_000, 1_000_000] {
        let error = ends_in(&format!("{many} (return {})", answer(count)), limits());
        let is_told = match count {
            300_000 => matches!(error, EvaluateError::TooMuchOutput(_)),
            _ => matches!(error, EvaluateError::Trapped(_)),
        };
        assert!(is_told, "{count}: {error}");
    }
}

#[test]
fn a_malformed_answer_is_refused_whole_and_the_instance_lives() {
    for (body, wrong) in [
        (format!("{} {}", proposal(1, 1), answer(1)), "reading 1"),
        (format!("{} {}", proposal(0, 99), answer(1)), "kind 99"),
        (format!("{} {} {}", proposal(0, 1), event_time(-1), answer(1)), "its time -1"),
        (format!("{} {} {}", proposal(0, 1), event_time(i64::MIN), answer(1)), "its time -9223372036854775808"),
        (format!("{} {} {}", proposal(0, 1), event_time(i64::MAX), answer(1)), "its time 9223372036854775807"),
        (format!("{} {} {}", proposal(0, 1), details(2), answer(1)), "it has details"),
        (format!("{} {} {}", proposal(0, 1), value("inf"), answer(1)), "its value is inf"),
        (format!("{} {} {}", proposal(0, 1), value("-inf"), answer(1)), "its value is -inf"),
        (answer_with(0, "(local.get $rows)", "(i32.const 7)"), "7 bytes"),
    ] {
        let mut instance = configured(body, limits()).instantiate().unwrap();
        let error = instance.evaluate(&positions(1), &[0; 8]).unwrap_err();
        assert!(matches!(&error, EvaluateError::Malformed(text) if text.contains(wrong)), "{error}");
        assert!(!instance.is_dead());
    }
}

#[test]
fn describe_and_configure_have_limits_too() {
    let describe = Guest { describe_first: FOREVER.into(), ..Guest::default() };
    let endless = InstanceLimits { configure_ms_max: ENDLESS_MS_MAX, ..limits() };
    let error = engine_with(endless).load(&describe.component()).unwrap_err();
    assert!(matches!(error, LoadError::Describe(InstantiateError::TimedOut)), "{error}");

    // These describe themselves well first.
    let busy = InstanceLimits { configure_ms_max: BUSY_MS_MAX, ..limits() };

    for (evil, expected) in [
        (FOREVER, InstantiateError::TimedOut),
        (MEMORY_BOMB, InstantiateError::OutOfMemory),
        ("unreachable", InstantiateError::Trapped(String::new())),
    ] {
        let guest = Guest { configure: format!("{evil} unreachable"), ..Guest::default() };
        let plugin = engine_with(busy.clone()).load(&guest.component()).unwrap();
        let error = plugin.configure(&json!({})).unwrap_err();
        let ConfigError::Plugin(found) = &error else { panic!("{error}") };
        assert_eq!(std::mem::discriminant(found), std::mem::discriminant(&expected), "{error}");
    }
}

#[test]
fn a_start_function_has_limits_too() {
    let limits = InstanceLimits { configure_ms_max: ENDLESS_MS_MAX, ..limits() };
    let extra = format!("(func $forever {FOREVER}) (start $forever)");
    let error = engine_with(limits).load(&Guest { extra, ..Guest::default() }.component()).unwrap_err();
    assert!(matches!(error, LoadError::Describe(InstantiateError::TimedOut)), "{error}");
}
