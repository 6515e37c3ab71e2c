//! One task per connection: socket, session, ingest, and the order of acknowledgements.

use super::super::Door;
use super::super::payload::{self, Complaint, Naming, Parsed};
use super::session::{End, Publish, Received, Session};
use super::sessions::SessionGuard;
use super::topics::Topics;
use super::{CONNECT_DEADLINE, UNACKNOWLEDGED_MAX, WRITE_DEADLINE};
use crate::ingest::{IngestError, Lane, Outcome, Payload, Reply};
use crate::metrics::{INSTRUMENTS, reason, transport};
use crate::trace;
use bytes::{Buf, Bytes, BytesMut};
use fleet_model::{Refusal, VehicleName};
use mqtt_protocol_core::mqtt::ArcPayload;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes read at once: little while a device says little, since there may be thousands of them.
const READ_LEN_MIN: usize = 2 * 1_024;
/// Bytes read at once from a busy connection.
const READ_LEN_MAX: usize = 64 * 1_024;
/// What a connection that ends has read waits this long for credits.
const HAND_IN_DEADLINE: Duration = Duration::from_secs(10);
/// After our last word the peer gets this long to read it; closing earlier would reset the connection under it.
const LINGER: Duration = Duration::from_millis(500);
/// Credits that one request asks for at most; a larger batch becomes several.
const REQUEST_COST_MAX: usize = 4_096;

/// Serves one connection until its end.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    door: Arc<Door>,
    peer: SocketAddr,
    name: &'static str,
    shutdown: CancellationToken,
) {
    INSTRUMENTS.connections.add(1, &transport(name));
    let mut connection = Connection::new(stream, door, name);
    let end = connection.run(&shutdown).await;
    INSTRUMENTS.connections.add(-1, &transport(name));
    INSTRUMENTS.connections_ended.add(1, &reason(end.code()));
    let username = connection.session.principal().map(|principal| principal.username.as_str());
    match end {
        End::Goodbye | End::Gone | End::ShuttingDown => tracing::debug!(%peer, username, end = end.code(), "closed"),
        End::Version => {
            tracing::info!(%peer, end = end.code(), "refused: the client speaks neither MQTT 3.1.1 nor MQTT 5");
        }
        _ => tracing::info!(%peer, username, end = end.code(), "connection ended"),
    }
}

/// Payloads handed in, with the ids to acknowledge, in order of receipt.
struct InFlight {
    packet_ids: Vec<Option<u16>>,
    reply: Reply,
}

type Submitting = Pin<Box<dyn Future<Output = (Vec<Option<u16>>, Result<Reply, IngestError>)> + Send>>;

struct Connection<S> {
    stream: S,
    door: Arc<Door>,
    name: &'static str,
    session: Session,
    guard: Option<SessionGuard>,
    input: BytesMut,
    read_len: usize,
    topics: Topics,
    lane: Lane,
    /// Read, not handed in yet.
    payloads: Vec<Payload>,
    packet_ids: Vec<Option<u16>>,
    cost: usize,
    /// Waits for credits.
    submitting: Option<Submitting>,
    in_flight: VecDeque<InFlight>,
    /// Publishes in `submitting` and `in_flight`.
    unacknowledged: usize,
    alive_until: Instant,
}

