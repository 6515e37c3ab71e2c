//! One MQTT session: takes messages from a queue, publishes them in order, and holds each until it is acknowledged,
//! over as many connections as that takes.
//!
//! Reading, writing and taking from the queue go on side by side. An edge that stops reading therefore holds up only
//! the taking; its acknowledgements are still read, so neither side waits for the other.

mod backoff;
mod protocol;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use protocol::{Login, MqttVersion};

use crate::acknowledged::Acknowledged;
use crate::message::Message;
use crate::progress::{Counters, Links};
use crate::transport::{Stream, Transport};
use backoff::Backoff;
use protocol::{Incoming, Protocol, ProtocolError};
use rand::SeedableRng;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use window::Window;

/// Bytes that wait to be written, beyond which no further message is taken.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// Read at once.
const IN_BYTES: usize = 16 * 1024;

/// Quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quality {
    /// QoS 0: sent and forgotten.
    AtMostOnce,
    /// QoS 1: sent until acknowledged.
    AtLeastOnce,
}

/// What sessions have in common.
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) version: MqttVersion,
    pub(crate) quality: Quality,
    pub(crate) in_flight_max: u16,
    pub(crate) give_up_after: Duration,
    pub(crate) counters: Arc<Counters>,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) links: Links,
}

/// Why a session ended before everything was acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("no connection for {} s, given up; the last try said: {last}", .after.as_secs_f64())]
    GivenUp { after: Duration, last: String },
    #[error("the edge refused the login: {0}")]
    LoginRefused(&'static str),
}

/// Why one connection ended.
enum End {
    AllAcknowledged,
    Lost(String),
    LoginRefused(&'static str),
}

/// Publishes all that comes out of `queue`; returns when it has ended and everything is acknowledged.
pub(crate) async fn run(
    shared: Arc<Shared>,
    login: Login,
    mut queue: mpsc::Receiver<Message>,
) -> Result<(), SessionError> {
    let mut random = rand::rngs::SmallRng::from_os_rng();
    let mut window = Window::new(shared.in_flight_max);
    let mut backoff = Backoff::new();
    let mut without_since = Instant::now();
    let mut link = shared.links.session();
    loop {
        let lost = match shared.transport.connect().await {
            Ok(stream) => {
                let mut drive = Drive::new(&shared, &mut window, &mut queue, stream);
                let end = drive.run(&login, &mut link).await;
                if drive.accepted {
                    without_since = Instant::now();
                    backoff = Backoff::new();
                }
                match end {
                    End::AllAcknowledged => return Ok(()),
                    End::LoginRefused(why) => return Err(SessionError::LoginRefused(why)),
                    End::Lost(why) => why,
                }
            }
            Err(error) => error.to_string(),
        };
        link.down(&lost);
        if without_since.elapsed() >= shared.give_up_after {
            return Err(SessionError::GivenUp { after: shared.give_up_after, last: lost });
        }
        tokio::time::sleep(backoff.next(&mut random)).await;
    }
}

/// One connection, from CONNECT to its end.
struct Drive<'a> {
    shared: &'a Shared,
    window: &'a mut Window,
    queue: &'a mut mpsc::Receiver<Message>,
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    out: Vec<u8>,
    written: usize,
    accepted: bool,
}

