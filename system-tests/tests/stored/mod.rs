//! What a log file holds after its program has ended: the last word on what was lost or doubled.

use anyhow::{Context, Result, bail};
use event_log::{EventLog, RedbLog, Stream};
use fleet_wire::Frame;
use std::collections::HashMap;
use std::path::Path;

/// Bytes per read.
const READ_BYTES: usize = 1 << 20;

/// How often each (vehicle, event time in ms) stands in a telemetry log.
///
/// # Errors
/// When the file cannot be opened, or a block in it is damaged or malformed.
pub(crate) fn readings(telemetry: &Path) -> Result<HashMap<(String, i64), u32>> {
    let log = RedbLog::open(telemetry, event_log::RedbOptions::default())
        .with_context(|| format!("open {}", telemetry.display()))?;
    let mut found = HashMap::new();
    let bounds = log.bounds(Stream::TELEMETRY);
    let mut at = bounds.first;
    while at < bounds.next {
        let blocks = log.read(Stream::TELEMETRY, at, READ_BYTES)?;
        if blocks.is_empty() {
            bail!("{} ends at {at}, before {}", telemetry.display(), bounds.next);
        }
        for block in blocks {
            let Ok(frame) = Frame::parse(block.bytes)?.into_readings() else { bail!("events in a telemetry log") };
            let names = &frame.block().vehicles;
            for reading in frame.block().readings.iter() {
                let vehicle = names[reading.vehicle_index()].vehicle.to_string();
                *found.entry((vehicle, reading.event_time.to_native())).or_insert(0) += 1;
            }
            at = block.first + u64::from(block.count);
        }
    }
    Ok(found)
}
