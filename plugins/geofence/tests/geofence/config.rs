//! What a config may be, and that the schema and the code agree on it.

use geofence::config::{
    CROSSING_MAX_GAP_M_MAX, Config, DURATION_S_MAX, EXIT_BUFFER_M_MAX, SCHEMA, SPEED_KPH_MAX, Settings,
};
use geofence::corridor::WIDTH_M_MAX;
use geofence::feature_collection::{CORNERS_MAX, ID_BYTES_MAX, RADIUS_M_MAX};
use geofence::schedule::SCHEDULES_MAX;
use geofence::state::SLOTS;
use geofence::terms::{ALTITUDE_M_MAX, Terms};
use serde_json::{Value, json};

use crate::{config_of, square};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn one_zone(feature: Value) -> Value {
    json!({"zones": {"type": "FeatureCollection", "features": [feature]}})
}

fn polygon(coordinates: Value) -> Value {
    one_zone(json!({"type": "Feature", "id": "a", "geometry": {"type": "Polygon", "coordinates": coordinates}}))
}

#[test]
fn defaults_and_limits_are_those_of_the_schema() {
    let schema = schema();
    let fields = &schema["properties"];
    let config = Config::parse(&config_of(&[], "")).unwrap();
    assert_eq!(config.settings, Settings::default());
    let mut written = json!({"zones": {"type": "FeatureCollection", "features": []}});
    for (field, about) in fields.as_object().unwrap().iter().filter(|field| field.0 != "zones") {
        written[field] = about["default"].clone();
        assert!(about.get("default").is_some() && about["description"].is_string(), "{field}");
    }
    assert!(written.as_object().unwrap().len() > 15);
    assert_eq!(Config::parse(&written.to_string()).unwrap().settings, Settings::default());
    assert_eq!(fields["exit_buffer_m"]["maximum"].as_f64(), Some(EXIT_BUFFER_M_MAX));
    assert_eq!(fields["min_inside_s"]["maximum"].as_f64(), Some(DURATION_S_MAX));
    assert_eq!(fields["min_outside_s"]["maximum"].as_f64(), Some(DURATION_S_MAX));
    assert_eq!(schema["$defs"]["id"]["oneOf"][0]["maxLength"].as_u64(), Some(ID_BYTES_MAX as u64));
    let circle = &schema["$defs"]["feature"]["allOf"][1]["then"]["properties"]["properties"]["properties"];
    assert_eq!(circle["radius_m"]["maximum"].as_f64(), Some(RADIUS_M_MAX));
    let line = &schema["$defs"]["feature"]["allOf"][4]["then"]["properties"]["properties"]["properties"];
    assert_eq!(line["width_m"]["maximum"].as_f64(), Some(WIDTH_M_MAX));
    assert_eq!(fields["schedules"]["maxProperties"].as_u64(), Some(SCHEDULES_MAX as u64));
    assert_eq!(fields["crossing_max_gap_m"]["maximum"].as_f64(), Some(CROSSING_MAX_GAP_M_MAX));
    let properties = &schema["$defs"]["feature"]["properties"]["properties"]["properties"];
    for (about, max) in [
        (&fields["dwell_s"], DURATION_S_MAX),
        (&properties["dwell_s"], DURATION_S_MAX),
        (&fields["crossing_max_gap_s"], DURATION_S_MAX),
        (&fields["overspeed_min_s"], DURATION_S_MAX),
        (&properties["overspeed_min_s"], DURATION_S_MAX),
        (&fields["speed_limit_kph"], SPEED_KPH_MAX),
        (&properties["speed_limit_kph"], SPEED_KPH_MAX),
        (&fields["overspeed_tolerance_kph"], SPEED_KPH_MAX),
        (&properties["overspeed_tolerance_kph"], SPEED_KPH_MAX),
        (&fields["overspeed_hysteresis_kph"], SPEED_KPH_MAX),
        (&properties["altitude_min_m"], ALTITUDE_M_MAX),
        (&properties["altitude_max_m"], ALTITUDE_M_MAX),
    ] {
        assert_eq!(about["maximum"].as_f64(), Some(max), "{about}");
    }
    let zones = fields["zones"]["description"].as_str().unwrap();
    assert!(zones.contains(&format!("tracked in {SLOTS} at once")), "{zones}");
}

