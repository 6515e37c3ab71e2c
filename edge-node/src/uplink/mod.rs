//! The edge's end of the uplink: carries both logs to the cloud, and deployments and plugins back.
//!
//! ```text
//!  telemetry log --tail--> class_stream --\                        /--> control_stream --> deployments
//!                                          >-- connection (QUIC) --<
//!  events log ----tail--> class_stream --/                         \--> fetch_plugin
//! ```
//! It tails the logs and never holds anything that is not in them: without the cloud the logs grow, and when it is
//! there again each stream goes on where the cloud says it stands. A block of the log is the frame that is sent.

mod class_stream;
mod config;
mod connection;
mod control_stream;
mod handle;
mod messages;
pub mod metrics;
mod progress;
mod reason;

pub use config::{UplinkConfig, UplinkConfigError};
pub use handle::{ConnectionState, FetchError, UplinkHandle, UplinkLink, UplinkState, link};

use connection::SessionError;
use event_log::Stream;
use fleet_model::EventClass;
use fleet_wire::backoff::Backoff;
use fleet_wire::control::{Code, ToEdge};
use progress::Progress;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::Logs;

/// A connection that lasted this long was a good one: the next attempt does not wait long.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// How often state and lag are published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// The same complaint is repeated this often.
const COMPLAIN_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// What goes to the cloud, a stream each.
type Classes = [Arc<Progress>; 4];

/// Connects to the cloud, again and again, until `shutdown`. When it returns nothing of it holds the logs any more.
pub async fn run(config: UplinkConfig, logs: Logs, link: UplinkLink, shutdown: CancellationToken) {
    let link = Arc::new(link);
    let classes: Classes = [
        Arc::new(Progress::new(EventClass::Telemetry, Stream::TELEMETRY, logs.telemetry.clone())),
        Arc::new(Progress::new(EventClass::Alerts, Stream::ALERTS, logs.events.clone())),
        Arc::new(Progress::new(EventClass::Billing, Stream::BILLING, logs.events.clone())),
        Arc::new(Progress::new(EventClass::Audit, Stream::AUDIT, logs.events.clone())),
    ];
    let mut tasks = JoinSet::new();
    tasks.spawn(publish(link.clone(), classes.clone()));

    let mut backoff =
        Backoff::new(Duration::from_millis(config.reconnect_ms_first), Duration::from_millis(config.reconnect_ms_max));
    let mut complaint = Complaint::default();
    loop {
        link.set_connection(ConnectionState::Connecting);
        let acked_before = classes.each_ref().map(|class| class.acked());
        let started = Instant::now();
        let error = session(&config, &link, &classes, &shutdown).await;
        if shutdown.is_cancelled() {
            break;
        }
        let advanced = classes.each_ref().map(|class| class.acked()) != acked_before;
        if !error.is_refusal() && (advanced || started.elapsed() >= GOOD_AFTER) {
            backoff.succeeded();
            complaint = Complaint::default();
        }
        metrics::count_connection_failed();
        let wait = backoff.failed(rand::random());
        let text = error.to_string();
        if complaint.is_new(&text) {
            tracing::warn!(cloud = %config.cloud, "no connection to the cloud: {text}; trying again, readings are kept in the log");
        } else {
            tracing::debug!(cloud = %config.cloud, wait_ms = wait.as_millis() as u64, "still no connection: {text}");
        }
        link.set_connection(ConnectionState::Waiting { reason: text });
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(wait) => (),
        }
    }
    link.set_connection(ConnectionState::Closed);
    tasks.shutdown().await;
    for class in &classes {
        class.reads.close();
        class.reads.wait().await;
    }
}

/// One connection from handshake to end. Heeds `shutdown` itself, so that its tasks have ended when it returns.
async fn session(
    config: &UplinkConfig,
    link: &Arc<UplinkLink>,
    classes: &Classes,
    shutdown: &CancellationToken,
) -> SessionError {
    let cloud = tokio::select! {
        connected = connection::connect(config) => match connected {
            Ok(cloud) => cloud,
            Err(error) => return error,
        },
        () = shutdown.cancelled() => return SessionError::ShuttingDown,
    };
    let mut tasks = JoinSet::new();
    let error = tokio::select! {
        error = talk(config, &cloud.connection, link, classes, &mut tasks) => error,
        () = shutdown.cancelled() => SessionError::ShuttingDown,
    };
    tasks.shutdown().await;
    link.set_quic(None);
    cloud
        .close(match error {
            SessionError::Protocol(_) => Code::Protocol,
            _ => Code::ShuttingDown,
        })
        .await;
    error
}

async fn talk(
    config: &UplinkConfig,
    connection: &quinn::Connection,
    link: &Arc<UplinkLink>,
    classes: &Classes,
    tasks: &mut JoinSet<SessionError>,
) -> SessionError {
    let epochs = classes.iter().map(|class| (class.class, class.log.epoch())).collect();
    let mut control = match control_stream::open(connection, link, epochs).await {
        Ok(control) => control,
        Err(error) => return error,
    };
    let software = match control.greeting().await {
        Ok(ToEdge::Welcome { software, .. }) => software,
        Ok(ToEdge::Refused { reason }) => return SessionError::Refused(reason),
        Ok(_) => return SessionError::Protocol("the cloud spoke before it said welcome".into()),
        Err(error) => return error,
    };
    tracing::info!(cloud = %connection.remote_address(), software, "connected to the cloud");
    link.set_connection(ConnectionState::Connected { cloud: connection.remote_address(), software });
    link.set_quic(Some(connection.clone()));

    for class in classes {
        let limits = config.limits(class.class);
        let backoff = Backoff::new(
            Duration::from_millis(config.reconnect_ms_first),
            Duration::from_millis(config.reconnect_ms_max),
        );
        tasks.spawn(class_stream::keep_open(connection.clone(), class.clone(), limits, backoff));
    }
    tasks.spawn(control.run(link.clone(), classes.clone()));
    let ended = tasks.join_next().await;
    // Whatever ended first, the connection's own reason says more when there is one.
    match (connection.close_reason(), ended) {
        (Some(reason), _) => SessionError::Lost(reason),
        (None, Some(Ok(error))) => error,
        (None, Some(Err(panic))) => SessionError::Protocol(format!("a task of the uplink ended: {panic}")),
        (None, None) => SessionError::Protocol("nothing was started".into()),
    }
}

/// Publishes how far each class is, for the status page, the cloud and the metrics.
async fn publish(link: Arc<UplinkLink>, classes: Classes) {
    let mut tick = tokio::time::interval(PUBLISH_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        metrics::record_connected(link.is_connected());
        let status = |class: &Arc<Progress>| {
            let status = class.status();
            if class.is_known() {
                metrics::record_lag(&status);
            }
            status
        };
        link.set_streams(classes.iter().map(status).collect());
    }
}

/// Says a thing once, not at every attempt.
#[derive(Debug, Default)]
struct Complaint(Option<(String, Instant)>);

impl Complaint {
    fn is_new(&mut self, text: &str) -> bool {
        let said = self.0.as_ref().is_some_and(|(last, at)| last == text && at.elapsed() < COMPLAIN_AGAIN_AFTER);
        if !said {
            self.0 = Some((text.to_owned(), Instant::now()));
        }
        !said
    }
}
