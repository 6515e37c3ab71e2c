//! The protocol of one connection: bytes in, publishes and bytes out. No I/O, no clock.

use super::super::credentials::{Credentials, Principal};
use super::super::payload::shorten;
use super::{
    CONNECT_LEN_MAX, KEEP_ALIVE_S_MAX, PACKET_LEN_3_1_1_MAX, PACKET_LEN_MAX, REASON_LEN_MAX, TOPIC_ALIASES_MAX,
    UNACKNOWLEDGED_MAX,
};
use fleet_model::Refusal;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, MaximumQos, ReasonString, ReceiveMaximum, ServerKeepAlive,
    SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable, TopicAliasMaximum,
    WildcardSubscriptionAvailable,
};
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Property, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode,
    SubackReturnCode, UnsubackReasonCode,
};
use mqtt_protocol_core::mqtt::{ArcPayload, Connection, Version, role};
use std::sync::Arc;
use std::time::Duration;

/// CONNACK with return code 1, "unacceptable protocol version", as every version of MQTT reads it.
const CONNACK_VERSION_REFUSED: [u8; 4] = [0x20, 0x02, 0x00, 0x01];

/// A publish that came in.
#[derive(Debug)]
pub(super) struct Publish {
    /// To be acknowledged under this id; none with QoS 0.
    pub(super) packet_id: Option<u16>,
    pub(super) topic: String,
    pub(super) payload: ArcPayload,
}

/// What one packet was.
#[derive(Debug)]
pub(super) enum Received {
    /// Somebody is connected now.
    Connected,
    /// Readings.
    Publish(Publish),
    /// A packet over the limit; the connection ends.
    TooLarge,
    /// Nothing for the caller: a ping, or not a whole packet yet.
    Nothing,
}

/// Why a connection ended; the code is the metric's attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye.
    Goodbye,
    /// The client broke the protocol.
    Protocol,
    /// The credentials are wrong.
    Unauthorised,
    /// A packet over the limit.
    TooLarge,
    /// The client speaks a version of MQTT that we do not.
    Version,
    /// QoS 2.
    Qos,
    /// Nothing came for one and a half times the keep-alive.
    KeepAlive,
    /// It did not connect in time, or sent too much before.
    NotConnected,
    /// The same client connected again.
    TakenOver,
    /// The disk is full.
    DiskFull,
    /// The log refused for another reason.
    NotStored,
    /// The edge node is ending.
    ShuttingDown,
    /// The socket failed, or the client closed it.
    Gone,
}

impl End {
    pub(super) fn code(self) -> &'static str {
        match self {
            End::Goodbye => "goodbye",
            End::Protocol => "protocol",
            End::Unauthorised => "unauthorised",
            End::TooLarge => "too_large",
            End::Version => "version",
            End::Qos => "qos",
            End::KeepAlive => "keep_alive",
            End::NotConnected => "not_connected",
            End::TakenOver => "taken_over",
            End::DiskFull => "disk_full",
            End::NotStored => "not_stored",
            End::ShuttingDown => "shutting_down",
            End::Gone => "gone",
        }
    }

    /// What MQTT 5 calls it.
    fn disconnect_code(self) -> Option<DisconnectReasonCode> {
        match self {
            End::Qos => Some(DisconnectReasonCode::QosNotSupported),
            End::KeepAlive => Some(DisconnectReasonCode::KeepAliveTimeout),
            End::TakenOver => Some(DisconnectReasonCode::SessionTakenOver),
            End::DiskFull => Some(DisconnectReasonCode::QuotaExceeded),
            End::NotStored => Some(DisconnectReasonCode::UnspecifiedError),
            End::ShuttingDown => Some(DisconnectReasonCode::ServerShuttingDown),
            End::Protocol => Some(DisconnectReasonCode::ProtocolError),
            _ => None,
        }
    }
}

/// The session of one connection.
pub(super) struct Session {
    protocol: Connection<role::Server>,
    version: Version,
    principal: Option<Arc<Principal>>,
    client_id: String,
    /// An MQTT 5 client may ask for no reason strings.
    tells_reasons: bool,
    /// Largest packet that an MQTT 5 client takes. Ours are far below it save for reason strings.
    packet_len_max: usize,
    before_connect: usize,
    keep_alive: Option<Duration>,
    end: Option<End>,
    /// Bytes to be sent.
    pub(super) out: Vec<u8>,
}

