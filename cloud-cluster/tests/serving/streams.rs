//! Streams: resumed anywhere they give the rest exactly; they follow, live, and end.

use crate::client::{ALL, Version};
use crate::cloud::{Cloud, OTHER_KEY, Options};
use serde_json::Value;
use std::time::Duration;

fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[tokio::test]
async fn resumed_at_every_cursor_a_stream_gives_the_rest_exactly() {
    let cloud = Cloud::start().await;
    cloud.append_many(120).await;
    let whole = cloud.get(Version::Http3, "/v1/events/stream").send().await.lines(60).await;
    let events = lines(&whole);
    assert_eq!(events.len(), 60);
    let mut rest = &whole[..];
    for (place, event) in events.iter().enumerate() {
        let at = rest.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        rest = &rest[at..];
        if rest.is_empty() {
            break;
        }
        let path = format!("/v1/events/stream?after={}", event["cursor"].as_str().unwrap());
        let resumed = cloud.get(ALL[place % 3], path).send().await.lines(events.len() - place - 1).await;
        assert_eq!(resumed, rest, "after event {place}");
    }
}

#[tokio::test]
async fn pages_give_every_event_once() {
    let cloud = Cloud::start().await;
    cloud.append_many(101).await;
    let whole = lines(&cloud.get(Version::Http2, "/v1/events/stream").send().await.lines(51).await);
    for limit in [1, 7, 51, 1_000] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = cloud.get(Version::Http1, format!("/v1/events?limit={limit}{after}")).send().await.json().await;
            let events = page["events"].as_array().unwrap();
            assert!(events.len() <= limit);
            seen.extend(events.iter().cloned());
            after = format!("&after={}", page["next"].as_str().unwrap());
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(seen, whole, "limit {limit}");
    }
}

#[tokio::test]
async fn new_events_follow_old_ones_without_a_gap() {
    let cloud = Cloud::start().await;
    cloud.append_many(20).await;
    for version in ALL {
        let before = cloud.get(version, "/v1/events/stream").send().await;
        let mut stream = before;
        let mut seen = stream.lines(1).await;
        for _ in 0..5 {
            cloud.append(&[("demo", "bus-1"), ("other", "bus-1"), ("demo", "bus-2")]).await;
        }
        let path = "/v1/events?limit=1000";
        let all = cloud.get(version, path).send().await.json().await["events"].as_array().unwrap().len();
        let have = seen.iter().filter(|byte| **byte == b'\n').count();
        if have < all {
            seen.extend(stream.lines(all - have).await);
        }
        let sequences: Vec<_> = lines(&seen).iter().map(|event| event["cursor"].as_str().unwrap().to_owned()).collect();
        assert_eq!(sequences.len(), all);
        assert!(sequences.is_sorted_by(|a, b| (a.len(), a) < (b.len(), b)), "{version:?}: {sequences:?}");
    }
}

#[tokio::test]
async fn now_starts_at_the_end_and_a_filter_keeps_to_its_vehicle() {
    let cloud = Cloud::start().await;
    cloud.append_many(30).await;
    let mut stream = cloud.get(Version::Http3, "/v1/events/stream?after=now&vehicle=bus-3&class=alerts").send().await;
    cloud.append(&[("demo", "bus-1"), ("other", "bus-3"), ("demo", "bus-3")]).await;
    cloud.append(&[("demo", "bus-3")]).await;
    let events = lines(&stream.lines(2).await);
    assert!(events.iter().all(|event| event["vehicle"] == "bus-3" && event["tenant"] == "demo"));
    assert_eq!(events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [32, 33]);
}

#[tokio::test]
async fn each_class_is_a_stream_of_its_own() {
    let cloud = Cloud::start().await;
    cloud.append(&[("demo", "bus-1")]).await;
    cloud.append_readings(&[("demo", "bus-1"), ("other", "bus-1"), ("demo", "bus-2")]).await;
    for version in ALL {
        let mut stream = cloud.get(version, "/v1/events/stream?class=telemetry").send().await;
        let mut readings = lines(&stream.lines(2).await);
        cloud.append_readings(&[("other", "bus-1"), ("demo", "bus-1")]).await;
        let all = cloud.get(version, "/v1/events?class=telemetry").send().await.json().await;
        let all = all["events"].as_array().unwrap();
        readings.extend(lines(&stream.lines(all.len() - readings.len()).await));
        assert_eq!(&readings, all);
        assert!(readings.iter().all(|r| r["tenant"] == "demo" && r["class"] == "telemetry" && r["type"] == "reading"));
        let second = readings[0]["cursor"].as_str().unwrap();
        let rest = cloud.get(version, format!("/v1/events?class=telemetry&vehicle=bus-2&after={second}")).send().await;
        assert_eq!(rest.json().await["events"], serde_json::json!([readings[1]]));
        for empty in ["billing", "audit"] {
            let page = cloud.get(version, format!("/v1/events?class={empty}")).send().await.json().await;
            assert_eq!((&page["events"], &page["more"]), (&serde_json::json!([]), &false.into()), "{empty}");
        }
    }
}

