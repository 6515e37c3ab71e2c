//! The readings of a preview: from the log, a block at a time.

use super::{PreviewError, Progress};
use event_log::{EventLog, Stream};
use fleet_model::{TenantId, Timestamp, VehicleId, VehicleName};
use fleet_wire::{Frame, ReadingFrame};
use std::sync::atomic::Ordering;

/// Bytes that are read from the log at a time.
const READ_LEN: usize = 4 * 1_024 * 1_024;

/// Which readings.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Whose.
    pub tenant: TenantId,
    /// Only these vehicles; all when empty.
    pub vehicles: Vec<VehicleId>,
    /// Not before, by the device's clock.
    pub from: Timestamp,
    /// Before, by the device's clock.
    pub to: Timestamp,
}

/// A block of the log.
pub(super) struct Piece {
    pub(super) frame: ReadingFrame,
    /// The block's vehicles; `None` for those that were not chosen.
    pub(super) vehicles: Vec<Option<VehicleName>>,
}

impl Selection {
    pub(super) fn covers(&self, time: Timestamp) -> bool {
        (self.from..self.to).contains(&time)
    }

    fn chooses(&self, name: &VehicleName) -> bool {
        name.tenant == self.tenant && (self.vehicles.is_empty() || self.vehicles.contains(&name.vehicle))
    }
}

/// Hands out the blocks that may hold something that was chosen, in the order of the log.
pub(super) fn read(
    log: &dyn EventLog,
    selection: &Selection,
    progress: &Progress,
    mut hand_out: impl FnMut(Piece) -> Result<(), PreviewError>,
) -> Result<(), PreviewError> {
    let bounds = log.bounds(Stream::TELEMETRY);
    progress.records_in_all.store(bounds.next - bounds.first, Ordering::Relaxed);
    let mut at = bounds.first;
    // What comes in meanwhile is not part of it.
    while at < bounds.next {
        let blocks = log.read(Stream::TELEMETRY, at, READ_LEN)?;
        let Some(last) = blocks.last() else { return Ok(()) };
        at = last.first + u64::from(last.count);
        for block in blocks {
            if progress.cancelled.load(Ordering::Relaxed) {
                return Err(PreviewError::Cancelled);
            }
            let unreadable = |what: String| PreviewError::Block { at: block.first, what };
            let frame = Frame::parse(block.bytes).map_err(|error| unreadable(error.to_string()))?;
            let frame = frame.into_readings().map_err(|_| unreadable("it holds no readings".into()))?;
            let name = |archived: &fleet_wire::block::ArchivedVehicleNameV1| {
                let name = archived.to_name().map_err(|error| unreadable(error.to_string()))?;
                Ok::<_, PreviewError>(Some(name).filter(|name| selection.chooses(name)))
            };
            let vehicles = frame.block().vehicles.iter().map(name).collect::<Result<Vec<_>, _>>()?;
            if vehicles.iter().any(Option::is_some) {
                hand_out(Piece { frame, vehicles })?;
            }
            progress.records.fetch_add(u64::from(block.count), Ordering::Relaxed);
        }
    }
    Ok(())
}
