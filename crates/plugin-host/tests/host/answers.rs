//! What goes in and comes out of a plugin that behaves.

use crate::guest::{ANSWER_AT, refusal};
use crate::guest::{Guest, SUBJECT, answer, answer_with, engine, engine_with, limits, log_lines, positions, proposal};
use fleet_model::{EventKind, Timestamp};
use plugin_host::{EvaluateError, InstanceLimits, PluginEngine, Position};
use serde_json::json;

/// The canonical ABI's picture of a reading, written field by field.
fn field_by_field(position: &Position) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(112);
    bytes.extend(position.vehicle.to_le_bytes());
    bytes.extend(position.sequence.to_le_bytes());
    bytes.extend(position.event_time_ms.to_le_bytes());
    for field in [position.latitude, position.longitude, position.odometer] {
        bytes.extend(field.to_le_bytes());
    }
    let Position { altitude, heading, speed, horizontal_accuracy, engine_hours, engine_speed, .. } = *position;
    for field in [altitude, heading, speed, horizontal_accuracy, engine_hours, engine_speed] {
        bytes.extend(field.to_le_bytes());
    }
    let Position { fuel_level, state_of_charge, engine_coolant_temperature, battery_voltage, .. } = *position;
    for field in [fuel_level, state_of_charge, engine_coolant_temperature, battery_voltage] {
        bytes.extend(field.to_le_bytes());
    }
    let Position { slot, status, trouble_codes0, trouble_codes1, trouble_codes2, trouble_codes3, .. } = *position;
    for field in [slot, status, trouble_codes0, trouble_codes1, trouble_codes2, trouble_codes3] {
        bytes.extend(field.to_le_bytes());
    }
    bytes
}

#[test]
fn a_plugin_sees_each_field_of_a_reading_in_its_place() {
    // It answers with the bytes of its readings as the rows.
    let evaluate = answer_with(0, "(local.get $positions)", "(i32.mul (local.get $count) (i32.const 112))");
    let mut instance = Guest { row_bytes: 112, evaluate, ..Guest::default() }.configured().instantiate().unwrap();
    let mut batch = positions(300);
    for (position, n) in batch.iter_mut().zip(1_u16..) {
        let n = f32::from(n);
        (position.altitude, position.heading, position.speed) = (n, n + 0.25, -n);
        (position.horizontal_accuracy, position.engine_hours) = (f32::NAN, n * 3.0);
        (position.engine_speed, position.odometer, position.status) = (n * 100.0, f64::from(n) * 1e6, 3);
        (position.fuel_level, position.state_of_charge) = (n / 3.0, n / 7.0);
        (position.engine_coolant_temperature, position.battery_voltage) = (n - 40.0, 24.0 + n / 100.0);
        (position.trouble_codes0, position.trouble_codes1, position.trouble_codes2, position.trouble_codes3) =
            (u32::MAX, 1, 2, 3);
    }
    let outcome = instance.evaluate(&batch, &vec![0; 300 * 112]).unwrap();
    let expected: Vec<u8> = batch.iter().flat_map(field_by_field).collect();
    assert!(outcome.rows == expected, "the guest's bytes differ");
}

