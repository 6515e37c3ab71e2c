//! Devices over MQTT 3.1.1 and 5.

use crate::client::{Client, DEMO_3, DEMO_5, Login, topic};
use crate::gated_log::Disk;
use crate::started::{Edge, FIX};
use event_log::MemoryLog;
use fleet_model::Sequence;
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::packet::{Packet, Property, Qos, TopicAlias, v3_1_1, v5_0};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BOTH: [Version; 2] = [Version::V3_1_1, Version::V5_0];

#[tokio::test(flavor = "multi_thread")]
async fn a_puback_comes_when_the_reading_is_durable_and_not_before() {
    for version in BOTH {
        let edge = Edge::start().await;
        let mut device = Client::demo(edge.addresses.mqtt.unwrap(), version, "box").await;
        edge.telemetry.set(Disk::Waits);
        let id = device.publish_fix("bus-1", 1_000).await;
        edge.telemetry.submitted(1).await;
        device.ping().await;
        let answer = device.next().await.unwrap();
        assert!(matches!(answer, Packet::V3_1_1Pingresp(_) | Packet::V5_0Pingresp(_)), "{answer:?}");
        edge.telemetry.set(Disk::Works);
        assert_eq!(device.puback().await, (id, 0));
        assert_eq!(edge.readings().len(), 1);
        edge.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_payload_is_acknowledged_when_its_dead_letter_is_durable() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    edge.events.set(Disk::Waits);
    let before = edge.events.submitted_so_far();
    let id = device.publish(&topic("bus-1"), b"{", Qos::AtLeastOnce).await;
    edge.events.submitted(before + 1).await;
    device.ping().await;
    assert!(matches!(device.next().await.unwrap(), Packet::V5_0Pingresp(_)));
    edge.events.set(Disk::Works);
    assert_eq!(device.puback().await, (id, 0x99));
    let letters = edge.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason.as_str(), letters[0].stage.as_str()), ("malformed_json", "device_link"));
    assert_eq!((letters[0].vehicle.as_deref(), letters[0].payload.as_str()), (Some("bus-1"), "{"));
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_0_is_taken_without_an_answer() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V3_1_1, "box").await;
    let payload = format!(r#"[{{"event_time_ms":1000,{FIX}}},{{"event_time_ms":2000,"vehicle":"bus-1",{FIX}}}]"#);
    device.publish(&topic("bus-1"), payload.as_bytes(), Qos::AtMostOnce).await;
    edge.durable(2).await;
    let readings = edge.readings();
    assert_eq!(readings.iter().map(|(_, sequence, _)| *sequence).collect::<Vec<_>>(), [Sequence(1), Sequence(2)]);
    assert!(readings.iter().all(|(vehicle, _, _)| vehicle == "bus-1"));
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mqtt_5_client_is_told_the_limits_and_why_it_is_refused() {
    let edge = Edge::start().await;
    let (mut device, connack) = Client::connect(edge.addresses.mqtt.unwrap(), &DEMO_5).await;
    let Packet::V5_0Connack(connack) = connack else { panic!("{connack:?}") };
    let told = |wanted: fn(&Property) -> Option<u32>| connack.props().iter().find_map(wanted);
    let receive_maximum =
        |p: &Property| if let Property::ReceiveMaximum(v) = p { Some(u32::from(v.val())) } else { None };
    let maximum_qos = |p: &Property| if let Property::MaximumQos(v) = p { Some(u32::from(v.val())) } else { None };
    assert_eq!((told(receive_maximum), told(maximum_qos)), (Some(256), Some(1)));

    let cases: [(&str, String, u8, &str); 5] = [
        ("drover/v1/demo/bus-1/commands", "{}".into(), 0x90, "unknown_topic"),
        ("drover/v1/other/bus-1/readings", format!(r#"{{"event_time_ms":1,{FIX}}}"#), 0x87, "not_yours"),
        (
            "drover/v1/demo/bus-1/readings",
            r#"{"event_time_ms":1,"latitude":0,"longitude":0}"#.into(),
            0x99,
            "null_position",
        ),
        (
            "drover/v1/demo/bus-1/readings",
            format!(r#"{{"event_time_ms":1,"vehicle":"x",{FIX}}}"#),
            0x99,
            "missing_vehicle",
        ),
        ("drover/v1/demo/bus-1/readings", format!(r#"{{"event_time_ms":99999999999999,{FIX}}}"#), 0x99, "future_clock"),
    ];
    for (topic, payload, code, reason) in cases {
        let id = device.publish(topic, payload.as_bytes(), Qos::AtLeastOnce).await;
        match device.next().await {
            Some(Packet::V5_0Puback(ack)) => {
                assert_eq!((ack.packet_id(), ack.reason_code().map(|code| code as u8)), (id, Some(code)), "{payload}");
                let said = format!("{:?}", ack.props());
                assert!(said.contains(reason), "{reason}: {said}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(edge.dead_letters().last().unwrap().reason, reason);
    }
    // One good reading among bad ones: the payload was taken.
    let mixed = format!(r#"[{{"event_time_ms":1,{FIX}}},{{"latitude":1}}]"#);
    let id = device.publish(&topic("bus-1"), mixed.as_bytes(), Qos::AtLeastOnce).await;
    assert_eq!(device.puback().await, (id, 0));
    assert_eq!(edge.dead_letters().last().unwrap().payload, r#"{"latitude":1}"#);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_closes_the_connection() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    for (username, password) in [("demo", "wrong"), ("nobody", "password"), ("", "")] {
        let (mut device, connack) = Client::connect(address, &Login { username, password, ..DEMO_3 }).await;
        assert!(matches!(connack, Packet::V3_1_1Connack(ref ack) if ack.return_code() as u8 == 4), "{connack:?}");
        assert!(device.next().await.is_none());
        let (mut device, connack) = Client::connect(address, &Login { username, password, ..DEMO_5 }).await;
        assert!(matches!(connack, Packet::V5_0Connack(ref ack) if ack.reason_code() as u8 == 0x86), "{connack:?}");
        assert!(device.next().await.is_none());
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_payload_is_refused_and_kept_as_a_dead_letter() {
    let edge = Edge::start().await;
    let payload = vec![b' '; 300 * 1_024];
    // MQTT 3.1.1 cannot be told the limit, and would send the payload again for ever if it were not acknowledged.
    let mut old = Client::demo(edge.addresses.mqtt.unwrap(), Version::V3_1_1, "old").await;
    let id = old.publish(&topic("bus-1"), &payload, Qos::AtLeastOnce).await;
    assert_eq!(old.puback().await, (id, 0));
    assert_eq!(edge.dead_letters().len(), 1);
    let mut new = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "new").await;
    // The client would not send what is over the limit: write it past the client.
    let mut packet = vec![0x32, 0x80 | (300 * 1_024 % 128) as u8, 0x80 | (300 * 1_024 / 128 % 128) as u8, 18];
    packet.extend_from_slice(&payload);
    let _ = new.stream.write_all(&packet).await;
    assert_eq!(new.disconnected().await, 0x95);
    assert!(old.publish_fix("bus-1", 1).await > 0);
    assert_eq!(old.puback().await.1, 0, "others go on");
    let letters = edge.dead_letters();
    assert_eq!(letters.iter().filter(|letter| letter.reason == "too_large").count(), 2, "{letters:?}");
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_one_device_sends_the_others_go_on() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    let mut good = Client::demo(address, Version::V3_1_1, "good").await;
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 0],
        &[0xf0, 0],
        &[0x10, 2, 0, 4],
    ];
    for (time, bytes) in (1..).zip(garbage) {
        // Before CONNECT, and from a device that is connected.
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        stranger.shutdown().await.unwrap();
        let mut bad = Client::demo(address, Version::V5_0, "bad").await;
        let _ = bad.stream.write_all(bytes).await;
        let _ = bad.stream.shutdown().await;
        while bad.next().await.is_some() {}
        let mut confused = Client::demo(address, Version::V3_1_1, "confused").await;
        confused.publish(&topic("bus-2"), bytes, Qos::AtLeastOnce).await;
        confused.puback().await;
        good.publish_fix("bus-1", time).await;
        good.puback().await;
    }
    assert_eq!(edge.readings().len(), garbage.len());
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_2_and_subscriptions_are_refused() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    let mut device = Client::demo(address, Version::V5_0, "box").await;
    device.subscribe("drover/#").await;
    let answer = device.next().await.unwrap();
    assert!(matches!(answer, Packet::V5_0Suback(ref ack) if ack.reason_codes()[0] as u8 == 0x87), "{answer:?}");
    device.publish(&topic("bus-1"), b"{}", Qos::ExactlyOnce).await;
    assert_eq!(device.disconnected().await, 0x9b);
    let mut device = Client::demo(address, Version::V3_1_1, "box").await;
    device.subscribe("drover/#").await;
    let answer = device.next().await.unwrap();
    assert!(matches!(answer, Packet::V3_1_1Suback(ref ack) if ack.return_codes()[0] as u8 == 0x80), "{answer:?}");
    device.publish(&topic("bus-1"), b"{}", Qos::ExactlyOnce).await;
    assert!(device.next().await.is_none());
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_acknowledged_and_stored_once() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    for _ in 0..3 {
        device.publish_fix("bus-1", 1_000).await;
        assert_eq!(device.puback().await.1, 0);
    }
    let other = format!(r#"{{"event_time_ms":1000,"speed":3,{FIX}}}"#);
    device.publish(&topic("bus-1"), other.as_bytes(), Qos::AtLeastOnce).await;
    assert_eq!(device.puback().await.1, 0x99);
    assert_eq!(edge.readings().len(), 1);
    let letters = edge.dead_letters();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "conflicting_repeat"));
    assert_eq!((letters[0].stage.as_str(), letters[0].payload.as_str()), ("admission", other.as_str()));
    edge.end().await;
}

/// A device may send more than may be unacknowledged: the socket is not read beyond that, and all is acknowledged in
/// order once the disk works again.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_come_in_order_beyond_the_limit_too() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V3_1_1, "box").await;
    edge.telemetry.set(Disk::Waits);
    let mut ids = Vec::new();
    for time in 1..=700 {
        ids.push(device.publish_fix(&format!("bus-{}", time % 7), time).await);
    }
    edge.telemetry.submitted(1).await;
    edge.telemetry.set(Disk::Works);
    for id in ids {
        assert_eq!(device.puback().await, (id, 0));
    }
    let readings = edge.readings();
    assert_eq!(readings.len(), 700);
    for bus in 0..7 {
        let of_bus: Vec<u64> =
            readings.iter().filter(|(v, _, _)| *v == format!("bus-{bus}")).map(|(_, sequence, _)| sequence.0).collect();
        assert_eq!(of_bus, (1..=100).collect::<Vec<_>>());
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_connects_again_takes_over() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    let mut first = Client::demo(address, Version::V5_0, "box").await;
    let mut second = Client::demo(address, Version::V5_0, "box").await;
    assert_eq!(first.disconnected().await, 0x8e);
    second.publish_fix("bus-1", 1).await;
    assert_eq!(second.puback().await.1, 0);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_disconnected_after_its_keep_alive() {
    let edge = Edge::start().await;
    let (mut device, _) = Client::connect(edge.addresses.mqtt.unwrap(), &Login { keep_alive_s: 1, ..DEMO_5 }).await;
    assert_eq!(device.disconnected().await, 0x8d);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ending_node_finishes_what_it_took_and_says_goodbye() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    edge.telemetry.set(Disk::Waits);
    let id = device.publish_fix("bus-1", 1).await;
    edge.telemetry.submitted(1).await;
    let telemetry = edge.telemetry.clone();
    let ended = tokio::spawn(edge.end());
    telemetry.set(Disk::Works);
    assert_eq!(device.puback().await, (id, 0));
    assert_eq!(device.disconnected().await, 0x8b);
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_one_vehicle_are_for_that_vehicle() {
    let edge = Edge::start().await;
    let login = Login { username: "bus", ..DEMO_5 };
    let (mut device, _) = Client::connect(edge.addresses.mqtt.unwrap(), &login).await;
    device.publish_fix("bus-2", 1).await;
    assert_eq!(device.puback().await.1, 0x87);
    device.publish_fix("bus-1", 1).await;
    assert_eq!(device.puback().await.1, 0);
    edge.end().await;
}

/// `mosquitto_pub` without `-i` is such a client.
#[tokio::test(flavor = "multi_thread")]
async fn clients_without_an_id_do_not_push_each_other_out() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    for version in BOTH {
        let mut first = Client::demo(address, version, "").await;
        let mut second = Client::demo(address, version, "").await;
        for (device, vehicle) in [(&mut first, "bus-1"), (&mut second, "bus-2")] {
            device.publish_fix(vehicle, 1).await;
            assert_eq!(device.puback().await.1, 0);
        }
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_that_does_not_fit_the_client_is_left_out() {
    let edge = Edge::start().await;
    let login = Login { packet_len_max: Some(64), ..DEMO_5 };
    let (mut device, connack) = Client::connect(edge.addresses.mqtt.unwrap(), &login).await;
    assert!(matches!(connack, Packet::V5_0Connack(_)), "{connack:?}");
    let id = device.publish("drover/v1/demo/bus-1/commands", b"{}", Qos::AtLeastOnce).await;
    let answer = device.next().await;
    let Some(Packet::V5_0Puback(ack)) = answer else { panic!("{answer:?}") };
    assert_eq!((ack.packet_id(), ack.reason_code().map(|code| code as u8)), (id, Some(0x90)));
    assert!(ack.props().as_ref().is_none_or(|props| props.is_empty()), "{ack:?}");
    device.publish_fix("bus-1", 1).await;
    assert_eq!(device.puback().await.1, 0, "the connection goes on");
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_mqtt_is_refused_in_words_that_it_knows() {
    let edge = Edge::start().await;
    // MQTT 3.1, which was before 3.1.1, and one that may come.
    for connect in
        [&b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01t"[..], b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x01t"]
    {
        let mut device = TcpStream::connect(edge.addresses.mqtt.unwrap()).await.unwrap();
        device.write_all(connect).await.unwrap();
        let mut answer = Vec::new();
        device.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [0x20, 0x02, 0x00, 0x01]);
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_alias_stands_for_its_topic() {
    let edge = Edge::start().await;
    let mut device = Client::demo(edge.addresses.mqtt.unwrap(), Version::V5_0, "box").await;
    let bus_1 = topic("bus-1");
    for (time, name) in [(1, bus_1.as_str()), (2, ""), (3, "")] {
        let id = device.packet_id();
        let publish = v5_0::Publish::builder()
            .topic_name(name)
            .unwrap()
            .qos(Qos::AtLeastOnce)
            .packet_id(id)
            .props(vec![Property::TopicAlias(TopicAlias::new(7).unwrap())])
            .payload(format!(r#"{{"event_time_ms":{time},{FIX}}}"#).as_bytes());
        device.send(publish.build().unwrap().into()).await;
        assert_eq!(device.puback().await, (id, 0));
    }
    let readings = edge.readings();
    assert_eq!(
        readings.iter().map(|(vehicle, s, _)| (vehicle.as_str(), s.0)).collect::<Vec<_>>(),
        [("bus-1", 1), ("bus-1", 2), ("bus-1", 3)]
    );
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_publish_is_a_publish_like_any_other() {
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    for (time, version) in (1..).zip(BOTH) {
        let mut device = Client::demo(address, version, "box").await;
        let (id, name) = (device.packet_id(), topic("bus-1"));
        let payload = format!(r#"{{"event_time_ms":{time},{FIX}}}"#);
        let publish = if version == Version::V5_0 {
            let publish = v5_0::Publish::builder().topic_name(&name).unwrap().qos(Qos::AtLeastOnce).packet_id(id);
            publish.retain(true).payload(payload.as_bytes()).build().unwrap().into()
        } else {
            let publish = v3_1_1::Publish::builder().topic_name(&name).unwrap().qos(Qos::AtLeastOnce).packet_id(id);
            publish.retain(true).payload(payload.as_bytes()).build().unwrap().into()
        };
        device.send(publish).await;
        assert_eq!(device.puback().await, (id, 0));
        assert_eq!(edge.readings().len(), time);
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_closed_and_gets_in_when_another_leaves() {
    let logs = || Arc::new(MemoryLog::new());
    let edge = Edge::start_on(logs(), logs(), "[device_link]\nconnections_max = 1").await;
    let address = edge.addresses.mqtt.unwrap();
    let mut first = Client::demo(address, Version::V3_1_1, "first").await;
    for listener in [address, edge.addresses.http.unwrap()] {
        let mut second = TcpStream::connect(listener).await.unwrap();
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0, "closed without a word");
    }
    first.publish_fix("bus-1", 1).await;
    assert_eq!(first.puback().await.1, 0, "who was there stays");
    drop(first);
    // Its place is free when the edge node has noticed.
    let connect = b"\x10\x1d\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01t\x00\x04demo\x00\x08password";
    let mut connack = [0; 4];
    loop {
        let mut second = TcpStream::connect(address).await.unwrap();
        let _ = second.write_all(connect).await;
        if second.read_exact(&mut connack).await.is_ok() {
            break;
        }
    }
    assert_eq!(connack, [0x20, 2, 0, 0]);
    edge.end().await;
}
