//! What a config may be, and that the schema and the code agree on it.

use pricing::condition::Condition;
use pricing::config::{Config, DURATION_S_MAX, SCHEMA, SPEED_KPH_MAX, TARIFFS_MAX};
use pricing::decimal::{FRACTION_DIGITS_MAX, Rounding, WHOLE_DIGITS_MAX};
use pricing::policy::Policy;
use pricing::state::ZONES_MAX;
use pricing::tariff::{ID_BYTES_MAX, LINES_MAX, Tariff};
use pricing::zones::{CORNERS_MAX, RADIUS_M_MAX};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{LKW_MAUT, NYC};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// All fields of a part of the schema that have a default, set to it.
fn defaults(part: &Value) -> Value {
    let fields = part["properties"].as_object().unwrap().iter();
    let set = fields.filter_map(|(name, field)| Some((name.clone(), field.get("default")?.clone())));
    Value::Object(set.collect())
}

fn merged(mut one: Value, other: Value) -> Value {
    one.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    one
}

/// What is left away must mean what the schema's default means.
fn same<T: DeserializeOwned + PartialEq + std::fmt::Debug>(part: &str, least: Value) {
    let all = merged(defaults(&schema()["$defs"][part]), least.clone());
    let read = |value: &Value| serde_json::from_value::<T>(value.clone()).unwrap();
    assert_eq!(read(&all), read(&least), "{part}");
}

