//! Clients that we did not write.

use crate::client::topic;
use crate::skipped;
use crate::started::{Edge, FIX};
use std::process::Stdio;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_pub_publishes_with_qos_1() {
    if Command::new("mosquitto_pub").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_err() {
        skipped::note("mosquitto_pub", "cargo xtask setup");
        return;
    }
    let edge = Edge::start().await;
    let address = edge.addresses.mqtt.unwrap();
    for (number, version) in [(1, "mqttv311"), (2, "mqttv5")] {
        let payload = format!(r#"{{"event_time_ms":{number},{FIX}}}"#);
        let publish = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-V", version, "-q", "1"])
            .args(["-u", "demo", "-P", "password", "-t", &topic("bus-1"), "-m", &payload])
            .output()
            .await
            .unwrap();
        assert!(publish.status.success(), "{version}: {}", String::from_utf8_lossy(&publish.stderr));
        assert_eq!(edge.readings().len(), number);
    }
    let wrong = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-q", "1"])
        .args(["-u", "demo", "-P", "wrong", "-t", &topic("bus-1"), "-m", "{}"])
        .output()
        .await
        .unwrap();
    assert!(!wrong.status.success());
    edge.end().await;
}
