//! What holds for all tariffs, trips and tracks.

use plugin_sdk::Reading;
use pricing::charge::{PLACES, charge};
use pricing::config::Config;
use pricing::measure::Quantity;
use pricing::segments::{Segment, price};
use pricing::state::{Idle, LastFix, OpenTrip, Phase, ROW_BYTES, State, ZONES_MAX, ZoneSlot};
use pricing::usage::{Section, Trip};
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::trips::reading;
use crate::{new_rows, rule, run};

/// Zones, sections, policies and all measures, by each way to open trips.
fn config(opens: &str) -> String {
    format!(
        r#"{{"time_zone":"Europe/Warsaw","trip":{{{opens},"reopen_within_s":120,"max_gap_s":900,"idle_s":90}},
        "zones":{{"type":"FeatureCollection","features":[
            {{"id":"a","geometry":{{"type":"Point","coordinates":[0.01,0]}},"properties":{{"radius_m":800}}}},
            {{"id":"b","geometry":{{"type":"Point","coordinates":[0.03,0]}},"properties":{{"radius_m":900}}}},
            {{"id":"s","geometry":{{"type":"Point","coordinates":[0.02,0]}},
                "properties":{{"radius_m":500,"section_length_m":"1234.5"}}}},
            {{"id":"r","geometry":{{"type":"Point","coordinates":[0.02,0]}},
                "properties":{{"radius_m":400,"section_length_m":"60"}}}}]}},
        "tariffs":[{{"id":"t","currency":"PLN","minimum":"4","maximum":"30","total_rounding":{{"increment":"0.05"}},
            "components":[
                {{"id":"base","price":"2","when":{{"starts_in":["a","b"]}}}},
                {{"id":"km","measure":"distance","segments":[{{"rate":"1.5","interval":"1"}}]}},
                {{"id":"wait","measure":"waiting_time","segments":[{{"rate":"0.35","interval":"1","due":"prorated"}}]}},
                {{"id":"zone","measure":"zone_time","zones":["a"],"segments":[{{"rate":"0.1","interval":"1"}}]}},
                {{"id":"toll","measure":"section","segments":[{{"rate":"0.2","interval":"1","due":"prorated"}}]}},
                {{"id":"vat","percent":"23","of":["base","km","wait"]}}],
            "policies":[{{"id":"fast","rules":[{{"measure":"top_speed","maximum":"50","applies":"out_of_bounds",
                "rate":"1","violation":true}}]}}]}}]}}"#
    )
}

fn tracks() -> impl Strategy<Value = Vec<Reading>> {
    let step = (0_i64..400, -900_i64..1_000, 0_u32..4, prop::option::of(0.0_f32..30.0), prop::bool::ANY);
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let (mut second, mut metres) = (0, 0_i64);
        let made = steps.into_iter().map(|(seconds, way, status, speed, odometer)| {
            second += seconds;
            metres += way;
            let odometer = if odometer { 1e6 + metres.abs() as f64 } else { f64::NAN };
            Reading { speed: speed.unwrap_or(f32::NAN), odometer, ..reading(second, metres as f64, status) }
        });
        made.collect()
    })
}

