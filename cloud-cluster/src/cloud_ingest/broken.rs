//! Fail-stop: a log that has failed accepts nothing more, so a cloud that went on would only look alive.

use event_log::{CommitError, ReadError};
use fleet_model::EventClass;
use tokio::sync::watch;

/// A log that takes nothing more. A restart opens it again, or says why it cannot.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}; it was to take {} from an edge. Start the cloud again when the cause is gone", class.as_str())]
pub struct BrokenLog {
    class: EventClass,
    what: String,
}

/// Where streams report it and the ingest waits for it. The first report counts.
#[derive(Debug, Default)]
pub(super) struct Breakage(watch::Sender<Option<BrokenLog>>);

impl Breakage {
    /// Does nothing when the refusal is of this commit only.
    pub(super) fn report_commit(&self, class: EventClass, error: &CommitError) {
        if matches!(error, CommitError::Broken(_)) {
            self.report(class, error.to_string());
        }
    }

    /// Does nothing when only what was read is damaged.
    pub(super) fn report_read(&self, class: EventClass, error: &ReadError) {
        if matches!(error, ReadError::Broken(_)) {
            self.report(class, error.to_string());
        }
    }

    fn report(&self, class: EventClass, what: String) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(BrokenLog { class, what });
            first
        });
    }

    /// Waits for a report.
    pub(super) async fn reported(&self) -> BrokenLog {
        let mut reports = self.0.subscribe();
        // The sender is `self`: it does not end meanwhile.
        let found = reports.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        match found {
            Some(broken) => broken,
            None => std::future::pending().await,
        }
    }
}
