//! Devices over HTTP.

use crate::client::{BUS_BASIC, DEMO_BASIC, post, request};
use crate::gated_log::Disk;
use crate::started::{Edge, FIX};
use drover_edge::ingest::CREDITS;

fn fix(vehicle: &str, time: i64) -> String {
    format!(r#"{{"vehicle":"{vehicle}","event_time_ms":{time},{FIX}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_accepted_when_they_are_durable() {
    let edge = Edge::start().await;
    let http = edge.addresses.http.unwrap();
    let answer = post(http, &format!("[{},{}]", fix("a", 1), fix("b", 1))).await;
    assert_eq!((answer.status, answer.json()["admitted"].as_u64()), (202, Some(2)), "{answer:?}");
    assert_eq!(edge.readings().len(), 2);
    let again = post(http, &fix("a", 1)).await;
    assert_eq!(again.status, 202);
    assert_eq!(again.json(), serde_json::json!({"admitted": 0, "repeats": 1, "refused": []}));
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_element_is_named_with_its_reason() {
    let edge = Edge::start().await;
    let http = edge.addresses.http.unwrap();
    let mixed = format!(
        r#"[{},{{"vehicle":"a","event_time_ms":2,"latitude":"x","longitude":1}},{{"event_time_ms":2,{FIX}}},{}]"#,
        fix("a", 1),
        fix("a", 5)
    );
    let answer = post(http, &mixed).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["admitted"], 2);
    let refused: Vec<_> = body["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["index"].as_u64().unwrap(), r["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(refused, [(1, "wrong_shape"), (2, "missing_vehicle")]);
    assert!(body["refused"][0]["detail"].as_str().unwrap().contains("/latitude"), "{body}");

    let cases = [
        ("{".to_owned(), 400, "malformed_json"),
        (r#"{"vehicle":"a","event_time_ms":1,"latitude":NaN,"longitude":1}"#.into(), 422, "not_finite"),
        (r#"{"vehicle":"a","event_time_ms":1,"latitude":91,"longitude":1}"#.into(), 422, "out_of_range"),
        (r#"{"vehicle":"a","latitude":1,"longitude":1}"#.into(), 422, "missing_time"),
        (format!("[{}]", vec![fix("a", 1); 1_001].join(",")), 413, "too_large"),
    ];
    for (payload, status, reason) in cases {
        let answer = post(http, &payload).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{answer:?}");
        let body = answer.json();
        assert_eq!(
            (body["status"].as_u64(), body["refused"][0]["reason"].as_str()),
            (Some(u64::from(status)), Some(reason))
        );
        assert_eq!(edge.dead_letters().last().unwrap().reason, reason);
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_nonsense_are_turned_away() {
    let edge = Edge::start().await;
    let http = edge.addresses.http.unwrap();
    let good = fix("a", 1);
    for headers in
        ["", "Authorization: Basic ZGVtbzp3cm9uZw==\r\n", "Authorization: Basic !!!\r\n", "Authorization: Bearer x\r\n"]
    {
        let answer = request(http, "POST", "/v1/readings", headers, good.as_bytes()).await;
        assert_eq!(answer.status, 401, "{headers}");
        assert!(answer.head.contains("www-authenticate: basic"), "{answer:?}");
    }
    assert_eq!(request(http, "GET", "/v1/readings", DEMO_BASIC, b"").await.status, 405);
    assert_eq!(request(http, "POST", "/v1/other", DEMO_BASIC, b"").await.status, 404);
    let answer = request(http, "POST", "/v1/readings", DEMO_BASIC, &vec![b' '; 256 * 1_024 + 1]).await;
    assert_eq!(answer.status, 413);
    let answer = request(http, "POST", "/v1/readings", BUS_BASIC, good.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["refused"][0]["reason"].as_str()), (422, Some("not_yours")));
    let unnamed = format!(r#"{{"event_time_ms":1,{FIX}}}"#);
    let answer = request(http, "POST", "/v1/readings", BUS_BASIC, unnamed.as_bytes()).await;
    assert_eq!(answer.status, 202, "credentials of one vehicle name it: {answer:?}");
    assert_eq!(edge.readings().len(), 1);
    edge.end().await;
}

/// While the disk waits, requests take credits and keep them; when none are left a client is told to come later.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_system_says_so() {
    let edge = Edge::start().await;
    let http = edge.addresses.http.unwrap();
    edge.telemetry.set(Disk::Waits);
    let mut waiting = Vec::new();
    for request in 0..=CREDITS / 1_000 {
        let payload: Vec<_> = (0..1_000).map(|n| fix("a", (request * 1_000 + n) as i64)).collect();
        waiting.push(tokio::spawn(async move { post(http, &format!("[{}]", payload.join(","))).await }));
    }
    // One of them finds no credits; the others wait for the disk.
    let (turned_away, _, waiting) = futures_util::future::select_all(waiting).await;
    let turned_away = turned_away.unwrap();
    assert_eq!(turned_away.status, 429, "{turned_away:?}");
    assert!(turned_away.head.contains("retry-after: 1"));
    edge.telemetry.set(Disk::Works);
    for request in waiting {
        let answer = request.await.unwrap();
        assert!(matches!(answer.status, 202 | 429), "{answer:?}");
    }
    edge.end().await;
}
