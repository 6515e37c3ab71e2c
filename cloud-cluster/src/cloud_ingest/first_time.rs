//! An edge that comes for the first time is an act, whoever gave it its certificate.

use event_log::{Commit, CommitError, EventLog, Snapshot};
use fleet_model::audit::ActKind;
use fleet_model::{EdgeId, Timestamp};
use std::collections::BTreeSet;
use vehicle_runtime::AuditTrail;

/// Prefix of the snapshots that say which edges came before; their value is when, as text.
const KNOWN: &str = "ingest/edge/";

/// The edges that are known to have come before. As many as there are certificates of our authority.
#[derive(Debug, Default)]
pub(super) struct FirstTime(tokio::sync::Mutex<BTreeSet<EdgeId>>);

impl FirstTime {
    /// Records that the edge came, if it never did before.
    pub(super) async fn came(
        &self,
        log: &dyn EventLog,
        audit: &AuditTrail,
        edge: &EdgeId,
        software: &str,
    ) -> Result<(), CommitError> {
        let mut known = self.0.lock().await;
        if known.contains(edge) {
            return Ok(());
        }
        let key = format!("{KNOWN}{edge}").into_bytes();
        let stored = log.snapshot(&key).map_err(|error| CommitError::Broken(error.to_string()))?;
        if stored.is_none() {
            let act = audit.act(ActKind::EdgeConnected).about(edge.as_str());
            let Timestamp(since) = act.time;
            let act = act.details(&serde_json::json!({"software": software}).to_string());
            let snapshots = vec![Snapshot { key, value: Some(since.to_string().into()) }];
            audit.commit(Commit { snapshots, ..Commit::default() }, vec![act]).await?;
        }
        known.insert(edge.clone());
        Ok(())
    }
}