#[test]
fn what_the_schema_refuses_the_rule_refuses_too() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let ring = json!([[0, 0], [1, 0], [1, 1], [0, 0]]);
    let wrong = [
        json!({}),
        json!({"zones": {"type": "FeatureCollection", "features": []}, "exit_bufer_m": 1}),
        json!({"zones": {"type": "FeatureCollection", "features": []}, "exit_buffer_m": -1}),
        json!({"zones": {"type": "FeatureCollection", "features": []}, "min_inside_s": 1e9}),
        json!({"zones": {"type": "FeatureCollection", "features": []}, "max_accuracy_m": 0}),
        json!({"zones": {"type": "FeatureCollection", "features": []}, "initial_state": "loud"}),
        json!({"zones": {"type": "Feature", "features": []}}),
        polygon(json!([])),
        polygon(json!([[[0, 0], [1, 0], [0, 0]]])),
        polygon(json!([[[0, 0], [181, 0], [1, 1], [0, 0]]])),
        polygon(json!([[["0", 0], [1, 0], [1, 1], [0, 0]]])),
        polygon(json!([[[0], [1, 0], [1, 1], [0, 0]]])),
        polygon(json!([[ring]])),
        one_zone(json!({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}})),
        one_zone(json!({"type": "Feature", "id": "", "geometry": {"type": "Polygon", "coordinates": [ring]}})),
        one_zone(json!({"type": "Feature", "id": 1.5, "geometry": {"type": "Polygon", "coordinates": [ring]}})),
        one_zone(
            json!({"type": "Feature", "properties": {"id": {}}, "geometry": {"type": "Polygon", "coordinates": [ring]}}),
        ),
        one_zone(
            json!({"type": "Feature", "id": "a", "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}),
        ),
        one_zone(json!({"type": "Feature", "id": "a", "geometry": {"type": "Point", "coordinates": [0, 0]}})),
        one_zone(
            json!({"type": "Feature", "id": "a", "properties": {"radius_m": 0}, "geometry": {"type": "Point", "coordinates": [0, 0]}}),
        ),
        one_zone(json!({"type": "Feature", "id": "a", "geometry": null})),
    ];
    let lines = [
        line("LineString", json!([[0, 0]]), 10),
        line("LineString", json!([[[0, 0], [1, 1]]]), 10),
        line("MultiLineString", json!([[0, 0], [1, 1]]), 10),
        line("MultiLineString", json!([[[0, 0], [1, 1]], [[0, 0]]]), 10),
        line("LineString", json!([[0, 0], [1, 1]]), -1),
        line("LineString", json!([[0, 0], [1, 1]]), 20_001),
    ];
    let properties = WRONG_PROPERTIES.into_iter().map(|property| with_property(property.0, property.1));
    let fields = WRONG_FIELDS.into_iter().map(|(name, value)| {
        let mut config = json!({"zones": {"type": "FeatureCollection", "features": []}});
        config[name] = serde_json::from_str(value).unwrap();
        config
    });
    for config in wrong.into_iter().chain(lines).chain(properties).chain(fields) {
        assert!(!validator.is_valid(&config), "the schema accepts {config}");
        assert!(Config::parse(&config.to_string()).is_err(), "the rule accepts {config}");
    }
}

fn line(kind: &str, coordinates: Value, width_m: i64) -> Value {
    let geometry = json!({"type": kind, "coordinates": coordinates});
    one_zone(json!({"type": "Feature", "id": "a", "properties": {"width_m": width_m}, "geometry": geometry}))
}

/// A circle with one more property; `value` is JSON.
fn with_property(name: &str, value: &str) -> Value {
    let mut properties = json!({"radius_m": 1});
    properties[name] = serde_json::from_str(value).unwrap();
    let geometry = json!({"type": "Point", "coordinates": [0, 0]});
    one_zone(json!({"type": "Feature", "id": "a", "properties": properties, "geometry": geometry}))
}

const WRONG_PROPERTIES: [(&str, &str); 14] = [
    ("altitude_min_m", "\"5\""),
    ("altitude_min_m", "-100001"),
    ("altitude_max_m", "100001"),
    ("schedule", "7"),
    ("dwell_s", "0"),
    ("dwell_s", "-1"),
    ("dwell_s", "604801"),
    ("dwell_s", "true"),
    ("speed_limit_kph", "0"),
    ("speed_limit_kph", "1001"),
    ("speed_limit_kph", "{}"),
    ("overspeed_min_s", "-1"),
    ("overspeed_tolerance_kph", "-1"),
    ("overspeed_tolerance_kph", "[]"),
];

