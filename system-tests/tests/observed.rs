//! A reading's way is one trace, from the device link to the partner, in a collector that we did not write.

use anyhow::Result;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use system_tests::fleet::{Fleet, Setup};
use system_tests::process::wait_for;
use system_tests::{Process, Programs, Semantics, admin, programs};

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
        println!("skipped: there is no OTLP collector (rotel)");
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
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), setup)?;
    let summary = scratch.path().join("summary.json");
    fleet.start_replay(&["--simulate", "5", "--for", "2s"], &summary)?.wait(DELIVERED_WITHIN)?;
    fleet.wait_until_delivered(DELIVERED_WITHIN)?;
    let (metrics_of_edge, metrics_of_cloud) =
        (admin::get(fleet.admin(), "/metrics")?, fleet.run(&mut curl_metrics(&fleet))?);
    for (who, text) in [("edge", metrics_of_edge), ("cloud", metrics_of_cloud)] {
        assert!(text.lines().filter(|line| line.starts_with("drover_")).count() > 5, "{who} says little:\n{text}");
    }
    fleet.stop()?;

    let spans = ["device_link.publish", "cloud_ingest.frame"];
    wait_for("the spans of both programs", COLLECTED_WITHIN, || {
        collector.check_alive()?;
        let text = std::fs::read_to_string(&log)?;
        Ok(spans.iter().all(|span| text.contains(span)).then_some(()))
    })?;
    Ok(())
}

fn curl_metrics(fleet: &Fleet) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(fleet.directory().join("certs/ca.pem"));
    command.arg(format!("https://localhost:{}/metrics", fleet.serving().port()));
    command
}