impl<'a> Drive<'a> {
    fn new(
        shared: &'a Shared,
        window: &'a mut Window,
        queue: &'a mut mpsc::Receiver<Message>,
        stream: Box<dyn Stream>,
    ) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { shared, window, queue, reader, writer, out: Vec::new(), written: 0, accepted: false }
    }

    async fn run(&mut self, login: &Login, link: &mut crate::progress::Link) -> End {
        match self.exchange(login, link).await {
            Ok(end) => end,
            Err(lost) => End::Lost(lost),
        }
    }

    async fn exchange(&mut self, login: &Login, link: &mut crate::progress::Link) -> Result<End, String> {
        let mut protocol =
            Protocol::connect(self.shared.version, login, Instant::now(), &mut self.out).map_err(said)?;
        let mut input = Vec::with_capacity(IN_BYTES);
        let mut queue_ended = false;
        let mut unflushed = false;
        // An edge that takes the connection and says nothing is as good as none.
        let answer_by = Instant::now() + self.shared.give_up_after.min(Duration::from_secs(10));
        loop {
            let pending = self.out.len() - self.written;
            let nothing_left = queue_ended && self.window.is_empty() && pending == 0 && !unflushed;
            if self.accepted && nothing_left {
                return self.goodbye(protocol).await;
            }
            let takes = self.accepted && !queue_ended && pending < OUT_BYTES_MAX && self.has_room(&protocol);
            let deadline = protocol.deadline().into_iter().chain((!self.accepted).then_some(answer_by)).min();
            tokio::select! {
                read = self.reader.read_buf(&mut input) => {
                    if read.map_err(said)? == 0 {
                        return Err("the edge closed the connection".to_owned());
                    }
                    let incoming = protocol.receive(&input, Instant::now(), &mut self.out).map_err(said)?;
                    input.clear();
                    for incoming in incoming {
                        match incoming {
                            Incoming::Accepted => {
                                self.accepted = true;
                                link.up();
                                self.send_again(&mut protocol).map_err(said)?;
                            }
                            Incoming::NotReady => return Err("the edge is not ready for devices".to_owned()),
                            Incoming::LoginRefused(why) => return Ok(End::LoginRefused(why)),
                            Incoming::Acknowledged(packet_id) => self.acknowledged(packet_id),
                            Incoming::Refused(packet_id) => self.refused(packet_id),
                        }
                    }
                }
                pushed = push(&mut self.writer, &self.out[self.written..]), if pending > 0 || unflushed => {
                    self.written += pushed.map_err(said)?;
                    unflushed = pending > 0;
                    if self.written == self.out.len() {
                        self.out.clear();
                        self.written = 0;
                    }
                }
                message = self.queue.recv(), if takes => match message {
                    Some(message) => self.publish(&mut protocol, message).map_err(said)?,
                    None => queue_ended = true,
                },
                () = until(deadline) => {
                    if !self.accepted && Instant::now() >= answer_by {
                        return Err("the edge took the connection but does not answer".to_owned());
                    }
                    protocol.on_deadline(Instant::now(), &mut self.out).map_err(said)?;
                }
            }
        }
    }

    fn has_room(&self, protocol: &Protocol) -> bool {
        self.shared.quality == Quality::AtMostOnce || self.window.has_room() && protocol.has_room()
    }

    /// Publishes a message, and those that wait behind it, as far as there is room: one write for many.
    fn publish(&mut self, protocol: &mut Protocol, first: Message) -> Result<(), ProtocolError> {
        let now = Instant::now();
        let mut next = Some(first);
        while let Some(message) = next {
            self.shared.counters.sent.fetch_add(message.readings(), Relaxed);
            match self.shared.quality {
                Quality::AtMostOnce => protocol.publish(&message, None, false, now, &mut self.out)?,
                Quality::AtLeastOnce => {
                    let flight = self.window.send(message);
                    protocol.publish(&flight.message, Some(flight.packet_id), false, now, &mut self.out)?;
                }
            }
            let room = self.has_room(protocol) && self.out.len() - self.written < OUT_BYTES_MAX;
            next = if room { self.queue.try_recv().ok() } else { None };
        }
        Ok(())
    }

    /// On a new connection, everything that is not acknowledged goes first, in its old order.
    fn send_again(&mut self, protocol: &mut Protocol) -> Result<(), ProtocolError> {
        let now = Instant::now();
        for flight in self.window.flights() {
            self.shared.counters.resent.fetch_add(flight.message.readings(), Relaxed);
            protocol.publish(&flight.message, Some(flight.packet_id), true, now, &mut self.out)?;
        }
        Ok(())
    }

    fn acknowledged(&mut self, packet_id: u16) {
        if let Some(message) = self.window.acknowledge(packet_id) {
            self.shared.counters.acknowledged.fetch_add(message.readings(), Relaxed);
            self.shared.acknowledged.record(&message);
        }
    }

    /// It would be refused again, so it is over with it.
    fn refused(&mut self, packet_id: u16) {
        if let Some(message) = self.window.acknowledge(packet_id) {
            self.shared.counters.refused.fetch_add(message.readings(), Relaxed);
        }
    }

    async fn goodbye(&mut self, mut protocol: Protocol) -> Result<End, String> {
        // Everything is acknowledged; if the goodbye fails, nothing is lost.
        if protocol.disconnect(Instant::now(), &mut self.out).is_ok() {
            let _ = self.writer.write_all(&self.out).await;
        }
        let _ = self.writer.shutdown().await;
        Ok(End::AllAcknowledged)
    }
}

/// Writes some of the bytes, or flushes when there are none. Loses nothing when it is dropped half way.
async fn push(writer: &mut WriteHalf<Box<dyn Stream>>, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
