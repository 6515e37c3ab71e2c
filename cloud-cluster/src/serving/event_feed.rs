//! Events as partners read them, made once for all readers.
//!
//! The log holds frames as the edges sent them. A stretch of the log is parsed (and with that validated) and written
//! as JSON lines once, and kept for a while: readers of the same stretch copy the lines that are theirs.

use super::problem::Problem;
use bytes::Bytes;
use event_log::{Block, EventLog, Offset, ReadError, Stream};
use fleet_model::event::TraceContext;
use fleet_model::{EventId, EventKind, TenantId, Timestamp, VehicleId};
use fleet_wire::{ArchivedEventBlockV1, ArchivedEventV1, Frame};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use utoipa::ToSchema;

/// Log bytes that are read at once.
const READ_LEN: usize = 256 * 1_024;
/// JSON bytes of stretches that are kept for other readers.
const KEPT_LEN_MAX: usize = 32 * 1_024 * 1_024;
/// Stretches that are kept: at the end of a busy log they are short and many.
const KEPT_MAX: usize = 256;
/// Readers that may render different stretches at a time; those of the same one wait for the first.
const RENDERERS: usize = 4;
/// Length of an event as JSON, about.
const LINE_LEN_GUESS: usize = 450;

/// The event stream of one log.
pub(crate) struct Feed {
    log: Arc<dyn EventLog>,
    kept: Mutex<Kept>,
    rendering: [tokio::sync::Mutex<()>; RENDERERS],
}

#[derive(Default)]
struct Kept {
    stretches: VecDeque<Arc<Stretch>>,
    len: usize,
}

/// Neighbouring events, each as a line of JSON.
pub(crate) struct Stretch {
    first: Offset,
    lines: Bytes,
    events: Vec<Line>,
    vehicles: Vec<(String, String)>,
    traces: Vec<(usize, TraceContext)>,
}

#[derive(Clone, Copy)]
struct Line {
    end: usize,
    vehicle: usize,
}

/// Whose events a reader wants.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) tenant: TenantId,
    pub(crate) vehicle: Option<VehicleId>,
}

/// One event that passed the filter.
pub(crate) struct Selected<'s> {
    /// The JSON with its line feed.
    pub(crate) line: &'s [u8],
    /// Where the next record stands.
    pub(crate) next: Offset,
    /// When its reading was sampled.
    pub(crate) trace: Option<TraceContext>,
}

/// An event.
#[derive(Serialize, ToSchema)]
pub(crate) struct Event<'e> {
    /// Made from its cause: a repeat has the same id.
    #[schema(example = "17f7c41b35b0337a17f7c41b35b0337a")]
    id: String,
    #[schema(example = "alerts")]
    class: &'static str,
    #[serde(rename = "type")]
    #[schema(example = "geofence.entered")]
    kind: &'static str,
    tenant: &'e str,
    vehicle: &'e str,
    /// When it happened, by the device's clock: RFC 3339, UTC, milliseconds.
    #[schema(format = DateTime)]
    event_time: String,
    event_time_ms: i64,
    /// When the edge received its reading.
    #[schema(format = DateTime)]
    received_time: String,
    /// The zone or rule it is about.
    zone: &'e str,
    /// A figure that belongs to the type, such as seconds of dwell.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    plugin: EventPlugin<'e>,
    /// The reading that caused it: its place among the vehicle's readings.
    sequence: u64,
    /// Give it as `after` to go on behind this event.
    cursor: String,
}

/// What proposed the event.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPlugin<'e> {
    deployment: &'e str,
    name: &'e str,
    version: &'e str,
}

/// Where a reader stands, as text that only we read: which life of the log, and the offset of the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) epoch: u32,
    pub(crate) next: Offset,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}", self.epoch, self.next)
    }
}

impl std::str::FromStr for Cursor {
    type Err = Problem;
    fn from_str(text: &str) -> Result<Self, Problem> {
        let parsed = text.split_once('-').and_then(|(epoch, next)| {
            let epoch = u32::from_str_radix(epoch, 16).ok()?;
            Some(Cursor { epoch, next: Offset::from_str_radix(next, 16).ok()? })
        });
        // Only what we would have written.
        parsed.filter(|cursor| cursor.to_string() == text).ok_or_else(|| {
            Problem::malformed_cursor("give a cursor as it stands in an event or in `next`, or the word now")
        })
    }
}

