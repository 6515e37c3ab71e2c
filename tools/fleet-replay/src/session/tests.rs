//! A session against an edge that drops connections and withholds acknowledgements at random.

use super::*;
use crate::message::Vehicle;
use crate::progress::Progress;
use fleet_model::{TenantId, VehicleId};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::connection::role::Server;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, PubackReasonCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashSet;
use std::sync::Mutex;
use tokio::net::{TcpListener, TcpStream};

/// What the server saw: topic, payload, whether it was marked as sent again.
type Seen = Arc<Mutex<Vec<(String, String, bool)>>>;

/// How bad the server is.
#[derive(Clone, Copy)]
struct Moods {
    /// Of a publish to be answered by a closed connection.
    drops: f64,
    /// Of a publish whose acknowledgement waits behind later ones.
    withholds: f64,
    /// Whether it lets anybody in.
    accepts: bool,
    /// Refuses every how many-th payload, by its number; 0: none.
    refuses_every: u64,
}

const KIND: Moods = Moods { drops: 0.0, withholds: 0.0, accepts: true, refuses_every: 0 };

async fn server(seen: Seen, moods: Moods, seed: u64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = serve(stream, &seen, moods, &mut random).await;
        }
    });
    port
}

async fn serve(mut stream: TcpStream, seen: &Seen, moods: Moods, random: &mut StdRng) -> std::io::Result<()> {
    let mut connection = Connection::<Server>::new(Version::Undetermined);
    let mut withheld: Vec<Packet> = Vec::new();
    let mut input = Vec::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut cursor = Cursor::new(&input[..]);
        let mut received = Vec::new();
        while cursor.position() < input.len() as u64 {
            for event in connection.recv(&mut cursor) {
                if let Event::NotifyPacketReceived(packet) = event {
                    received.push(packet);
                }
            }
        }
        input.clear();
        let mut answers = Vec::new();
        for packet in received {
            match packet {
                Packet::V3_1_1Connect(connect) => {
                    assert!(!connect.clean_session() && connect.user_name() == Some("fleet"));
                    let code = match moods.accepts {
                        true => ConnectReturnCode::Accepted,
                        false => ConnectReturnCode::BadUserNameOrPassword,
                    };
                    let connack = v3_1_1::Connack::builder().session_present(false).return_code(code).build().unwrap();
                    answers.extend(connection.send(connack.into()));
                }
                Packet::V5_0Connect(connect) => {
                    assert!(!connect.clean_start() && connect.user_name() == Some("fleet"));
                    let code = match moods.accepts {
                        true => ConnectReasonCode::Success,
                        false => ConnectReasonCode::BadUserNameOrPassword,
                    };
                    let connack = v5_0::Connack::builder().session_present(false).reason_code(code).build().unwrap();
                    answers.extend(connection.send(connack.into()));
                }
                Packet::V3_1_1Publish(publish) => {
                    let payload = String::from_utf8(publish.payload().as_slice().to_vec()).unwrap();
                    seen.lock().unwrap().push((publish.topic_name().to_owned(), payload, publish.dup()));
                    if random.random_bool(moods.drops) {
                        return Ok(());
                    }
                    if publish.qos() == Qos::AtLeastOnce {
                        let puback = v3_1_1::Puback::builder().packet_id(publish.packet_id().unwrap());
                        withheld.push(puback.build().unwrap().into());
                    }
                }
                Packet::V5_0Publish(publish) => {
                    let payload = String::from_utf8(publish.payload().as_slice().to_vec()).unwrap();
                    let number: u64 = payload.parse().unwrap();
                    seen.lock().unwrap().push((publish.topic_name().to_owned(), payload, publish.dup()));
                    if random.random_bool(moods.drops) {
                        return Ok(());
                    }
                    if publish.qos() == Qos::AtLeastOnce {
                        let refused = moods.refuses_every > 0 && number.is_multiple_of(moods.refuses_every);
                        let code =
                            if refused { PubackReasonCode::PayloadFormatInvalid } else { PubackReasonCode::Success };
                        let puback = v5_0::Puback::builder().packet_id(publish.packet_id().unwrap()).reason_code(code);
                        withheld.push(puback.build().unwrap().into());
                    }
                }
                Packet::V3_1_1Disconnect(_) | Packet::V5_0Disconnect(_) => return Ok(()),
                other => panic!("unexpected {other}"),
            }
        }
        // Some are acknowledged late and out of order, but never all withheld for good: then the client could not go on.
        let mut late = Vec::new();
        for puback in withheld.drain(..) {
            if random.random_bool(moods.withholds) {
                late.push(puback);
            } else {
                answers.extend(connection.send(puback));
            }
        }
        for puback in late {
            answers.extend(connection.send(puback));
        }
        for answer in answers {
            if let Event::RequestSendPacket { packet, .. } = answer {
                stream.write_all(&packet.to_continuous_buffer()).await?;
            }
        }
    }
}

fn shared(port: u16, version: MqttVersion, quality: Quality) -> Arc<Shared> {
    let target: crate::target::Target = format!("mqtt://fleet:secret@127.0.0.1:{port}").parse().unwrap();
    let give_up_after = Duration::from_secs(20);
    Arc::new(Shared {
        transport: Transport::new(target, None).unwrap(),
        version,
        quality,
        in_flight_max: 16,
        give_up_after,
        counters: Arc::default(),
        acknowledged: Acknowledged::into_file(None).unwrap(),
        links: Links::new(Progress::new(None), "the test".to_owned(), give_up_after),
    })
}

