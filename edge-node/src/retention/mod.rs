//! Keeps the logs within what the disk has for them.
//!
//! ```text
//!   readings     delivered and older than delivered_h: trimmed
//!                too many bytes: the oldest go; those not delivered are shed: first an event per vehicle, then the trim
//!   events       delivered and older than delivered_h: trimmed; never shed
//!   dead letters older than dead_letters_h: trimmed
//! ```
//! Nothing goes that a restart reads. What the cloud has is remembered over restarts, so that an edge which fills up
//! offline does not tell of readings that were delivered long ago (`docs/adr/0015-what-goes-when-the-disk-is-short.md`).

mod config;
mod gap;
mod plan;

pub use config::RetentionConfig;

use crate::metrics::INSTRUMENTS;
use crate::uplink::UplinkHandle;
use event_log::{Block, Bounds, Commit, CommitError, EventLog, Offset, ReadError, Snapshot, Stream};
use fleet_model::EventClass;
use fleet_wire::FrameHeader;
use gap::Gaps;
use plan::{OldBlock, Plan, Policy, Standing, plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use vehicle_runtime::{Clock, Logs, Runtime, RuntimeError, TrimLimits, TrimLimitsError, dead_letter};

/// How often the logs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes of a log that are read at a time.
const READ_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Blocks' bytes of which one set of events tells.
const SHED_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
const HOUR_MS: i64 = 3_600_000;
/// Snapshots of what was delivered, in the events log, by class.
const DELIVERED: &str = "delivered/";

/// Why the logs are not kept within their bounds now. It is tried again.
#[derive(Debug, thiserror::Error)]
enum RetentionError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Limits(#[from] TrimLimitsError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the block at offset {at} is no frame: {what}")]
    Frame { at: Offset, what: String },
    #[error("a thread for it: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// What retention works with.
pub struct Parts {
    /// Both logs.
    pub logs: Logs,
    /// Where events are written.
    pub runtime: Arc<Runtime>,
    /// What is kept.
    pub config: RetentionConfig,
    /// The time.
    pub clock: Clock,
    /// What is delivered; without an uplink nothing is.
    pub uplink: Option<UplinkHandle>,
}

/// Looks after the logs until `shutdown`.
pub async fn run(parts: Parts, shutdown: CancellationToken) {
    let mut keeper = Keeper { delivered: BTreeMap::new(), coming_down: false, parts };
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut complained = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        match keeper.look().await {
            Ok(()) => complained = None,
            Err(error) => {
                let text = error.to_string();
                if complained.as_ref() != Some(&text) {
                    tracing::error!("old readings and events cannot be removed, the disk fills: {text}");
                    complained = Some(text);
                }
            }
        }
    }
}

struct Keeper {
    parts: Parts,
    /// As stored: by class.
    delivered: BTreeMap<&'static str, Offset>,
    /// The telemetry log had too many bytes and is on its way down.
    coming_down: bool,
}

/// Blocks at the old end of a stream.
struct Old {
    blocks: Vec<Block>,
    plan: Plan,
}

impl Keeper {
    async fn look(&mut self) -> Result<(), RetentionError> {
        let logs = self.parts.logs.clone();
        self.note_delivered().await?;
        let limits = {
            let logs = logs.clone();
            blocking(move || {
                // What an earlier life has told of, and did not come to.
                if let Some(shed_to) = vehicle_runtime::shed_to(&logs)?
                    && shed_to > logs.telemetry.bounds(Stream::TELEMETRY).first
                {
                    logs.telemetry.trim(Stream::TELEMETRY, shed_to)?;
                }
                Ok(TrimLimits::read(&logs)?)
            })
            .await?
        };
        while self.shrink_telemetry(&limits).await? {}
        let RetentionConfig { delivered_h, dead_letters_h, .. } = self.parts.config;
        for (class, stream, unneeded) in [
            (EventClass::Alerts, Stream::ALERTS, limits.alerts),
            (EventClass::Billing, Stream::BILLING, limits.billing),
            (EventClass::Audit, Stream::AUDIT, Offset::MAX),
        ] {
            let delivered = self.delivered(class, stream);
            self.trim_old(stream, (delivered, unneeded), delivered_h, created_ms).await?;
        }
        let anywhere = (Offset::MAX, limits.dead_letters);
        self.trim_old(Stream::DEAD_LETTERS, anywhere, dead_letters_h, dead_letter::block_time_ms).await
    }

    /// Trims a stream of the events log by age.
    async fn trim_old(
        &self,
        stream: Stream,
        (delivered, unneeded): (Offset, Offset),
        keep_h: u32,
        created_ms: fn(&Block) -> Result<i64, String>,
    ) -> Result<(), RetentionError> {
        let log = &self.parts.logs.events;
        let policy = Policy { bytes_max: None, keep_ms: i64::from(keep_h) * HOUR_MS };
        loop {
            let standing = Standing { bounds: log.bounds(stream), delivered, unneeded, coming_down: false };
            let Some(old) = self.oldest(log.clone(), stream, standing, policy, created_ms).await? else {
                return Ok(());
            };
            if !trim(log, stream, old.plan.trim_to).await? || !old.plan.all_go {
                return Ok(());
            }
        }
    }

    /// Remembers what the cloud has, for a start without it.
    async fn note_delivered(&mut self) -> Result<(), RetentionError> {
        let classes = [EventClass::Telemetry, EventClass::Alerts, EventClass::Billing, EventClass::Audit];
        if self.delivered.is_empty() {
            for class in classes {
                let stored = self.parts.logs.events.snapshot(&delivered_key(class))?;
                let number = stored.and_then(|bytes| bytes.as_ref().try_into().ok()).map(u64::from_le_bytes);
                self.delivered.insert(class.as_str(), number.unwrap_or(0));
            }
        }
        let Some(uplink) = &self.parts.uplink else { return Ok(()) };
        let told = uplink.state.borrow().streams.clone();
        let (mut snapshots, mut news) = (Vec::new(), Vec::new());
        for stream in told {
            if self.delivered.get(stream.class.as_str()).is_some_and(|known| stream.acked > *known) {
                let value = Some(stream.acked.to_le_bytes().to_vec().into());
                snapshots.push(Snapshot { key: delivered_key(stream.class), value });
                news.push((stream.class.as_str(), stream.acked));
            }
        }
        if !snapshots.is_empty() {
            self.parts.logs.events.submit(Commit { snapshots, ..Commit::default() }).durable().await?;
            self.delivered.extend(news);
        }
        Ok(())
    }

    fn delivered(&self, class: EventClass, stream: Stream) -> Offset {
        let log = match class {
            EventClass::Telemetry => &self.parts.logs.telemetry,
            EventClass::Alerts | EventClass::Billing | EventClass::Audit => &self.parts.logs.events,
        };
        let stored = self.delivered.get(class.as_str()).copied().unwrap_or(0);
        // A log that was begun anew has less than the one before it.
        if stored > log.bounds(stream).next { 0 } else { stored }
    }

    /// One step of keeping readings within their bytes. Whether there is more to do.
    async fn shrink_telemetry(&mut self, limits: &TrimLimits) -> Result<bool, RetentionError> {
        let config = self.parts.config;
        let bytes_max = config.telemetry_mib_max * 1_024 * 1_024;
        let policy = Policy { bytes_max: Some(bytes_max), keep_ms: i64::from(config.delivered_h) * HOUR_MS };
        let log = self.parts.logs.telemetry.clone();
        let (mut gaps, mut shed_bytes, mut told_to) = (Gaps::default(), 0, None);
        let mut bounds = log.bounds(Stream::TELEMETRY);
        let more = loop {
            self.coming_down = bounds.bytes > bytes_max || (self.coming_down && bounds.bytes > plan::aim(bytes_max));
            let delivered = self.delivered(EventClass::Telemetry, Stream::TELEMETRY);
            let (unneeded, coming_down) = (limits.telemetry, self.coming_down);
            let standing = Standing { bounds, delivered, unneeded, coming_down };
            let Some(old) = self.oldest(log.clone(), Stream::TELEMETRY, standing, policy, created_ms).await? else {
                break false;
            };
            let Plan { trim_to, shed_to, all_go } = old.plan;
            for block in old.blocks.iter().filter(|block| block.first >= trim_to && block.first < shed_to) {
                gaps.add(block).map_err(|what| RetentionError::Frame { at: block.first, what })?;
                shed_bytes += block.bytes.len() as u64;
            }
            let gone: u64 =
                old.blocks.iter().filter(|block| block.first < shed_to).map(|block| block.bytes.len() as u64).sum();
            bounds = Bounds { first: shed_to, bytes: bounds.bytes.saturating_sub(gone), ..bounds };
            told_to = Some(shed_to);
            if !all_go {
                break false;
            }
            if shed_bytes >= SHED_BYTES_MAX {
                break true;
            }
        };
        let Some(to) = told_to else { return Ok(false) };
        let readings = gaps.readings();
        if readings > 0 {
            let events = gaps.into_events();
            tracing::warn!(
                readings,
                vehicles = events.len(),
                to,
                "readings that were not delivered are shed, the oldest \
                first: there are more than retention.telemetry_mib_max allows; each vehicle has a telemetry.gap event"
            );
            self.parts.runtime.record_shed(events, to).await?;
            INSTRUMENTS.shed.add(readings, &[]);
        }
        trim(&log, Stream::TELEMETRY, to).await?;
        Ok(more)
    }

    /// Blocks from the beginning of `standing.bounds` on, and what is to become of them; `None` when none goes.
    async fn oldest(
        &self,
        log: Arc<dyn EventLog>,
        stream: Stream,
        standing: Standing,
        policy: Policy,
        created_ms: fn(&Block) -> Result<i64, String>,
    ) -> Result<Option<Old>, RetentionError> {
        let (bounds, now_ms) = (standing.bounds, (self.parts.clock)().0);
        if bounds.first == bounds.next {
            return Ok(None);
        }
        let look = move |bytes_max| {
            let blocks = log.read(stream, bounds.first, bytes_max)?;
            let old = |block: &Block| {
                let created_ms = created_ms(block).map_err(|what| RetentionError::Frame { at: block.first, what })?;
                let next = block.first + u64::from(block.count);
                Ok::<_, RetentionError>(OldBlock { next, bytes: block.bytes.len() as u64, created_ms })
            };
            let olds = blocks.iter().map(old).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, RetentionError>(Old { plan: plan(&standing, &policy, now_ms, &olds), blocks })
        };
        blocking(move || {
            // One block says whether any goes: most looks end here.
            match look(1)? {
                Old { plan, .. } if plan.shed_to == bounds.first => Ok(None),
                _ => look(READ_BYTES_MAX).map(Some),
            }
        })
        .await
    }
}

fn delivered_key(class: EventClass) -> Vec<u8> {
    format!("{DELIVERED}{}", class.as_str()).into_bytes()
}

fn created_ms(block: &Block) -> Result<i64, String> {
    FrameHeader::parse(&block.bytes).map(|header| header.created_ms).map_err(|error| error.to_string())
}

/// Whether anything went.
async fn trim(log: &Arc<dyn EventLog>, stream: Stream, to: Offset) -> Result<bool, RetentionError> {
    if to <= log.bounds(stream).first {
        return Ok(false);
    }
    let log = log.clone();
    let first = blocking(move || Ok(log.trim(stream, to)?)).await?;
    tracing::debug!(stream = stream.0, first, "trimmed");
    Ok(true)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RetentionError> + Send + 'static,
) -> Result<T, RetentionError> {
    tokio::task::spawn_blocking(work).await?
}