#[tokio::test]
async fn another_tenant_sees_only_its_own() {
    let cloud = Cloud::start().await;
    cloud.append_many(40).await;
    let seen = cloud.get(Version::Http2, "/v1/events/stream").key(OTHER_KEY).send().await.lines(20).await;
    assert!(lines(&seen).iter().all(|event| event["tenant"] == "other"));
    let page = cloud.get(Version::Http2, "/v1/events?limit=1000").key(OTHER_KEY).send().await.json().await;
    assert_eq!(page["events"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn server_sent_events_carry_the_cursor_as_their_id() {
    let cloud = Cloud::start().await;
    cloud.append_many(10).await;
    let sse = |version| cloud.get(version, "/v1/events/stream").header("accept", "text/event-stream");
    let mut stream = sse(Version::Http3).send().await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(stream.lines(15).await).unwrap();
    let events: Vec<Vec<&str>> = text.split("\n\n").filter(|e| !e.is_empty()).map(|e| e.lines().collect()).collect();
    assert_eq!(events.len(), 5);
    for event in &events {
        let data: Value = serde_json::from_str(event[1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event[0].strip_prefix("id: ").unwrap(), data["cursor"].as_str().unwrap());
    }
    let id = events[1][0].strip_prefix("id: ").unwrap();
    let mut resumed = sse(Version::Http2).header("last-event-id", id).send().await;
    let rest = String::from_utf8(resumed.lines(9).await).unwrap();
    assert!(text.ends_with(&rest), "{rest}");
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives() {
    let options = Options { heartbeat: Duration::from_millis(50), ..Options::default() };
    let cloud = Cloud::with(options).await;
    for version in ALL {
        let mut stream = cloud.get(version, "/v1/events/stream").send().await;
        assert_eq!(stream.lines(3).await, b"\n\n\n");
        let call = cloud.get(version, "/v1/events/stream").header("accept", "text/event-stream");
        assert_eq!(call.send().await.lines(4).await, b":\n\n:\n\n");
    }
}

#[tokio::test]
async fn a_shutdown_ends_streams_cleanly() {
    for version in ALL {
        let mut cloud = Cloud::start().await;
        cloud.append(&[("demo", "bus-1")]).await;
        let mut stream = cloud.get(version, "/v1/events/stream").send().await;
        let first = stream.lines(1).await;
        assert_eq!(lines(&first).len(), 1);
        cloud.shutdown.cancel();
        assert!(stream.piece().await.is_none(), "{version:?}: a clean end");
        tokio::time::timeout(crate::client::PATIENCE, cloud.serving.take().unwrap()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn bad_cursors_and_parameters_are_named() {
    let cloud = Cloud::start().await;
    cloud.append_many(4).await;
    for (query, status, kind) in [
        ("after=abc", 400, "malformed_cursor"),
        ("after=alerts-00000000-0", 410, "expired_cursor"),
        ("after=telemetry-00000000-0", 400, "malformed_cursor"),
        ("class=nonsense", 400, "malformed_request"),
        ("vehicle=a%2Fb", 400, "malformed_request"),
        ("vehicles=bus-1", 400, "malformed_request"),
    ] {
        for path in ["/v1/events", "/v1/events/stream"] {
            let answer = cloud.get(Version::Http1, format!("{path}?{query}")).send().await;
            assert_eq!(answer.status, status, "{query}");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(answer.json().await["type"], format!("urn:drover:problem:{kind}"), "{query}");
        }
    }
    for limit in ["0", "1001", "-1", "x"] {
        assert_eq!(cloud.get(Version::Http3, format!("/v1/events?limit={limit}")).send().await.status, 400);
    }
}

#[tokio::test]
async fn a_reader_who_stops_reading_is_waited_for_and_misses_nothing() {
    let cloud = Cloud::start().await;
    for version in ALL {
        let path = "/v1/events/stream?after=now";
        let mut stream = cloud.get(version, path).send().await;
        // Far more than every buffer on the way holds.
        let block = vec![("demo", "bus-1"); 500];
        for _ in 0..20 {
            cloud.append(&block).await;
        }
        let seen = lines(&stream.lines(10_000).await);
        let sequences: Vec<_> = seen.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{version:?}");
    }
}