const WRONG_FIELDS: [(&str, &str); 25] = [
    ("without_altitude", "\"both\""),
    ("schedules", "[]"),
    ("schedules", r#"{"a":{}}"#),
    ("schedules", r#"{"a":{"time_zone":"","from":"08:00","to":"09:00"}}"#),
    ("schedules", r#"{"a":{"time_zone":"UTC","from":"8:00","to":"09:00"}}"#),
    ("schedules", r#"{"a":{"time_zone":"UTC","from":"24:00","to":"09:00"}}"#),
    ("schedules", r#"{"a":{"time_zone":"UTC","from":"08:00","to":"24:01"}}"#),
    ("schedules", r#"{"a":{"time_zone":"UTC","days":[],"from":"08:00","to":"09:00"}}"#),
    ("schedules", r#"{"a":{"time_zone":"UTC","days":["monday"],"from":"08:00","to":"09:00"}}"#),
    ("schedules", r#"{"a":{"time_zone":"UTC","from":"08:00","to":"09:00","until":"10:00"}}"#),
    ("on_schedule_start", "\"loud\""),
    ("on_schedule_end", "null"),
    ("dwell_s", "0"),
    ("dwell_s", "604801"),
    ("crossing", "1"),
    ("crossing_max_gap_s", "-1"),
    ("crossing_max_gap_s", "604801"),
    ("crossing_max_gap_m", "50001"),
    ("speed_limit_kph", "0"),
    ("speed_limit_kph", "1001"),
    ("overspeed_min_s", "-1"),
    ("overspeed_tolerance_kph", "1001"),
    ("overspeed_hysteresis_kph", "-0.5"),
    ("prefer", "\"highest\""),
    ("on_zone_change", "\"forget\""),
];

#[test]
fn what_is_wrong_is_named_by_field_and_feature() {
    let error = |config: Value| Config::parse(&config.to_string()).err().unwrap();
    for (name, value) in WRONG_PROPERTIES {
        let error = error(with_property(name, value));
        assert!(error.starts_with(&format!("zones.features[0] (\"a\").properties.{name}: {value} is not")), "{error}");
    }
    assert_eq!(
        error(with_property("schedule", "\"day\"")),
        "zones.features[0] (\"a\").properties.schedule: \"day\" is not one of the config's schedules"
    );
    assert_eq!(
        error(with_property("overspeed_min_s", "5")),
        "zones.features[0] (\"a\").properties.overspeed_min_s: there is no speed_limit_kph for it"
    );
    let mut upside_down = with_property("altitude_min_m", "5");
    upside_down["zones"]["features"][0]["properties"]["altitude_max_m"] = json!(4);
    assert_eq!(error(upside_down), "zones.features[0] (\"a\").properties.altitude_min_m: 5 is above altitude_max_m, 4");
    let mut endless = with_property("speed_limit_kph", "5");
    endless["overspeed_hysteresis_kph"] = json!(5);
    assert!(error(endless).starts_with("zones.features[0] (\"a\").properties.speed_limit_kph: 5 and"));
    assert_eq!(
        error(line("LineString", json!([[0, 0], [1, 1]]), 0)),
        "zones.features[0] (\"a\").properties.width_m: 0 makes a gate, which does nothing unless the config has \
         crossing: true"
    );
    assert!(
        error(line("LineString", json!([[179, 0], [-179, 0]]), 5)).contains(".geometry.coordinates: the edge from")
    );
    assert!(
        error(line("MultiLineString", json!([[[0, 0], [1, 0]], [[0, 0]]]), 5)).contains(".coordinates[1]: a line has")
    );
    let mut nowhere = with_property("dwell_s", "5");
    nowhere["schedules"] = json!({"day": {"time_zone": "Mars/Olympus", "from": "08:00", "to": "09:00"}});
    assert!(error(nowhere).starts_with("schedules.day.time_zone: \"Mars/Olympus\" is neither UTC nor"));
    for (name, value) in [("dwell_s", "0"), ("crossing_max_gap_m", "50001"), ("overspeed_hysteresis_kph", "-0.5")] {
        let mut config = json!({"zones": {"type": "FeatureCollection", "features": []}});
        config[name] = serde_json::from_str(value).unwrap();
        assert!(error(config).starts_with(&format!("{name}: {value} is not")), "{name}");
    }
}

#[test]
fn a_config_with_everything_is_accepted_and_null_is_as_nothing() {
    let config = json!({
        "zones": {"type": "FeatureCollection", "features": [
            {"type": "Feature", "id": "a", "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
             "properties": {"width_m": 20, "altitude_min_m": -5, "altitude_max_m": 50.5, "schedule": "day", "dwell_s": 60,
                            "speed_limit_kph": 50, "overspeed_min_s": 5, "overspeed_tolerance_kph": 3}},
            {"type": "Feature", "id": "b", "geometry": {"type": "MultiLineString", "coordinates": [[[0, 0], [1, 1]]]},
             "properties": {"width_m": 0, "altitude_min_m": null, "altitude_max_m": null, "schedule": null,
                            "dwell_s": null, "speed_limit_kph": null, "overspeed_min_s": null,
                            "overspeed_tolerance_kph": null}},
        ]},
        "without_altitude": "outside",
        "schedules": {"day": {"time_zone": "Europe/Warsaw", "days": ["mon", "fri"], "from": "08:00", "to": "24:00"}},
        "on_schedule_start": "silent", "on_schedule_end": "silent", "crossing": true, "crossing_max_gap_s": 60,
        "crossing_max_gap_m": 1000, "overspeed_min_s": 1, "overspeed_tolerance_kph": 2, "overspeed_hysteresis_kph": 1,
        "prefer": "each", "on_zone_change": "keep",
    });
    assert!(jsonschema::validator_for(&schema()).unwrap().is_valid(&config));
    let zones = Config::parse(&config.to_string()).unwrap().zones;
    let terms = zones.terms(0);
    assert_eq!((terms.altitudes, terms.schedule, terms.dwell_ms), (Some((-5.0, 50.5)), Some(0), Some(60_000)));
    assert!(terms.limit.is_some());
    assert_eq!(*zones.terms(1), Terms::default());
}

#[test]
fn beyond_the_schema_an_error_says_what_and_where() {
    let error = |config: &str| Config::parse(config).err().unwrap();
    let twice = config_of(&[square("a", 0.0, 0.0, 1.0), square("a", 5.0, 5.0, 1.0)], "");
    assert_eq!(error(&twice), "zones: more than one has the id \"a\"");
    let open = polygon(json!([[[0, 0], [1, 0], [1, 1], [0, 1]]])).to_string();
    assert_eq!(
        error(&open),
        "zones.features[0] (\"a\").geometry.coordinates[0]: the ring is not closed: its last corner is not its first"
    );
    let corners: Vec<[f64; 2]> = (0..=CORNERS_MAX).map(|n| [0.0, n as f64 * 1e-4]).collect();
    assert!(error(&polygon(json!([corners])).to_string()).contains("corners are more than"));
}

#[test]
fn an_area_over_the_180th_meridian_must_be_cut_there() {
    let uncut = json!([[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]);
    let error = |config: Value| Config::parse(&config.to_string()).err().unwrap();
    assert_eq!(
        error(polygon(json!([uncut]))),
        "zones.features[0] (\"a\").geometry.coordinates[0]: the edge from [179, 0] to [-179, 0] is longer than 180 \
         degrees of longitude: if the area lies over the 180th meridian, cut it there into a MultiPolygon; if it is \
         that wide, put a corner between"
    );
    let outer = json!([[-180, -10], [180, -10], [180, 10], [-180, 10], [-180, -10]]);
    assert!(error(polygon(json!([outer, uncut]))).contains("coordinates[1]: the edge"), "holes too");
    // One side cut, the other not.
    assert!(error(polygon(json!([[[180, 0], [-179, 0], [-179, 1], [180, 0]]]))).contains("the edge from [180, 0]"));
    for fine in [
        json!([outer]),
        json!([[[-180, -90], [180, -90], [180, -60], [0, -70], [-180, -60], [-180, -90]]]),
        json!([[[-180, 0], [0, 0], [0, 1], [-180, 1], [-180, 0]]]),
        json!([[[-100, 0], [0, 0], [100, 0], [100, 1], [0, 1], [-100, 1], [-100, 0]]]),
    ] {
        let config = polygon(fine).to_string();
        assert!(Config::parse(&config).is_ok(), "{config}");
    }
}

#[test]
fn unknown_members_of_geojson_are_passed_over_and_the_features_own_id_stands_first() {
    let config = json!({"zones": {
        "type": "FeatureCollection", "name": "ours", "crs": {"type": "name"}, "bbox": [0, 0, 1, 1],
        "features": [
            {"geometry": {"coordinates": [[[0, 0, 7.5], [1, 0, 7], [1, 1], [0, 0]]], "type": "Polygon", "bbox": [0, 0, 1, 1]},
             "properties": {"id": "other", "name": "depot", "tags": [1, {"a": null}]}, "id": 12, "type": "Feature"}
        ]
    }});
    assert!(jsonschema::validator_for(&schema()).unwrap().is_valid(&config));
    let zones = Config::parse(&config.to_string()).unwrap().zones;
    assert_eq!((zones.len(), zones.id(0)), (1, "12"));
}

#[test]
fn the_manifest_says_the_version_of_the_package() {
    let manifest: toml::Table = toml::from_str(include_str!("../../plugin.toml")).unwrap();
    assert_eq!(manifest["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(manifest["name"].as_str(), Some(env!("CARGO_PKG_NAME")));
}
