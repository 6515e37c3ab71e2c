//! Peers that send too much, too little, too slowly, or what HTTP/3 forbids. Each test ends with an ordinary request:
//! whoever behaves is served on.

use crate::client::{ALL, Call, PATIENCE, Version};
use crate::cloud::{Cloud, DEMO_KEY, Options};
use drover_cloud::serving::Deadlines;
use http::Method;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Fields from QPACK's static table.
const GET: u8 = 0xc0 | 17;
const POST: u8 = 0xc0 | 20;
const HTTPS: u8 = 0xc0 | 23;
const HEADERS: u64 = 1;
const DATA: u64 = 0;
const GOAWAY: u64 = 7;
/// Error codes of RFC 9114.
const H3_EXCESSIVE_LOAD: u32 = 0x107;
const H3_REQUEST_CANCELLED: u32 = 0x10c;
const H3_REQUEST_INCOMPLETE: u32 = 0x10d;
const H3_MESSAGE_ERROR: u32 = 0x10e;

/// A QUIC client that writes HTTP/3 by hand.
struct Raw {
    _endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    _control: quinn::SendStream,
}

fn varint(value: u64) -> Vec<u8> {
    (value | 0b10 << 30).to_be_bytes()[4..].to_vec()
}

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [varint(kind), varint(payload.len() as u64), payload.to_vec()].concat()
}

/// A field whose name is entry `name` of the static table (at most 14).
fn field(name: u8, value: &str) -> Vec<u8> {
    [&[0x50 | name, value.len() as u8][..], value.as_bytes()].concat()
}

fn text_field(name: &str, value: &str) -> Vec<u8> {
    // Name and value as they are: 3 bits of length, the rest in a second byte.
    let mut line = vec![0x20 | 7, name.len() as u8 - 7];
    line.extend_from_slice(name.as_bytes());
    line.extend([127, (value.len() - 127) as u8 & 0x7f | 0x80, ((value.len() - 127) >> 7) as u8]);
    line.extend_from_slice(value.as_bytes());
    line
}

fn head(method: u8, path: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let fields = [vec![0, 0, method, HTTPS], field(1, path), field(0, "localhost"), more.concat()].concat();
    frame(HEADERS, &fields)
}

