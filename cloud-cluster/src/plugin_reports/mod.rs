//! What edges report of their rules: what they used, durable by day, and what they logged, the newest lines in memory.

mod day;
mod lines;
mod usage;

pub use day::{Day, InvalidDay};
pub use lines::{Line, LinesPage};
pub use usage::{UsageError, UsageSum};

use event_log::EventLog;
use fleet_model::{EdgeId, TenantId};
use fleet_wire::control::{LinesReport, UsageReport};
use lines::PluginLines;
use parking_lot::Mutex;
use std::sync::Arc;
use usage::UsageBook;
use vehicle_runtime::Clock;

/// Both. Clones share them.
#[derive(Clone)]
pub struct PluginReports(Arc<Inner>);

struct Inner {
    usage: UsageBook,
    lines: Mutex<PluginLines>,
}

impl std::fmt::Debug for PluginReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginReports").finish_non_exhaustive()
    }
}

impl PluginReports {
    /// Reads what is there. Blocks for the disk.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn open(log: Arc<dyn EventLog>, clock: Clock) -> Result<Self, UsageError> {
        let life = clock().0 as u64;
        let usage = UsageBook::open(log, clock)?;
        Ok(Self(Arc::new(Inner { usage, lines: Mutex::new(PluginLines::new(life)) })))
    }

    /// Takes what an edge used, as far as it is of tenants for which it may speak. Durable when it returns; what came
    /// before changes nothing.
    ///
    /// # Errors
    /// When it could not be stored. The edge tells it again with its next change, or connection.
    pub async fn take_usage(
        &self,
        edge: &EdgeId,
        report: UsageReport,
        may_speak_for: impl Fn(&TenantId) -> bool,
    ) -> Result<(), UsageError> {
        self.0.usage.take(edge, report, may_speak_for).await
    }

    /// Takes lines that an edge's rules logged; those that came before are passed over.
    pub fn take_lines(&self, edge: &EdgeId, report: LinesReport, may_speak_for: impl Fn(&TenantId) -> bool) {
        self.0.lines.lock().take(edge, report, may_speak_for);
    }

    /// What a plugin used, by day, deployment and edge, both days included.
    #[must_use]
    pub fn usage(&self, tenant: &TenantId, plugin: &str, from: Day, to: Day) -> Vec<UsageSum> {
        self.0.usage.sums(tenant, plugin, from, to)
    }

    /// The lines of a plugin after a cursor, oldest first. `None`: the cursor was not given out here.
    #[must_use]
    pub fn lines(&self, tenant: &TenantId, plugin: &str, after: Option<&str>) -> Option<LinesPage> {
        self.0.lines.lock().after(tenant, plugin, after)
    }
}
