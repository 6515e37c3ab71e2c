//! What a config may be, and that the schema and the code agree on it.

use geofence::config::{Config, DURATION_S_MAX, EXIT_BUFFER_M_MAX, SCHEMA, Settings};
use geofence::feature_collection::{CORNERS_MAX, ID_BYTES_MAX, RADIUS_M_MAX};
use geofence::state::SLOTS;
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
    for field in ["initial_state", "exit_buffer_m", "min_inside_s", "min_outside_s", "max_accuracy_m"] {
        written[field] = fields[field]["default"].clone();
    }
    assert_eq!(Config::parse(&written.to_string()).unwrap().settings, Settings::default());
    assert_eq!(fields["exit_buffer_m"]["maximum"].as_f64(), Some(EXIT_BUFFER_M_MAX));
    assert_eq!(fields["min_inside_s"]["maximum"].as_f64(), Some(DURATION_S_MAX));
    assert_eq!(fields["min_outside_s"]["maximum"].as_f64(), Some(DURATION_S_MAX));
    assert_eq!(schema["$defs"]["id"]["oneOf"][0]["maxLength"].as_u64(), Some(ID_BYTES_MAX as u64));
    let circle = &schema["$defs"]["feature"]["allOf"][1]["then"]["properties"]["properties"]["properties"];
    assert_eq!(circle["radius_m"]["maximum"].as_f64(), Some(RADIUS_M_MAX));
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
    for config in wrong {
        assert!(!validator.is_valid(&config), "the schema accepts {config}");
        assert!(Config::parse(&config.to_string()).is_err(), "the rule accepts {config}");
    }
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
