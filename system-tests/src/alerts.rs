//! What a partner received.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;

/// The part of an event that comparisons need.
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
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("line {} of {}: {line}", number + 1, path.display()))
        })
        .collect()
}

/// How many events came more than once.
#[must_use]
pub fn doubled(alerts: &[Alert]) -> usize {
    let distinct: HashSet<&str> = alerts.iter().map(|alert| alert.id.as_str()).collect();
    alerts.len() - distinct.len()
}
