//! MQTT 5 or 3.1.1 as bytes in, bytes out. One value per connection; time is an argument.

use crate::message::Message;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::role::Client;
use mqtt_protocol_core::mqtt::connection::{Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError};
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
    #[error("it does not speak MQTT as we do: {0:?}")]
    Mqtt(MqttError),
    #[error("the edge ended the connection: {0}")]
    Ended(DisconnectReasonCode),
    #[error("the connection was closed by the protocol")]
    Closed,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MqttVersion {
    /// MQTT 3.1.1
    #[value(name = "3.1.1")]
    V3,
    /// MQTT 5
    #[value(name = "5")]
    V5,
}

impl MqttVersion {
    /// Whether an acknowledgement says that a message was refused.
    pub(crate) fn tells_refusals(self) -> bool {
        self == Self::V5
    }
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
    /// Worth another try.
    NotReady,
    /// The same login would be refused again; why.
    LoginRefused(&'static str),
    Acknowledged(u16),
    /// The message was taken note of, and none of its readings taken: only MQTT 5 says so.
    Refused(u16),
}

/// One connection's protocol state.
pub(crate) struct Protocol {
    version: MqttVersion,
    connection: Connection<Client>,
    ping_at: Option<Instant>,
    give_up_at: Option<Instant>,
}

impl Protocol {
    /// A new connection that begins with a CONNECT in `out`.
    ///
    /// The session is a lasting one (clean session off), because the standard only then speaks of sending again what
    /// was not acknowledged.
    pub(crate) fn connect(
        version: MqttVersion,
        login: &Login,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Self, ProtocolError> {
        let (spoken, connect) = match version {
            MqttVersion::V3 => (Version::V3_1_1, connect_3(login)),
            MqttVersion::V5 => (Version::V5_0, connect_5(login)),
        };
        let mut protocol = Self { version, connection: Connection::new(spoken), ping_at: None, give_up_at: None };
        protocol.connection.set_pingresp_recv_timeout(PING_ANSWERED_WITHIN.as_millis() as u64);
        protocol.send(connect, now, out)?;
        Ok(protocol)
    }

    /// How many more may be on their way, as far as the edge has set a limit.
    pub(crate) fn has_room(&self) -> bool {
        self.connection.get_receive_maximum_vacancy_for_send() != Some(0)
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
        if let Some(packet_id) = packet_id {
            self.connection.register_packet_id(packet_id).map_err(ProtocolError::Mqtt)?;
        }
        let publish = match self.version {
            MqttVersion::V3 => publish_3(message, packet_id, again),
            MqttVersion::V5 => publish_5(message, packet_id, again),
        };
        self.send(publish, now, out)
    }

    /// Says goodbye.
    pub(crate) fn disconnect(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let disconnect = match self.version {
            MqttVersion::V3 => v3_1_1::Disconnect::builder().build().map(Packet::from),
            MqttVersion::V5 => v5_0::Disconnect::builder().build().map(Packet::from),
        };
        match self.send(disconnect, now, out) {
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

    fn send(
        &mut self,
        packet: Result<Packet, MqttError>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        let events = self.connection.send(packet.map_err(ProtocolError::Mqtt)?);
        self.perform(events, now, out, &mut Vec::new())
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
                Event::NotifyPacketReceived(packet) => incoming.extend(understood(&packet)?),
                Event::NotifyPacketIdReleased(_) => {}
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

fn understood(packet: &Packet) -> Result<Option<Incoming>, ProtocolError> {
    Ok(match packet {
        Packet::V3_1_1Connack(connack) => Some(answer_3(connack.return_code())),
        Packet::V5_0Connack(connack) => Some(answer_5(connack.reason_code())),
        Packet::V3_1_1Puback(puback) => Some(Incoming::Acknowledged(puback.packet_id())),
        Packet::V5_0Puback(puback) => {
            // A PUBACK without a code is a success.
            let taken = puback.reason_code().is_none_or(|code| code.is_success());
            let of = if taken { Incoming::Acknowledged } else { Incoming::Refused };
            Some(of(puback.packet_id()))
        }
        Packet::V5_0Disconnect(disconnect) => {
            let code = disconnect.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection);
            return Err(ProtocolError::Ended(code));
        }
        _ => None,
    })
}

fn connect_3(login: &Login) -> Result<Packet, MqttError> {
    let mut connect =
        v3_1_1::Connect::builder().client_id(&login.client_id)?.clean_session(false).keep_alive(KEEP_ALIVE_S);
    if let Some(username) = &login.username {
        connect = connect.user_name(username)?;
    }
    if let Some(password) = &login.password {
        connect = connect.password(password.clone().into_bytes())?;
    }
    Ok(connect.build()?.into())
}

fn connect_5(login: &Login) -> Result<Packet, MqttError> {
    let mut connect = v5_0::Connect::builder().client_id(&login.client_id)?.clean_start(false).keep_alive(KEEP_ALIVE_S);
    if let Some(username) = &login.username {
        connect = connect.user_name(username)?;
    }
    if let Some(password) = &login.password {
        connect = connect.password(password.clone().into_bytes())?;
    }
    Ok(connect.build()?.into())
}

fn publish_3(message: &Message, packet_id: Option<u16>, again: bool) -> Result<Packet, MqttError> {
    let publish = v3_1_1::Publish::builder().topic_name(&message.vehicle.topic)?.payload(Arc::clone(&message.payload));
    let publish = match packet_id {
        Some(packet_id) => publish.qos(Qos::AtLeastOnce).packet_id(packet_id).dup(again),
        None => publish,
    };
    Ok(publish.build()?.into())
}

fn publish_5(message: &Message, packet_id: Option<u16>, again: bool) -> Result<Packet, MqttError> {
    let publish = v5_0::Publish::builder().topic_name(&message.vehicle.topic)?.payload(Arc::clone(&message.payload));
    let publish = match packet_id {
        Some(packet_id) => publish.qos(Qos::AtLeastOnce).packet_id(packet_id).dup(again),
        None => publish,
    };
    Ok(publish.build()?.into())
}

const WRONG_PASSWORD: &str = "wrong user name or password (see --to)";
const NOT_ALLOWED: &str = "not allowed to connect (see --to)";
const NO_SUCH_ID: &str = "it does not take our client id";

fn answer_3(code: ConnectReturnCode) -> Incoming {
    match code {
        ConnectReturnCode::Accepted => Incoming::Accepted,
        ConnectReturnCode::ServerUnavailable => Incoming::NotReady,
        ConnectReturnCode::BadUserNameOrPassword => Incoming::LoginRefused(WRONG_PASSWORD),
        ConnectReturnCode::NotAuthorized => Incoming::LoginRefused(NOT_ALLOWED),
        ConnectReturnCode::IdentifierRejected => Incoming::LoginRefused(NO_SUCH_ID),
        ConnectReturnCode::UnacceptableProtocolVersion => Incoming::LoginRefused("it does not speak MQTT 3.1.1"),
    }
}

fn answer_5(code: ConnectReasonCode) -> Incoming {
    match code {
        ConnectReasonCode::Success => Incoming::Accepted,
        ConnectReasonCode::BadUserNameOrPassword => Incoming::LoginRefused(WRONG_PASSWORD),
        ConnectReasonCode::NotAuthorized | ConnectReasonCode::Banned => Incoming::LoginRefused(NOT_ALLOWED),
        ConnectReasonCode::ClientIdentifierNotValid => Incoming::LoginRefused(NO_SUCH_ID),
        ConnectReasonCode::UnsupportedProtocolVersion => {
            Incoming::LoginRefused("it does not speak MQTT 5 (try --mqtt 3.1.1)")
        }
        _ => Incoming::NotReady,
    }
}