fn login() -> Login {
    Login { client_id: "test".to_owned(), username: Some("fleet".to_owned()), password: Some("secret".to_owned()) }
}

/// Plays `count` numbered messages of three vehicles.
async fn play(shared: Arc<Shared>, count: u64) -> Result<(), SessionError> {
    let tenant = TenantId::new("demo").unwrap();
    let vehicles: Vec<Arc<Vehicle>> =
        ["a", "b", "c"].iter().map(|id| Arc::new(Vehicle::new(&tenant, VehicleId::new(id).unwrap()))).collect();
    let (queue, messages) = mpsc::channel(8);
    let session = tokio::spawn(run(shared, login(), messages));
    for n in 0..count {
        let vehicle = vehicles[(n % 3) as usize].clone();
        let payload: Arc<[u8]> = n.to_string().into_bytes().into();
        if queue.send(Message { vehicle, payload, event_times_ms: [Some(n as i64)].into() }).await.is_err() {
            break;
        }
    }
    drop(queue);
    session.await.unwrap()
}

#[tokio::test]
async fn a_bad_server_gets_everything_at_least_once_and_in_order() {
    for (seed, version) in [(0, MqttVersion::V3), (1, MqttVersion::V5), (2, MqttVersion::V3), (3, MqttVersion::V5)] {
        let seen = Seen::default();
        let moods = Moods { drops: 0.02, withholds: 0.3, ..KIND };
        let port = server(seen.clone(), moods, seed).await;
        let shared = shared(port, version, Quality::AtLeastOnce);
        play(shared.clone(), 600).await.unwrap();
        assert_eq!(shared.counters.acknowledged.load(Relaxed), 600, "seed {seed}");
        assert_eq!(shared.counters.sent.load(Relaxed), 600);
        let seen = seen.lock().unwrap();
        let resent = seen.iter().filter(|(_, _, again)| *again).count();
        assert!(resent > 0 && shared.counters.resent.load(Relaxed) as usize >= resent, "seed {seed}: {resent}");
        let mut known = HashSet::new();
        let first: Vec<u64> = seen
            .iter()
            .filter(|(topic, payload, _)| known.insert((topic.clone(), payload.clone())))
            .map(|(_, payload, _)| payload.parse().unwrap())
            .collect();
        assert_eq!(first, (0..600).collect::<Vec<u64>>(), "seed {seed}: the order of first deliveries");
    }
}

#[tokio::test]
async fn what_the_edge_refuses_is_counted_apart_and_not_sent_again() {
    let seen = Seen::default();
    let port = server(seen.clone(), Moods { refuses_every: 10, ..KIND }, 1).await;
    let shared = shared(port, MqttVersion::V5, Quality::AtLeastOnce);
    play(shared.clone(), 50).await.unwrap();
    let counted = [&shared.counters.sent, &shared.counters.acknowledged, &shared.counters.refused];
    assert_eq!(counted.map(|counter| counter.load(Relaxed)), [50, 45, 5]);
    assert_eq!(seen.lock().unwrap().len(), 50);
}

#[tokio::test]
async fn quality_0_is_sent_and_forgotten() {
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let seen = Seen::default();
        let port = server(seen.clone(), KIND, 1).await;
        let shared = shared(port, version, Quality::AtMostOnce);
        play(shared.clone(), 50).await.unwrap();
        assert_eq!((shared.counters.sent.load(Relaxed), shared.counters.acknowledged.load(Relaxed)), (50, 0));
    }
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again() {
    for version in [MqttVersion::V3, MqttVersion::V5] {
        let port = server(Seen::default(), Moods { accepts: false, ..KIND }, 1).await;
        let error = play(shared(port, version, Quality::AtLeastOnce), 1).await.unwrap_err();
        assert!(matches!(error, SessionError::LoginRefused(_)), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_given_up_with_what_was_said() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut shared = shared(free, MqttVersion::V5, Quality::AtLeastOnce);
    Arc::get_mut(&mut shared).unwrap().give_up_after = Duration::from_millis(300);
    let error = play(shared, 1).await.unwrap_err().to_string();
    assert!(error.contains("given up") && error.contains("refused"), "{error}");
}

/// A server that stops reading for good must not keep its acknowledgements from being read.
#[tokio::test]
async fn an_edge_that_stops_reading_is_still_listened_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = shared(listener.local_addr().unwrap().port(), MqttVersion::V3, Quality::AtLeastOnce);
    let counters = shared.counters.clone();
    let playing = tokio::spawn(play(shared, 40));
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut connect = vec![0; 256];
    let length = stream.read(&mut connect).await.unwrap();
    assert_eq!(connect[0] >> 4, 1, "a CONNECT of {length} bytes");
    stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
    // Packet ids begin with 1: acknowledge the 40 to come, without ever reading one of them, as they are sent.
    let mut acknowledged = 0;
    while acknowledged < 40 {
        while counters.sent.load(Relaxed) <= acknowledged {
            tokio::task::yield_now().await;
        }
        acknowledged += 1;
        stream.write_all(&[0x40, 2, 0, acknowledged as u8]).await.unwrap();
    }
    playing.await.unwrap().unwrap();
    assert_eq!(counters.acknowledged.load(Relaxed), 40);
}
