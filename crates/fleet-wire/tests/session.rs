//! Sender and receiver over a virtual link that is cut, delays and repeats, between logs that crash: whatever happens,
//! everything arrives once and in order.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use fleet_model::{EventClass, Reading, Sequence, Timestamp, VehicleName};
use fleet_wire::frame::Placement;
use fleet_wire::session::{Action, Decision, OutgoingFrame, Receiver, Resumed, Sender, SenderError, SenderLimits};
use fleet_wire::{Frame, FrameHeader, ReadingBlockV1, ReadingFrame, ReadingV1, VehicleNameV1};
use proptest::prelude::*;
use std::collections::VecDeque;

const LIMITS: SenderLimits = SenderLimits { window_bytes: 2_000, read_bytes: 1_500 };

fn frame(epoch: u64, first: u64, count: u32) -> Bytes {
    let name = VehicleName::new("demo".parse().unwrap(), "v".parse().unwrap());
    let reading = |i: u32| {
        let fix = Reading::fix(Timestamp(0), Timestamp(0), 1.0, 1.0);
        ReadingV1::of(0, Sequence(first + u64::from(i)), &fix)
    };
    let block = ReadingBlockV1 {
        vehicles: vec![VehicleNameV1::of(&name)],
        readings: (0..count).map(reading).collect(),
        traces: vec![],
    };
    let at = Placement { class: EventClass::Telemetry, first_offset: first, epoch, created_ms: 0 };
    ReadingFrame::build(&block, at).unwrap().bytes().clone()
}

/// The edge's log: frames by their first offset.
struct EdgeLog {
    epoch: u64,
    blocks: Vec<(u64, Bytes)>,
    next: u64,
}

impl EdgeLog {
    fn append(&mut self, count: u32) {
        self.blocks.push((self.next, frame(self.epoch, self.next, count)));
        self.next += u64::from(count);
    }

    fn read(&self, from: u64, bytes_max: usize) -> Vec<OutgoingFrame> {
        let mut left = bytes_max;
        let after = self.blocks.iter().skip_while(|(first, _)| *first < from);
        let mut taken = Vec::new();
        for (_, bytes) in after {
            if !taken.is_empty() && bytes.len() > left {
                break;
            }
            left = left.saturating_sub(bytes.len());
            taken.push(OutgoingFrame::new(bytes.clone()).unwrap());
        }
        taken
    }
}

/// The cloud's log with its watermark, as the contract of the event log has it, and commits that wait for the disk.
#[derive(Default)]
struct CloudLog {
    sequences: Vec<u64>,
    watermark: Option<(u64, u64)>,
    /// Which connection handed it in, and the frame.
    waiting: VecDeque<(u64, Bytes)>,
}

impl CloudLog {
    /// The oldest waiting commit becomes durable; answers whose it was.
    fn sync_one(&mut self) -> Option<u64> {
        let (connection, bytes) = self.waiting.pop_front()?;
        let frame = Frame::parse(bytes).unwrap().into_readings().unwrap();
        let (first, next, epoch) = (frame.header().first_offset, frame.header().next_offset(), frame.header().epoch);
        let expected = self.watermark.filter(|(of, _)| *of == epoch).map_or(first, |(_, next)| next);
        assert!(first <= expected, "a hole would be refused: {first} after {expected}");
        if first == expected {
            self.sequences.extend(frame.block().readings.iter().map(|reading| reading.sequence().0));
            self.watermark = Some((epoch, next));
        }
        Some(connection)
    }
}

struct Connection {
    number: u64,
    receiver: Receiver,
    /// On the way to the cloud and back.
    frames: VecDeque<Bytes>,
    acks: VecDeque<u64>,
}

struct World {
    edge: EdgeLog,
    cloud: CloudLog,
    sender: Sender,
    connection: Option<Connection>,
    connections: u64,
    in_flight_bytes_most: usize,
}

