//! What a partner received: alerts, or charges.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;

/// Which events a partner reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What happened to vehicles.
    Alerts,
    /// What it costs.
    Billing,
}

impl Class {
    /// As the command line and statuses write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Billing => "billing",
        }
    }
}

/// The part of an event, of whatever class, that comparisons need.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Alert {
    /// Made from its cause.
    pub id: String,
    /// Such as `geofence.entered`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose.
    pub vehicle: String,
    /// Where, when a geofence decided.
    #[serde(default)]
    pub zone: String,
    /// The zone, threshold, schedule or code that it is about.
    pub subject: String,
    /// A figure that belongs to the type.
    pub value: Option<f64>,
    /// What else belongs to the type.
    #[serde(default)]
    pub details: serde_json::Value,
    /// When, milliseconds since the Unix epoch.
    pub event_time_ms: i64,
    /// The reading that caused it.
    pub sequence: u64,
    /// Who decided.
    pub plugin: Plugin,
}

/// The part of an event that names its plugin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Plugin {
    /// Such as `geofence`.
    pub name: String,
    /// Such as `0.1.0`.
    pub version: String,
}

/// Reads an NDJSON file of events.
///
/// # Errors
/// Names the line that is no event.
pub fn read(path: &Path) -> Result<Vec<Alert>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

/// Reads NDJSON of events.
///
/// # Errors
/// Names the line that is no event.
pub fn parse(text: &str) -> Result<Vec<Alert>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(number, line)| serde_json::from_str(line).with_context(|| format!("line {}: {line}", number + 1)))
        .collect()
}

/// How many events came more than once.
#[must_use]
pub fn doubled(alerts: &[Alert]) -> usize {
    let distinct: HashSet<&str> = alerts.iter().map(|alert| alert.id.as_str()).collect();
    alerts.len() - distinct.len()
}
