//! A reading's way is one trace, from the device link to the partner, in a collector that we did not write.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use system_tests::alerts::Class;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Process, Programs, Semantics, admin, programs, skipped};

const COLLECTED_WITHIN: Duration = Duration::from_secs(60);
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// rotel's program, from the environment that setup makes.
fn collector(programs: &Programs) -> Option<PathBuf> {
    let library = programs::python(programs)?.parent()?.parent()?.join("lib");
    let pythons = std::fs::read_dir(library).ok()?.flatten();
    pythons.map(|python| python.path().join("site-packages/rotel/rotel-agent")).find(|path| path.exists())
}

/// An address that was free a moment ago: the collector cannot say which port it took.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[test]
fn a_reading_is_one_trace_from_device_to_partner_in_a_foreign_collector() -> Result<()> {
    let programs = Programs::beside_this_test()?;
    let Some(collector) = collector(&programs) else {
        skipped::note("an OTLP collector (rotel)", "cargo xtask setup");
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let (http, grpc) = (free_address()?, free_address()?);
    let log = scratch.path().join("collector.log");
    let mut command = Command::new(collector);
    command.args(["start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]);
    command.args(["--otlp-http-endpoint", &http.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()]);
    let mut collector = Process::start("rotel", &mut command, &log)?;
    wait_for("the collector's start", COLLECTED_WITHIN, || {
        collector.check_alive()?;
        Ok(std::net::TcpStream::connect(http).ok())
    })?;

    let setup = Setup { collector: Some(http), ..Setup::new(Semantics::Normal) };
    let fleet = Fleet::start(programs.clone(), scratch.path(), setup)?;
    let rule = scratch.path().join("rule.json");
    let everywhere = r#"{"type":"Feature","id":"everywhere","properties":{"radius_m":1000},
        "geometry":{"type":"Point","coordinates":[21.0,52.2]}}"#;
    std::fs::write(&rule, format!(r#"{{"zones":{{"type":"FeatureCollection","features":[{everywhere}]}}}}"#))?;
    fleet.deploy(&programs.geofence(), &rule)?;
    let alerts = scratch.path().join("alerts.ndjson");
    let mut partner = fleet.follow(Class::Alerts, &alerts)?;
    let reading = r#"{"vehicle":"a","event_time":"2024-02-19T14:41:54Z","latitude":52.2,"longitude":21.0}"#;
    fleet.run(&mut post(&fleet, reading))?;
    wait_for("the partner's alert", DELIVERED_WITHIN, || {
        partner.check_alive()?;
        Ok((!std::fs::read_to_string(&alerts)?.is_empty()).then_some(()))
    })?;
    partner.interrupt(DELIVERED_WITHIN)?;
    let (metrics_of_edge, metrics_of_cloud) =
        (admin::get(fleet.admin(), "/metrics")?, fleet.run(&mut curl_metrics(&fleet))?);
    for (who, text) in [("edge", metrics_of_edge), ("cloud", metrics_of_cloud)] {
        assert!(text.lines().filter(|line| line.starts_with("drover_")).count() > 5, "{who} says little:\n{text}");
    }
    fleet.stop()?;

    wait_for("one trace through both programs to the partner", COLLECTED_WITHIN, || {
        collector.check_alive()?;
        let traces = traces(&std::fs::read_to_string(&log)?);
        let whole = [
            ("drover-edge", "device_link.publish"),
            ("drover-edge", "vehicle.apply"),
            ("drover-cloud", "vehicle.apply"),
            ("drover-cloud", "serving.deliver"),
        ];
        let is_whole = |spans: &BTreeSet<(String, String)>| {
            whole.iter().all(|(service, span)| spans.contains(&((*service).to_owned(), (*span).to_owned())))
        };
        Ok(traces.values().any(is_whole).then_some(()))
    })
    .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())
}

/// The (service, span) pairs of each trace id in what the collector printed.
fn traces(log: &str) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let (mut service, mut trace) = (String::new(), String::new());
    let mut traces: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for line in log.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("-> service.name: Str(") {
            service = name.trim_end_matches(')').to_owned();
        } else if let Some(id) = line.strip_prefix("Trace ID       : ") {
            trace = id.to_owned();
        } else if let Some(span) = line.strip_prefix("Name           : ") {
            traces.entry(trace.clone()).or_default().insert((service.clone(), span.to_owned()));
        }
    }
    traces
}

fn post(fleet: &Fleet, reading: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--user", &format!("fleet:{}", fleet.device_password())]);
    command.args(["--header", "Content-Type: application/json", "--data-binary", reading]);
    command.arg(format!("http://{}/v1/readings", fleet.http()));
    command
}

fn curl_metrics(fleet: &Fleet) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(fleet.directory().join("certs/ca.pem"));
    command.arg(format!("https://localhost:{}/metrics", fleet.serving().port()));
    command
}