impl Raw {
    async fn connect(cloud: &Cloud) -> Self {
        let (endpoint, connection) = cloud.connect_quic().await;
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&[0, 4, 0]).await.unwrap();
        Self { _endpoint: endpoint, connection, _control: control }
    }

    /// Sends `bytes` and, when `end`, the FIN; answers the response or the code of the reset.
    async fn exchange(&self, bytes: &[u8], end: bool) -> Result<Vec<u8>, u32> {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        // May be stopped in the middle.
        let _ = send.write_all(bytes).await;
        if end {
            let _ = send.finish();
        }
        match tokio::time::timeout(PATIENCE, receive.read_to_end(1 << 20)).await.unwrap() {
            Ok(answer) => Ok(answer),
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Err(code.into_inner() as u32),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn still_served(cloud: &Cloud) {
    for version in ALL {
        assert_eq!(cloud.get(version, "/healthz").send().await.status, 200, "{version:?}");
    }
}

#[tokio::test]
async fn pseudo_headers_twice_or_in_the_wrong_place_are_refused() {
    let cloud = Cloud::start().await;
    let raw = Raw::connect(&cloud).await;
    assert!(raw.exchange(&head(GET, "/healthz", &[]), true).await.is_ok());
    let twice = head(GET, "/healthz", &[field(1, "/v1/status")]);
    assert_eq!(raw.exchange(&twice, true).await, Err(H3_MESSAGE_ERROR));
    let accept = 0xc0 | 29;
    let misplaced =
        frame(HEADERS, &[vec![0, 0, GET, HTTPS], field(0, "localhost"), vec![accept], field(1, "/healthz")].concat());
    assert_eq!(raw.exchange(&misplaced, true).await, Err(H3_MESSAGE_ERROR));
    let in_trailers = [head(GET, "/healthz", &[]), frame(HEADERS, &[vec![0, 0], field(1, "/x")].concat())].concat();
    assert_eq!(raw.exchange(&in_trailers, true).await, Err(H3_MESSAGE_ERROR));
    still_served(&cloud).await;
}

#[tokio::test]
async fn headers_over_the_limit_get_431_and_far_over_it_nothing() {
    let cloud = Cloud::start().await;
    let raw = Raw::connect(&cloud).await;
    let large = "x".repeat(16_000);
    let answer = raw
        .exchange(&head(GET, "/healthz", &[text_field("x-large", &large), text_field("x-large", &large)]), true)
        .await;
    assert!(answer.as_ref().is_ok_and(|bytes| bytes.windows(3).any(|three| three == b"431")), "{answer:?}");
    let text = String::from_utf8_lossy(answer.as_ref().unwrap()).into_owned();
    assert!(text.contains("urn:drover:problem:headers_too_large"), "{text}");
    let announced = [varint(HEADERS), varint(1 << 24)].concat();
    assert_eq!(raw.exchange(&announced, false).await, Err(H3_EXCESSIVE_LOAD));
    for version in [Version::Http1, Version::Http2] {
        let call = cloud.get(version, "/healthz").header("x-a", &large[..10_000]).header("x-b", &large[..10_000]);
        assert_eq!(call.send().await.status, 431, "{version:?}");
    }
    still_served(&cloud).await;
}

#[tokio::test]
async fn a_body_that_contradicts_its_content_length_has_no_effect() {
    let cloud = Cloud::start().await;
    let raw = Raw::connect(&cloud).await;
    let authorization = text_field("authorization", &format!("Bearer {DEMO_KEY:>150}"));
    for (length, body) in [("10", 4), ("2", 4), ("0", 4), ("4x", 4), ("-4", 4)] {
        let fields = [authorization.clone(), field(4, length)];
        let request = [head(POST, "/v1/plugins", &fields), frame(DATA, &vec![b'x'; body])].concat();
        assert_eq!(raw.exchange(&request, true).await, Err(H3_MESSAGE_ERROR), "content-length {length}");
    }
    assert!(
        raw.exchange(&[head(POST, "/v1/plugins", &[field(4, "4")]), frame(DATA, b"xxxx")].concat(), true).await.is_ok()
    );
    assert!(cloud.registry.plugins(&"demo".parse().unwrap()).is_empty());
    still_served(&cloud).await;
}

/// Short, and still long enough for the handshakes of those who behave on a machine that is busy.
fn hurried() -> Options {
    Options { deadlines: Deadlines { header_ms: 3_000, body_ms: 3_000, idle_ms: 60_000 }, ..Options::default() }
}

/// The bytes until whoever serves closes, with or without a word.
async fn rest_of(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    rest
}

#[tokio::test]
async fn half_sent_requests_are_reaped() {
    let cloud = Cloud::with(hurried()).await;
    let raw = Raw::connect(&cloud).await;
    let whole = head(GET, "/healthz", &[]);
    let authorization = text_field("authorization", &format!("Bearer {DEMO_KEY:>150}"));
    let body = [head(POST, "/v1/plugins", &[authorization, field(4, "100")]), frame(DATA, b"xxxx")].concat();
    let over_http3 = async {
        let (headers, first_byte, body) = tokio::join!(
            raw.exchange(&whole[..whole.len() - 3], false),
            raw.exchange(&whole[..1], false),
            raw.exchange(&body, false),
        );
        assert_eq!(headers, Err(H3_REQUEST_CANCELLED), "half of the headers");
        assert_eq!(first_byte, Err(H3_REQUEST_CANCELLED), "the first byte");
        assert_eq!(body, Err(H3_REQUEST_INCOMPLETE), "half of the body");
    };
    let post = format!(
        "POST /v1/plugins HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {DEMO_KEY}\r\ncontent-type: application/wasm\r\n\
         content-length: 100\r\n\r\nxxxx"
    );
    let halves = ["GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: x\r\n", "", &post].map(async |half| {
        let mut stream = cloud.connect_tcp(b"http/1.1").await;
        stream.write_all(half.as_bytes()).await.unwrap();
        rest_of(stream).await
    });
    let (answers, ()) = tokio::join!(futures_util::future::join_all(halves), over_http3);
    assert!(answers[3].starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answers[3]));
    still_served(&cloud).await;
}

/// A varint of RFC 9000 §16.
async fn read_varint(stream: &mut quinn::RecvStream) -> u64 {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes[..1]).await.unwrap();
    let len = 1 << (bytes[0] >> 6);
    stream.read_exact(&mut bytes[1..len]).await.unwrap();
    bytes[0] &= 0x3f;
    bytes[..len].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// What a GOAWAY frame on the server's control stream says.
async fn goaway(connection: &quinn::Connection) -> u64 {
    loop {
        let mut stream = connection.accept_uni().await.unwrap();
        if read_varint(&mut stream).await != 0 {
            continue;
        }
        loop {
            let (kind, len) = (read_varint(&mut stream).await, read_varint(&mut stream).await);
            if kind == GOAWAY {
                return read_varint(&mut stream).await;
            }
            stream.read_exact(&mut vec![0; len as usize]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn goaway_names_the_first_request_that_is_not_answered() {
    let cloud = Cloud::start().await;
    let raw = Raw::connect(&cloud).await;
    for _ in 0..2 {
        assert!(raw.exchange(&head(GET, "/healthz", &[]), true).await.is_ok());
    }
    cloud.shutdown.cancel();
    // Requests have the streams 0, 4, 8, ...
    assert_eq!(tokio::time::timeout(PATIENCE, goaway(&raw.connection)).await.unwrap(), 8);
}

#[tokio::test]
async fn a_handshake_that_is_never_finished_does_not_hold_up_the_end() {
    let mut cloud = Cloud::start().await;
    let silent = tokio::net::TcpStream::connect(cloud.address).await.unwrap();
    still_served(&cloud).await;
    cloud.shutdown.cancel();
    let began = std::time::Instant::now();
    tokio::time::timeout(PATIENCE, cloud.serving.take().unwrap()).await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_millis(Deadlines::default().header_ms), "it was not waited for");
    drop(silent);
}

#[tokio::test]
async fn connections_without_requests_are_closed() {
    let deadlines = Deadlines { header_ms: 10_000, body_ms: 10_000, idle_ms: 200 };
    let cloud = Cloud::with(Options { deadlines, ..Options::default() }).await;
    let raw = Raw::connect(&cloud).await;
    tokio::time::timeout(PATIENCE, raw.connection.closed()).await.unwrap();
    for alpn in [&b"h2"[..], b"http/1.1"] {
        rest_of(cloud.connect_tcp(alpn).await).await;
    }
    // A stream that waits for events is a request under way.
    let options = Options { deadlines, heartbeat: Duration::from_secs(1), ..Options::default() };
    let cloud = Cloud::with(options).await;
    for version in ALL {
        let mut stream = cloud.get(version, "/v1/events/stream").send().await;
        assert_eq!(stream.lines(1).await, b"\n", "{version:?}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_read_to_its_end() {
    let cloud = Cloud::start().await;
    let body = vec![b'x'; 300 * 1_024];
    let post = |version, path| -> Call<'_> { cloud.call(version, Method::POST, path).body(body.clone()) };
    assert_eq!(post(Version::Http3, "/healthz").send().await.status, 405);
    assert_eq!(post(Version::Http3, "/v1/plugins").no_key().send().await.status, 401);
    assert_eq!(post(Version::Http3, "/v1/plugins").header("content-type", "text/plain").send().await.status, 415);
}

#[tokio::test]
async fn bytes_that_are_no_tls_and_no_quic_harm_nobody() {
    let cloud = Cloud::start().await;
    let mut stream = tokio::net::TcpStream::connect(cloud.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    rest_of(stream).await;
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for len in [0, 1, 20, 1_200] {
        udp.send_to(&vec![0xc3; len], cloud.address).await.unwrap();
    }
    still_served(&cloud).await;
}