impl Session {
    pub(super) fn new() -> Self {
        // The limit that any version may have; MQTT 5 clients get the lower one with CONNACK.
        let options = ConnectionOptions::new().maximum_packet_size_recv(PACKET_LEN_3_1_1_MAX);
        let mut protocol = Connection::with_options(Version::Undetermined, options);
        protocol.set_auto_ping_response(true);
        // PUBACK is ours to send: when the readings are durable.
        protocol.set_auto_pub_response(false);
        Self {
            protocol,
            version: Version::Undetermined,
            principal: None,
            client_id: String::new(),
            tells_reasons: true,
            packet_len_max: usize::MAX,
            before_connect: 0,
            keep_alive: None,
            end: None,
            out: Vec::new(),
        }
    }

    /// Takes bytes up to the end of one packet; says how many it took.
    pub(super) fn receive(&mut self, bytes: &[u8], credentials: &Credentials) -> (usize, Received) {
        let mut cursor = Cursor::new(bytes);
        let events = self.protocol.recv(&mut cursor);
        let taken = cursor.position() as usize;
        if self.principal.is_none() {
            self.before_connect += taken;
            if self.before_connect > CONNECT_LEN_MAX {
                self.ended(End::NotConnected);
                return (taken, Received::Nothing);
            }
        }
        let mut received = Received::Nothing;
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => received = self.packet(packet, credentials),
                Event::NotifyError(MqttError::PacketTooLarge) => {
                    received = Received::TooLarge;
                    self.ended(End::TooLarge);
                }
                Event::NotifyError(MqttError::UnsupportedProtocolVersion) => {
                    // The library answers where it knows the version, and leaves the others to us.
                    if self.out.is_empty() {
                        self.out.extend_from_slice(&CONNACK_VERSION_REFUSED);
                    }
                    self.ended(End::Version);
                }
                Event::NotifyError(_) => self.ended(End::Protocol),
                other => self.perform(other),
            }
        }
        (taken, received)
    }

    /// Acknowledges a publish; `refused` when nothing of it was taken.
    pub(super) fn acknowledge(&mut self, packet_id: u16, refused: Option<(Refusal, &str)>) {
        let packet: Result<Packet, MqttError> = if self.version == Version::V5_0 {
            let code = match refused.map(|(reason, _)| reason) {
                None => PubackReasonCode::Success,
                Some(Refusal::UnknownTopic) => PubackReasonCode::TopicNameInvalid,
                Some(Refusal::NotYours) => PubackReasonCode::NotAuthorized,
                Some(_) => PubackReasonCode::PayloadFormatInvalid,
            };
            let puback = || v5_0::Puback::builder().packet_id(packet_id).reason_code(code);
            let why = refused.and_then(|(reason, detail)| self.reason_string(format!("{reason}: {detail}")));
            let told = why.and_then(|why| puback().props(vec![why]).build().ok());
            match told.filter(|told| told.size() <= self.packet_len_max) {
                Some(told) => Ok(told.into()),
                None => puback().build().map(Into::into),
            }
        } else {
            v3_1_1::Puback::builder().packet_id(packet_id).build().map(Into::into)
        };
        self.send(packet);
    }

    /// Ends the connection from our side; what is in `out` is to be sent before the socket closes.
    pub(super) fn close(&mut self, end: End) {
        self.close_because(end, None);
    }

    /// The same, and tells the client why, where it can be told.
    pub(super) fn close_because(&mut self, end: End, why: Option<String>) {
        if self.end.is_some() {
            return;
        }
        if self.version == Version::V5_0
            && self.principal.is_some()
            && let Some(code) = end.disconnect_code()
        {
            let disconnect = || v5_0::Disconnect::builder().reason_code(code);
            let why = why.and_then(|why| self.reason_string(why));
            let told = why.and_then(|why| disconnect().props(vec![why]).build().ok());
            let packet = match told.filter(|told| told.size() <= self.packet_len_max) {
                Some(told) => Ok(told.into()),
                None => disconnect().build().map(Into::into),
            };
            self.send(packet);
        }
        self.end = Some(end);
    }

    /// Why it ended, when it did.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Who is connected.
    pub(super) fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The connection is dead when nothing comes for this long.
    pub(super) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    /// A reason in words for an MQTT 5 client that wants to know. One that does not fit into the largest packet that
    /// the client takes is to be left out (MQTT-3.4.2-2, MQTT-3.14.2-3).
    fn reason_string(&self, text: String) -> Option<Property> {
        let text = self.tells_reasons.then(|| shorten(text, REASON_LEN_MAX))?;
        ReasonString::new(text).ok().map(Property::ReasonString)
    }

    fn packet(&mut self, packet: Packet, credentials: &Credentials) -> Received {
        match packet {
            Packet::V3_1_1Connect(connect) => self.connect_3_1_1(&connect, credentials),
            Packet::V5_0Connect(connect) => self.connect_5(&connect, credentials),
            Packet::V3_1_1Publish(p) => self.publish(p.qos(), p.packet_id(), p.topic_name(), p.payload().clone()),
            Packet::V5_0Publish(p) => self.publish(p.qos(), p.packet_id(), p.topic_name(), p.payload().clone()),
            Packet::V3_1_1Subscribe(p) => {
                let codes = vec![SubackReturnCode::Failure; p.entries().len()];
                let suback = v3_1_1::Suback::builder().packet_id(p.packet_id()).return_codes(codes).build();
                self.send(suback.map(Into::into));
                Received::Nothing
            }
            Packet::V5_0Subscribe(p) => {
                let codes = vec![SubackReasonCode::NotAuthorized; p.entries().len()];
                let suback = v5_0::Suback::builder().packet_id(p.packet_id()).reason_codes(codes).build();
                self.send(suback.map(Into::into));
                Received::Nothing
            }
            Packet::V3_1_1Unsubscribe(p) => {
                self.send(v3_1_1::Unsuback::builder().packet_id(p.packet_id()).build().map(Into::into));
                Received::Nothing
            }
            Packet::V5_0Unsubscribe(p) => {
                let codes = vec![UnsubackReasonCode::NoSubscriptionExisted; p.entries().len()];
                let unsuback = v5_0::Unsuback::builder().packet_id(p.packet_id()).reason_codes(codes).build();
                self.send(unsuback.map(Into::into));
                Received::Nothing
            }
            Packet::V3_1_1Disconnect(_) | Packet::V5_0Disconnect(_) => {
                self.ended(End::Goodbye);
                Received::Nothing
            }
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Received::Nothing,
            // Answers to what we never sent.
            _ => {
                self.close(End::Protocol);
                Received::Nothing
            }
        }
    }

    fn publish(&mut self, qos: Qos, packet_id: Option<u16>, topic: &str, payload: ArcPayload) -> Received {
        if qos == Qos::ExactlyOnce {
            self.close(End::Qos);
            return Received::Nothing;
        }
        Received::Publish(Publish { packet_id, topic: topic.to_owned(), payload })
    }

    fn connect_3_1_1(&mut self, connect: &v3_1_1::Connect, credentials: &Credentials) -> Received {
        self.version = Version::V3_1_1;
        let principal = check(credentials, connect.user_name(), connect.password());
        // A client without an id cannot come back to its session.
        let nameless = connect.client_id().is_empty() && !connect.clean_session();
        let code = match (&principal, nameless) {
            (_, true) => ConnectReturnCode::IdentifierRejected,
            (None, _) => ConnectReturnCode::BadUserNameOrPassword,
            (Some(_), _) => ConnectReturnCode::Accepted,
        };
        self.keep_alive = Some(keep_alive(connect.keep_alive()));
        let connack = v3_1_1::Connack::builder().session_present(false).return_code(code).build();
        self.send(connack.map(Into::into));
        let assigned = connect.client_id().is_empty().then(random_client_id);
        let client_id = assigned.as_deref().unwrap_or(connect.client_id());
        self.connected(principal.filter(|_| !nameless), client_id)
    }

    fn connect_5(&mut self, connect: &v5_0::Connect, credentials: &Credentials) -> Received {
        self.version = Version::V5_0;
        let mut code = ConnectReasonCode::Success;
        let mut wants_session = false;
        for property in connect.props() {
            match property {
                Property::AuthenticationMethod(_) => code = ConnectReasonCode::BadAuthenticationMethod,
                Property::RequestProblemInformation(wanted) => self.tells_reasons = wanted.val() != 0,
                Property::SessionExpiryInterval(seconds) => wants_session = seconds.val() > 0,
                Property::MaximumPacketSize(len) => self.packet_len_max = len.val() as usize,
                _ => {}
            }
        }
        let principal = check(credentials, connect.user_name(), connect.password());
        if principal.is_none() && code == ConnectReasonCode::Success {
            code = ConnectReasonCode::BadUserNameOrPassword;
        }
        let accepted = code == ConnectReasonCode::Success;
        let assigned = connect.client_id().is_empty().then(random_client_id);
        let connack = v5_0::Connack::builder().session_present(false).reason_code(code);
        let connack = if accepted {
            match capabilities(connect.keep_alive(), wants_session, assigned.as_deref()) {
                Ok(properties) => connack.props(properties).build(),
                Err(error) => Err(error),
            }
        } else {
            connack.build()
        };
        self.keep_alive = Some(keep_alive(connect.keep_alive()));
        self.send(connack.map(Into::into));
        let client_id = assigned.as_deref().unwrap_or(connect.client_id());
        self.connected(principal.filter(|_| accepted), client_id)
    }

    fn connected(&mut self, principal: Option<Arc<Principal>>, client_id: &str) -> Received {
        if principal.is_none() {
            self.end = Some(End::Unauthorised);
            return Received::Nothing;
        }
        if self.end.is_some() {
            return Received::Nothing;
        }
        self.principal = principal;
        client_id.clone_into(&mut self.client_id);
        Received::Connected
    }

    fn send(&mut self, packet: Result<Packet, MqttError>) {
        match packet {
            Ok(packet) => {
                for event in self.protocol.send(packet) {
                    self.perform(event);
                }
            }
            Err(error) => {
                tracing::error!(%error, "an answer could not be built");
                self.end = self.end.or(Some(End::Protocol));
            }
        }
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::RequestSendPacket { packet, .. } => self.out.extend_from_slice(&packet.to_continuous_buffer()),
            Event::RequestClose | Event::NotifyError(_) => self.ended(End::Protocol),
            Event::RequestTimerReset { kind: TimerKind::PingreqRecv, duration_ms } => {
                self.keep_alive = Some(Duration::from_millis(duration_ms));
            }
            _ => {}
        }
    }

    /// Keeps the first reason.
    fn ended(&mut self, end: End) {
        // A close that the library asks for comes before the error that explains it.
        if self.end.is_none() || (self.end == Some(End::Protocol) && end == End::TooLarge) {
            self.end = Some(end);
        }
    }
}

