//! Events as partners read them, made once for all readers: one feed per class.
//!
//! The log holds frames as the edges sent them. A stretch of the log is parsed (and with that validated) and written
//! as JSON lines once, and kept for a while: readers of the same stretch copy the lines that are theirs.

use super::audit_line::AuditEvent;
use super::cursor::Cursor;
use super::event_line::{Event, LEN_GUESS, ReadingEvent};
use super::problem::Problem;
use bytes::Bytes;
use event_log::{Block, EventLog, Offset, ReadError, Stream};
use fleet_model::event::TraceContext;
use fleet_model::{EventClass, TenantId, VehicleId};
use fleet_wire::Frame;
use fleet_wire::block::{ArchivedTraceV1, ArchivedVehicleNameV1};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use vehicle_runtime::Logs;

/// Log bytes that are read at once.
const READ_LEN: usize = 256 * 1_024;
/// JSON bytes of stretches that are kept for other readers.
const KEPT_LEN_MAX: usize = 32 * 1_024 * 1_024;
/// Stretches that are kept: at the end of a busy log they are short and many.
const KEPT_MAX: usize = 256;
/// Readers that may render different stretches at a time; those of the same one wait for the first.
const RENDERERS: usize = 4;
/// The feeds of all classes.
pub(crate) struct Feeds([Feed; 4]);

/// The events of one class.
pub(crate) struct Feed {
    class: EventClass,
    log: Arc<dyn EventLog>,
    stream: Stream,
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
    vehicles: Vec<Whose>,
    traces: Vec<(usize, TraceContext)>,
}

/// Tenant and vehicle. The operator's acts are of no tenant, and no act is of a vehicle.
type Whose = (Option<String>, String);

#[derive(Clone, Copy)]
struct Line {
    end: usize,
    vehicle: usize,
}

/// Whose events a reader wants.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// `None`: of all, and of none.
    pub(crate) tenant: Option<TenantId>,
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

impl Feeds {
    pub(crate) fn new(logs: &Logs) -> Self {
        let of = |class, log: &Arc<dyn EventLog>, stream| Feed {
            class,
            log: log.clone(),
            stream,
            kept: Mutex::default(),
            rendering: Default::default(),
        };
        Self([
            of(EventClass::Telemetry, &logs.telemetry, Stream::TELEMETRY),
            of(EventClass::Alerts, &logs.events, Stream::ALERTS),
            of(EventClass::Billing, &logs.events, Stream::BILLING),
            of(EventClass::Audit, &logs.events, Stream::AUDIT),
        ])
    }

    pub(crate) fn of(&self, class: EventClass) -> &Feed {
        let [telemetry, alerts, billing, audit] = &self.0;
        match class {
            EventClass::Telemetry => telemetry,
            EventClass::Alerts => alerts,
            EventClass::Billing => billing,
            EventClass::Audit => audit,
        }
    }
}

impl Feed {
    /// Changes with the offset after the last event.
    pub(crate) fn subscribe(&self) -> tokio::sync::watch::Receiver<Offset> {
        self.log.subscribe(self.stream)
    }

    /// How many events were ever written.
    pub(crate) fn next(&self) -> Offset {
        self.log.bounds(self.stream).next
    }

    pub(crate) fn cursor(&self, next: Offset) -> Cursor {
        Cursor { class: self.class, epoch: self.epoch(), next }
    }

    fn epoch(&self) -> u32 {
        self.log.epoch() as u32
    }

