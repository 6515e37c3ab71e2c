//! Programs that we did not write publish readings and read events.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::{Programs, Semantics, programs, skipped};

const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
const LINES: usize = 4;

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn fleet_with_one_zone(directory: &Path) -> Result<Fleet> {
    let fleet = Fleet::start(Programs::beside_this_test()?, directory, Setup::new(Semantics::Plain))?;
    let rule = directory.join("rule.json");
    let square = r#"{"zones":{"type":"FeatureCollection","features":[{"type":"Feature","id":"square","properties":{},
        "geometry":{"type":"Polygon","coordinates":[[[20,50],[21,50],[21,51],[20,51],[20,50]]]}}]}}"#;
    std::fs::write(&rule, square)?;
    fleet.deploy(&Programs::beside_this_test()?.geofence(), &rule)?;
    Ok(fleet)
}

/// In and out of the square, `LINES` transitions from `start` on.
fn drive(start: i64) -> Vec<String> {
    (0..LINES as i64)
        .map(|i| {
            let longitude = if i % 2 == 0 { 20.5 } else { 21.5 };
            format!(r#"{{"event_time_ms":{},"latitude":50.5,"longitude":{longitude}}}"#, start + i * 1_000)
        })
        .collect()
}

fn feed(command: &mut Command, lines: &[String]) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn().context("start the publisher")?;
    child.stdin.take().context("its standard input")?.write_all(lines.join("\n").as_bytes())?;
    assert!(child.wait()?.success(), "{command:?}");
    Ok(())
}

#[test]
fn foreign_devices_publish_and_foreign_partners_read_the_same_bytes() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    let scratch = tempfile::tempdir()?;
    let mut fleet = fleet_with_one_zone(scratch.path())?;
    let mut vehicles = vec![];
    let port = fleet.mqtt().port().to_string();

    if Command::new("mosquitto_pub").arg("--version").stdout(Stdio::null()).status().is_ok() {
        let mut publish = Command::new("mosquitto_pub");
        publish.args(["-h", "127.0.0.1", "-p", &port, "-u", "fleet", "-P", fleet.device_password(), "-q", "1", "-l"]);
        publish.args(["-t", "drover/v1/demo/mosquitto/readings"]);
        feed(&mut publish, &drive(1_700_000_000_000))?;
        vehicles.push("mosquitto");
    } else {
        skipped::note("mosquitto_pub", "cargo xtask setup");
    }
    let python = programs::python(&programs);
    if let Some(python) = &python {
        for (vehicle, version) in [("paho3", "3"), ("paho5", "5")] {
            let topic = format!("drover/v1/demo/{vehicle}/readings");
            let mut publish = Command::new(python);
            publish.arg(client("publish.py"));
            publish.args(["127.0.0.1", &port, "fleet", fleet.device_password(), &topic, version]);
            feed(&mut publish, &drive(1_700_000_100_000))?;
            vehicles.push(vehicle);
        }
    } else {
        skipped::note("a Python with paho-mqtt and aioquic", "cargo xtask setup");
    }
    fleet.wait_until_delivered(DELIVERED_WITHIN)?;
    for vehicle in vehicles {
        let path = format!("/v1/events/stream?class=alerts&vehicle={vehicle}");
        let over_http2 = read_with_curl(&fleet, &path)?;
        assert_eq!(over_http2.iter().filter(|byte| **byte == b'\n').count(), LINES, "one alert a transition");
        if let Some(python) = &python {
            assert_eq!(read_with_aioquic(&fleet, python, &path)?, over_http2, "HTTP/3 and HTTP/2 say the same");
        }
    }
    fleet.stop()
}

/// The first lines that curl receives over HTTP/2.
fn read_with_curl(fleet: &Fleet, path: &str) -> Result<Vec<u8>> {
    let mut child = Command::new("curl")
        .args(["--silent", "--show-error", "--no-buffer", "--http2", "--max-time", "20", "--fail"])
        .args(["--write-out", "%{stderr}%{http_version}"])
        .arg("--cacert")
        .arg(fleet.directory().join("certs/ca.pem"))
        .args(["--header", &format!("Authorization: Bearer {}", fleet.api_key())])
        .arg(format!("https://localhost:{}{path}", fleet.serving().port()))
        .stdout(Stdio::piped())
        .spawn()
        .context("start curl")?;
    let mut reader = BufReader::new(child.stdout.take().context("curl's output")?);
    let mut received = Vec::new();
    for _ in 0..LINES {
        reader.read_until(b'\n', &mut received)?;
    }
    child.kill()?;
    child.wait()?;
    Ok(received)
}

fn read_with_aioquic(fleet: &Fleet, python: &Path, path: &str) -> Result<Vec<u8>> {
    let mut child = Command::new(python)
        .arg(client("stream_http3.py"))
        .args(["localhost", &fleet.serving().port().to_string(), path, fleet.api_key()])
        .arg(fleet.directory().join("certs/ca.pem"))
        .arg(LINES.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .context("start aioquic")?;
    let mut received = Vec::new();
    child.stdout.take().context("its output")?.read_to_end(&mut received)?;
    assert!(child.wait()?.success());
    Ok(received)
}
