//! A plugin's bytes for an edge.

use super::connection::{Shared, reset};
use super::messages;
use super::registry::Connected;
use bytes::Bytes;
use fleet_wire::control::{Code, DeploymentSpec, MESSAGE_LEN_MAX, PLUGIN_LEN_MAX, PluginReply};
use quinn::{RecvStream, SendStream};
use std::sync::Arc;

/// Behind acknowledgements and deployments.
const PRIORITY: i32 = -1;

pub(super) async fn run(
    (mut send, mut recv): (SendStream, RecvStream),
    hash: String,
    shared: Arc<Shared>,
    connected: Arc<Connected>,
) {
    let _ = send.set_priority(PRIORITY);
    let found = find(&hash, &shared, &connected).await;
    let (reply, bytes) = match found {
        Ok(bytes) => (PluginReply::Found { len: bytes.len() as u64 }, bytes),
        Err(reason) => {
            tracing::warn!(edge = %connected.edge, hash, "an edge asked for a plugin that it does not get: {reason}");
            (PluginReply::Refused { reason }, Bytes::new())
        }
    };
    let sent = async {
        messages::write(&mut send, &reply, MESSAGE_LEN_MAX).await?;
        send.write_chunk(bytes).await?;
        Ok::<_, messages::StreamError>(())
    };
    match sent.await {
        Ok(()) => {
            let _ = send.finish();
        }
        Err(_) => reset(&mut send, &mut recv, Code::Done),
    }
}

/// Only what the edge shall run or try is given out.
async fn find(hash: &str, shared: &Arc<Shared>, connected: &Connected) -> Result<Bytes, String> {
    let deployed = shared.deployments.borrow().only(|spec| connected.is_for(spec));
    let names = |spec: &DeploymentSpec| {
        spec.plugin_hash == hash || spec.trial.as_ref().is_some_and(|trial| trial.plugin_hash == hash)
    };
    if !deployed.deployments.iter().any(|spec| spec.is_available() && names(spec)) {
        return Err("no deployment names it".into());
    }
    let (plugins, key) = (shared.plugins.clone(), hash.to_owned());
    let bytes = tokio::task::spawn_blocking(move || plugins.plugin_bytes(&key)).await.map_err(|e| e.to_string())?;
    let bytes = bytes.ok_or("its bytes are missing in the registry")?;
    if bytes.len() > PLUGIN_LEN_MAX {
        return Err(format!("its {} bytes are over the limit of {PLUGIN_LEN_MAX}", bytes.len()));
    }
    Ok(bytes)
}
