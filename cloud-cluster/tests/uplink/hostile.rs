//! Peers that do not keep to the protocol: whatever they send, only their own stream or connection suffers.

use crate::certificates::Authority;
use crate::client::{Client, hello, message, read, reset_code};
use crate::world::{
    Cloud, Edge, append, append_alerts, append_readings, assert_once_and_in_order, memory, one_attempt, reaches,
    readings, soon, uplink_config,
};
use event_log::Stream;
use fleet_model::EventClass;
use fleet_wire::control::{self, ClassReply, Code, Hello, PROTOCOL, StreamOpen, ToEdge};
use fleet_wire::{FrameHeader, HEADER_LEN};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, TransportConfig, VarInt};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_first_words_close_the_connection() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let old = StreamOpen::Control(Hello {
        protocol: 99,
        ..match hello("depot-1") {
            StreamOpen::Control(h) => h,
            _ => unreachable!(),
        }
    });
    for (bytes, code) in [
        (b"\x08\x00\x00\x00nonsense".to_vec(), Code::Protocol),
        (vec![0xff; 64], Code::Protocol),
        (message(&StreamOpen::Class { class: EventClass::Alerts, epoch: 1, first: 0 }), Code::Protocol),
        (message(&old), Code::Refused),
    ] {
        let client = Client::connect(&authority, cloud.address, control::ALPN).await.unwrap();
        let _streams = client.open(&bytes).await;
        assert_eq!(client.closed_with().await, Some(code), "{:?}", String::from_utf8_lossy(&bytes));
    }
    let (client, _control, _answers) = Client::welcomed(&authority, cloud.address).await;
    let _second = client.open(&message(&hello("depot-1"))).await;
    assert_eq!(client.closed_with().await, Some(Code::Protocol));
    assert!(Client::connect(&authority, cloud.address, b"h3").await.is_err(), "another protocol is not let in");
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_resets_its_stream_and_what_came_before_it_stays() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let (client, _control, _answers) = Client::welcomed(&authority, cloud.address).await;
    let open = message(&StreamOpen::Class { class: EventClass::Telemetry, epoch: 7, first: 0 });
    let damaged = |first| {
        let mut bytes = readings(7, first, 5).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let mut long = readings(7, 5, 5).to_vec();
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    for (what, bad) in [
        ("damaged", damaged(5)),
        ("too long", long),
        ("no frame", vec![b'x'; HEADER_LEN]),
        ("a hole", readings(7, 6, 5).to_vec()),
        ("another epoch", readings(8, 5, 5).to_vec()),
        ("another class", crate::world::alerts(7, 5, 5).to_vec()),
    ] {
        let (mut send, mut recv) = client.open(&open).await;
        let ClassReply::Resume { next } = read(&mut recv).await else { panic!("{what}") };
        assert!(next.is_none() || next == Some(5), "{what}: {next:?}");
        // A good one, committed the first time and a repeat later, then the bad one.
        send.write_all(&readings(7, 0, 5)).await.unwrap();
        let mut ack = [0; 8];
        recv.read_exact(&mut ack).await.unwrap();
        assert_eq!(u64::from_le_bytes(ack), 5, "{what}");
        send.write_all(&bad).await.unwrap();
        assert_eq!(reset_code(&mut recv).await, Some(Code::BadFrame), "{what}");
    }
    assert_once_and_in_order(&cloud.logs.telemetry, Stream::TELEMETRY, 5);
    assert!(client.connection.close_reason().is_none(), "the connection goes on");
    cloud.stop().await;
}

/// An edge that has no room for acknowledgements: its frames are made durable all the same, and keep no place that
/// others need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_takes_no_acknowledgements_holds_up_nobody() {
    /// More than may wait for the disk at a time, of one stream and of all.
    const FRAMES: u64 = 200;
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    // The answer to the opening fits, and a few acknowledgements.
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(64));
    let (client, _control, _answers) = Client::welcomed_as("depot-1", transport, &authority, cloud.address).await;
    let open = message(&StreamOpen::Class { class: EventClass::Telemetry, epoch: 7, first: 0 });
    let (mut send, mut recv) = client.open(&open).await;
    assert!(matches!(read(&mut recv).await, ClassReply::Resume { next: None }));
    for frame in 0..FRAMES {
        soon("there is room for the frame", send.write_all(&readings(7, frame, 1))).await.unwrap();
    }
    reaches("all its frames", &cloud.logs.telemetry, Stream::TELEMETRY, FRAMES).await;
    // When it listens again, the last one stands for all.
    let mut ack = [0; 8];
    while u64::from_le_bytes(ack) < FRAMES {
        soon("the acknowledgement", recv.read_exact(&mut ack)).await.unwrap();
    }
    cloud.stop().await;
}

