//! What a config may be, and that the schema and the code agree on it.

use maintenance::Maintenance;
use maintenance::config::{CONDITIONS_MAX, DURATION_S_MAX, ID_BYTES_MAX, SCHEMA, SERVICES_MAX, SLOTS_MAX, WATCHED_MAX};
use maintenance::model::{FEATURES_MAX, FORMAT, INPUTS_MAX, NODES_MAX, TREES_MAX};
use maintenance::schedule::Progress;
use maintenance::signal::SIGNALS;
use maintenance::state::ROW_BYTES;
use maintenance::threshold::Run;
use maintenance::trend::{Method, SAMPLES_MAX};
use maintenance::trouble_codes::Memory;
use plugin_sdk::Rule;
use serde_json::{Value, json};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn error(config: &Value) -> String {
    Maintenance::configure(&config.to_string()).err().unwrap_or_else(|| panic!("accepted: {config}"))
}

/// One of everything, with every field.
pub(crate) fn everything() -> Value {
    json!({
        "trip_gap_s": 60,
        "trip_starts_with_ignition": true,
        "schedules": [{
            "id": "oil",
            "every": {"odometer_km": 15000, "engine_hours": 500, "days": 365, "months": 12},
            "warn_before": {"odometer_km": 1000, "engine_hours": 20, "days": 14},
            "overdue_after": {"odometer_km": 500, "engine_hours": 10, "days": 7},
            "count_from": "zero",
            "reset_when": [
                {"signal": "fuel_level", "is": "==", "value": 1.5}, {"signal": "speed", "is": "<=", "value": 0}
            ]
        }],
        "services": [{
            "schedule": "oil", "vehicle": "0x0000000000000001", "time": "1970-01-01T02:00:00Z",
            "odometer_km": 5, "engine_hours": 2
        }],
        "thresholds": [
            {"id": "hot", "when": [{"signal": "engine_coolant_temperature", "is": ">=", "value": 95}],
             "duration_s": 60, "across_trips": true, "missing": "passed_over", "report": "start", "event": "overdue"},
            {"id": "warm-up", "when": [{"signal": "engine_coolant_temperature", "is": "<", "value": 60}],
             "until": [{"signal": "engine_coolant_temperature", "is": ">=", "value": 80}], "at_trip_start": true,
             "extreme": {"signal": "engine_speed", "of": "max"}, "report_cut_short": false, "event": "due_soon"},
            {"id": "idle", "when": [
                {"signal": "speed", "is": "==", "value": 0}, {"signal": "ignition", "is": "!=", "value": 0}
            ], "duration_s": 20, "across_trips": true}
        ],
        "trends": [
            {"id": "battery", "signal": "battery_voltage", "when": [{"signal": "ignition", "is": "==", "value": 0}],
             "sample_every_s": 60, "samples": 12, "min_samples": 3, "limit": 11.8, "direction": "falling",
             "horizon_days": 1, "min_confidence": 0.5},
            {"id": "fuel", "signal": "fuel_level", "sample_every_s": 30, "method": "ewma", "span": 5,
             "min_samples": 4, "limit": 10, "direction": "falling"},
            {"id": "oil-ahead", "schedule": "oil", "sample_every_s": 60, "samples": 6, "min_samples": 4}
        ],
        "remaining_life": [{
            "id": "starter", "inputs": {"volts": "battery_voltage"}, "sample_every_s": 45, "min_samples": 2, "warn_at": 50,
            "repeat_every_samples": 3,
            "when": [{"signal": "engine_speed", "is": ">", "value": 0}],
            "model": {
                "format": FORMAT, "about": "made up", "unit": "days", "remaining_max": 100, "rmse": 7.5,
                "inputs": ["volts", "engine_hours"],
                "features": [{"of": "age"}, {"of": "newest", "input": "engine_hours"},
                             {"of": "mean", "input": "volts", "span": 4}],
                "intercept": 10, "coefficients": [-0.5, -0.1, 5],
                "trees": [{"feature": [2, -1, -1], "threshold": [12, -20, 10], "left": [1, 0, 0], "right": [2, 0, 0]}]
            }
        }],
        "trouble_codes": {
            "raise_after_readings": 2, "raise_after_s": 5, "clear_after_readings": 2, "clear_after_s": 5,
            "ignore": ["P0420"], "slots": 4
        }
    })
}

