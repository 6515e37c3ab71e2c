//! What holds for all readings, rows and ways to batch them.

use maintenance::schedule::Progress;
use maintenance::state::ROW_BYTES;
use maintenance::threshold::Run;
use maintenance::trend::{self, Method};
use maintenance::trouble_codes;
use plugin_sdk::Rule;
use plugin_sdk::{Proposals, Reading, Rows};
use proptest::prelude::*;

use crate::config::everything;
use crate::{new_rows, reading, rule, run};

/// A made-up week of two vehicles with a bit of everything, the same each time.
pub(crate) fn a_week() -> Vec<Reading> {
    // An xorshift: nothing here depends on how good it is.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    (0..2_000_i64)
        .map(|at| {
            let slot = (at % 2) as u32;
            let minute = at * 5;
            Reading {
                sequence: at as u64,
                odometer: minute as f64 * 700.0,
                engine_hours: minute as f32 / 100.0,
                speed: next(3) as f32,
                engine_speed: 700.0 + next(700) as f32,
                fuel_level: 90.0 - (minute % 9_000) as f32 / 120.0,
                engine_coolant_temperature: 50.0 + next(60) as f32,
                battery_voltage: 11.0 + next(30) as f32 / 10.0,
                status: [0, 3, 4, 5, 7][next(5) as usize],
                trouble_codes0: [0, 0x0301, 0x0420_0301][next(3) as usize],
                ..reading(slot, minute * 60_000)
            }
        })
        .collect()
}

/// Some numbers that signals have, and some that they should not.
fn odd() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0_f64..200.0,
        1 => prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, -1.0, 1e300, -1e300, f64::MIN_POSITIVE, 1e38
        ]),
    ]
}

