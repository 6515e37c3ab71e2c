//! Devices over HTTP.

use crate::client::{BUS_BASIC, DEMO_BASIC, post, request};
use crate::gated_log::Disk;
use crate::started::{Edge, FIX};
use drover_edge::ingest::CREDITS;

/// 1,000 readings of one vehicle, a minute apart.
pub(crate) fn thousand(from: i64) -> String {
    let elements: Vec<_> = (from..from + 1_000).map(|minute| fix("a", minute * 60_000)).collect();
    format!("[{}]", elements.join(","))
}

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

/// Python's `json.dumps` writes `NaN`.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_json_does_not_have_takes_only_its_element_down() {
    let edge = Edge::start().await;
    let nan = r#"{"vehicle":"a","event_time_ms":2,"latitude":1,"longitude":1,"speed":NaN}"#;
    let answer = post(edge.addresses.http.unwrap(), &format!("[{},{nan},{}]", fix("a", 1), fix("a", 3))).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["admitted"]), (202, &2.into()), "{body}");
    assert_eq!((&body["refused"][0]["index"], &body["refused"][0]["reason"]), (&1.into(), &"not_finite".into()));
    assert!(body["refused"][0]["detail"].as_str().unwrap().starts_with("/speed: NaN"), "{body}");
    assert_eq!(edge.dead_letters()[0].payload, nan);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_reading_is_told_which_field_is_wrong() {
    let edge = Edge::start().await;
    let payload = format!(r#"{{"vehicle":"a","event_time_ms":2,{FIX},"fuel_level":120}}"#);
    let body = post(edge.addresses.http.unwrap(), &payload).await.json();
    assert_eq!(body["refused"][0]["reason"], "out_of_range");
    let detail = body["refused"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("/fuel_level: 120") && detail.contains("100"), "{detail}");
    assert_eq!(edge.dead_letters()[0].detail, detail);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_refused_elements_has_its_own_letter() {
    let edge = Edge::start().await;
    let elements: Vec<_> = (0..1_000)
        .map(|time| match time % 3 {
            0 => format!(r#"{{"vehicle":"a","event_time_ms":{time},"latitude":0,"longitude":0}}"#),
            1 => format!(r#"{{"vehicle":"a","event_time_ms":{time}}}"#),
            _ => format!(r#"{{"vehicle":"a","event_time_ms":{time},"latitude":NaN,"longitude":0}}"#),
        })
        .collect();
    let answer = post(edge.addresses.http.unwrap(), &format!("[{}]", elements.join(" ,\n"))).await;
    assert_eq!(answer.json()["refused"].as_array().unwrap().len(), 1_000);
    let mut kept: Vec<_> = edge.dead_letters().into_iter().map(|letter| letter.payload).collect();
    let mut sent = elements;
    kept.sort_unstable();
    sent.sort_unstable();
    assert_eq!(kept, sent);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_much_came_since_a_repeat_is_a_repeat() {
    let edge = Edge::start().await;
    let http = edge.addresses.http.unwrap();
    for (from, admitted) in [(0, 1_000), (1_000, 1_000), (0, 0)] {
        let body = post(http, &thousand(from)).await.json();
        let expected = serde_json::json!({"admitted": admitted, "repeats": 1_000 - admitted, "refused": []});
        assert_eq!(body, expected);
    }
    assert_eq!(edge.readings().len(), 2_000);
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