/// What woke the task.
enum Woken {
    Read(std::io::Result<usize>),
    Submitted((Vec<Option<u16>>, Result<Reply, IngestError>)),
    Answered(Result<Vec<Outcome>, IngestError>),
    Silence,
    TakenOver,
    Shutdown,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, door: Arc<Door>, name: &'static str) -> Self {
        Self {
            stream,
            lane: door.ingest.lane(),
            door,
            name,
            session: Session::new(),
            guard: None,
            input: BytesMut::new(),
            read_len: READ_LEN_MIN,
            topics: Topics::default(),
            payloads: Vec::new(),
            packet_ids: Vec::new(),
            cost: 0,
            submitting: None,
            in_flight: VecDeque::new(),
            unacknowledged: 0,
            alive_until: Instant::now() + CONNECT_DEADLINE,
        }
    }

    async fn run(&mut self, shutdown: &CancellationToken) -> End {
        let mut draining = false;
        let mut was_reading = true;
        loop {
            self.take_input();
            self.hand_in();
            if let Some(end) = self.session.end() {
                return self.leave(end).await;
            }
            if !self.flush_output().await {
                return self.leave(End::Gone).await;
            }
            if draining && self.in_flight.is_empty() && self.submitting.is_none() {
                self.session.close(End::ShuttingDown);
                continue;
            }
            let reading = !draining && self.submitting.is_none() && self.input.is_empty() && self.has_room();
            if reading && !was_reading {
                // What the client sent while we did not read, keep-alives too, is still in the socket.
                self.stay_alive();
            }
            was_reading = reading;
            match self.wait(reading, draining, shutdown).await {
                Woken::Read(Ok(0) | Err(_)) => return self.leave(End::Gone).await,
                Woken::Read(Ok(len)) => self.adapt_read_len(len),
                Woken::Submitted((packet_ids, Ok(reply))) => {
                    self.submitting = None;
                    self.in_flight.push_back(InFlight { packet_ids, reply });
                }
                Woken::Submitted((_, Err(error))) => {
                    self.submitting = None;
                    self.failed(&error);
                }
                Woken::Answered(Ok(outcomes)) => self.acknowledge(&outcomes),
                Woken::Answered(Err(error)) => self.failed(&error),
                Woken::Silence => {
                    let connected = self.session.principal().is_some();
                    self.session.close(if connected { End::KeepAlive } else { End::NotConnected });
                }
                Woken::TakenOver => self.session.close(End::TakenOver),
                Woken::Shutdown => draining = true,
            }
        }
    }

    async fn wait(&mut self, reading: bool, draining: bool, shutdown: &CancellationToken) -> Woken {
        let in_flight = self.in_flight.front_mut();
        let (answers, submits) = (in_flight.is_some(), self.submitting.is_some());
        let guard = self.guard.as_ref();
        if reading && self.input.capacity() == 0 {
            self.input.reserve(self.read_len);
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if !draining => Woken::Shutdown,
            () = async { if let Some(guard) = guard { guard.taken_over.cancelled().await } }, if guard.is_some() => {
                Woken::TakenOver
            }
            answer = async {
                match in_flight {
                    Some(first) => (&mut first.reply).await.unwrap_or(Err(IngestError::Closed)),
                    None => std::future::pending().await,
                }
            }, if answers => Woken::Answered(answer),
            submitted = async {
                match &mut self.submitting {
                    Some(submitting) => submitting.await,
                    None => std::future::pending().await,
                }
            }, if submits => Woken::Submitted(submitted),
            read = self.stream.read_buf(&mut self.input), if reading => Woken::Read(read),
            () = tokio::time::sleep_until(self.alive_until), if reading => Woken::Silence,
        }
    }

    fn adapt_read_len(&mut self, len: usize) {
        if len >= self.read_len {
            self.read_len = (self.read_len * 4).min(READ_LEN_MAX);
        } else if len < self.read_len / 4 {
            self.read_len = (self.read_len / 2).max(READ_LEN_MIN);
        }
    }

    fn has_room(&self) -> bool {
        self.unacknowledged + self.payloads.len() < usize::from(UNACKNOWLEDGED_MAX)
    }

    fn stay_alive(&mut self) {
        let keep_alive = self.session.keep_alive().unwrap_or(CONNECT_DEADLINE);
        self.alive_until = Instant::now() + keep_alive;
    }

    /// Feeds what was read to the session, as long as there is room for publishes.
    fn take_input(&mut self) {
        let received_time = (self.door.clock)();
        while self.submitting.is_none()
            && self.session.end().is_none()
            && !self.input.is_empty()
            && self.has_room()
            && self.cost < REQUEST_COST_MAX
        {
            let (taken, received) = self.session.receive(&self.input, &self.door.credentials);
            self.input.advance(taken);
            match received {
                Received::Connected => {
                    if let Some(principal) = self.session.principal() {
                        self.guard = Some(self.door.sessions.enter(&principal.username, self.session.client_id()));
                    }
                    self.stay_alive();
                }
                Received::Publish(publish) => {
                    self.stay_alive();
                    self.publish(publish, received_time);
                }
                Received::TooLarge => {
                    let detail = "an MQTT packet over the limit; it was not read".to_owned();
                    self.push(None, None, Bytes::new(), Parsed::refused_whole(Refusal::TooLarge, detail));
                }
                // Also a piece of a packet: whoever sends at all is alive.
                Received::Nothing if self.session.principal().is_some() => self.stay_alive(),
                Received::Nothing => {}
            }
        }
        if self.input.is_empty() {
            // An idle connection keeps no buffer.
            self.input = BytesMut::new();
        }
    }

    fn publish(&mut self, publish: Publish, received_time: fleet_model::Timestamp) {
        INSTRUMENTS.payloads.add(1, &transport(self.name));
        let raw = Bytes::from_owner(Raw(publish.payload));
        let Some(principal) = self.session.principal().cloned() else { return };
        let trace = trace::publish(self.name, &principal.tenant);
        let vehicle = self.topics.vehicle(&publish.topic, &principal);
        let (parsed, name) = match vehicle {
            Ok(name) => {
                let mut naming = OfTopic(&name);
                (payload::parse(&raw, received_time, &mut naming), Some(Arc::clone(&name)))
            }
            Err((reason, detail)) => (Parsed::refused_whole(reason, detail), None),
        };
        self.push(publish.packet_id, name, raw, parsed);
        if let Some(last) = self.payloads.last_mut() {
            last.trace = trace;
        }
    }

    fn push(&mut self, packet_id: Option<u16>, name: Option<Arc<VehicleName>>, raw: Bytes, parsed: Parsed) {
        let Some(principal) = self.session.principal() else { return };
        let payload = Payload {
            tenant: Some(principal.tenant.clone()),
            vehicle: name.map(|name| name.vehicle.clone()),
            raw,
            parsed,
            trace: None,
        };
        self.cost += payload.cost();
        self.payloads.push(payload);
        self.packet_ids.push(packet_id);
    }

    /// Everything that was read becomes one request.
    fn hand_in(&mut self) {
        if self.payloads.is_empty() || self.submitting.is_some() {
            return;
        }
        let payloads = std::mem::take(&mut self.payloads);
        let packet_ids = std::mem::take(&mut self.packet_ids);
        self.cost = 0;
        self.unacknowledged += payloads.len();
        let lane = self.lane.clone();
        self.submitting = Some(Box::pin(async move { (packet_ids, lane.submit(payloads).await) }));
    }

    fn acknowledge(&mut self, outcomes: &[Outcome]) {
        let Some(done) = self.in_flight.pop_front() else { return };
        self.unacknowledged -= done.packet_ids.len();
        for (packet_id, outcome) in done.packet_ids.iter().zip(outcomes) {
            let Some(packet_id) = packet_id else { continue };
            let taken = outcome.admitted + outcome.repeats > 0;
            let refused = outcome.refused.first().filter(|_| !taken);
            self.session.acknowledge(*packet_id, refused.map(|refused| (refused.reason, refused.detail.as_str())));
        }
    }

    /// Nothing is acknowledged: the client must come again and send again. What was read after it goes the same way.
    fn failed(&mut self, error: &IngestError) {
        self.submitting = None;
        self.payloads.clear();
        self.packet_ids.clear();
        self.in_flight.clear();
        let end = match error {
            IngestError::Full(_) => End::DiskFull,
            IngestError::NotStored(_) => End::NotStored,
            IngestError::Broken | IngestError::Closed => End::ShuttingDown,
        };
        self.session.close_because(end, Some(error.to_string()));
    }

    /// `false`: the socket is gone, or takes nothing.
    async fn flush_output(&mut self) -> bool {
        if self.session.out.is_empty() {
            return true;
        }
        let written = tokio::time::timeout(WRITE_DEADLINE, async {
            self.stream.write_all(&self.session.out).await?;
            self.stream.flush().await
        });
        let done = matches!(written.await, Ok(Ok(())));
        self.session.out.clear();
        done
    }

    /// What was read is still handed in: a client may publish and say goodbye at once.
    async fn leave(&mut self, end: End) -> End {
        let handed_in = tokio::time::timeout(HAND_IN_DEADLINE, async {
            if let Some(submitting) = self.submitting.take() {
                let _ = submitting.await;
            }
            self.hand_in();
            if let Some(submitting) = self.submitting.take() {
                let _ = submitting.await;
            }
        });
        let _ = handed_in.await;
        let _ = self.flush_output().await;
        if end != End::Gone {
            let _ = tokio::time::timeout(LINGER, async {
                self.stream.shutdown().await?;
                let mut unread = [0; 1_024];
                while self.stream.read(&mut unread).await? > 0 {}
                std::io::Result::Ok(())
            })
            .await;
        }
        end
    }
}

/// The vehicle is the topic's; an element may say so too, but nothing else.
struct OfTopic<'a>(&'a Arc<VehicleName>);

impl Naming for OfTopic<'_> {
    fn vehicle(&mut self, named: Option<&str>) -> Result<Arc<VehicleName>, Complaint> {
        match named {
            Some(other) if other != self.0.vehicle.as_str() => {
                let detail = format!(
                    "/vehicle: {:?} is not the topic's vehicle {}",
                    payload::shorten(other.to_owned(), 64),
                    self.0.vehicle
                );
                Err((Refusal::MissingVehicle, detail))
            }
            _ => Ok(Arc::clone(self.0)),
        }
    }
}

/// A payload inside the packet that it came in.
struct Raw(ArcPayload);

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}