#[test]
fn defaults_are_those_of_the_schema() {
    same::<Rounding>("rounding", json!({}));
    same::<Condition>("condition", json!({}));
    same::<Tariff>("tariff", json!({"id": "t", "currency": "EUR"}));
    same::<pricing::tariff::Component>("component", json!({"id": "c"}));
    same::<pricing::segments::Segment>("segment", json!({"rate": "1", "interval": "1"}));
    same::<pricing::windows::Window>("window", json!({}));
    same::<pricing::measure::Meter>("meter", json!({"distance": "1", "waiting_min": "1"}));
    same::<Policy>("policy", json!({"id": "p", "rules": []}));
    same::<pricing::policy::Rule>("rule", json!({}));
    let least = Config::parse(r#"{"tariffs":[]}"#).unwrap();
    let mut all = merged(defaults(&schema()), json!({"tariffs": []}));
    all["trip"] = defaults(&schema()["properties"]["trip"]);
    let all = Config::parse(&all.to_string()).unwrap();
    assert_eq!(all.trip, least.trip);
    assert_eq!(all.time_zone.local(0), least.time_zone.local(0));
    assert_eq!(all.class_attributes(), least.class_attributes());
}

/// A field without a description or a default would be one that nobody can look up.
#[test]
fn every_field_is_described_and_has_a_default_or_is_required() {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(fields) = value["properties"].as_object().filter(|_| value["additionalProperties"] == false) {
            let required = |name: &str| value["required"].as_array().is_some_and(|it| it.contains(&json!(name)));
            for (name, field) in fields {
                if field.get("default").is_none() && !required(name) {
                    found.push(format!("{at}.{name} has no default"));
                }
                let refers = field.get("$ref").is_some();
                if field.get("description").is_none() && !refers && !matches!(name.as_str(), "rules" | "rows") {
                    found.push(format!("{at}.{name} has no description"));
                }
            }
        }
        match value {
            Value::Object(members) => members.iter().for_each(|(name, it)| walk(it, &format!("{at}/{name}"), found)),
            Value::Array(items) => items.iter().for_each(|it| walk(it, at, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&schema(), "", &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn limits_are_those_of_the_schema() {
    let schema = schema();
    let trip = &schema["properties"]["trip"]["properties"];
    for field in ["idle_s", "max_gap_s", "reopen_within_s"] {
        assert_eq!(trip[field]["maximum"].as_f64(), Some(DURATION_S_MAX), "{field}");
    }
    for field in ["moving_speed_kph", "waiting_speed_kph"] {
        assert_eq!(trip[field]["maximum"].as_f64(), Some(SPEED_KPH_MAX), "{field}");
    }
    let parts = &schema["$defs"];
    assert_eq!(parts["id"]["maxLength"].as_u64(), Some(ID_BYTES_MAX as u64));
    assert_eq!(parts["tariff"]["properties"]["components"]["maxItems"].as_u64(), Some(LINES_MAX as u64));
    assert_eq!(parts["tariff"]["properties"]["policies"]["maxItems"].as_u64(), Some(LINES_MAX as u64));
    assert_eq!(schema["properties"]["tariffs"]["maxItems"].as_u64(), Some(TARIFFS_MAX as u64));
    let radius = &parts["feature"]["properties"]["properties"]["properties"]["radius_m"];
    assert_eq!(radius["maximum"].as_f64(), Some(RADIUS_M_MAX));
    let pattern = parts["decimal"]["pattern"].as_str().unwrap();
    assert!(
        pattern.contains(&format!("{{1,{WHOLE_DIGITS_MAX}}}"))
            && pattern.contains(&format!("{{1,{FRACTION_DIGITS_MAX}}}"))
    );
    let zones = schema["properties"]["zones"]["description"].as_str().unwrap();
    assert!(zones.contains(&format!("touch {ZONES_MAX} zones")) && CORNERS_MAX == 50_000 && zones.contains("50,000"));
}

#[test]
fn the_configs_that_are_shipped_are_fine() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let readme = include_str!("../../README.md");
    let readme = readme.split("```json").nth(1).unwrap().split("```").next().unwrap();
    for text in [NYC, LKW_MAUT, readme] {
        let errors: Vec<_> =
            validator.iter_errors(&serde_json::from_str(text).unwrap()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(Config::parse(text).is_ok());
    }
}

fn tariff(rest: &Value) -> Value {
    json!({"tariffs": [merged(json!({"id": "t", "currency": "EUR"}), rest.clone())]})
}

fn component(rest: &Value) -> Value {
    tariff(&json!({"components": [merged(json!({"id": "c"}), rest.clone())]}))
}

fn with_trip(trip: &Value) -> Value {
    json!({"tariffs": [], "trip": trip})
}

/// What the schema can see, the schema refuses; what it can't, the rule: each names the field.
#[test]
fn what_is_wrong_is_refused_by_field() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let distance = |segment: Value| component(&json!({"measure": "distance", "segments": [segment]}));
    let both = [
        (json!({}), "tariffs"),
        (json!({"tariffs": [], "tarifs": []}), "tarifs"),
        (json!({"tariffs": [], "time_zone": 1}), "time_zone"),
        (with_trip(&json!({"opens_by": "luck"})), "trip.opens_by"),
        (with_trip(&json!({"idle_s": -1})), "trip.idle_s"),
        (with_trip(&json!({"max_gap_s": 0})), "trip.max_gap_s"),
        (with_trip(&json!({"max_accuracy_m": 0})), "trip.max_accuracy_m"),
        (with_trip(&json!({"moving_speed_kph": 1e6})), "trip.moving_speed_kph"),
        (json!({"tariffs": [{"id": "t"}]}), "currency"),
        (json!({"tariffs": [{"id": "", "currency": "EUR"}]}), "tariffs[0].id"),
        (json!({"tariffs": [{"id": "t", "currency": "euro"}]}), "tariffs[0].currency"),
        (tariff(&json!({"minimum": 2.5})), "tariffs[0].minimum"),
        (tariff(&json!({"minimum": "2,50"})), "tariffs[0].minimum"),
        (tariff(&json!({"valid_from": "1.7.2024"})), "tariffs[0].valid_from"),
        (tariff(&json!({"rounding": {"mode": "nearest"}})), "tariffs[0].rounding.mode"),
        (tariff(&json!({"rounding": {"increment": "0.00"}})), "tariffs[0].rounding.increment"),
        (tariff(&json!({"policies": [{"id": "p", "rules": []}]})), "tariffs[0].policies[0].rules"),
        (component(&json!({"id": "a/b", "price": "1"})), "tariffs[0].components[0].id"),
        (component(&json!({"price": "1", "measure": "luck"})), "tariffs[0].components[0].measure"),
        (component(&json!({"price": "1", "prise": "1"})), "tariffs[0].components[0].prise"),
        (
            component(&json!({"price": "1", "when": {"windows": [{"from": "25:00"}]}})),
            "components[0].when.windows[0].from",
        ),
        (component(&json!({"price": "1", "when": {"attributes": {"a": {}}}})), "components[0].when.attributes.a"),
        (distance(json!({"rate": "1"})), "components[0].segments[0]"),
        (distance(json!({"rate": "1", "interval": "-1"})), "components[0].segments[0].interval"),
        (
            component(&json!({"measure": "meter", "price": "1", "meter": {"distance": "0", "waiting_min": "1"}})),
            "components[0].meter.distance",
        ),
    ];
    for (config, field) in &both {
        assert!(!validator.is_valid(config), "the schema accepts {config}");
        let error = Config::parse(&config.to_string()).err().unwrap_or_else(|| panic!("the rule accepts {config}"));
        assert!(error.contains(field), "{error:?} does not name {field}");
    }
    let rule_alone = [
        (json!({"tariffs": [], "time_zone": "Mars/Olympus"}), "time_zone"),
        (json!({"tariffs": [], "vehicle_class": "van"}), "vehicle_class"),
        (with_trip(&json!({"opens_by": "zone"})), "trip.zones"),
        (with_trip(&json!({"opens_by": "zone", "zones": ["depot"]})), "trip.zones[0]"),
        (with_trip(&json!({"reopen_within_s": 20_000})), "trip.reopen_within_s"),
        (tariff(&json!({"valid_from": "2024-07-32"})), "tariffs[0].valid_from"),
        (tariff(&json!({"valid_from": "2024-07-02", "valid_through": "2024-07-01"})), "tariffs[0].valid_through"),
        (tariff(&json!({"minimum": "2", "maximum": "1"})), "tariffs[0].maximum"),
        (component(&json!({})), "tariffs[0].components[0]"),
        (component(&json!({"price": "1", "given": "tolls"})), "tariffs[0].components[0]"),
        (component(&json!({"price": "1", "measure": "zone_time"})), "components[0].zones"),
        (component(&json!({"price": "1", "measure": "distance", "unit": "h"})), "components[0].unit"),
        (component(&json!({"price": "1", "when": {"passes": ["city"]}})), "components[0].when.passes[0]"),
        (component(&json!({"percent": "7"})), "components[0].of"),
        (component(&json!({"percent": "7", "of": ["c"]})), "components[0].of[0]"),
        (component(&json!({"id": "minimum", "price": "1"})), "components[0].id"),
        (distance(json!({"rate": "1", "interval": "3", "due": "prorated"})), "components[0].segments[0].interval"),
        (distance(json!({"rate": "1", "interval": "1", "start": "5", "end": "4"})), "components[0].segments[0].end"),
    ];
    for (config, field) in &rule_alone {
        assert!(validator.is_valid(config), "the schema refuses {config}");
        let error = Config::parse(&config.to_string()).err().unwrap_or_else(|| panic!("the rule accepts {config}"));
        assert!(error.contains(field), "{error:?} does not name {field}");
    }
}

#[test]
fn more_lines_than_a_row_remembers_are_refused() {
    let components: Vec<_> = (0..LINES_MAX).map(|n| json!({"id": format!("c{n}"), "price": "1"})).collect();
    let policy = json!([{"id": "p", "rules": [{"rate": "1"}]}]);
    let full = tariff(&json!({"components": components}));
    assert!(Config::parse(&full.to_string()).is_ok());
    let more = tariff(&json!({"components": components, "policies": policy}));
    assert!(Config::parse(&more.to_string()).err().unwrap().starts_with("tariffs[0].components"));
}

#[test]
fn the_manifest_says_the_version_of_the_package() {
    let manifest: toml::Table = toml::from_str(include_str!("../../plugin.toml")).unwrap();
    assert_eq!(manifest["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(manifest["name"].as_str(), Some(env!("CARGO_PKG_NAME")));
}