#[test]
fn everything_and_nothing_are_configs() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for config in [everything(), json!({})] {
        if let Err(error) = validator.validate(&config) {
            panic!("{error}");
        }
        if let Err(error) = Maintenance::configure(&config.to_string()) {
            panic!("{error}");
        }
    }
}

/// Each change is wrong; the error must name the field.
#[test]
fn an_error_names_the_field() {
    let wrong: [(&str, Value, &str); 54] = [
        ("/trip_gap_s", json!(-1), "trip_gap_s:"),
        ("/trip_gap_s", json!("long"), "string \"long\""),
        ("/schedules/0/id", json!(""), "schedules[0].id:"),
        ("/schedules/0/id", json!("x".repeat(257)), "schedules[0].id:"),
        ("/schedules/0/id", json!("hot"), "thresholds[0].id: schedules[0].id is \"hot\", too"),
        ("/schedules/0/every", json!({}), "schedules[0].every:"),
        ("/schedules/0/every/odometer_km", json!(0), "schedules[0].every.odometer_km:"),
        ("/schedules/0/every/engine_hours", json!(-5), "schedules[0].every.engine_hours:"),
        ("/schedules/0/every/days", json!(0), "schedules[0].every.days:"),
        ("/schedules/0/every/months", json!(0), "schedules[0].every.months:"),
        ("/schedules/0/every/weeks", json!(2), "unknown field `weeks`"),
        ("/schedules/0/warn_before/odometer_km", json!(-1), "schedules[0].warn_before.odometer_km:"),
        ("/schedules/0/overdue_after/days", json!(1e9), "schedules[0].overdue_after.days:"),
        ("/schedules/0/count_from", json!("one"), "unknown variant `one`"),
        ("/schedules/0/reset_when/0/signal", json!("sped"), "unknown variant `sped`"),
        ("/services/0/vehicle", json!("1"), "services[0].vehicle:"),
        ("/services/0/odometer_km", json!(-1), "services[0].odometer_km:"),
        ("/services/0/engine_hours", json!(1e12), "services[0].engine_hours:"),
        ("/thresholds/0/when", json!([]), "thresholds[0].when:"),
        ("/thresholds/0/when/0/is", json!("="), "unknown variant `=`"),
        ("/thresholds/0/duration_s", json!(-1), "thresholds[0].duration_s:"),
        ("/thresholds/0/missing", json!("ends"), "unknown variant `ends`"),
        ("/thresholds/0/report", json!("all"), "unknown variant `all`"),
        ("/thresholds/0/event", json!("predicted"), "unknown variant `predicted`"),
        ("/thresholds/1/extreme/of", json!("mean"), "unknown variant `mean`"),
        ("/trends/0/samples", json!(3), "trends[0].samples:"),
        ("/trends/0/samples", json!(33), "trends[0].samples:"),
        ("/trends/0/min_samples", json!(2), "trends[0].min_samples:"),
        ("/trends/0/sample_every_s", json!(0), "trends[0].sample_every_s:"),
        ("/trends/0/horizon_days", json!(0), "trends[0].horizon_days:"),
        ("/trends/0/min_confidence", json!(1.1), "trends[0].min_confidence:"),
        ("/trends/0/direction", json!("down"), "unknown variant `down`"),
        ("/trends/0/schedule", json!("oil"), "trends[0]: name either"),
        ("/trends/1/span", json!(0), "trends[1].span:"),
        ("/trends/1/method", json!("arima"), "unknown variant `arima`"),
        ("/trends/2/limit", json!(2), "trends[2].schedule:"),
        ("/remaining_life/0/warn_at", json!(-1), "remaining_life[0].warn_at:"),
        ("/remaining_life/0/repeat_every_samples", json!(0), "remaining_life[0].repeat_every_samples:"),
        ("/remaining_life/0/repeat_every_samples", json!(1.5), "1.5"),
        ("/remaining_life/0/min_samples", json!(0), "remaining_life[0].min_samples:"),
        ("/remaining_life/0/model/format", json!("onnx"), "remaining_life[0].model.format:"),
        ("/remaining_life/0/model/rmse", json!(0), "remaining_life[0].model.rmse:"),
        ("/remaining_life/0/model/remaining_max", json!(0), "remaining_life[0].model.remaining_max:"),
        ("/remaining_life/0/model/unit", json!(""), "remaining_life[0].model.unit:"),
        ("/remaining_life/0/model/features/2/span", json!(0.5), "remaining_life[0].model.features[2].span:"),
        ("/remaining_life/0/model/trees/0/feature/0", json!(-2.5), "-2.5"),
        ("/remaining_life/0/model/depth", json!(2), "unknown field `depth`"),
        ("/trouble_codes/raise_after_readings", json!(0), "trouble_codes.raise_after_readings:"),
        ("/trouble_codes/raise_after_s", json!(-1), "trouble_codes.raise_after_s:"),
        ("/trouble_codes/clear_after_readings", json!(0), "trouble_codes.clear_after_readings:"),
        ("/trouble_codes/clear_after_s", json!(-1), "trouble_codes.clear_after_s:"),
        ("/trouble_codes/ignore/0", json!("X0420"), "trouble_codes.ignore[0]:"),
        ("/trouble_codes/slots", json!(33), "trouble_codes.slots:"),
        ("/speeds", json!([]), "unknown field `speeds`"),
    ];
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (pointer, value, expected) in wrong {
        let mut config = everything();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        match config.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[field.parse::<usize>().unwrap()] = value,
            parent => parent[field] = value,
        }
        let error = error(&config);
        assert!(error.contains(expected), "{pointer}: {error}");
        // That two ids are the same is beyond what a schema can say.
        assert!(expected.ends_with("too") || !validator.is_valid(&config), "the schema accepts {pointer}: {config}");
    }
}

