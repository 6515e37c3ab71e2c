//! The control stream after hello: status and reports of rules in, deployments out.

use super::connection::Shared;
use super::messages::{self, StreamError};
use super::registry::Connected;
use fleet_model::TenantId;
use fleet_wire::control::{self, EncodedSet, ToCloud};
use quinn::{RecvStream, SendStream};
use std::convert::Infallible;
use std::sync::Arc;

/// Both directions, until the stream ends; answers why.
pub(super) async fn run(
    (mut send, mut recv): (SendStream, RecvStream),
    shared: Arc<Shared>,
    connected: Arc<Connected>,
) -> String {
    let ended =
        tokio::try_join!(push_deployments(&mut send, &shared, &connected), receive(&mut recv, &shared, &connected));
    match ended {
        Err(error) => format!("control stream: {error}"),
    }
}

/// The set at once, then what changes for this edge. All edges are sent the same bytes.
async fn push_deployments(
    send: &mut SendStream,
    shared: &Shared,
    connected: &Connected,
) -> Result<Infallible, StreamError> {
    let mut deployments = shared.deployments.clone();
    let mut sent: Option<EncodedSet> = None;
    loop {
        let set = deployments.borrow_and_update().only(|spec| connected.is_for(spec));
        if !sent.as_ref().is_some_and(|sent| sent.is_same(&set)) {
            messages::write_set(send, &set, control::DEPLOYMENTS_LEN_MAX).await?;
            sent = Some(set);
        }
        if deployments.changed().await.is_err() {
            // Nobody will change them any more.
            std::future::pending::<()>().await;
        }
    }
}

async fn receive(recv: &mut RecvStream, shared: &Shared, connected: &Connected) -> Result<Infallible, StreamError> {
    let may_speak_for = |tenant: &TenantId| connected.tenants.has(tenant);
    loop {
        match messages::read(recv, control::MESSAGE_LEN_MAX).await? {
            ToCloud::Status(status) => connected.status(status),
            ToCloud::PluginUsage(report) => {
                let taken = shared.plugin_reports.take_usage(&connected.edge, report, may_speak_for).await;
                if let Err(error) = taken {
                    // Its next change or connection brings the sums again.
                    tracing::error!(edge = %connected.edge, %error, "what its rules used was not stored");
                }
            }
            ToCloud::PluginLines(report) => shared.plugin_reports.take_lines(&connected.edge, report, may_speak_for),
            ToCloud::Unknown => (),
        }
    }
}