/// The edge's own log holds a block that is no good (a bug, or a disk): its stream stands still and says so, the other
/// class is not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block_of_the_edge_does_not_stop_its_alerts() {
    let authority = Authority::new();
    let cloud = Cloud::start(&authority, memory()).await;
    let edge = Edge::start(&authority, memory(), cloud.address);
    append_readings(&edge.logs, 10).await;
    reaches("the good", &cloud.logs.telemetry, Stream::TELEMETRY, 10).await;
    let mut bad = readings(edge.logs.telemetry.epoch(), 10, 10).to_vec();
    bad[HEADER_LEN + 3] ^= 0x40;
    append(&edge.logs.telemetry, Stream::TELEMETRY, 10, bad.into()).await;
    append_readings(&edge.logs, 10).await;
    for alert in 1..=20 {
        append_alerts(&edge.logs, 1).await;
        reaches("alerts", &cloud.logs.events, Stream::ALERTS, alert).await;
    }
    assert_once_and_in_order(&cloud.logs.telemetry, Stream::TELEMETRY, 10);
    assert!(cloud.edges.edges()[0].connected);
    edge.stop().await;
    cloud.stop().await;
}

/// A server of our own with the cloud's certificate.
fn server(authority: &Authority, alpn: &[u8]) -> Endpoint {
    let pair = authority.issue("drover-cloud");
    let chain = vec![CertificateDer::from_pem_file(&pair.certificate).unwrap()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.private_key).unwrap())
        .unwrap();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    Endpoint::server(server, "127.0.0.1:0".parse().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_protocol_is_named() {
    let authority = Authority::new();
    let endpoint = server(&authority, b"h3");
    let address = endpoint.local_addr().unwrap();
    let edge = Edge::start_with(one_attempt(&authority, &authority.issue("depot-1"), address), memory());
    while let Some(incoming) = soon("the edge comes", endpoint.accept()).await {
        if incoming.await.is_err() {
            break;
        }
    }
    let reason = edge.refused().await;
    assert!(reason.contains("does not speak drover/1"), "{reason}");
    edge.stop().await;
}

/// A cloud that takes alerts and never reads telemetry: flow control stops the one stream, not the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_of_telemetry_does_not_hold_up_alerts() {
    let authority = Authority::new();
    let endpoint = server(&authority, control::ALPN);
    let logs = memory();
    for _ in 0..50 {
        append_readings(&logs, 1_000).await;
    }
    let edge_config = uplink_config(&authority, &authority.issue("depot-1"), endpoint.local_addr().unwrap());
    let edge = Edge::start_with(edge_config, logs);
    let connection = soon("the edge comes", async { endpoint.accept().await.unwrap().await.unwrap() }).await;
    let (mut control_send, mut control_recv) = connection.accept_bi().await.unwrap();
    assert!(matches!(read(&mut control_recv).await, StreamOpen::Control(_)));
    control_send.write_all(&message(&ToEdge::Welcome { protocol: PROTOCOL, software: String::new() })).await.unwrap();

    // The edge opens a stream for each class, in no particular order.
    let (mut stalled, mut alerts) = (BTreeMap::new(), None);
    while alerts.is_none() || !stalled.contains_key(&EventClass::Telemetry) {
        let (mut send, mut recv) = soon("a stream", connection.accept_bi()).await.unwrap();
        let StreamOpen::Class { class, .. } = read(&mut recv).await else { panic!("a class stream") };
        send.write_all(&message(&ClassReply::Resume { next: None })).await.unwrap();
        if class == EventClass::Alerts {
            alerts = Some((send, recv));
        } else {
            stalled.insert(class, (send, recv));
        }
    }
    let (mut acks, mut frames) = alerts.unwrap();
    for alert in 1..=20 {
        append_alerts(&edge.logs, 1).await;
        let mut start = [0; HEADER_LEN];
        soon("the alert", frames.read_exact(&mut start)).await.unwrap();
        let header = FrameHeader::parse(&start).unwrap();
        let mut body = vec![0; header.body_len as usize];
        soon("its body", frames.read_exact(&mut body)).await.unwrap();
        assert_eq!(header.next_offset(), alert);
        acks.write_all(&alert.to_le_bytes()).await.unwrap();
        edge.acked(EventClass::Alerts, alert).await;
    }
    let telemetry = edge.handle.state.borrow().streams[0].clone();
    assert_eq!((telemetry.acked, telemetry.next), (0, 50_000));
    assert!(telemetry.oldest_unacked_ms.is_some());
    drop(stalled);
    edge.stop().await;
}
