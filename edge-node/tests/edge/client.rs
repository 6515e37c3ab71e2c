//! A small MQTT client and a small HTTP client.

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait, MaximumPacketSize, Packet, Property, Qos, SubEntry, SubOpts, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    protocol: Connection<role::Client>,
    version: Version,
    inbox: VecDeque<Packet>,
}

/// How to connect.
pub(crate) struct Login<'a> {
    pub(crate) version: Version,
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) keep_alive_s: u16,
    /// Largest packet that the client takes, which MQTT 5 tells the server.
    pub(crate) packet_len_max: Option<u32>,
}

pub(crate) const DEMO_3: Login<'static> = Login {
    version: Version::V3_1_1,
    username: "demo",
    password: "password",
    client_id: "test",
    keep_alive_s: 60,
    packet_len_max: None,
};
pub(crate) const DEMO_5: Login<'static> = Login { version: Version::V5_0, ..DEMO_3 };

impl Client {
    /// Connects and reads the CONNACK.
    pub(crate) async fn connect(address: SocketAddr, login: &Login<'_>) -> (Self, Packet) {
        let stream = TcpStream::connect(address).await.unwrap();
        let protocol = Connection::new(login.version);
        let mut client = Self { stream, protocol, version: login.version, inbox: VecDeque::new() };
        let connect: Packet = if login.version == Version::V5_0 {
            let connect = v5_0::Connect::builder().client_id(login.client_id).unwrap().keep_alive(login.keep_alive_s);
            let len_max = login.packet_len_max.map(|len| MaximumPacketSize::new(len).unwrap());
            connect
                .props(len_max.map(Property::MaximumPacketSize).into_iter().collect::<Vec<_>>())
                .clean_start(true)
                .user_name(login.username)
                .unwrap()
                .password(login.password)
                .unwrap()
                .build()
                .unwrap()
                .into()
        } else {
            let connect = v3_1_1::Connect::builder().client_id(login.client_id).unwrap().keep_alive(login.keep_alive_s);
            connect
                .clean_session(true)
                .user_name(login.username)
                .unwrap()
                .password(login.password)
                .unwrap()
                .build()
                .unwrap()
                .into()
        };
        client.send(connect).await;
        let connack = client.next().await.expect("CONNACK");
        (client, connack)
    }

    /// Connects as the demo tenant.
    pub(crate) async fn demo(address: SocketAddr, version: Version, client_id: &str) -> Self {
        Self::connect(address, &Login { version, client_id, ..DEMO_3 }).await.0
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        let events = self.protocol.send(packet);
        self.perform(events).await;
    }

    /// An id for a packet that a test builds itself.
    pub(crate) fn packet_id(&mut self) -> u16 {
        self.protocol.acquire_packet_id().unwrap()
    }

    /// Publishes; answers the packet id (0 with QoS 0).
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8], qos: Qos) -> u16 {
        let id = if qos == Qos::AtMostOnce { None } else { Some(self.protocol.acquire_packet_id().unwrap()) };
        let packet: Packet = if self.version == Version::V5_0 {
            let publish = v5_0::Publish::builder().topic_name(topic).unwrap().qos(qos).payload(payload);
            match id {
                Some(id) => publish.packet_id(id),
                None => publish,
            }
            .build()
            .unwrap()
            .into()
        } else {
            let publish = v3_1_1::Publish::builder().topic_name(topic).unwrap().qos(qos).payload(payload);
            match id {
                Some(id) => publish.packet_id(id),
                None => publish,
            }
            .build()
            .unwrap()
            .into()
        };
        self.send(packet).await;
        id.unwrap_or_default()
    }

    /// A fix of a vehicle of tenant demo, QoS 1.
    pub(crate) async fn publish_fix(&mut self, vehicle: &str, event_time_ms: i64) -> u16 {
        let payload = format!(r#"{{"event_time_ms":{event_time_ms},{}}}"#, crate::started::FIX);
        self.publish(&topic(vehicle), payload.as_bytes(), Qos::AtLeastOnce).await
    }

    pub(crate) async fn ping(&mut self) {
        let ping =
            if self.version == Version::V5_0 { v5_0::Pingreq::new().into() } else { v3_1_1::Pingreq::new().into() };
        self.send(ping).await;
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        let id = self.protocol.acquire_packet_id().unwrap();
        let entries = vec![SubEntry::new(filter, SubOpts::new()).unwrap()];
        let subscribe = if self.version == Version::V5_0 {
            v5_0::Subscribe::builder().packet_id(id).entries(entries).build().unwrap().into()
        } else {
            v3_1_1::Subscribe::builder().packet_id(id).entries(entries).build().unwrap().into()
        };
        self.send(subscribe).await;
    }

    /// The next packet; `None` when the server closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        tokio::time::timeout(PATIENCE, async {
            let mut bytes = [0; 4_096];
            loop {
                if let Some(packet) = self.inbox.pop_front() {
                    return Some(packet);
                }
                let len = self.stream.read(&mut bytes).await.unwrap_or(0);
                if len == 0 {
                    return None;
                }
                let mut cursor = Cursor::new(&bytes[..len]);
                while (cursor.position() as usize) < len {
                    let events = self.protocol.recv(&mut cursor);
                    self.perform(events).await;
                }
            }
        })
        .await
        .expect("the server says nothing")
    }

    /// The next packet, which is a PUBACK: its id and reason code (0 in MQTT 3.1.1).
    pub(crate) async fn puback(&mut self) -> (u16, u8) {
        match self.next().await {
            Some(Packet::V3_1_1Puback(ack)) => (ack.packet_id(), 0),
            Some(Packet::V5_0Puback(ack)) => (ack.packet_id(), ack.reason_code().map_or(0, |code| code as u8)),
            other => panic!("no PUBACK but {other:?}"),
        }
    }

    /// The next packet, which is MQTT 5's DISCONNECT; then the connection ends.
    pub(crate) async fn disconnected(&mut self) -> u8 {
        let code = match self.next().await {
            Some(Packet::V5_0Disconnect(goodbye)) => goodbye.reason_code().map_or(0, |code| code as u8),
            other => panic!("no DISCONNECT but {other:?}"),
        };
        assert!(self.next().await.is_none());
        code
    }

    async fn perform(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    // The server may have closed already, which a test then sees by reading.
                    let _ = self.stream.write_all(&packet.to_continuous_buffer()).await;
                }
                Event::NotifyPacketReceived(packet) => self.inbox.push_back(packet),
                Event::NotifyError(error) => panic!("the client's own protocol: {error:?}"),
                _ => {}
            }
        }
    }
}

pub(crate) fn topic(vehicle: &str) -> String {
    format!("drover/v1/demo/{vehicle}/readings")
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `demo:password`
pub(crate) const DEMO_BASIC: &str = "Authorization: Basic ZGVtbzpwYXNzd29yZA==\r\n";
/// `bus:password`
pub(crate) const BUS_BASIC: &str = "Authorization: Basic YnVzOnBhc3N3b3Jk\r\n";

pub(crate) async fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server may answer before it has read everything.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("no answer");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub(crate) async fn post(address: SocketAddr, body: &str) -> Answer {
    request(address, "POST", "/v1/readings", DEMO_BASIC, body.as_bytes()).await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "", b"").await
}
