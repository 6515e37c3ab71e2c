//! Starts edge nodes for tests.

use crate::gated_log::GatedLog;
use drover_edge::config::Config;
use drover_edge::node::{Addresses, Node};
use event_log::{EventLog, MemoryLog, Offset, Stream};
use fleet_model::{Reading, Sequence};
use fleet_wire::Frame;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vehicle_runtime::Logs;
use vehicle_runtime::dead_letter::{self, DeadLetter};

/// SHA-256 of "password".
const PASSWORD_SHA256: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

pub(crate) const FIX: &str = r#""latitude":52.2,"longitude":21.0"#;

/// A config with free ports. Users: `demo` (its whole tenant), `bus` (vehicle `bus-1` only); password "password".
pub(crate) fn config(dir: &Path, more: &str) -> Config {
    let text = format!(
        r#"
data_dir = "data"
edge = "depot-1"
drain_s = 60
[device_link.mqtt]
listen = "127.0.0.1:0"
[device_link.http]
listen = "127.0.0.1:0"
[[device_link.credentials]]
username = "demo"
password_sha256 = "{PASSWORD_SHA256}"
tenant = "demo"
[[device_link.credentials]]
username = "bus"
password_sha256 = "{PASSWORD_SHA256}"
tenant = "demo"
vehicle = "bus-1"
[admin]
listen = "127.0.0.1:0"
{more}
"#
    );
    Config::parse(&text, &dir.join("edge.toml")).unwrap()
}

/// A running edge node with logs that the test controls.
pub(crate) struct Edge {
    pub(crate) addresses: Addresses,
    pub(crate) telemetry: Arc<GatedLog>,
    pub(crate) events: Arc<GatedLog>,
    shutdown: Option<oneshot::Sender<()>>,
    ended: JoinHandle<anyhow::Result<()>>,
    _dir: TempDir,
}

impl Edge {
    /// With empty logs.
    pub(crate) async fn start() -> Self {
        Self::start_on(Arc::new(MemoryLog::new()), Arc::new(MemoryLog::new()), "").await
    }

    pub(crate) async fn start_on(telemetry: Arc<dyn EventLog>, events: Arc<dyn EventLog>, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let (telemetry, events) = (GatedLog::new(telemetry), GatedLog::new(events));
        let logs = Logs { telemetry: telemetry.clone(), events: events.clone() };
        let node = Node::start(config(dir.path(), more), logs, None).await.unwrap();
        let addresses = node.addresses().clone();
        let (shutdown, asked) = oneshot::channel::<()>();
        let ended = tokio::spawn(node.run_until(async {
            let _ = asked.await;
        }));
        Self { addresses, telemetry, events, shutdown: Some(shutdown), ended, _dir: dir }
    }

    /// Ends well.
    pub(crate) async fn end(mut self) {
        self.shutdown.take();
        self.ended.await.unwrap().unwrap();
    }

    /// Stops in the middle, without a last word to anybody.
    pub(crate) async fn crash(self) {
        self.ended.abort();
        let _ = self.ended.await;
    }

    /// Waits for an end that nobody asked for.
    pub(crate) async fn failure(self) -> String {
        format!("{:#}", self.ended.await.unwrap().unwrap_err())
    }

    /// Waits until the log holds `next` readings.
    pub(crate) async fn durable(&self, next: Offset) {
        self.telemetry.subscribe(Stream::TELEMETRY).wait_for(|offset| *offset >= next).await.unwrap();
    }

    /// Every reading in the log, with vehicle and sequence.
    pub(crate) fn readings(&self) -> Vec<(String, Sequence, Reading)> {
        readings_of(&*self.telemetry)
    }

    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter> {
        let letters = dead_letter::read(&*self.events, 0, 10_000).unwrap();
        letters.into_iter().map(|(_, letter)| letter).collect()
    }
}

pub(crate) fn readings_of(log: &dyn EventLog) -> Vec<(String, Sequence, Reading)> {
    let mut readings = Vec::new();
    let mut at = 0;
    while at < log.bounds(Stream::TELEMETRY).next {
        for block in log.read(Stream::TELEMETRY, at, 1 << 20).unwrap() {
            let frame = Frame::parse(block.bytes).unwrap().into_readings().unwrap();
            assert_eq!((frame.header().first_offset, frame.header().epoch), (at, log.epoch()));
            let archived = frame.block();
            for record in archived.readings.iter() {
                let vehicle = archived.vehicles[record.vehicle_index()].vehicle.to_string();
                readings.push((vehicle, record.sequence(), record.reading()));
            }
            at += u64::from(block.count);
        }
    }
    readings
}
