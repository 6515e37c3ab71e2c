//! Clients that are not ours: curl over HTTP/2 and aioquic over HTTP/3.

use crate::client::Version;
use crate::cloud::{Cloud, DEMO_KEY};
use crate::skipped;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Reads the first N lines of a stream; `system-tests` has it.
const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../system-tests/tests/clients/stream_http3.py");

/// The python of the virtual environment that `cargo xtask setup` makes.
fn python() -> Option<PathBuf> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let python = target.join("setup/python/bin/python");
    let found = python.exists().then_some(python);
    if found.is_none() {
        skipped::note("a Python with aioquic", "cargo xtask setup");
    }
    found
}

fn pem(cloud: &Cloud) -> PathBuf {
    let path = cloud.data_dir.join("cloud.pem");
    std::fs::write(&path, &cloud.certificate_pem).unwrap();
    path
}

async fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(crate::client::PATIENCE, command.output()).await.unwrap().ok()
}

#[tokio::test]
async fn aioquic_over_http3_and_curl_over_http2_read_what_our_client_reads() {
    let cloud = Cloud::start().await;
    cloud.append_many(60).await;
    let ours = cloud.get(Version::Http3, "/v1/events/stream").send().await.lines(30).await;
    let (port, ca) = (cloud.address.port().to_string(), pem(&cloud));
    let ca = ca.to_str().unwrap();
    if let Some(python) = python() {
        let arguments = [READER, "localhost", &port, "/v1/events/stream", DEMO_KEY, ca, "30"];
        let read = run(python, &arguments).await.unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        assert_eq!(read.stdout, ours);
    }
    let (url, key) =
        (format!("https://localhost:{port}/v1/events/stream"), format!("Authorization: Bearer {DEMO_KEY}"));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http2", "--no-buffer", "--max-time", "60", "--cacert", ca, "-H", &key]);
    match curl.arg(&url).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn() {
        Ok(mut curl) => {
            let mut read = vec![0; ours.len()];
            let mut stdout = curl.stdout.take().unwrap();
            tokio::time::timeout(crate::client::PATIENCE, stdout.read_exact(&mut read)).await.unwrap().unwrap();
            assert_eq!(read, ours);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => skipped::note("curl", "cargo xtask setup"),
        Err(error) => panic!("{error}"),
    }
}