/// Readings of three vehicles, each vehicle's in order of time; `wild` ones have any time and any word.
fn readings(wild: bool) -> impl Strategy<Value = Vec<Reading>> {
    let signals = (odd(), odd(), odd(), odd(), odd(), odd(), odd(), odd());
    let step = prop_oneof![8 => 0_i64..20, 1 => 50_i64..4_000];
    let words = (0_u32..8, prop::sample::select(vec![0, 0x0301, 0x0420_0301, 0xc123_0301, u32::MAX]), any::<u32>());
    prop::collection::vec((0_u32..3, step, signals, words, any::<i64>()), 1..150).prop_map(move |steps| {
        let mut time_ms = 0;
        let mut all = Vec::new();
        for (at, (slot, seconds, signals, (status, word, any_word), any_time)) in steps.into_iter().enumerate() {
            time_ms += seconds * 1_000;
            let (odometer, engine_hours, speed, engine_speed, fuel, coolant, voltage, altitude) = signals;
            all.push(Reading {
                sequence: at as u64,
                odometer: odometer * 1_000.0,
                engine_hours: engine_hours as f32,
                speed: speed as f32,
                engine_speed: engine_speed as f32 * 10.0,
                fuel_level: fuel as f32,
                engine_coolant_temperature: coolant as f32,
                battery_voltage: voltage as f32 / 10.0,
                altitude: altitude as f32,
                status,
                trouble_codes0: word,
                trouble_codes2: if wild { any_word } else { 0 },
                ..reading(slot, if wild { any_time & i64::MAX } else { time_ms })
            });
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn batches_do_not_matter(readings in readings(false), batch in 1_usize..30) {
        let config = everything();
        let mut rows = new_rows(3);
        let whole = run(&mut rule(&config), &mut rows, &readings, readings.len());
        // Each batch by an instance of its own.
        let mut split_rows = new_rows(3);
        let mut split = Vec::new();
        for (number, chunk) in readings.chunks(batch).enumerate() {
            split_rows = Rows::new(split_rows.into_bytes(), ROW_BYTES as u32).unwrap();
            for mut event in run(&mut rule(&config), &mut split_rows, chunk, batch) {
                event.reading += number * batch;
                split.push(event);
            }
        }
        prop_assert_eq!(split, whole);
        prop_assert!(split_rows.as_bytes() == rows.as_bytes());
    }

    /// Whatever the bytes and numbers: an answer or an error, never a panic; and the row that comes out goes in again.
    #[test]
    fn nothing_makes_it_panic(
        readings in readings(true),
        noise in prop::collection::vec(any::<u8>(), 3 * ROW_BYTES),
        keep in 0_usize..3,
    ) {
        let config = everything();
        let evaluate = |rows: &mut Rows, readings: &[Reading]| {
            rule(&config).evaluate(readings, rows, &mut Proposals::new())
        };
        // Noise alone; noise behind the header that the config wrote; rows of vehicles that were never seen.
        let mut rows = new_rows(3);
        prop_assert!(evaluate(&mut rows, &readings).is_ok());
        let mut bytes = rows.into_bytes();
        match keep {
            0 => {}
            1 => bytes.copy_from_slice(&noise),
            _ => {
                for row in 0..3 {
                    let from = row * ROW_BYTES + 9;
                    bytes[from..(row + 1) * ROW_BYTES].copy_from_slice(&noise[from..(row + 1) * ROW_BYTES]);
                }
            }
        }
        let mut rows = Rows::new(bytes, ROW_BYTES as u32).unwrap();
        if evaluate(&mut rows, &readings).is_ok() {
            prop_assert!(evaluate(&mut rows, &readings).is_ok());
        }
    }

    /// What a record says is written back as it was, whatever its bytes were.
    #[test]
    fn records_lead_back(noise in prop::collection::vec(any::<u8>(), 400)) {
        fn back<const N: usize>(noise: &[u8], again: impl Fn(&[u8], &mut [u8])) -> bool {
            let (mut once, mut twice) = ([0xff; N], [0xff; N]);
            again(&noise[..N], &mut once);
            again(&once, &mut twice);
            once == twice
        }
        const PROGRESS: usize = Progress::BYTES;
        const RUN: usize = Run::BYTES;
        prop_assert!(back::<PROGRESS>(&noise, |from, to| Progress::read(from).write(to)));
        prop_assert!(back::<RUN>(&noise, |from, to| Run::read(from).write(to)));
        const CODES: usize = trouble_codes::Memory::bytes(7);
        prop_assert!(back::<CODES>(&noise, |from, to| trouble_codes::Memory::read(from).write(to)));
        for method in [Method::TheilSen { samples: 9 }, Method::Ewma { span: 8.0 }] {
            let bytes = method.bytes();
            let (mut once, mut twice) = (vec![0xff; bytes], vec![0xff; bytes]);
            trend::Memory::read(&noise[..bytes], method).write(&mut once);
            trend::Memory::read(&once, method).write(&mut twice);
            prop_assert_eq!(once, twice);
        }
    }

    /// Rows of one config in another, whose records stand elsewhere.
    #[test]
    fn rows_of_another_config_are_read(readings in readings(false), noise in prop::collection::vec(any::<u8>(), 3 * ROW_BYTES)) {
        let mut other = everything();
        other["thresholds"].as_array_mut().unwrap().reverse();
        other["trends"].as_array_mut().unwrap().remove(0);
        let mut rows = new_rows(3);
        run(&mut rule(&everything()), &mut rows, &readings, 50);
        let mut rows = Rows::new(rows.into_bytes(), ROW_BYTES as u32).unwrap();
        prop_assert!(rule(&other).evaluate(&readings, &mut rows, &mut Proposals::new()).is_ok());
        let mut rows = Rows::new(noise, ROW_BYTES as u32).unwrap();
        let _ = rule(&other).evaluate(&readings, &mut rows, &mut Proposals::new());
    }
}

#[test]
fn a_made_up_week_has_a_bit_of_everything() {
    let mut rows = new_rows(2);
    let events = run(&mut rule(&everything()), &mut rows, &a_week(), 64);
    for kind in 1..=6 {
        assert!(events.iter().any(|it| it.kind == kind), "kind {kind}");
    }
    let mut split_rows = new_rows(2);
    assert!(run(&mut rule(&everything()), &mut split_rows, &a_week(), 1) == events);
    assert!(split_rows.as_bytes() == rows.as_bytes());
}