impl World {
    fn new(epoch: u64) -> Self {
        let edge = EdgeLog { epoch, blocks: Vec::new(), next: 0 };
        let sender = Sender::new(epoch, LIMITS);
        Self { edge, cloud: CloudLog::default(), sender, connection: None, connections: 0, in_flight_bytes_most: 0 }
    }

    fn connect(&mut self) {
        self.connections += 1;
        let receiver = Receiver::new(EventClass::Telemetry, self.edge.epoch, self.cloud.watermark);
        self.sender.handle_resume(receiver.resume(), 0, self.edge.next).unwrap();
        let (frames, acks) = (VecDeque::new(), VecDeque::new());
        self.connection = Some(Connection { number: self.connections, receiver, frames, acks });
    }

    fn cut(&mut self) {
        self.connection = None;
        self.sender.handle_disconnect();
    }

    fn pump_sender(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.sender.poll() {
                Action::Read { from, bytes_max } => {
                    self.sender.handle_read(self.edge.read(from, bytes_max)).unwrap();
                }
                Action::Send(bytes) => {
                    self.connection.as_mut().unwrap().frames.push_back(bytes);
                    self.sender.handle_frame_sent();
                    self.in_flight_bytes_most = self.in_flight_bytes_most.max(self.sender.in_flight_bytes());
                }
                Action::Wait => return,
            }
        }
    }

    fn deliver_frames(&mut self, count: usize, again: bool) {
        let Some(connection) = &mut self.connection else { return };
        for _ in 0..count {
            let Some(bytes) = connection.frames.pop_front() else { return };
            for _ in 0..=usize::from(again) {
                let header = FrameHeader::parse(&bytes).unwrap();
                if connection.receiver.handle_frame(&header).unwrap() == Decision::Commit {
                    self.cloud.waiting.push_back((connection.number, bytes.clone()));
                }
            }
        }
    }

    fn sync(&mut self, count: usize) {
        for _ in 0..count {
            let Some(whose) = self.cloud.sync_one() else { return };
            if let Some(connection) = self.connection.as_mut().filter(|c| c.number == whose) {
                connection.receiver.handle_durable();
                connection.acks.extend(connection.receiver.poll_ack());
            }
        }
    }

    fn deliver_acks(&mut self, count: usize) {
        for _ in 0..count {
            let Some(ack) = self.connection.as_mut().and_then(|c| c.acks.pop_front()) else { return };
            assert!(ack <= self.cloud.watermark.unwrap().1, "acknowledged before it was durable");
            self.sender.handle_ack(ack).unwrap();
        }
    }

    fn cloud_crashes(&mut self) {
        self.cloud.waiting.clear();
        self.cut();
    }

    fn edge_restarts(&mut self) {
        self.cut();
        self.sender = Sender::new(self.edge.epoch, LIMITS);
    }

    /// The link stays up and nobody crashes any more.
    fn settle(&mut self) {
        if self.connection.is_none() {
            self.connect();
        }
        self.sender.handle_log_advanced(self.edge.next);
        for _ in 0..10_000 {
            self.pump_sender(16);
            self.deliver_frames(16, false);
            self.sync(16);
            self.deliver_acks(16);
            if self.sender.acked() == self.edge.next {
                break;
            }
        }
        assert_eq!(self.sender.acked(), self.edge.next, "all is acknowledged in the end");
        assert!(self.cloud.sequences.iter().copied().eq(0..self.edge.next), "each once and in order");
    }
}

