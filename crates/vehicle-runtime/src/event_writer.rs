//! The one place where events are written: group commit of everything that waits, on a thread of its own.

use crate::config::{Clock, Logs};
use crate::dead_letter::{self, DeadLetter};
use crate::metrics::Metrics;
use crate::progress::{OpenPart, Progress};
use event_log::{Append, Appended, Commit, CommitError, Snapshot, Stream};
use fleet_model::{Event, EventClass, EventId};
use fleet_wire::block::EventBlockV1;
use fleet_wire::frame::Placement;
use fleet_wire::{BuildError, EventFrame};
use hashbrown::HashSet;
use opentelemetry::KeyValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Most events in one block. A block that would be too long nevertheless is halved.
const EVENTS_PER_BLOCK_MAX: usize = 1_024;
/// Most events that are waited for before a commit is handed in.
const EVENTS_PER_COMMIT_MAX: usize = 16_384;
/// How long a full disk is left alone before the next attempt.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// The classes of what rules derive, and where they stand. All of a commit's blocks of one class stand together, so that
/// who reads by class reads no other.
const DERIVED: [(EventClass, Stream); 2] =
    [(EventClass::Alerts, Stream::ALERTS), (EventClass::Billing, Stream::BILLING)];

/// Where the next events of a class go.
struct Place {
    class: EventClass,
    stream: Stream,
    next: u64,
}

/// What the writer is asked to do.
pub(crate) enum ToWriter {
    /// Make these durable, then say that the part is done.
    Write { events: Vec<Event>, letters: Vec<DeadLetter>, part: OpenPart },
    /// Make these durable in a commit of their own, with this snapshot.
    Shed { events: Vec<Event>, snapshot: Snapshot, done: oneshot::Sender<()> },
    /// The replay is over: nothing that comes now was written before.
    ForgetKnown,
}

/// What was found in the log after the checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub events: HashSet<EventId>,
    pub letters: HashSet<String>,
}

/// The writer's thread, and the way to it.
pub(crate) struct EventWriter {
    pub(crate) sender: mpsc::UnboundedSender<ToWriter>,
    pub(crate) thread: std::thread::JoinHandle<()>,
    pub(crate) stop: Arc<AtomicBool>,
}

struct Writer {
    logs: Logs,
    clock: Clock,
    metrics: Metrics,
    known: Known,
    stop: Arc<AtomicBool>,
    /// Others append events here, too: what is foretold of offsets need not come true, and readers go by the log's.
    others_append: bool,
}

/// Starts the writer. It ends when all senders are gone, or soon after `stop` is set, without writing what waits.
pub(crate) fn start(
    logs: Logs,
    clock: Clock,
    metrics: Metrics,
    known: Known,
    progress: Arc<Progress>,
    others_append: bool,
) -> std::io::Result<EventWriter> {
    // Bounded by the blocks that may be open: every message but one belongs to an open part.
    let (sender, receiver) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writer = Writer { logs, clock, metrics, known, stop: stop.clone(), others_append };
    let thread = std::thread::Builder::new().name("drover-event-writer".into()).spawn(move || {
        if let Err(reason) = writer.run(receiver) {
            tracing::error!(%reason, "events cannot be written any more: the node must be restarted");
            progress.break_down(&reason);
        }
    })?;
    Ok(EventWriter { sender, thread, stop })
}

