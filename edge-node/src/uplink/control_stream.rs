//! The control stream: hello, then status and reports of rules one way and deployments the other.

use super::Classes;
use super::connection::SessionError;
use super::handle::UplinkLink;
use super::messages;
use fleet_model::EventClass;
use fleet_wire::control::{self, Hello, StreamOpen, ToCloud, ToEdge};
use fleet_wire::frame::RECORD_VERSION;
use quinn::{Connection, RecvStream, SendStream};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vehicle_runtime::ReportsProgress;

/// The cloud answers hello within this time.
const GREETING_DEADLINE: Duration = Duration::from_secs(10);
/// The cloud hears from us at least this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// And at most this often.
const STATUS_GAP: Duration = Duration::from_millis(100);
/// What rules used is told this often; what they logged with every status.
const USAGE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct ControlStream {
    send: SendStream,
    recv: RecvStream,
}

/// Opens it and says who we are.
pub(super) async fn open(
    connection: &Connection,
    link: &UplinkLink,
    epochs: BTreeMap<EventClass, u64>,
) -> Result<ControlStream, SessionError> {
    let (mut send, recv) = connection.open_bi().await.map_err(SessionError::Lost)?;
    let hello = Hello {
        protocol: control::PROTOCOL,
        edge: link.edge.to_string(),
        software: link.software.clone(),
        records: vec![RECORD_VERSION],
        epochs,
    };
    messages::write(&mut send, &StreamOpen::Control(hello)).await?;
    Ok(ControlStream { send, recv })
}

impl ControlStream {
    /// What the cloud says to hello.
    pub(super) async fn greeting(&mut self) -> Result<ToEdge, SessionError> {
        let answer = messages::read(&mut self.recv, control::OPENING_LEN_MAX);
        match tokio::time::timeout(GREETING_DEADLINE, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(SessionError::Overdue("the cloud did not answer hello")),
        }
    }

    /// Both directions, until the stream ends.
    pub(super) async fn run(self, link: Arc<UplinkLink>, classes: Classes) -> SessionError {
        let Self { mut send, mut recv } = self;
        let ended = tokio::try_join!(send_status(&mut send, &link, &classes), receive(&mut recv, &link));
        match ended {
            Err(error) => error,
        }
    }
}

async fn send_status(send: &mut SendStream, link: &UplinkLink, classes: &Classes) -> Result<Infallible, SessionError> {
    let mut changes = link.status.clone();
    let mut told = ReportsProgress::default();
    let mut usage_told: Option<Instant> = None;
    loop {
        let mut status = changes.borrow_and_update().clone();
        status.software.clone_from(&link.software);
        status.streams = classes.iter().filter(|class| class.is_known()).map(|class| class.status()).collect();
        messages::write(send, &ToCloud::Status(status)).await?;
        if let Some(reports) = &link.reports {
            while let Some(lines) = reports.lines(&mut told) {
                messages::write(send, &ToCloud::PluginLines(lines)).await?;
            }
            if usage_told.is_none_or(|told| told.elapsed() >= USAGE_INTERVAL) {
                usage_told = Some(Instant::now());
                while let Some(usage) = reports.usage(&mut told) {
                    messages::write(send, &ToCloud::PluginUsage(usage)).await?;
                }
            }
        }
        tokio::time::sleep(STATUS_GAP).await;
        tokio::select! {
            () = tokio::time::sleep(STATUS_INTERVAL - STATUS_GAP) => (),
            // When nobody reports any more the interval goes on alone.
            Ok(()) = changes.changed() => (),
        }
    }
}

async fn receive(recv: &mut RecvStream, link: &UplinkLink) -> Result<Infallible, SessionError> {
    loop {
        match messages::read(recv, control::DEPLOYMENTS_LEN_MAX).await? {
            ToEdge::Deployments(set) => {
                tracing::info!(
                    generation = set.generation,
                    deployments = set.deployments.len(),
                    "deployments received"
                );
                link.deployments.send_replace(Some(set));
            }
            ToEdge::Refused { reason } => return Err(SessionError::Refused(reason)),
            ToEdge::Welcome { .. } | ToEdge::Unknown => (),
        }
    }
}
