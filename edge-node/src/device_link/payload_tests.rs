use super::*;
use fleet_model::{AdmissionPolicy, TenantId, TroubleCodes, VehicleId};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp(1_708_353_714_000);

/// As over HTTP, with `v` for elements that name no vehicle.
struct Any;

impl Naming for Any {
    fn vehicle(&mut self, named: Option<&str>) -> Result<Arc<VehicleName>, Complaint> {
        let vehicle =
            VehicleId::new(named.unwrap_or("v")).map_err(|error| (Refusal::MissingVehicle, error.to_string()))?;
        Ok(Arc::new(VehicleName::new(TenantId::new("demo").unwrap(), vehicle)))
    }
}

fn read(payload: &str) -> Parsed {
    parse(payload.as_bytes(), NOW, &mut Any)
}

fn only_refusal(payload: &str) -> Complaint {
    let parsed = read(payload);
    assert!(parsed.elements.is_empty(), "{payload}");
    let [refused] = &parsed.refused[..] else { panic!("{payload}: {:?}", parsed.refused) };
    (refused.reason, refused.detail.clone())
}

#[test]
fn every_field_arrives_in_its_place() {
    let parsed = read(
        r#" {"vehicle":"b\u0075s","event_time":"2024-02-19T14:41:54Z","latitude":52,"longitude":-21.5,"altitude":1,
        "heading":2,"speed":3,"horizontal_accuracy":4,"odometer":5.5,"engine_hours":6,"engine_speed":7,"fuel_level":8,
        "state_of_charge":9,"engine_coolant_temperature":10,"battery_voltage":11,"ignition":true,"dtc":["P0301"]}"#,
    );
    let [element] = &parsed.elements[..] else { panic!("{:?}", parsed.refused) };
    assert_eq!(element.vehicle.vehicle.as_str(), "bus");
    let expected = Reading {
        odometer: 5.5,
        altitude: 1.0,
        heading: 2.0,
        speed: 3.0,
        horizontal_accuracy: 4.0,
        engine_hours: 6.0,
        engine_speed: 7.0,
        fuel_level: 8.0,
        state_of_charge: 9.0,
        engine_coolant_temperature: 10.0,
        battery_voltage: 11.0,
        ignition: 1,
        trouble_codes: TroubleCodes::of(["P0301".parse().unwrap()]).unwrap(),
        ..Reading::fix(NOW, NOW, 52.0, -21.5)
    };
    assert_eq!(element.reading, expected);
}

