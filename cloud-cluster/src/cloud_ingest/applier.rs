//! Hands readings to the vehicle actors in the order of the telemetry log, from where they stood.

use event_log::{EventLog, Offset, ReadError, Stream};
use fleet_wire::{Frame, FrameError, ReadingFrame};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use vehicle_runtime::{Runtime, RuntimeError};

/// Bytes read from the log at a time.
const READ_BYTES: usize = 1_024 * 1_024;

/// Who applies readings: the vehicle actors, or a test.
pub trait Apply: Send + Sync + 'static {
    /// All readings below are applied.
    fn applied(&self) -> Offset;

    /// The next block of the telemetry log. Waits while too many are in flight.
    fn apply(&self, first: Offset, frame: ReadingFrame) -> impl Future<Output = Result<(), RuntimeError>> + Send;
}

impl Apply for Runtime {
    fn applied(&self) -> Offset {
        Runtime::applied(self)
    }

    async fn apply(&self, first: Offset, frame: ReadingFrame) -> Result<(), RuntimeError> {
        Runtime::apply(self, first, frame).await
    }
}

/// Why readings cannot be applied any more.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The telemetry log.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A block that was checked when it came is no frame now.
    #[error("the telemetry log's block at offset {at} is damaged: {error}")]
    Damaged {
        /// Where.
        at: Offset,
        /// How it shows.
        error: FrameError,
    },
    /// The log holds something else than readings.
    #[error("the telemetry log's block at offset {0} holds no readings")]
    NoReadings(Offset),
    /// The actors.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Tails the log; ends only with an error.
pub(super) async fn run<R: Apply>(
    log: Arc<dyn EventLog>,
    runtime: Arc<R>,
    reads: &TaskTracker,
) -> Result<Infallible, ApplyError> {
    let mut grows = log.subscribe(Stream::TELEMETRY);
    let mut next = runtime.applied();
    loop {
        let until = *grows.borrow_and_update();
        while next < until {
            let (reader, from) = (log.clone(), next);
            let read = reads.spawn_blocking(move || reader.read(Stream::TELEMETRY, from, READ_BYTES)).await;
            let blocks = read.map_err(|e| ReadError::Broken(e.to_string()))??;
            if blocks.is_empty() {
                break;
            }
            for block in blocks {
                let at = block.first;
                let frame = Frame::parse(block.bytes).map_err(|error| ApplyError::Damaged { at, error })?;
                let readings = frame.into_readings().map_err(|_| ApplyError::NoReadings(at))?;
                runtime.apply(at, readings).await?;
                next = at + u64::from(block.count);
            }
        }
        if grows.changed().await.is_err() {
            return Err(ReadError::Broken("the log was closed".into()).into());
        }
    }
}