impl Feed {
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, kept: Mutex::default(), rendering: Default::default() }
    }

    /// Changes with the offset after the last event.
    pub(crate) fn subscribe(&self) -> tokio::sync::watch::Receiver<Offset> {
        self.log.subscribe(Stream::ALERTS)
    }

    /// How many events were ever written.
    pub(crate) fn next(&self) -> Offset {
        self.log.bounds(Stream::ALERTS).next
    }

    pub(crate) fn cursor(&self, next: Offset) -> Cursor {
        Cursor { epoch: self.epoch(), next }
    }

    fn epoch(&self) -> u32 {
        self.log.epoch() as u32
    }

    /// The offset a reader wants to start from: behind a cursor, at the end (`now`), or with the oldest event.
    pub(crate) fn start(&self, after: Option<&str>) -> Result<Offset, Problem> {
        let bounds = self.log.bounds(Stream::ALERTS);
        let Some(text) = after else { return Ok(bounds.first) };
        if text == "now" {
            return Ok(bounds.next);
        }
        let cursor: Cursor = text.parse()?;
        if cursor.epoch != self.epoch() || cursor.next > bounds.next {
            let detail = "this cursor is of another event log; start again from the oldest event";
            return Err(Problem::expired_cursor(detail).with_oldest(self.cursor(bounds.first).to_string()));
        }
        if cursor.next < bounds.first { Err(self.trimmed(bounds.first)) } else { Ok(cursor.next) }
    }

    fn trimmed(&self, first: Offset) -> Problem {
        Problem::expired_cursor("events behind this cursor were removed; `oldest` is the first that is left")
            .with_oldest(self.cursor(first).to_string())
    }

    /// The stretch that holds `offset`, which must be below [`Feed::next`].
    pub(crate) async fn stretch(&self, offset: Offset) -> Result<Arc<Stretch>, Problem> {
        if let Some(stretch) = self.kept(offset) {
            return Ok(stretch);
        }
        let _one = self.rendering[(offset % RENDERERS as u64) as usize].lock().await;
        if let Some(stretch) = self.kept(offset) {
            return Ok(stretch);
        }
        let (log, epoch) = (self.log.clone(), self.epoch());
        let rendered = tokio::task::spawn_blocking(move || {
            log.read(Stream::ALERTS, offset, READ_LEN).map(|blocks| Stretch::render(&blocks, epoch))
        });
        let rendered = match rendered.await {
            Ok(Ok(rendered)) => rendered,
            Ok(Err(ReadError::Trimmed { first, .. })) => return Err(self.trimmed(first)),
            Ok(Err(error)) => return Err(Problem::internal_error("reading the event log", &error)),
            Err(error) => return Err(Problem::internal_error("reading the event log", &error)),
        };
        let stretch = rendered
            .map_err(|what| Problem::internal_error("reading the event log", &what))?
            .filter(|stretch| (stretch.first..stretch.next()).contains(&offset))
            .ok_or_else(|| Problem::internal_error("reading the event log", &format!("nothing at offset {offset}")))?;
        let stretch = Arc::new(stretch);
        self.keep(stretch.clone());
        Ok(stretch)
    }

    fn keep(&self, stretch: Arc<Stretch>) {
        let mut kept = self.kept.lock();
        kept.len += stretch.lines.len();
        kept.stretches.push_back(stretch);
        while (kept.len > KEPT_LEN_MAX || kept.stretches.len() > KEPT_MAX)
            && let Some(oldest) = kept.stretches.pop_front()
        {
            kept.len -= oldest.lines.len();
        }
    }

    fn kept(&self, offset: Offset) -> Option<Arc<Stretch>> {
        let kept = self.kept.lock();
        kept.stretches.iter().rev().find(|stretch| (stretch.first..stretch.next()).contains(&offset)).cloned()
    }
}

