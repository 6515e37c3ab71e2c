//! MQTT over TLS.

use crate::client::topic;
use crate::started::{Edge, FIX};
use event_log::MemoryLog;
use rcgen::generate_simple_self_signed;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_publishes_over_tls_and_a_plain_one_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let made = generate_simple_self_signed(vec!["edge.depot".to_owned()]).unwrap();
    std::fs::write(dir.path().join("edge.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.path().join("edge.key"), made.signing_key.serialize_pem()).unwrap();
    let section = format!(
        "[device_link.mqtts]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nprivate_key = {:?}",
        dir.path().join("edge.pem"),
        dir.path().join("edge.key")
    );
    let edge = Edge::start_on(Arc::new(MemoryLog::new()), Arc::new(MemoryLog::new()), &section).await;
    let address = edge.addresses.mqtts.unwrap();

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"\x10\x00this is no TLS at all, whatever it is").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("edge.depot").unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    // CONNECT of MQTT 3.1.1: client id "t", demo, password; then PINGREQ.
    let connect = b"\x10\x1d\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01t\x00\x04demo\x00\x08password";
    stream.write_all(connect).await.unwrap();
    stream.write_all(b"\xc0\x00").await.unwrap();
    let mut answers = [0; 6];
    stream.read_exact(&mut answers).await.unwrap();
    assert_eq!(answers, [0x20, 2, 0, 0, 0xd0, 0]);

    // PUBLISH with QoS 1 and the packet id 7.
    let (topic, payload) = (topic("bus-1"), format!(r#"{{"event_time_ms":1,{FIX}}}"#));
    let mut publish = vec![0x32, (2 + topic.len() + 2 + payload.len()) as u8, 0, topic.len() as u8];
    publish.extend_from_slice(topic.as_bytes());
    publish.extend_from_slice(&[0, 7]);
    publish.extend_from_slice(payload.as_bytes());
    stream.write_all(&publish).await.unwrap();
    let mut puback = [0; 4];
    stream.read_exact(&mut puback).await.unwrap();
    assert_eq!(puback, [0x40, 2, 0, 7]);
    assert_eq!(edge.readings().len(), 1);
    drop(stream);
    edge.end().await;
}