impl Writer {
    fn run(&mut self, mut receiver: mpsc::UnboundedReceiver<ToWriter>) -> Result<(), String> {
        let mut parts = Vec::new();
        let mut events = Vec::new();
        let mut letters = Vec::new();
        while let Some(first) = receiver.blocking_recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    ToWriter::Write { events: more, letters: more_letters, part } => {
                        events.extend(more);
                        letters.extend(more_letters);
                        parts.push(part);
                    }
                    ToWriter::ForgetKnown => {
                        // What came before it is still filtered: commit that first.
                        self.write(&mut events, &mut letters)?;
                        self.known = Known::default();
                    }
                    ToWriter::Shed { events: mut gaps, snapshot, done } => {
                        self.write(&mut events, &mut letters)?;
                        if self.store(&mut gaps, &mut Vec::new(), vec![snapshot])? {
                            // Whoever asked may be gone.
                            let _ = done.send(());
                        }
                    }
                }
                next = if events.len() < EVENTS_PER_COMMIT_MAX { receiver.try_recv().ok() } else { None };
            }
            self.write(&mut events, &mut letters)?;
            if self.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            parts.drain(..).for_each(OpenPart::done);
        }
        Ok(())
    }

    /// Makes events and letters durable, except those that are there already.
    fn write(&mut self, events: &mut Vec<Event>, letters: &mut Vec<DeadLetter>) -> Result<(), String> {
        events.retain(|event| !self.known.events.contains(&event.id));
        if !self.known.letters.is_empty() {
            letters.retain(|letter| !self.known.letters.contains(&letter.identity()));
        }
        if events.is_empty() && letters.is_empty() {
            return Ok(());
        }
        self.store(events, letters, Vec::new()).map(drop)
    }

    /// Whether it is durable: not when the writer is told to stop meanwhile.
    fn store(
        &mut self,
        events: &mut Vec<Event>,
        letters: &mut Vec<DeadLetter>,
        snapshots: Vec<Snapshot>,
    ) -> Result<bool, String> {
        let mut appends = Vec::new();
        // The offsets in the frames are foretold: this thread alone appends derived events here, unless it was told
        // otherwise.
        let mut foretold = Vec::new();
        for (class, stream) in DERIVED {
            let of_class: Vec<&Event> = events.iter().filter(|event| event.kind.class() == class).collect();
            let mut place = Place { class, stream, next: self.logs.events.bounds(stream).next };
            for chunk in of_class.chunks(EVENTS_PER_BLOCK_MAX) {
                foretold.push((appends.len(), place.next));
                self.lay_out(chunk, &mut place, &mut appends).map_err(|error| format!("an event block: {error}"))?;
            }
            self.metrics.events.add(of_class.len() as u64, &[KeyValue::new("class", class.as_str())]);
        }
        appends.extend(dead_letter::append_of(letters));
        let commit = Commit { appends, snapshots, ..Default::default() };
        let Some(committed) = self.commit(commit)? else { return Ok(false) };
        for (append, first) in foretold.into_iter().filter(|_| !self.others_append) {
            if committed.get(append) != Some(&Appended::At(first)) {
                return Err(format!("somebody else appended events: {:?} instead of {first}", committed.get(append)));
            }
        }
        events.clear();
        letters.clear();
        Ok(true)
    }

    fn lay_out(&self, events: &[&Event], place: &mut Place, appends: &mut Vec<Append>) -> Result<(), BuildError> {
        let placement = Placement {
            class: place.class,
            first_offset: place.next,
            epoch: self.logs.events.epoch(),
            created_ms: (self.clock)().0,
        };
        match EventFrame::build(&EventBlockV1::of(events.iter().copied()), placement) {
            Ok(frame) => {
                place.next += events.len() as u64;
                let bytes = frame.bytes().clone();
                appends.push(Append { stream: place.stream, count: events.len() as u32, bytes, source: None });
                Ok(())
            }
            Err(BuildError::TooLong(_)) if events.len() > 1 => {
                let (left, right) = events.split_at(events.len() / 2);
                self.lay_out(left, place, appends)?;
                self.lay_out(right, place, appends)
            }
            Err(error) => Err(error),
        }
    }

    /// Commits, and waits as long as the disk is full. `None` when the writer is told to stop meanwhile.
    fn commit(&self, commit: Commit) -> Result<Option<Vec<Appended>>, String> {
        loop {
            match self.logs.events.submit(commit.clone()).wait() {
                Ok(committed) => return Ok(Some(committed.appended)),
                Err(CommitError::Full(reason)) => {
                    tracing::error!(%reason, "no space for events; the node waits for some");
                    std::thread::park_timeout(FULL_RETRY);
                    if self.stop.load(Ordering::Acquire) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_log::{EventLog, MemoryLog};
    use fleet_model::{EventKind, PluginRef, Sequence, Timestamp, VehicleName};
    use fleet_wire::Frame;

    fn event(kind: EventKind, sequence: u64) -> Event {
        let vehicle = VehicleName::new("demo".parse().unwrap(), "bus-1".parse().unwrap());
        Event {
            id: EventId::of(vehicle.key, Timestamp(sequence as i64), kind, "rule", "it"),
            kind,
            vehicle,
            sequence: Sequence(sequence),
            event_time: Timestamp(sequence as i64),
            received_time: Timestamp(sequence as i64),
            subject: "it".into(),
            value: f64::NAN,
            details: None,
            plugin: PluginRef {
                deployment: "rule".into(),
                name: "rule".into(),
                version: "1.0.0".into(),
                hash: [0; 32],
            },
            trace: None,
        }
    }

    /// Sequences of the events of a stream, in the order of the log, and whether each frame says where it stands.
    fn stored(log: &MemoryLog, stream: Stream, class: EventClass) -> Vec<u64> {
        let mut sequences = Vec::new();
        for block in log.read(stream, 0, usize::MAX).unwrap() {
            let frame = Frame::parse(block.bytes).unwrap().into_events().unwrap();
            assert_eq!((frame.header().class, frame.header().first_offset), (class, block.first));
            sequences.extend(frame.block().events.iter().map(|event| event.sequence.to_native()));
        }
        sequences
    }

    #[test]
    fn each_class_stands_in_its_own_stream_in_order() {
        let log = MemoryLog::new();
        let logs = Logs { telemetry: Arc::new(MemoryLog::new()), events: Arc::new(log.clone()) };
        let known = Known { events: HashSet::from_iter([event(EventKind::ChargeLine, 4).id]), ..Known::default() };
        let (clock, stop): (Clock, _) = (Arc::new(|| Timestamp(0)), Arc::new(AtomicBool::new(false)));
        let mut writer = Writer { logs, clock, metrics: Metrics::new(), known, stop, others_append: false };
        let kinds = [EventKind::ChargeLine, EventKind::GeofenceEntered, EventKind::ChargeLine, EventKind::DtcRaised];
        // More than one block of one class, then a few more.
        for range in [0..3_000_u64, 3_000..3_010] {
            let mut events: Vec<Event> = range.map(|n| event(kinds[n as usize % kinds.len()], n)).collect();
            writer.write(&mut events, &mut Vec::new()).unwrap();
            assert!(events.is_empty());
        }
        let billing: Vec<u64> = (0..3_010).filter(|n| n % 2 == 0 && *n != 4).collect();
        assert_eq!(stored(&log, Stream::BILLING, EventClass::Billing), billing, "4 was written before a crash");
        let alerts: Vec<u64> = (0..3_010).filter(|n| n % 2 == 1).collect();
        assert_eq!(stored(&log, Stream::ALERTS, EventClass::Alerts), alerts);
    }
}