fn check(credentials: &Credentials, username: Option<&str>, password: Option<&[u8]>) -> Option<Arc<Principal>> {
    credentials.check(username.unwrap_or_default(), password.unwrap_or_default())
}

/// For a client that brings no id: a session of its own, so that two of them do not push each other out.
fn random_client_id() -> String {
    format!("drover-{:016x}", rand::random::<u64>())
}

/// One and a half times what the client asked for, as the protocol has it.
fn keep_alive(seconds: u16) -> Duration {
    let seconds = if seconds == 0 { KEEP_ALIVE_S_MAX } else { seconds.min(KEEP_ALIVE_S_MAX) };
    Duration::from_millis(u64::from(seconds) * 1_500)
}

/// What an MQTT 5 client is told with CONNACK.
fn capabilities(keep_alive_s: u16, wants_session: bool, assigned: Option<&str>) -> Result<Vec<Property>, MqttError> {
    let mut properties = vec![
        Property::ReceiveMaximum(ReceiveMaximum::new(UNACKNOWLEDGED_MAX)?),
        Property::MaximumQos(MaximumQos::new(1)?),
        Property::MaximumPacketSize(MaximumPacketSize::new(PACKET_LEN_MAX)?),
        Property::TopicAliasMaximum(TopicAliasMaximum::new(TOPIC_ALIASES_MAX)?),
        Property::WildcardSubscriptionAvailable(WildcardSubscriptionAvailable::new(0)?),
        Property::SubscriptionIdentifierAvailable(SubscriptionIdentifierAvailable::new(0)?),
        Property::SharedSubscriptionAvailable(SharedSubscriptionAvailable::new(0)?),
    ];
    if keep_alive_s == 0 || keep_alive_s > KEEP_ALIVE_S_MAX {
        properties.push(Property::ServerKeepAlive(ServerKeepAlive::new(KEEP_ALIVE_S_MAX)?));
    }
    if wants_session {
        // Nothing is kept for a client: what was not acknowledged it sends again.
        properties.push(Property::SessionExpiryInterval(SessionExpiryInterval::new(0)?));
    }
    if let Some(id) = assigned {
        properties.push(Property::AssignedClientIdentifier(AssignedClientIdentifier::new(id)?));
    }
    Ok(properties)
}
