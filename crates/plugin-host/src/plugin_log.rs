//! What plugins log, within a quota per call.

use crate::limits::{InstanceLimits, shortened};
use crate::metrics;
use std::sync::Arc;

/// Longest single line, in bytes.
const LINE_BYTES_MAX: usize = 1_024;

/// How much somebody should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
}

/// For whom an instance works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) tenant: Arc<str>,
    pub(crate) deployment: Arc<str>,
}

/// The log of one instance. Lines carry the plugin's name and version, and the tenant and deployment for which the
/// instance was made; none while a plugin is only loaded or a config tried.
pub(crate) struct PluginLog {
    plugin: Arc<str>,
    label: Option<Label>,
    lines_max: u32,
    bytes_max: usize,
    lines: u32,
    bytes: usize,
    dropped: u64,
}

impl PluginLog {
    pub(crate) fn new(plugin: Arc<str>, label: Option<Label>, limits: &InstanceLimits) -> Self {
        Self {
            plugin,
            label,
            lines_max: limits.log_lines_max,
            bytes_max: limits.log_bytes_max,
            lines: 0,
            bytes: 0,
            dropped: 0,
        }
    }

    /// A new call, a new quota.
    pub(crate) fn start_call(&mut self) {
        self.lines = 0;
        self.bytes = 0;
    }

    /// Whether another line may be written in this call; one that may not is counted.
    pub(crate) fn admit_line(&mut self) -> bool {
        let admitted = self.lines < self.lines_max && self.bytes < self.bytes_max;
        if admitted {
            self.lines += 1;
        } else {
            self.dropped += 1;
            metrics::log_line_dropped();
        }
        admitted
    }

    /// Writes an admitted line, cut to what is left of the call's bytes. Control characters are escaped: a plugin must
    /// not be able to write something that looks like a line of ours.
    pub(crate) fn write(&mut self, level: Level, message: String) {
        let room = LINE_BYTES_MAX.min(self.bytes_max - self.bytes);
        self.bytes += message.len().min(room);
        let message = shortened(message, room);
        let message = message.escape_debug();
        let plugin = &*self.plugin;
        let tenant = self.label.as_ref().map(|label| &*label.tenant);
        let deployment = self.label.as_ref().map(|label| &*label.deployment);
        match level {
            Level::Debug => tracing::debug!(target: "plugin", plugin, tenant, deployment, "{message}"),
            Level::Info => tracing::info!(target: "plugin", plugin, tenant, deployment, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, tenant, deployment, "{message}"),
        }
    }

    /// Lines dropped since the instance was made.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}