#[test]
fn beyond_the_schema_an_error_names_the_field_too() {
    let with = |pointer: &str, value: Value| {
        let mut config = everything();
        *config.pointer_mut(pointer).unwrap() = value;
        error(&config)
    };
    assert!(with("/services/0/schedule", json!("tyres")).starts_with("services[0].schedule:"));
    assert!(with("/services/0/time", json!("yesterday")).starts_with("services[0].time:"));
    assert!(with("/trends/2/schedule", json!("tyres")).starts_with("trends[2].schedule:"));
    assert!(with("/schedules/0/every", json!({"days": 3})).starts_with("schedules[0].warn_before.odometer_km:"));
    assert!(with("/trends/0/min_samples", json!(13)).starts_with("trends[0].min_samples:"), "more than are kept");
    assert!(with("/remaining_life/0/inputs", json!({})).starts_with("remaining_life[0].inputs.volts:"));
    assert!(with("/remaining_life/0/inputs", json!({"amps": "speed"})).starts_with("remaining_life[0].inputs.amps:"));
    let model = "/remaining_life/0/model";
    assert!(
        with(&format!("{model}/features/1/input"), json!("amps"))
            .starts_with("remaining_life[0].model.features[1].input:")
    );
    assert!(with(&format!("{model}/coefficients"), json!([1])).starts_with("remaining_life[0].model.coefficients:"));
    assert!(
        with(&format!("{model}/trees/0/left/0"), json!(0)).starts_with("remaining_life[0].model.trees[0].left[0]:")
    );
    let trends: Vec<Value> = (0..8)
        .map(|it| json!({"id": it.to_string(), "signal": "speed", "limit": 1, "direction": "rising", "samples": 32}))
        .collect();
    assert!(error(&json!({"trends": trends})).contains(&format!("{ROW_BYTES} are the most")));
}

