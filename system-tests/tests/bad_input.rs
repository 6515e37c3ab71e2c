//! What is wrong is refused with a reason, counted, kept, and costs nothing else.

use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Programs, Semantics, admin};

const SEEN_WITHIN: Duration = Duration::from_secs(20);

fn fleet(directory: &Path) -> Result<Fleet> {
    Fleet::start(Programs::beside_this_test()?, directory, Setup::new(Semantics::Normal))
}

fn post(fleet: &Fleet, body: &str) -> Result<(u16, serde_json::Value)> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"])
        .args(["--user", &format!("fleet:{}", fleet.device_password())])
        .args(["--header", "Content-Type: application/json", "--data-binary", body])
        .arg(format!("http://{}/v1/readings", fleet.http()))
        .output()
        .context("start curl")?;
    let text = String::from_utf8(output.stdout)?;
    let (body, status) = text.rsplit_once('\n').context("curl wrote no status")?;
    Ok((status.parse()?, serde_json::from_str(body).with_context(|| format!("{status}: {body:?}"))?))
}

#[test]
fn refused_readings_come_with_index_and_reason_and_are_kept() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let fleet = fleet(scratch.path())?;
    let body = r#"[
        {"vehicle":"a","event_time":"2024-02-19T14:41:54Z","latitude":52.2,"longitude":21.0},
        {"vehicle":"a","event_time":"2024-02-1916:30:08","latitude":52.2,"longitude":21.0},
        {"vehicle":"a","event_time":"2099-01-01T00:00:00Z","latitude":52.2,"longitude":21.0},
        {"vehicle":"a","event_time":"2024-02-19T14:42:00Z","latitude":0,"longitude":0},
        {"vehicle":"a","event_time":"2024-02-19T14:42:01Z","latitude":95,"longitude":21.0},
        {"event_time":"2024-02-19T14:42:02Z","latitude":52.2,"longitude":21.0},
        {"vehicle":"a","latitude":52.2,"longitude":21.0},
        {"vehicle":"a","event_time":"2024-02-19T14:42:03Z","latitude":"north","longitude":21.0},
        {"vehicle":"a","event_time":"2024-02-19T14:41:54Z","latitude":52.2,"longitude":21.0},
        {"vehicle":"a","event_time":"2024-02-19T14:41:54Z","latitude":52.3,"longitude":21.0}
    ]"#;
    let (status, answer) = post(&fleet, body)?;
    assert_eq!(status, 202, "{answer}");
    assert_eq!((&answer["admitted"], &answer["repeats"]), (&1.into(), &1.into()), "{answer}");
    let refused: Vec<(u64, &str)> = answer["refused"]
        .as_array()
        .context("refused")?
        .iter()
        .filter_map(|r| Some((r["index"].as_u64()?, r["reason"].as_str()?)))
        .collect();
    let expected = [
        (1, "malformed_time"),
        (2, "future_clock"),
        (3, "null_position"),
        (4, "out_of_range"),
        (5, "missing_vehicle"),
        (6, "missing_time"),
        (7, "wrong_shape"),
        (9, "conflicting_repeat"),
    ];
    assert_eq!(refused, expected, "{answer}");

    let letters = fleet.run(fleet.drover().args(["dead-letters", "--edge", &format!("http://{}", fleet.admin())]))?;
    let metrics = admin::get(fleet.admin(), "/metrics")?;
    for (_, reason) in expected {
        assert!(letters.contains(reason), "{reason} is not among the dead letters:\n{letters}");
        assert!(metrics.contains(&format!("\"{reason}\"")), "{reason} is not counted:\n{metrics}");
    }
    fleet.stop()
}

#[test]
fn nonsense_over_http_is_a_problem_and_harms_nobody() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let fleet = fleet(scratch.path())?;
    for nonsense in
        ["{", "nonsense", "[1,2]", "{\"vehicle\":\"a\",\"event_time_ms\":1,\"latitude\":NaN,\"longitude\":1}"]
    {
        let (status, problem) = post(&fleet, nonsense)?;
        assert!((400..500).contains(&status), "{nonsense} got {status}: {problem}");
        assert!(problem["title"].is_string(), "{problem}");
    }
    let large = scratch.path().join("large.json");
    std::fs::write(&large, format!("[{}]", " ".repeat(300_000)))?;
    let (status, problem) = post(&fleet, &format!("@{}", large.display()))?;
    assert_eq!(status, 413, "{problem}");
    let letters = fleet.run(fleet.drover().args(["dead-letters", "--edge", &format!("http://{}", fleet.admin())]))?;
    assert!(letters.contains("too_large"), "{letters}");
    assert!(admin::get(fleet.admin(), "/metrics")?.contains("\"too_large\""));

    let good = r#"{"vehicle":"a","event_time":"2024-02-19T14:41:54Z","latitude":52.2,"longitude":21.0}"#;
    assert_eq!(post(&fleet, good)?.0, 202);
    fleet.stop()
}