#[test]
fn null_stands_for_a_signal_that_is_not_there() {
    let parsed = read(r#"{"event_time_ms":1708353714000,"latitude":52,"longitude":21,"speed":null,"ignition":null}"#);
    assert_eq!(parsed.elements[0].reading, Reading::fix(NOW, NOW, 52.0, 21.0));
}

#[test]
fn each_fault_has_its_reason_and_names_the_field() {
    let fix = r#""latitude":52,"longitude":21"#;
    let cases: &[(String, Refusal, &str)] = &[
        ("".into(), Refusal::MalformedJson, "EOF"),
        ("{".into(), Refusal::MalformedJson, "EOF"),
        (r#"{"latitude":52,}"#.into(), Refusal::MalformedJson, "column"),
        ("\u{feff}{}".into(), Refusal::MalformedJson, "expected value"),
        (format!(r#"{{"event_time_ms":1,{fix}}} x"#), Refusal::MalformedJson, "trailing"),
        (r#"{"event_time_ms":1,"latitude":NaN,"longitude":21}"#.into(), Refusal::NotFinite, "/latitude: NaN"),
        (
            r#"{"event_time_ms":1,"latitude":-Infinity,"longitude":21}"#.into(),
            Refusal::NotFinite,
            "/latitude: -Infinity",
        ),
        (r#"{"event_time_ms":1,"latitude":1e999,"longitude":21}"#.into(), Refusal::NotFinite, "out of range"),
        ("[]".into(), Refusal::WrongShape, "empty"),
        ("5".into(), Refusal::WrongShape, "object"),
        ("null".into(), Refusal::WrongShape, "object"),
        ("[[]]".into(), Refusal::WrongShape, "object"),
        (format!("{{{fix}}}"), Refusal::MissingTime, "event_time"),
        (format!(r#"{{"event_time":"yesterday",{fix}}}"#), Refusal::MalformedTime, "/event_time"),
        (format!(r#"{{"event_time":5,{fix}}}"#), Refusal::MalformedTime, "/event_time"),
        (format!(r#"{{"event_time":null,{fix}}}"#), Refusal::MalformedTime, "/event_time"),
        (format!(r#"{{"event_time_ms":"5",{fix}}}"#), Refusal::MalformedTime, "/event_time_ms"),
        (format!(r#"{{"event_time_ms":5.5,{fix}}}"#), Refusal::MalformedTime, "/event_time_ms"),
        (
            format!(r#"{{"event_time_ms":5,"event_time":"2024-02-19T14:41:54Z",{fix}}}"#),
            Refusal::WrongShape,
            "give one",
        ),
        (format!(r#"{{"event_time_ms":5,"vehicle":"a b",{fix}}}"#), Refusal::MissingVehicle, "' '"),
        (format!(r#"{{"event_time_ms":5,"vehicle":7,{fix}}}"#), Refusal::MissingVehicle, "/vehicle"),
        (r#"{"event_time_ms":5,"latitude":52}"#.into(), Refusal::WrongShape, "longitude"),
        (r#"{"event_time_ms":5,"latitude":"52","longitude":21}"#.into(), Refusal::WrongShape, "/latitude"),
        (format!(r#"{{"event_time_ms":5,"sped":3,{fix}}}"#), Refusal::WrongShape, "sped"),
        (format!(r#"{{"event_time_ms":5,"ignition":1,{fix}}}"#), Refusal::WrongShape, "/ignition"),
        (format!(r#"{{"event_time_ms":5,"speed":1,"speed":2,{fix}}}"#), Refusal::WrongShape, "duplicate"),
        ("[".repeat(300), Refusal::MalformedJson, "EOF"),
        (format!("{}{}", "[".repeat(300), "]".repeat(300)), Refusal::WrongShape, "column"),
    ];
    for (payload, reason, named) in cases {
        let (found, detail) = only_refusal(payload);
        assert_eq!(found, *reason, "{payload}: {detail}");
        assert!(detail.contains(named), "{payload}: {detail}");
        assert!(detail.len() <= DETAIL_LEN_MAX);
    }
}

#[test]
fn bytes_that_are_no_text_are_malformed() {
    let parsed = parse(b"{\"event_time\":\"\xff\xfe\"}", NOW, &mut Any);
    assert_eq!(parsed.refused[0].reason, Refusal::MalformedJson);
    let parsed = parse(&[0, 159, 146, 150], NOW, &mut Any);
    assert_eq!(parsed.refused[0].reason, Refusal::MalformedJson);
}

#[test]
fn a_bad_element_leaves_the_others_alone() {
    let payload = r#"[{"event_time_ms":1,"latitude":1,"longitude":2},{"latitude":"x"},
        {"event_time_ms":3,"latitude":3,"longitude":4}]"#;
    let parsed = read(payload);
    assert_eq!(parsed.elements.iter().map(|e| e.index).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(parsed.refused.len(), 1);
    assert_eq!((parsed.refused[0].index, parsed.refused[0].reason), (1, Refusal::WrongShape));
}

#[test]
fn a_number_that_json_does_not_have_leaves_the_other_elements_alone() {
    let parsed = read(
        r#"[{"event_time_ms":1,"latitude":1,"longitude":2},{"event_time_ms":2,"latitude":NaN,"longitude":2},
        {"event_time_ms":3,"latitude":3,"longitude":4,"speed":Infinity},{"event_time_ms":4,"latitude":1e999,"longitude":2},
        {"event_time_ms":5,"latitude":3,"longitude":4,"vehicle":"NaN"}]"#,
    );
    assert_eq!(parsed.elements.iter().map(|e| e.index).collect::<Vec<_>>(), [0, 4]);
    let refused: Vec<_> = parsed.refused.iter().map(|r| (r.index, r.reason)).collect();
    assert_eq!(refused, [(1, Refusal::NotFinite), (2, Refusal::NotFinite), (3, Refusal::NotFinite)]);
    assert!(parsed.refused[1].detail.starts_with("/speed: Infinity"), "{}", parsed.refused[1].detail);
    // A fault of the payload as a whole is still one.
    assert_eq!(only_refusal(r#"[{"event_time_ms":1,"latitude":NaN,"longitude":2},{"#).0, Refusal::MalformedJson);
}

#[test]
fn too_much_is_refused_as_a_whole() {
    let one = r#"{"event_time_ms":1,"latitude":1,"longitude":2}"#;
    let of = |count: usize| format!("[{}]", vec![one; count].join(","));
    assert_eq!(read(&of(READINGS_MAX)).elements.len(), READINGS_MAX);
    assert_eq!(only_refusal(&of(READINGS_MAX + 1)).0, Refusal::TooLarge);
    assert_eq!(only_refusal(&format!("{one}{}", " ".repeat(PAYLOAD_LEN_MAX))).0, Refusal::TooLarge);
}

/// What the schema says about a payload, and what the door and admission say together.
fn verdicts(payload: &Value) -> (bool, bool) {
    let by_schema = explain::PAYLOAD.as_ref().unwrap().is_valid(payload);
    let parsed = read(&payload.to_string());
    // The schema cannot know the time, and "both are exactly 0" is left to its prose.
    let policy = AdmissionPolicy { future_clock_ms_max: None };
    let possible = |e: &Element| match policy.check(&e.reading) {
        Ok(()) | Err(Refusal::NullPosition) => true,
        Err(_) => false,
    };
    (by_schema, parsed.refused.is_empty() && parsed.elements.iter().all(possible))
}

#[test]
fn the_published_schema_and_the_parser_agree_on_a_table() {
    let good = json!({"event_time_ms": 1, "latitude": 52.5, "longitude": 21});
    let with = |field: &str, value: Value| {
        let mut changed = good.clone();
        changed[field] = value;
        changed
    };
    let table = [
        (good.clone(), true),
        (json!([good]), true),
        (json!([good, good]), true),
        (with("event_time_ms", json!(1.0)), true),
        (with("vehicle", json!("WAW-1000")), true),
        (with("speed", json!(null)), true),
        (with("ignition", json!(false)), true),
        (json!({"event_time": "2024-02-19T14:41:54+01:00", "latitude": 0, "longitude": 0.5}), true),
        (json!([]), false),
        (json!({}), false),
        (json!("x"), false),
        (json!([good, 1]), false),
        (with("event_time", json!("2024-02-19T14:41:54Z")), false),
        (with("event_time_ms", json!(-1)), false),
        (with("event_time_ms", json!(u64::MAX)), false),
        (with("event_time_ms", json!(null)), false),
        (with("vehicle", json!(null)), false),
        (with("vehicle", json!("")), false),
        (with("vehicle", json!("a/b")), false),
        (with("latitude", json!(null)), false),
        (with("latitude", json!(90.5)), false),
        (with("longitude", json!(-181)), false),
        (with("heading", json!(361)), false),
        (with("fuel_level", json!(-1)), false),
        (with("altitude", json!(-3.4e38)), true),
        (with("altitude", json!(f32::MAX)), true),
        (with("altitude", json!(1e39)), false),
        (with("altitude", json!(-1e39)), false),
        (with("speed", json!(1e39)), false),
        (with("horizontal_accuracy", json!(1e39)), false),
        (with("engine_hours", json!(-1e39)), false),
        (with("engine_speed", json!(1e39)), false),
        (with("engine_coolant_temperature", json!(-1e39)), false),
        (with("battery_voltage", json!(1e39)), false),
        (with("odometer", json!(1e39)), true),
        (with("ignition", json!("on")), false),
        (with("dtc", json!(["P0301", "U3FFF"])), true),
        (with("dtc", json!([])), true),
        (with("dtc", json!(null)), true),
        (with("dtc", json!("P0301")), false),
        (with("dtc", json!(["P0000"])), false),
        (with("dtc", json!(["P4000"])), false),
        (with("dtc", json!(["p0301"])), false),
        (with("dtc", json!(vec!["P0301"; 9])), false),
        (with("colour", json!("red")), false),
        (json!({"event_time": "2024-02-19 14:41:54", "latitude": 1, "longitude": 1}), false),
    ];
    for (payload, expected) in table {
        assert_eq!(verdicts(&payload), (expected, expected), "{payload}");
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        (-400.0..400.0_f64).prop_map(|x| json!(x)),
        (-5..200_i64).prop_map(|x| json!(x)),
        // Beyond what 32 bits hold, too.
        (any::<bool>(), 30..45_i32).prop_map(|(minus, e)| json!(10_f64.powi(e) * if minus { -1.0 } else { 1.0 })),
        Just(json!("2024-02-19T14:41:54Z")),
        "[a-zA-Z0-9 ._:/-]{0,5}".prop_map(|text| json!(text)),
        Just(json!([])),
        Just(json!({})),
    ]
}

fn element() -> impl Strategy<Value = Value> {
    let fields = [
        "vehicle",
        "event_time",
        "event_time_ms",
        "latitude",
        "longitude",
        "altitude",
        "heading",
        "speed",
        "horizontal_accuracy",
        "odometer",
        "engine_hours",
        "engine_speed",
        "fuel_level",
        "state_of_charge",
        "engine_coolant_temperature",
        "battery_voltage",
        "ignition",
        "dtc",
        "unknown",
    ];
    // Mostly right, so that single faults are tried and not only heaps of them.
    let base = json!({"event_time_ms": 1, "latitude": 52.5, "longitude": 21});
    let changes = proptest::collection::vec((proptest::sample::select(fields.to_vec()), scalar()), 0..3);
    let removals = proptest::collection::vec(proptest::sample::select(fields.to_vec()), 0..2);
    (changes, removals).prop_map(move |(changes, removals)| {
        let mut element = base.clone();
        for (field, value) in changes {
            element[field] = value;
        }
        if let Some(object) = element.as_object_mut() {
            for field in removals {
                object.remove(field);
            }
        }
        element
    })
}

proptest! {
    #[test]
    fn the_published_schema_and_the_parser_agree(
        payload in prop_oneof![element(), proptest::collection::vec(element(), 0..4).prop_map(Value::Array), scalar()]
    ) {
        let (by_schema, by_parser) = verdicts(&payload);
        prop_assert_eq!(by_schema, by_parser, "{}", payload);
    }

    #[test]
    fn every_element_is_taken_or_refused_once(elements in proptest::collection::vec(element(), 1..8)) {
        let parsed = read(&Value::Array(elements.clone()).to_string());
        let mut seen: Vec<u32> = parsed.elements.iter().map(|e| e.index).chain(parsed.refused.iter().map(|r| r.index)).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..elements.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&payload, NOW, &mut Any);
    }

    #[test]
    fn no_text_makes_it_panic(payload in "[\\[\\]{}\",:a-z0-9.eENaI\n -]{0,60}") {
        let _ = parse(payload.as_bytes(), NOW, &mut Any);
    }
}