/// Where the code has a limit, the schema has the same.
#[test]
fn limits_are_those_of_the_schema() {
    let schema = schema();
    let number = |pointer: &str| schema.pointer(pointer).unwrap().as_f64().unwrap();
    for list in ["schedules", "thresholds", "trends", "remaining_life"] {
        assert_eq!(number(&format!("/properties/{list}/maxItems")), WATCHED_MAX as f64);
    }
    assert_eq!(number("/properties/services/maxItems"), SERVICES_MAX as f64);
    assert_eq!(number("/properties/trip_gap_s/maximum"), DURATION_S_MAX);
    assert_eq!(number("/$defs/threshold/properties/duration_s/maximum"), DURATION_S_MAX);
    assert_eq!(number("/$defs/schedule/properties/every/properties/days/maximum"), DURATION_S_MAX / 86_400.0);
    assert_eq!(number("/$defs/conditions/maxItems"), CONDITIONS_MAX as f64);
    assert_eq!(number("/$defs/id/maxLength"), ID_BYTES_MAX as f64);
    assert_eq!(number("/$defs/trend/properties/samples/maximum"), SAMPLES_MAX as f64);
    assert_eq!(number("/$defs/trouble_codes/properties/slots/maximum"), SLOTS_MAX as f64);
    assert_eq!(number("/$defs/model/properties/inputs/maxItems"), INPUTS_MAX as f64);
    assert_eq!(number("/$defs/model/properties/features/maxItems"), FEATURES_MAX as f64);
    assert_eq!(number("/$defs/model/properties/trees/maxItems"), TREES_MAX as f64);
    let trees = schema["$defs"]["model"]["properties"]["trees"]["description"].as_str().unwrap();
    assert_eq!((NODES_MAX, trees.contains("20,000 nodes")), (20_000, true));
    let rows = schema["description"].as_str().unwrap();
    assert_eq!((ROW_BYTES, rows.contains("2,048 bytes")), (2_048, true));
    let header = 10;
    let theil_sen = |samples| header + Method::TheilSen { samples }.bytes();
    for (what, bytes) in [
        ("a schedule", header + Progress::BYTES),
        ("a threshold", header + Run::BYTES),
        ("a trend by ewma", header + Method::Ewma { span: 8.0 }.bytes()),
    ] {
        assert!(rows.contains(&format!("{bytes} {what}")), "{bytes} {what}");
    }
    let (first, more) = (theil_sen(0), theil_sen(1) - theil_sen(0));
    assert!(rows.contains(&format!("{first} and {more} a sample a trend by theil_sen")));
    let codes = Memory::bytes(1);
    assert!(rows.contains(&format!("{header} and {codes} a slot for trouble codes")));
    let names: Vec<&str> = SIGNALS.iter().map(|it| it.1).collect();
    assert_eq!(schema["$defs"]["signal"]["enum"], json!(names));
}

/// Every field has a word about it, and what the schema says of absent fields is what the code does.
#[test]
fn fields_are_described_and_their_defaults_are_those_of_the_code() {
    fn check(at: &str, schema: &Value, root: &Value) {
        let Value::Object(members) = schema else { return };
        if let Some(Value::Object(fields)) = members.get("properties").filter(|_| members.contains_key("type")) {
            for (name, field) in fields {
                let target = field["$ref"].as_str().map(|it| root.pointer(&it[1..]).unwrap());
                let described = |it: &Value| it["description"].is_string() || it["const"].is_string();
                let input = name == "input" || name == "span" || at.contains("services");
                assert!(described(field) || target.is_some_and(described) || input, "{at}.{name}");
            }
        }
        for (name, member) in members {
            check(&format!("{at}.{name}"), member, root);
        }
    }
    let root = schema();
    check("", &root, &root);

    /// The object with the default of every absent field that has one.
    fn filled(schema: &Value, root: &Value, mut value: Value) -> Value {
        for (name, field) in schema["properties"].as_object().unwrap() {
            let target = field["$ref"].as_str().map(|it| root.pointer(&it[1..]).unwrap());
            let default = field.get("default").or_else(|| target.and_then(|it| it.get("default")));
            if let (None, Some(default)) = (value.get(name), default) {
                value[name] = default.clone();
            }
        }
        value
    }
    let small = json!({
        "schedules": [{"id": "a", "every": {"days": 0.01}}],
        "thresholds": [{"id": "b", "when": [{"signal": "engine_speed", "is": ">", "value": 1000}]}],
        "trends": [{"id": "c", "signal": "fuel_level", "limit": 10, "direction": "falling"}],
        "trouble_codes": {}
    });
    let mut explicit = filled(&root, &root, small.clone());
    for (list, def) in [("schedules", "schedule"), ("thresholds", "threshold"), ("trends", "trend")] {
        explicit[list][0] = filled(&root["$defs"][def], &root, explicit[list][0].clone());
    }
    explicit["trouble_codes"] = filled(&root["$defs"]["trouble_codes"], &root, json!({}));
    assert!(explicit["trends"][0]["min_confidence"] == 0.8 && explicit["trouble_codes"]["slots"] == 12);
    let readings = crate::properties::a_week();
    let mut results = [small, explicit].map(|config| {
        let mut rows = crate::new_rows(2);
        let events = crate::run(&mut crate::rule(&config), &mut rows, &readings, 100);
        (events, rows.into_bytes())
    });
    assert!(results[0].0.len() > 4);
    results[0].0.sort_by_key(|it| it.reading);
    results[1].0.sort_by_key(|it| it.reading);
    assert!(results[0] == results[1]);
}

#[test]
fn the_manifest_says_the_version_of_the_package() {
    let manifest: toml::Table = toml::from_str(include_str!("../../plugin.toml")).unwrap();
    assert_eq!(manifest["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(manifest["name"].as_str(), Some(env!("CARGO_PKG_NAME")));
}
