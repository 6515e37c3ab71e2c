//! Logs that fail, and logs that grow at a bad moment.

use crate::certificates::Authority;
use crate::odd_log::OddLog;
use crate::world::{Cloud, Edge, append_alerts, append_readings, memory, reaches, readings, uplink_config};
use event_log::{Append, Commit, EventLog, MemoryLog, Stream};
use std::sync::Arc;
use vehicle_runtime::Logs;

/// A cloud that went on would refuse every frame for ever and still look alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_whose_log_has_failed_stops_and_says_so() {
    let authority = Authority::new();
    for class in ["telemetry", "alerts"] {
        let odd = Arc::new(OddLog::default());
        let logs = match class {
            "telemetry" => Logs { telemetry: odd.clone(), ..memory() },
            _ => Logs { events: odd.clone(), ..memory() },
        };
        let cloud = Cloud::start(&authority, logs).await;
        let edge = Edge::start(&authority, memory(), cloud.address);
        append_readings(&edge.logs, 10).await;
        append_alerts(&edge.logs, 1).await;
        reaches("telemetry, while all is well", &cloud.logs.telemetry, Stream::TELEMETRY, 10).await;
        reaches("alerts, while all is well", &cloud.logs.events, Stream::ALERTS, 1).await;
        odd.break_down();
        append_readings(&edge.logs, 10).await;
        append_alerts(&edge.logs, 1).await;
        let said = cloud.fails().await.to_string();
        for words in ["the log failed and accepts nothing more", "input/output error", class, "Start the cloud again"] {
            assert!(said.contains(words), "{words:?} in {said:?}");
        }
        edge.stop().await;
    }
}

/// The last record before a quiet night was sent in the morning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_comes_while_a_stream_is_opened_is_sent_at_once() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let odd = OddLog::before_subscribe(|log: &MemoryLog| {
        let append = Append { stream: Stream::TELEMETRY, count: 1, bytes: readings(log.epoch(), 0, 1), source: None };
        drop(log.submit(Commit { appends: vec![append], ..Commit::default() }));
    });
    let config = uplink_config(&authority, &authority.issue("depot-1"), cloud.address);
    let edge = Edge::start_with(config, Logs { telemetry: Arc::new(odd), ..memory() });
    reaches("the record", &cloud.logs.telemetry, Stream::TELEMETRY, 1).await;
    edge.stop().await;
    cloud.stop().await;
}
