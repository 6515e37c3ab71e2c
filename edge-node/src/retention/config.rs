//! The `[retention]` section.

use crate::ingest::CHECKPOINT_READINGS;
use serde::Deserialize;

/// About what a reading takes in a block.
const READING_BYTES: u64 = 128;
/// A million times a million bytes should be enough for a depot.
const TELEMETRY_MIB_LIMIT: u64 = 1_024 * 1_024;
/// A year and a day.
const HOURS_LIMIT: u32 = 8_784;

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Readings that may be in the log, MiB of blocks, 1 to 1,048,576. When there are more, the oldest go: first those
    /// that were delivered, then others, and each vehicle that loses some has a `telemetry.gap` event. Default 8,192.
    pub telemetry_mib_max: u64,
    /// What was delivered is kept for so many hours, for the cloud to ask for again, 0 to 8,784. Default 72.
    pub delivered_h: u32,
    /// Dead letters are kept for so many hours, 1 to 8,784. Default 720.
    pub dead_letters_h: u32,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { telemetry_mib_max: 8_192, delivered_h: 72, dead_letters_h: 720 }
    }
}

impl RetentionConfig {
    /// Readings between two snapshots of admission: so many that at most about a quarter of what may be kept cannot go yet.
    pub(crate) fn checkpoint_readings(&self) -> u64 {
        CHECKPOINT_READINGS.min(self.telemetry_mib_max * 1_024 * 1_024 / 4 / READING_BYTES)
    }

    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let within = |key: &str, value: u64, min: u64, max: u64| match (min..=max).contains(&value) {
            true => Ok(()),
            false => Err((key.to_owned(), format!("{value} is out of bounds: {min} to {max} is allowed"))),
        };
        within("telemetry_mib_max", self.telemetry_mib_max, 1, TELEMETRY_MIB_LIMIT)?;
        within("delivered_h", self.delivered_h.into(), 0, HOURS_LIMIT.into())?;
        within("dead_letters_h", self.dead_letters_h.into(), 1, HOURS_LIMIT.into())
    }
}
