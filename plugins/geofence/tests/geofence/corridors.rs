//! Corridors and altitudes. A thousandth of a degree at the equator is 111.2 m.

use plugin_sdk::{Reading, kind};

use crate::{config_of, expected, feature, reading, square_with, told};

#[test]
fn a_vehicle_enters_and_leaves_a_corridor() {
    let road = feature("road", r#""width_m":100"#, "LineString", "[[0,0],[0.1,0],[0.1,0.1]]");
    let readings = [(0, 0.05, 0.001), (1, 0.05, 0.0004), (2, 0.1003, 0.05), (3, 0.1005, 0.05)]
        .map(|(s, lon, lat)| reading(0, s * 1_000, lon, lat));
    assert_eq!(
        told(&config_of(&[road], ""), &readings),
        expected(&[(kind::ENTERED, "road", 1), (kind::EXITED, "road", 3)])
    );
}

#[test]
fn a_corridor_of_several_lines_is_one_zone_and_has_a_buffer_as_others() {
    let roads = feature("roads", r#""width_m":100"#, "MultiLineString", "[[[0,0],[0.1,0]],[[0,0.5],[0.1,0.5]]]");
    let readings = [(0, 0.05, 0.0), (1, 0.05, 0.5), (2, 0.05, 0.501), (3, 0.05, 0.503)]
        .map(|(s, lon, lat)| reading(0, s * 1_000, lon, lat));
    assert_eq!(
        told(&config_of(&[roads], r#","exit_buffer_m":100"#), &readings),
        expected(&[(kind::ENTERED, "roads", 0), (kind::EXITED, "roads", 3)])
    );
}

#[test]
fn a_zone_reaches_from_its_floor_to_its_ceiling() {
    let at = |s: i64, altitude: f32| Reading { altitude, ..reading(0, s * 1_000, 0.5, 0.5) };
    let readings = [at(0, 99.0), at(1, 100.0), at(2, 200.0), at(3, 200.5), at(4, f32::NAN), at(5, 99.0)];
    let bridge = square_with("bridge", r#""altitude_min_m":100,"altitude_max_m":200"#, 0.0, 0.0, 1.0);
    let inside = [
        (kind::ENTERED, "bridge", 1),
        (kind::EXITED, "bridge", 3),
        (kind::ENTERED, "bridge", 4),
        (kind::EXITED, "bridge", 5),
    ];
    assert_eq!(told(&config_of(std::slice::from_ref(&bridge), ""), &readings), expected(&inside));
    let outside = config_of(std::slice::from_ref(&bridge), r#","without_altitude":"outside""#);
    assert_eq!(told(&outside, &readings), expected(&inside[..2]));
    // The buffer is one of position: too high is out.
    assert_eq!(told(&config_of(&[bridge], r#","exit_buffer_m":500"#), &readings), expected(&inside));
    let floor = square_with("hill", r#""altitude_min_m":100,"altitude_max_m":null"#, 0.0, 0.0, 1.0);
    assert_eq!(
        told(&config_of(&[floor], ""), &readings),
        expected(&[(kind::ENTERED, "hill", 1), (kind::EXITED, "hill", 5)])
    );
}
