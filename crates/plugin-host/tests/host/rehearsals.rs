//! Rules over readings apart from any actor.

use crate::geofence::built;
use crate::guest::{Guest, answer, engine, engine_with};
use fleet_model::{Reading, Sequence, Timestamp, VehicleKey};
use plugin_host::{EvaluateError, FAILING_CPU_MAX, InstanceLimits, Rehearsal, RehearseError, Rehearsed};
use serde_json::json;

/// Readings of some vehicles in turn, each walking north and back over the Arctic Circle.
fn walks(vehicles: u64, readings: u64) -> Vec<Rehearsed> {
    (0..vehicles * readings)
        .map(|number| {
            let (vehicle, sequence) = (number % vehicles, number / vehicles + 1);
            let time = Timestamp(1_700_000_000_000 + number as i64 * 1_000);
            let latitude = 66.5 + ((sequence + vehicle) % 10) as f64 * 0.02;
            (VehicleKey(vehicle + 1), Sequence(sequence), Reading::fix(time, time, latitude, 21.0))
        })
        .collect()
}

#[test]
fn however_readings_are_handed_in_the_rule_says_the_same() {
    let Some(wasm) = built("hello-geofence") else { return };
    let plugin = engine().load(&wasm).unwrap().configure(&json!({})).unwrap();
    let walks = walks(7, 100);
    let said = |pieces: usize| {
        let mut rehearsal = Rehearsal::new(plugin.clone()).unwrap();
        let mut said = Vec::new();
        for (number, piece) in walks.chunks(pieces).enumerate() {
            let answer = rehearsal.show(piece).unwrap();
            assert!(answer.failed.is_empty());
            let place = |index: usize| number * pieces + index;
            said.extend(answer.proposals.into_iter().map(|(index, it)| (place(index), it.kind, it.event_time)));
        }
        assert_eq!(rehearsal.figures().decided, 700);
        said
    };
    let whole = said(700);
    assert!(whole.len() > 100, "{}", whole.len());
    for (index, _, time) in &whole {
        assert_eq!(walks[*index].2.event_time, *time);
    }
    for pieces in [1, 3, 256, 257, 699] {
        assert_eq!(said(pieces), whole, "{pieces} at a time");
    }
}

/// A rule that traps on each reading for which `condition` holds.
fn trapping_if(condition: &str) -> Rehearsal {
    let evaluate = format!(
        "(loop $next
           (if {condition} (then unreachable))
           (local.set $positions (i32.add (local.get $positions) (i32.const 112)))
           (local.set $count (i32.sub (local.get $count) (i32.const 1)))
           (br_if $next (local.get $count)))
         {}",
        answer(0)
    );
    Rehearsal::new(Guest { evaluate, ..Guest::default() }.configured()).unwrap()
}

#[test]
fn readings_that_a_rule_fails_on_are_found_and_left_out() {
    let mut rehearsal = trapping_if("(i64.eq (i64.load offset=8 (local.get $positions)) (i64.const 5))");
    let answer = rehearsal.show(&walks(40, 9)).unwrap();
    let failed: Vec<usize> = answer.failed.iter().map(|failed| failed.reading).collect();
    assert_eq!(failed, (4 * 40..5 * 40).collect::<Vec<_>>());
    assert!(answer.failed.iter().all(|failed| matches!(failed.error, EvaluateError::Trapped(_))));
    assert_eq!((rehearsal.figures().decided, rehearsal.figures().failed), (320, 40));
}

#[test]
fn a_rule_that_fails_on_one_vehicle_serves_the_others() {
    let mut rehearsal = trapping_if("(i64.eq (i64.load (local.get $positions)) (i64.const 3))");
    let walks = walks(40, 9);
    let answer = rehearsal.show(&walks).unwrap();
    assert_eq!(answer.failed.len(), 9);
    assert!(answer.failed.iter().all(|failed| walks[failed.reading].0 == VehicleKey(3)));
    assert_eq!(rehearsal.figures().decided, 39 * 9);
}

#[test]
fn a_rule_that_loops_on_everything_is_not_tried_for_long() {
    let evaluate = format!("(loop $for_ever (br $for_ever)) {}", answer(0));
    // With the limits of a node.
    let plugin =
        engine_with(InstanceLimits::default()).load(&Guest { evaluate, ..Guest::default() }.component()).unwrap();
    let mut rehearsal = Rehearsal::new(plugin.configure(&json!({})).unwrap()).unwrap();
    let ended = rehearsal.show(&walks(40, 1_000)).unwrap_err();
    let RehearseError::Failing { failed, shown, error } = ended.clone() else { panic!("{ended}") };
    assert!(matches!(error, EvaluateError::TimedOut) && failed == shown && failed > 0, "{ended}");
    // Each of its calls may take 50 ms: no more than one of them beyond the bound.
    let spent = rehearsal.figures().time;
    assert!(ended.to_string().contains("took 5 s"), "{ended}");
    assert!(spent >= FAILING_CPU_MAX, "{spent:?}");
    assert!(failed < 600, "found one by one at 10 ms of CPU time: {failed}");
}