fn amounts() -> impl Strategy<Value = Decimal> {
    (0_i64..10_000, 0_u32..4).prop_map(|(digits, scale)| Decimal::new(digits, scale))
}

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let one = (0_i64..50, 0_i64..500, 0_i64..20, prop::option::of(1_i64..50), prop::bool::ANY).prop_map(
        |(start, rate, interval, length, completed)| {
            let due = if completed && interval > 0 { "completed" } else { "begun" };
            let end = length.map_or(String::new(), |it| format!(r#","end":"{}""#, start + it));
            let text = format!(
                r#"{{"start":"{start}","rate":"{}","interval":"{}","due":"{due}"{end}}}"#,
                Decimal::new(rate, 2),
                Decimal::new(interval, 1)
            );
            serde_json::from_str(&text).unwrap()
        },
    );
    prop::collection::vec(one, 0..5)
}

fn states() -> impl Strategy<Value = State> {
    let slot = (1_u64..u64::MAX, 0.0_f64..1e6, 0_i64..1_000_000, any::<u16>(), any::<[bool; 3]>()).prop_map(
        |(key, metres, ms, passes, [inside, started_in, ended_in])| ZoneSlot {
            key,
            metres,
            inside_ms: ms,
            first_ms: ms + 1,
            last_ms: ms + 2,
            top_speed: 3.5,
            passes,
            inside,
            started_in,
            ended_in,
        },
    );
    let zones = prop::collection::vec(slot, 0..=ZONES_MAX);
    let charged = prop::array::uniform24(-1_000_000_000_000_i64..1_000_000_000_000);
    let rest = (any::<[bool; 3]>(), 0_u8..3, prop::option::of(0_u8..200), any::<[i64; 5]>(), any::<u64>());
    (zones, charged, rest).prop_map(|(zones, charged, ([one, two, three], phase, tariff, times, config_key))| State {
        last: Some(LastFix { time_ms: times[0], latitude: 52.1, longitude: -21.5, odometer: 1e5 }),
        phase: [Phase::Closed, Phase::Open, Phase::Held][usize::from(phase)],
        trip: OpenTrip {
            config_key,
            start_ms: times[1],
            end_ms: times[2],
            metres: 1_234.5,
            waiting_ms: times[3],
            top_speed: 9.75,
            reopened: one,
            overflowed: two,
            tariff,
            charged: charged.map(|it| Decimal::new(it, 6)),
            zones,
        },
        idle: three.then_some(Idle { since_ms: times[4], metres: 17.25 }),
    })
}

proptest! {
    #[test]
    fn batches_may_be_cut_anywhere(
        track in tracks(),
        cuts in prop::collection::vec(0_usize..60, 0..8),
        opens in prop::sample::select(vec![
            r#""opens_by":"ignition""#,
            r#""opens_by":"motion""#,
            r#""opens_by":"zone","zones":["a"],"while":"inside""#,
        ]),
    ) {
        let config = config(opens);
        let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < track.len()).collect();
        cuts.sort_unstable();
        let (mut whole_rows, mut cut_rows) = (new_rows(1), new_rows(1));
        let whole = run(&mut rule(&config), &mut whole_rows, &track, &[]);
        let cut = run(&mut rule(&config), &mut cut_rows, &track, &cuts);
        prop_assert_eq!(whole, cut);
        prop_assert_eq!(whole_rows.as_bytes(), cut_rows.as_bytes());
    }

    /// However often a trip goes on: what was charged of it in the end is a minimum at least and a maximum at most.
    #[test]
    fn lines_and_corrections_add_up_to_a_price_within_the_limits(track in tracks()) {
        let mut track = track;
        let end = track.last().map_or(0, |last| last.event_time_ms / 1_000);
        track.push(reading(end + 1, 0.0, 1));
        let events = run(&mut rule(&config(r#""opens_by":"ignition""#)), &mut new_rows(1), &track, &[]);
        let mut sums = std::collections::BTreeMap::<&str, Decimal>::new();
        for event in events.iter().filter(|it| it.kind != 3 && !it.subject.starts_with("toll")) {
            *sums.entry(event.text("trip")).or_default() += event.text("amount").parse::<Decimal>().unwrap();
        }
        for sum in sums.values() {
            prop_assert!(*sum >= Decimal::from(4) && *sum <= Decimal::from(30), "{}", sum);
        }
    }

    #[test]
    fn more_never_costs_less(segments in segments(), one in amounts(), more in amounts()) {
        let low = price(&segments, &Quantity::of(one)).unwrap();
        let high = price(&segments, &Quantity::of(one + more)).unwrap();
        prop_assert!(low <= high);
        prop_assert!(low >= Decimal::ZERO);
    }

    /// No line is below 0 where no rate is, but for the maximum's and the rounding's own; no sum is.
    #[test]
    fn money_is_not_negative(
        metres in amounts(), minutes in 0_i64..10_000, waiting in 0_i64..10_000, length_m in amounts(),
    ) {
        let config = Config::parse(&config(r#""opens_by":"ignition""#)).unwrap();
        let section = Section { zone: "s".to_owned(), length_m, entered_ms: 0 };
        let trip = Trip {
            distance_m: metres,
            end_ms: minutes * 60_000,
            waiting_ms: waiting * 60_000,
            sections: vec![section],
            ..Trip::default()
        };
        let made = charge(&config, &trip).unwrap().unwrap();
        for line in &made.lines {
            let own = matches!(line.component.as_str(), "maximum" | "rounding");
            prop_assert!(own || line.amount >= Decimal::ZERO, "{:?}", line);
            prop_assert!(line.amount.scale() <= 2 && line.place < PLACES);
        }
        prop_assert!(made.total() >= Decimal::from(4));
    }

    #[test]
    fn rows_come_back_as_they_were(state in states()) {
        let mut row = [0; ROW_BYTES];
        state.write(&mut row);
        prop_assert_eq!(State::read(&row).unwrap(), state);
    }

    #[test]
    fn no_row_makes_the_rule_panic(row in prop::collection::vec(any::<u8>(), ROW_BYTES), track in tracks()) {
        let mut row = row;
        row[0] = 1;
        row[1] %= 3;
        row[2] %= 13;
        let config = config(r#""opens_by":"motion""#);
        let mut rows = plugin_sdk::Rows::new(row, ROW_BYTES as u32).unwrap();
        let mut proposals = plugin_sdk::Proposals::new();
        let _ = plugin_sdk::Rule::evaluate(&mut rule(&config), &track, &mut rows, &mut proposals);
    }
}