impl Stretch {
    /// `None` for no blocks.
    fn render(blocks: &[Block], epoch: u32) -> Result<Option<Self>, String> {
        let Some(first) = blocks.first().map(|block| block.first) else { return Ok(None) };
        let count: usize = blocks.iter().map(|block| block.count as usize).sum();
        let mut lines = Vec::with_capacity(count * LINE_LEN_GUESS);
        let mut stretch = Self {
            first,
            lines: Bytes::new(),
            events: Vec::with_capacity(count),
            vehicles: Vec::new(),
            traces: Vec::new(),
        };
        for block in blocks {
            let wrong = |what: &dyn fmt::Display| format!("the block at offset {}: {what}", block.first);
            let frame = Frame::parse(block.bytes.clone()).map_err(|error| wrong(&error))?;
            let frame = frame.into_events().map_err(|_| wrong(&"readings among the events"))?;
            stretch.append(block.first, frame.block(), epoch, &mut lines).map_err(|error| wrong(&error))?;
        }
        stretch.lines = lines.into();
        stretch.traces.sort_unstable_by_key(|(place, _)| *place);
        Ok(Some(stretch))
    }

    fn append(
        &mut self,
        first: Offset,
        block: &ArchivedEventBlockV1,
        epoch: u32,
        lines: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (event_base, vehicle_base) = (self.events.len(), self.vehicles.len());
        self.vehicles.extend(block.vehicles.iter().map(|name| (name.tenant.to_string(), name.vehicle.to_string())));
        for (place, event) in block.events.iter().enumerate() {
            let cursor = Cursor { epoch, next: first + place as u64 + 1 };
            let line = line_of(block, event, cursor).ok_or("an event of an unknown kind")?;
            serde_json::to_writer(&mut *lines, &line).map_err(|error| error.to_string())?;
            lines.push(b'\n');
            self.events.push(Line { end: lines.len(), vehicle: vehicle_base + event.vehicle.to_native() as usize });
        }
        let traces = block.traces.iter();
        self.traces.extend(traces.map(|trace| (event_base + trace.record.to_native() as usize, trace.context())));
        Ok(())
    }

    fn trace(&self, place: usize) -> Option<TraceContext> {
        let found = self.traces.binary_search_by_key(&place, |(traced, _)| *traced).ok()?;
        Some(self.traces[found].1)
    }

    /// The offset after its last event.
    pub(crate) fn next(&self) -> Offset {
        self.first + self.events.len() as u64
    }

    /// The events from `from` on that pass.
    pub(crate) fn select<'s>(&'s self, filter: &Filter, from: Offset) -> impl Iterator<Item = Selected<'s>> + use<'s> {
        let passes = |(tenant, vehicle): &(String, String)| {
            tenant == filter.tenant.as_str() && filter.vehicle.as_ref().is_none_or(|wanted| wanted.as_str() == vehicle)
        };
        let wanted: Vec<bool> = self.vehicles.iter().map(passes).collect();
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.iter().enumerate().skip(skip).filter_map(move |(place, event)| {
            if !wanted[event.vehicle] {
                return None;
            }
            let start = if place == 0 { 0 } else { self.events[place - 1].end };
            Some(Selected {
                line: &self.lines[start..event.end],
                next: self.first + place as u64 + 1,
                trace: self.trace(place),
            })
        })
    }
}

fn line_of<'b>(block: &'b ArchivedEventBlockV1, event: &'b ArchivedEventV1, cursor: Cursor) -> Option<Event<'b>> {
    let kind = EventKind::from_code(event.kind.to_native())?;
    let vehicle = &block.vehicles[event.vehicle.to_native() as usize];
    let plugin = &block.plugins[event.plugin.to_native() as usize];
    let value = event.value.to_native();
    Some(Event {
        id: EventId(event.id).to_string(),
        class: kind.class().as_str(),
        kind: kind.as_str(),
        tenant: &vehicle.tenant,
        vehicle: &vehicle.vehicle,
        event_time: Timestamp(event.event_time.to_native()).to_rfc3339(),
        event_time_ms: event.event_time.to_native(),
        received_time: Timestamp(event.received_time.to_native()).to_rfc3339(),
        zone: &event.subject,
        value: value.is_finite().then_some(value),
        plugin: EventPlugin { deployment: &plugin.deployment, name: &plugin.name, version: &plugin.version },
        sequence: event.sequence.to_native(),
        cursor: cursor.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_one() {
        let cursor = Cursor { epoch: 7, next: 0xabc };
        assert_eq!(cursor.to_string(), "00000007-abc");
        assert_eq!("00000007-abc".parse::<Cursor>().unwrap(), cursor);
        for bad in ["", "now", "7-abc", "00000007-ABC", "00000007-0abc", "00000007-", "-1", "00000007-abc-"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
        }
    }
}