#[derive(Debug, Clone)]
enum Event {
    Append(u32),
    Connect,
    Pump(usize),
    Frames(usize),
    RepeatedFrames(usize),
    Sync(usize),
    Acks(usize),
    Cut,
    CloudCrash,
    EdgeRestart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..12_u32).prop_map(Event::Append),
        3 => Just(Event::Connect),
        4 => (1..8_usize).prop_map(Event::Pump),
        4 => (1..8_usize).prop_map(Event::Frames),
        1 => (1..3_usize).prop_map(Event::RepeatedFrames),
        4 => (1..8_usize).prop_map(Event::Sync),
        4 => (1..8_usize).prop_map(Event::Acks),
        1 => Just(Event::Cut),
        1 => Just(Event::CloudCrash),
        1 => Just(Event::EdgeRestart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_arrives_once_and_in_order(events in prop::collection::vec(event(), 0..200)) {
        let mut world = World::new(77);
        for event in events {
            match event {
                Event::Append(count) => {
                    world.edge.append(count);
                    world.sender.handle_log_advanced(world.edge.next);
                }
                Event::Connect if world.connection.is_none() => world.connect(),
                Event::Connect => (),
                Event::Pump(steps) => world.pump_sender(steps),
                Event::Frames(count) => world.deliver_frames(count, false),
                Event::RepeatedFrames(count) => world.deliver_frames(count, true),
                Event::Sync(count) => world.sync(count),
                Event::Acks(count) => world.deliver_acks(count),
                Event::Cut => world.cut(),
                Event::CloudCrash => world.cloud_crashes(),
                Event::EdgeRestart => world.edge_restarts(),
            }
        }
        world.settle();
        // Frames here are under 1,400 bytes: the window is never passed by more than the one that is always allowed.
        prop_assert!(world.in_flight_bytes_most <= LIMITS.window_bytes);
    }
}

fn sender_with(frames: u32) -> (EdgeLog, Sender) {
    let mut log = EdgeLog { epoch: 1, blocks: Vec::new(), next: 0 };
    (0..frames).for_each(|_| log.append(2));
    let mut sender = Sender::new(1, SenderLimits { window_bytes: 1_000_000, read_bytes: 1_000_000 });
    assert_eq!(sender.handle_resume(None, 0, log.next), Ok(Resumed::FromTheOldest));
    (log, sender)
}

fn send_all(log: &EdgeLog, sender: &mut Sender) -> usize {
    let mut sent = 0;
    loop {
        match sender.poll() {
            Action::Read { from, bytes_max } => sender.handle_read(log.read(from, bytes_max)).unwrap(),
            Action::Send(_) => {
                sent += 1;
                sender.handle_frame_sent();
            }
            Action::Wait => return sent,
        }
    }
}

#[test]
fn a_small_window_still_lets_one_frame_through() {
    let (log, _) = sender_with(3);
    let mut sender = Sender::new(1, SenderLimits { window_bytes: 1, read_bytes: 1 });
    sender.handle_resume(None, 0, log.next).unwrap();
    assert_eq!(send_all(&log, &mut sender), 1);
    sender.handle_ack(2).unwrap();
    assert_eq!(send_all(&log, &mut sender), 1);
}

#[test]
fn an_impossible_acknowledgement_ends_the_stream() {
    let (log, mut sender) = sender_with(4);
    send_all(&log, &mut sender);
    sender.handle_ack(4).unwrap();
    sender.handle_ack(4).unwrap();
    assert_eq!(sender.handle_ack(2), Err(SenderError::AckWentBack { acked: 4, found: 2 }));
    assert_eq!(sender.poll(), Action::Wait);
    for (ack, what) in [(5, "half a frame"), (10, "not sent")] {
        let (log, mut sender) = sender_with(4);
        send_all(&log, &mut sender);
        let error = sender.handle_ack(ack);
        assert!(matches!(error, Err(SenderError::AckOfNothing { sent: 8, .. })), "{what}: {error:?}");
    }
}

#[test]
fn an_acknowledgement_may_overtake_the_end_of_writing() {
    let (log, mut sender) = sender_with(2);
    let Action::Read { from, bytes_max } = sender.poll() else { panic!("a read is due") };
    sender.handle_read(log.read(from, bytes_max)).unwrap();
    assert!(matches!(sender.poll(), Action::Send(_)));
    sender.handle_ack(2).unwrap();
    sender.handle_frame_sent();
    assert_eq!(sender.in_flight_bytes(), 0);
    assert_eq!(send_all(&log, &mut sender), 1);
    assert_eq!(sender.acked(), 2);
}