#[test]
fn a_bad_plugin_or_config_is_refused_by_name_and_the_running_version_stays() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let fleet = fleet(scratch.path())?;
    let programs = Programs::beside_this_test()?;
    let good = scratch.path().join("good.json");
    std::fs::write(&good, r#"{"zones":{"type":"FeatureCollection","features":[]}}"#)?;
    fleet.deploy(&programs.geofence(), &good)?;

    let nothing = scratch.path().join("nothing.wasm");
    std::fs::write(&nothing, "this is no component")?;
    let core = scratch.path().join("core.wasm");
    std::fs::write(&core, b"\0asm\x01\0\0\0")?;
    for (file, expected) in [(&nothing, "component"), (&core, "component")] {
        refused(fleet.drover().args(["plugin", "upload"]).arg(file).output()?, expected);
    }
    let bad = scratch.path().join("bad.json");
    std::fs::write(&bad, r#"{"zones":{"type":"FeatureCollection","features":[]},"min_inside_s":"long","colour":1}"#)?;
    let answer = fleet
        .drover()
        .args(["deploy", "city-zones", "--plugin"])
        .arg(programs.geofence())
        .arg("--config")
        .arg(&bad)
        .output()?;
    refused(answer, "min_inside_s");
    let status = fleet.status()?;
    let deployments = &status["edges"][0]["deployments"];
    assert_eq!(deployments[0]["state"], "active", "{status}");
    assert_eq!(deployments[0]["revision"], 1, "{status}");
    fleet.stop()
}

fn refused(output: Output, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it was accepted");
    assert_eq!(output.status.code(), Some(3), "exit code of a refusal; it said: {said}");
    assert!(said.contains(expected), "it does not name {expected:?}: {said}");
}

#[test]
fn a_bad_config_file_is_answered_with_line_and_key() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::beside_this_test()?;
    for program in ["drover-edge", "drover-cloud"] {
        let path = scratch.path().join("bad.toml");
        std::fs::write(&path, "data_dir = \"x\"\ncolour = 3\n")?;
        let output = programs.command(program).arg("--config").arg(&path).arg("--check-config").output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{program}: {said}");
        assert!(said.contains("colour") && said.contains("line 2"), "{program}: {said}");
    }
    Ok(())
}

#[test]
fn a_bad_value_in_a_config_file_is_answered_with_file_key_and_what_is_allowed() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::beside_this_test()?;
    let sample = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cloud.sample.toml"))?;
    let path = scratch.path().join("cloud.toml");
    for (section, key, allowed) in [
        ("[actors]\nworkers = 257", "actors.workers", "0 to 256"),
        ("[observability]\ntrace_sample_ratio = 7.0", "observability.trace_sample_ratio", "0 to 1"),
        ("[observability]\nlevel = \"loud\"", "observability.level", "info"),
        ("[[edges]]\nname = \"depot-1\"\ntenants = []", "edges.tenants", "at least one tenant"),
    ] {
        let header = section.lines().next().unwrap_or_default();
        let without = sample.replacen(&format!("\n{header}\n"), "\n", 1);
        std::fs::write(&path, format!("{without}\n{section}\n"))?;
        let output = programs.command("drover-cloud").arg("--config").arg(&path).arg("--check-config").output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{section}: {said}");
        assert!(said.contains("cloud.toml") && said.contains(key) && said.contains(allowed), "{section}: {said}");
    }
    Ok(())
}

#[test]
fn an_edge_with_a_foreign_certificate_is_turned_away_and_keeps_buffering() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut fleet = fleet(scratch.path())?;
    fleet.stop_edge()?;
    let foreign = scratch.path().join("foreign");
    fleet.run(fleet.drover().arg("dev-certs").arg(&foreign).args(["--edge", "depot-1"]))?;
    for file in ["edge-depot-1.pem", "edge-depot-1.key"] {
        std::fs::copy(foreign.join(file), fleet.directory().join("certs").join(file))?;
    }
    fleet.start_edge()?;
    let good = r#"{"vehicle":"a","event_time":"2024-02-19T14:41:54Z","latitude":52.2,"longitude":21.0}"#;
    assert_eq!(post(&fleet, good)?.0, 202, "the edge takes readings all the same");
    let read = |name: &str| std::fs::read_to_string(fleet.directory().join(name)).unwrap_or_default();
    wait_for("a clear line in both logs", SEEN_WITHIN, || {
        let edge = read("edge.log").contains("does not know who signed this edge's certificate");
        let cloud = read("cloud.log").contains("the edge's certificate is not signed by the CA in cloud_ingest.ca");
        Ok((edge && cloud).then_some(()))
    })
    .with_context(|| format!("edge.log:\n{}\ncloud.log:\n{}", read("edge.log"), read("cloud.log")))?;
    fleet.stop()
}
