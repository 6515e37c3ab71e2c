//! MQTT 3.1.1 as bytes in, bytes out. One value per connection; time is an argument.

use crate::message::Message;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::role::Client;
use mqtt_protocol_core::mqtt::connection::{Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::v3_1_1::{Connect, Disconnect, Publish};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError};
use mqtt_protocol_core::mqtt::{Connection, Version};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this long without a packet, one is asked for.
const KEEP_ALIVE_S: u16 = 30;
/// An edge that does not answer for this long is gone.
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("the edge did not answer a ping")]
    Silent,
    #[error("it does not speak MQTT 3.1.1 as we do: {0:?}")]
    Mqtt(MqttError),
    #[error("the connection was closed by the protocol")]
    Closed,
}

/// Who connects.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

/// What came in.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    Accepted,
    Refused(ConnectReturnCode),
    Acknowledged(u16),
}

/// One connection's protocol state.
pub(crate) struct Protocol {
    connection: Connection<Client>,
    ping_at: Option<Instant>,
    give_up_at: Option<Instant>,
}

impl Protocol {
    /// A new connection that begins with a CONNECT in `out`.
    ///
    /// The session is a lasting one (clean session off), because the standard only then speaks of sending again what
    /// was not acknowledged.
    pub(crate) fn connect(login: &Login, now: Instant, out: &mut Vec<u8>) -> Result<Self, ProtocolError> {
        let mut connect = Connect::builder()
            .client_id(&login.client_id)
            .map_err(ProtocolError::Mqtt)?
            .clean_session(false)
            .keep_alive(KEEP_ALIVE_S);
        if let Some(username) = &login.username {
            connect = connect.user_name(username).map_err(ProtocolError::Mqtt)?;
        }
        if let Some(password) = &login.password {
            connect = connect.password(password.clone().into_bytes()).map_err(ProtocolError::Mqtt)?;
        }
        let connect = connect.build().map_err(ProtocolError::Mqtt)?;
        let mut protocol = Self { connection: Connection::new(Version::V3_1_1), ping_at: None, give_up_at: None };
        protocol.connection.set_pingresp_recv_timeout(PING_ANSWERED_WITHIN.as_millis() as u64);
        let events = protocol.connection.checked_send(connect);
        protocol.perform(events, now, out, &mut Vec::new())?;
        Ok(protocol)
    }

    /// Publishes at QoS 1, or at QoS 0 without a packet id.
    pub(crate) fn publish(
        &mut self,
        message: &Message,
        packet_id: Option<u16>,
        again: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let mut publish = Publish::builder()
            .topic_name(&message.vehicle.topic)
            .map_err(ProtocolError::Mqtt)?
            .payload(Arc::clone(&message.payload));
        if let Some(packet_id) = packet_id {
            self.connection.register_packet_id(packet_id).map_err(ProtocolError::Mqtt)?;
            publish = publish.qos(Qos::AtLeastOnce).packet_id(packet_id).dup(again);
        }
        let publish = publish.build().map_err(ProtocolError::Mqtt)?;
        let events = self.connection.checked_send(publish);
        self.perform(events, now, out, &mut Vec::new())
    }

    /// Says goodbye.
    pub(crate) fn disconnect(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let disconnect = Disconnect::builder().build().map_err(ProtocolError::Mqtt)?;
        let events = self.connection.checked_send(disconnect);
        match self.perform(events, now, out, &mut Vec::new()) {
            // That the protocol asks to close is what was wanted.
            Ok(()) | Err(ProtocolError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes bytes as they came.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Vec<Incoming>, ProtocolError> {
        let mut incoming = Vec::new();
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 {
            let events = self.connection.recv(&mut cursor);
            self.perform(events, now, out, &mut incoming)?;
        }
        Ok(incoming)
    }

    /// When [`on_deadline`](Self::on_deadline) is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ping_at.into_iter().chain(self.give_up_at).min()
    }

    pub(crate) fn on_deadline(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        if self.give_up_at.is_some_and(|at| at <= now) {
            return Err(ProtocolError::Silent);
        }
        if self.ping_at.is_some_and(|at| at <= now) {
            self.ping_at = None;
            let events = self.connection.notify_timer_fired(TimerKind::PingreqSend);
            self.perform(events, now, out, &mut Vec::new())?;
        }
        Ok(())
    }

    fn perform(
        &mut self,
        events: Vec<Event>,
        now: Instant,
        out: &mut Vec<u8>,
        incoming: &mut Vec<Incoming>,
    ) -> Result<(), ProtocolError> {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => out.extend_from_slice(&packet.to_continuous_buffer()),
                Event::NotifyPacketReceived(Packet::V3_1_1Connack(connack)) => match connack.return_code() {
                    ConnectReturnCode::Accepted => incoming.push(Incoming::Accepted),
                    code => incoming.push(Incoming::Refused(code)),
                },
                Event::NotifyPacketReceived(Packet::V3_1_1Puback(puback)) => {
                    incoming.push(Incoming::Acknowledged(puback.packet_id()));
                }
                Event::NotifyPacketReceived(_) | Event::NotifyPacketIdReleased(_) => {}
                Event::RequestTimerReset { kind, duration_ms } => {
                    *self.timer(kind) = Some(now + Duration::from_millis(duration_ms));
                }
                Event::RequestTimerCancel(kind) => *self.timer(kind) = None,
                Event::NotifyError(error) => return Err(ProtocolError::Mqtt(error)),
                Event::RequestClose => return Err(ProtocolError::Closed),
            }
        }
        Ok(())
    }

    fn timer(&mut self, kind: TimerKind) -> &mut Option<Instant> {
        match kind {
            TimerKind::PingreqSend => &mut self.ping_at,
            TimerKind::PingrespRecv | TimerKind::PingreqRecv => &mut self.give_up_at,
        }
    }
}