#[test]
fn a_cloud_that_lost_data_gets_it_again() {
    let (log, mut sender) = sender_with(4);
    send_all(&log, &mut sender);
    sender.handle_ack(8).unwrap();
    sender.handle_disconnect();
    assert_eq!(sender.handle_resume(Some(4), 0, log.next), Ok(Resumed::CloudWentBack { acked: 8, next: 4 }));
    assert_eq!(send_all(&log, &mut sender), 2);
}

#[test]
fn a_log_that_lacks_what_the_cloud_wants_is_named() {
    let (_, mut sender) = sender_with(4);
    assert_eq!(sender.handle_resume(Some(9), 0, 8), Err(SenderError::LogIsBehind { cloud: 9, log: 8 }));
    assert_eq!(sender.handle_resume(Some(2), 4, 8), Err(SenderError::Trimmed { wanted: 2, first: 4 }));
    assert_eq!(sender.poll(), Action::Wait);
}

#[test]
fn a_hole_in_the_log_is_not_sent() {
    let (log, mut sender) = sender_with(4);
    let Action::Read { .. } = sender.poll() else { panic!("a read is due") };
    let error = sender.handle_read(log.read(2, 10_000));
    assert!(matches!(error, Err(SenderError::LogHasAHole { first: 2, expected: 0, .. })), "{error:?}");
    let mut other = Sender::new(2, LIMITS);
    other.handle_resume(None, 0, 8).unwrap();
    other.poll();
    assert!(matches!(other.handle_read(log.read(0, 10_000)), Err(SenderError::LogHasAHole { epoch: 1, own: 2, .. })));
}

fn header(class: EventClass, epoch: u64, first_offset: u64, count: u32) -> FrameHeader {
    let mut header = FrameHeader::parse(&frame(epoch, first_offset, count)).unwrap();
    header.class = class;
    header
}

#[test]
fn the_receiver_takes_only_what_is_due() {
    let at = |first, count| header(EventClass::Telemetry, 1, first, count);
    let mut receiver = Receiver::new(EventClass::Telemetry, 1, Some((1, 10)));
    assert_eq!(receiver.resume(), Some(10));
    assert!(receiver.handle_frame(&at(12, 1)).is_err(), "hole");
    assert!(receiver.handle_frame(&at(8, 4)).is_err(), "straddles");
    assert!(receiver.handle_frame(&header(EventClass::Telemetry, 2, 10, 1)).is_err(), "other epoch");
    assert!(receiver.handle_frame(&header(EventClass::Alerts, 1, 10, 1)).is_err(), "other class");
    assert_eq!(receiver.poll_ack(), None);
    assert_eq!(receiver.handle_frame(&at(8, 2)), Ok(Decision::Repeat));
    assert_eq!(receiver.poll_ack(), Some(10), "a repeat is acknowledged again");
    assert_eq!(receiver.handle_frame(&at(10, 5)), Ok(Decision::Commit));
    assert_eq!(receiver.handle_frame(&at(15, 5)), Ok(Decision::Commit));
    assert_eq!(receiver.handle_frame(&at(10, 5)), Ok(Decision::Repeat));
    assert_eq!(receiver.poll_ack(), Some(10), "but only what is durable");
    receiver.handle_durable();
    receiver.handle_durable();
    assert_eq!((receiver.poll_ack(), receiver.poll_ack()), (Some(20), None));
}

#[test]
fn another_epoch_starts_anywhere() {
    let mut receiver = Receiver::new(EventClass::Telemetry, 2, Some((1, 10)));
    assert_eq!(receiver.resume(), None);
    assert_eq!(receiver.handle_frame(&header(EventClass::Telemetry, 2, 500, 3)), Ok(Decision::Commit));
    assert_eq!(receiver.handle_frame(&header(EventClass::Telemetry, 2, 503, 3)), Ok(Decision::Commit));
    assert!(receiver.handle_frame(&header(EventClass::Telemetry, 2, 507, 3)).is_err());
}
