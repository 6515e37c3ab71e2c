//! What plugins log, within a quota per call and the rate of their journal.

pub(crate) use crate::journal::LogLevel as Level;
use crate::journal::{Admission, LogLevel, PluginJournal};
use crate::limits::{InstanceLimits, shortened};
use crate::metrics;
use std::sync::Arc;

/// Longest single line, in bytes.
const LINE_BYTES_MAX: usize = 1_024;

/// For whom an instance works.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) tenant: Arc<str>,
    pub(crate) deployment: Arc<str>,
    /// Where its lines are kept, and their rate; none while nobody asked for it.
    pub(crate) journal: Option<Arc<PluginJournal>>,
}

/// The log of one instance. Lines carry the plugin's name and version, and the tenant and deployment for which the
/// instance was made; none while a plugin is only loaded or a config tried.
pub(crate) struct PluginLog {
    plugin: Arc<str>,
    label: Option<Label>,
    /// What the call is about, when it is about one vehicle alone.
    vehicle: Option<Arc<str>>,
    lines_max: u32,
    bytes_max: usize,
    lines: u32,
    bytes: usize,
    dropped: u64,
    /// What it said in `configure`, until it is known for whom. Bounded by that call's quota.
    early: Vec<(LogLevel, String)>,
}

impl PluginLog {
    pub(crate) fn new(plugin: Arc<str>, label: Option<Label>, limits: &InstanceLimits) -> Self {
        Self {
            plugin,
            label,
            vehicle: None,
            lines_max: limits.log_lines_max,
            bytes_max: limits.log_bytes_max,
            lines: 0,
            bytes: 0,
            dropped: 0,
            early: Vec::new(),
        }
    }

    /// From here on it is known for whom the instance works.
    pub(crate) fn attach(&mut self, label: Label) {
        self.label = Some(label);
        for (level, text) in std::mem::take(&mut self.early) {
            if self.admitted_by_rate() {
                self.keep(level, text);
            }
        }
    }

    /// A new call, a new quota.
    pub(crate) fn start_call(&mut self) {
        self.lines = 0;
        self.bytes = 0;
    }

    /// What the next calls are about.
    pub(crate) fn about(&mut self, vehicle: Option<Arc<str>>) {
        self.vehicle = vehicle;
    }

    /// Whether another line may be written in this call; one that may not is counted.
    pub(crate) fn admit_line(&mut self) -> bool {
        let within_quota = self.lines < self.lines_max && self.bytes < self.bytes_max;
        if !within_quota {
            if let Some(journal) = self.journal() {
                journal.count_dropped();
            }
            self.count_dropped();
            return false;
        }
        self.lines += 1;
        self.admitted_by_rate()
    }

    fn admitted_by_rate(&mut self) -> bool {
        let Some(journal) = self.journal() else { return true };
        match journal.admit() {
            Admission::Yes => return true,
            Admission::No => {}
            Admission::NoAndSay(notice) => {
                self.emit(LogLevel::Warn, notice);
                journal.write(LogLevel::Warn, None, notice.to_owned());
            }
        }
        self.count_dropped();
        false
    }

    /// Writes an admitted line, cut to what is left of the call's bytes. Control characters are escaped: a plugin must
    /// not be able to write something that looks like a line of ours.
    pub(crate) fn write(&mut self, level: LogLevel, message: String) {
        let room = LINE_BYTES_MAX.min(self.bytes_max - self.bytes);
        self.bytes += message.len().min(room);
        let message = shortened(message, room).escape_debug().to_string();
        self.emit(level, &message);
        self.keep(level, message);
    }

    fn emit(&self, level: LogLevel, message: &str) {
        let plugin = &*self.plugin;
        let tenant = self.label.as_ref().map(|label| &*label.tenant);
        let deployment = self.label.as_ref().map(|label| &*label.deployment);
        match level {
            LogLevel::Debug => tracing::debug!(target: "plugin", plugin, tenant, deployment, "{message}"),
            LogLevel::Info => tracing::info!(target: "plugin", plugin, tenant, deployment, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", plugin, tenant, deployment, "{message}"),
        }
    }

    fn keep(&mut self, level: LogLevel, message: String) {
        match (self.journal(), &self.label) {
            (Some(journal), _) => journal.write(level, self.vehicle.clone(), message),
            (None, None) if self.early.len() < self.lines_max as usize => self.early.push((level, message)),
            (None, _) => {}
        }
    }

    fn journal(&self) -> Option<Arc<PluginJournal>> {
        self.label.as_ref().and_then(|label| label.journal.clone())
    }

    fn count_dropped(&mut self) {
        self.dropped += 1;
        metrics::log_line_dropped();
    }

    /// Lines dropped since the instance was made.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}