    /// The offset a reader wants to start from: behind a cursor, at the end (`now`), or with the oldest event.
    pub(crate) fn start(&self, after: Option<&str>) -> Result<Offset, Problem> {
        let bounds = self.log.bounds(self.stream);
        let Some(text) = after else { return Ok(bounds.first) };
        if text == "now" {
            return Ok(bounds.next);
        }
        let cursor: Cursor = text.parse()?;
        if cursor.class != self.class {
            let (its, ours) = (cursor.class.as_str(), self.class.as_str());
            return Err(Problem::malformed_cursor(format!("this cursor is of class {its}, and {ours} was asked for")));
        }
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
        let (log, stream, start) = (self.log.clone(), self.stream, self.cursor(offset));
        let rendered = tokio::task::spawn_blocking(move || {
            log.read(stream, offset, READ_LEN).map(|blocks| Stretch::render(&blocks, start))
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
    /// `None` for no blocks. `like`: a cursor of the same class and life of the log.
    fn render(blocks: &[Block], like: Cursor) -> Result<Option<Self>, String> {
        let Some(first) = blocks.first().map(|block| block.first) else { return Ok(None) };
        let count: usize = blocks.iter().map(|block| block.count as usize).sum();
        let mut stretch = Draft { lines: Vec::with_capacity(count * LEN_GUESS), ..Draft::default() };
        for block in blocks {
            stretch.append(block, like).map_err(|what| format!("the block at offset {}: {what}", block.first))?;
        }
        let Draft { lines, events, vehicles, mut traces } = stretch;
        traces.sort_unstable_by_key(|(place, _)| *place);
        Ok(Some(Self { first, lines: lines.into(), events, vehicles, traces }))
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
        let passes = |(tenant, vehicle): &Whose| {
            filter.tenant.as_ref().is_none_or(|wanted| tenant.as_deref() == Some(wanted.as_str()))
                && filter.vehicle.as_ref().is_none_or(|wanted| wanted.as_str() == vehicle)
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

/// A stretch while it is made.
#[derive(Default)]
struct Draft {
    lines: Vec<u8>,
    events: Vec<Line>,
    vehicles: Vec<Whose>,
    traces: Vec<(usize, TraceContext)>,
}

impl Draft {
    fn append(&mut self, block: &Block, like: Cursor) -> Result<(), String> {
        let says = |what: &dyn fmt::Display| what.to_string();
        let after = |place: usize| Cursor { next: block.first + place as u64 + 1, ..like };
        let vehicle_base = self.vehicles.len();
        let frame = Frame::parse(block.bytes.clone()).map_err(|error| says(&error))?;
        match frame.into_events() {
            Ok(frame) => {
                let block = frame.block();
                self.begin(&block.vehicles, &block.traces);
                for (place, event) in block.events.iter().enumerate() {
                    let line = Event::of(block, event, after(place)).ok_or("an event of an unknown kind")?;
                    self.push(&line, vehicle_base + event.vehicle.to_native() as usize)?;
                }
            }
            Err(frame) => match frame.into_readings() {
                Ok(frame) => {
                    let block = frame.block();
                    self.begin(&block.vehicles, &block.traces);
                    for (place, reading) in block.readings.iter().enumerate() {
                        let line = ReadingEvent::of(block, reading, after(place));
                        self.push(&line, vehicle_base + reading.vehicle_index())?;
                    }
                }
                Err(frame) => {
                    let frame = frame.into_audit().map_err(|_| "neither events nor readings nor acts")?;
                    for (place, record) in frame.block().records.iter().enumerate() {
                        let record = record.to_record().map_err(|error| says(&error))?;
                        self.vehicles.push((record.act.tenant.as_ref().map(ToString::to_string), String::new()));
                        self.push(&AuditEvent::of(&record, after(place)), vehicle_base + place)?;
                    }
                }
            },
        }
        Ok(())
    }

    fn begin(&mut self, vehicles: &[ArchivedVehicleNameV1], traces: &[ArchivedTraceV1]) {
        let base = self.events.len();
        self.vehicles.extend(vehicles.iter().map(|name| (Some(name.tenant.to_string()), name.vehicle.to_string())));
        self.traces.extend(traces.iter().map(|trace| (base + trace.record.to_native() as usize, trace.context())));
    }

    fn push(&mut self, line: &impl Serialize, vehicle: usize) -> Result<(), String> {
        serde_json::to_writer(&mut self.lines, line).map_err(|error| error.to_string())?;
        self.lines.push(b'\n');
        self.events.push(Line { end: self.lines.len(), vehicle });
        Ok(())
    }
}