#[test]
fn proposals_and_rows_come_back() {
    let evaluate = format!(
        "{} (i64.store (local.get $rows) (i64.const 42)) {}",
        proposal(0, EventKind::GeofenceDwell as u32),
        answer(1)
    );
    let mut instance = Guest { evaluate, ..Guest::default() }.configured().instantiate().unwrap();
    for _ in 0..3 {
        let outcome = instance.evaluate(&positions(2), &[0; 16]).unwrap();
        assert_eq!(outcome.rows, [42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let [proposal] = outcome.proposals.as_slice() else { panic!("{outcome:?}") };
        assert_eq!((proposal.position, proposal.kind), (0, EventKind::GeofenceDwell));
        assert_eq!((proposal.event_time, proposal.value), (Timestamp(1_700_000_000_000), 1.5));
        assert_eq!((proposal.subject.as_str(), proposal.details.as_deref()), (SUBJECT, None));
    }
}

#[test]
fn an_empty_batch_is_a_batch() {
    let mut instance = Guest::default().configured().instantiate().unwrap();
    let outcome = instance.evaluate(&[], &[]).unwrap();
    assert!(outcome.proposals.is_empty() && outcome.rows.is_empty());
}

#[test]
fn a_refused_batch_leaves_the_instance_alive() {
    let evaluate = format!(
        "(if (result i32) (i32.eq (local.get $count) (i32.const 2)) (then {}) (else {}))",
        refusal(),
        answer(0)
    );
    let mut instance = Guest { evaluate, ..Guest::default() }.configured().instantiate().unwrap();
    let error = instance.evaluate(&positions(2), &[0; 16]).unwrap_err();
    assert_eq!(error, EvaluateError::Rejected(SUBJECT.into()));
    assert!(!error.instance_is_dead());
    instance.evaluate(&positions(1), &[0; 8]).unwrap();
}

#[test]
fn old_rows_are_migrated_and_their_number_is_held() {
    // Each old row of 8 bytes must become one of 16: it answers twice what came, so half of it is invented.
    let migrate = format!(
        "(i32.store8 (i32.const {ANSWER_AT}) (i32.const 0))
         (i32.store offset=4 (i32.const {ANSWER_AT}) (local.get $rows))
         (i32.store offset=8 (i32.const {ANSWER_AT}) (i32.mul (local.get $rows_len) (local.get $from)))
         (i32.const {ANSWER_AT})"
    );
    let guest = Guest { row_bytes: 16, state_version: 3, migrate, ..Guest::default() };
    let mut instance = guest.configured().instantiate().unwrap();
    let migrated = instance.migrate(2, 8, &[7; 24]).unwrap();
    assert_eq!((migrated.len(), &migrated[..24]), (48, [7; 24].as_slice()));
    assert!(matches!(instance.migrate(1, 8, &[7; 24]), Err(EvaluateError::Malformed(_))));
    assert!(!instance.is_dead());
}

#[test]
fn a_plugin_logs_within_its_quota() {
    let limits = InstanceLimits { log_lines_max: 3, ..limits() };
    let evaluate = format!("{} {}", log_lines(10), answer(0));
    let engine = engine_with(limits);
    let plugin = engine.load(&Guest { evaluate, ..Guest::default() }.component()).unwrap();
    let mut instance = plugin.configure(&json!({})).unwrap().instantiate().unwrap();
    instance.evaluate(&positions(1), &[0; 8]).unwrap();
    assert_eq!(instance.log_lines_dropped(), 7);
    instance.evaluate(&positions(1), &[0; 8]).unwrap();
    assert_eq!(instance.log_lines_dropped(), 14);
}

#[test]
fn two_engines_give_the_same_bytes() {
    // NaNs made in the guest are where machines differ: 0/0 goes into the row.
    let evaluate = format!(
        "(f64.store (local.get $rows) (f64.div (f64.const 0) (f64.sub (f64.load offset=24 (local.get $positions))
            (f64.load offset=24 (local.get $positions)))))
         {} {}",
        proposal(0, 1),
        answer(1)
    );
    let wasm = Guest { evaluate, ..Guest::default() }.component();
    let run = |engine: PluginEngine| {
        let plugin = engine.load(&wasm).unwrap();
        let mut instance = plugin.configure(&json!({})).unwrap().instantiate().unwrap();
        (0..50).map(|n| instance.evaluate(&positions(n % 7 + 1), &[0; 56]).unwrap()).collect::<Vec<_>>()
    };
    let (one, other) = (run(engine()), run(engine()));
    assert_eq!(one[0].rows[..8], 0x7ff8_0000_0000_0000_u64.to_le_bytes(), "the canonical NaN");
    assert_eq!(one, other);
}
