//! HTTP/2 from clients that break its rules or use up what it costs (RFC 9113 §10.5): each is ended or bounded, and others are served.

mod forwarded;
mod frames;
mod table;

use std::time::Duration;

use frames::*;
use tokio::task::JoinSet;

use crate::support::{Content, MIB, Origin, Proxy, Resource, eventually, proxy, within};

/// RFC 9113 §7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

/// An origin with some content, and a weir in front that speaks HTTP/2 to whoever knows.
struct Scene {
    origin: Origin,
    weir: Proxy,
    content: Content,
}

impl Scene {
    async fn new(config: &str) -> Self {
        let content = Content::new("a", 2 * MIB);
        let origin = Origin::start().await;
        origin.serve("/a", Resource::new(&content));
        let weir = proxy().reverse(&origin).config(config).start().await;
        let scene = Self { origin, weir, content };
        scene.serves_as_before().await;
        scene
    }

    /// A bystander of either version gets all of it.
    async fn serves_as_before(&self) {
        let got = self.weir.download("cdn.test", "/a", &[], &self.content).await;
        assert!(got.is_all_of(&self.content), "{got:?}");
        let mut raw = Raw::connect(&self.weir).await;
        raw.send(table::request(1, &get("/a"))).await;
        assert_eq!(raw.took(1).await, Took::Answer(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_the_rules_of_framing_is_ended() {
    let scene = Scene::new("").await;
    let violations = table::violations();
    assert!(violations.len() >= 25);
    let mut wrong = Vec::new();
    for violation in violations {
        let mut raw = Raw::connect(&scene.weir).await;
        raw.send(&violation.bytes).await;
        // Streams may be answered or reset before; the connection goes all the same.
        let code = raw.gone().await;
        if code == Some(0) {
            wrong.push(violation.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    scene.serves_as_before().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_cannot_be_is_refused_and_reaches_no_origin() {
    let scene = Scene::new("").await;
    let seen = scene.origin.requests_in_all();
    let mut wrong = Vec::new();
    for impossible in table::impossibles() {
        let mut raw = Raw::connect(&scene.weir).await;
        raw.send(table::request(1, &impossible.block)).await;
        let took = raw.took(1).await;
        if !took.is_refused() && took != Took::Answer(0) || scene.origin.requests_in_all() > seen {
            wrong.push(format!("{}: {took:?}, {} requests", impossible.name, scene.origin.requests_in_all() - seen));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_host_beside_the_authority_that_says_the_same_is_no_contradiction() {
    let scene = Scene::new("").await;
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "cdn.test"), (":path", "/a"), ("host", "cdn.test")];
    let mut raw = Raw::connect(&scene.weir).await;
    raw.send(table::request(1, &literals(&fields))).await;
    assert_eq!(raw.took(1).await, Took::Answer(200));
}

#[tokio::test]
async fn streams_opened_and_reset_at_once_end_the_connection() {
    let scene = Scene::new("").await;
    let pair = |stream| [table::request(stream, &get("/a")), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    let flood: Vec<u8> = (0..20_000).flat_map(|n| pair(2 * n + 1)).collect();
    let took = Raw::connect(&scene.weir).await.flood(flood, u32::MAX).await;
    assert_eq!(took, Took::Gone(Some(ENHANCE_YOUR_CALM)));
    scene.serves_as_before().await;
}

#[tokio::test]
async fn streams_reset_after_they_were_taken_end_the_connection_too() {
    let scene = Scene::new("").await;
    let mut raw = Raw::connect(&scene.weir).await;
    // Each is taken before it is reset, so that nothing queues up: only counting them ends it.
    let mut resets = 0_u32;
    while resets < 5_000 {
        let streams: Vec<u32> = (resets..resets + 100).map(|n| 2 * n + 1).collect();
        raw.send(streams.iter().flat_map(|&stream| table::request(stream, &get("/a"))).collect::<Vec<u8>>()).await;
        if raw.took(streams[99]).await != Took::Answer(200) {
            break;
        }
        raw.send(streams.iter().flat_map(|&stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).collect::<Vec<u8>>()).await;
        resets += 100;
    }
    assert!((300..5_000).contains(&resets), "{resets} resets");
    eventually("the end is counted", || async {
        (scene.weir.metric("weir_client_floods_total", &[("reason", "resets")]).await == 1.0).then_some(())
    })
    .await;
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_header_block_without_end_ends_the_connection() {
    let scene = Scene::new("").await;
    let begin = frame(HEADERS, END_STREAM, 1, &get("/a"));
    let filled = frame(CONTINUATION, 0, 1, &literals(&[("x-fill", &"y".repeat(1000))]));
    for (name, piece) in [("full", filled), ("empty", frame(CONTINUATION, 0, 1, &[]))] {
        let flood = [begin.clone(), piece.repeat(200_000_000 / piece.len() / 10)].concat();
        let took = Raw::connect(&scene.weir).await.flood(flood, u32::MAX).await;
        assert!(matches!(took, Took::Gone(_)), "{name}: {took:?}");
    }
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_small_block_that_unpacks_to_much_is_refused() {
    let scene = Scene::new("").await;
    // A field of 4,000 bytes into the table once, then by its number 10,000 times: 40 MB of fields in 14 kB.
    let mut block = get("/a");
    block.push(0x40);
    string(&mut block, b"x-bomb");
    string(&mut block, &[b'y'; 3900]);
    block.extend([0x80 | 62; 10_000]);
    let mut raw = Raw::connect(&scene.weir).await;
    raw.send(table::request(1, &block)).await;
    let took = raw.took(1).await;
    assert!(took.is_refused() || took == Took::Answer(0), "{took:?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn empty_frames_without_end_end_the_connection() {
    let scene = Scene::new("").await;
    let open = frame(
        HEADERS,
        END_HEADERS,
        1,
        &literals(&[(":method", "POST"), (":scheme", "http"), (":authority", "cdn.test"), (":path", "/none")]),
    );
    let flood = [open, frame(DATA, 0, 1, &[]).repeat(2_000_000)].concat();
    let took = Raw::connect(&scene.weir).await.flood(flood, u32::MAX).await;
    assert!(matches!(took, Took::Gone(_)), "{took:?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn settings_and_pings_without_end_cost_nobody_else_anything() {
    let scene = Scene::new("").await;
    for piece in
        [frame(SETTINGS, 0, 0, &setting(4, 100_000)), frame(PING, 0, 0, &[7; 8]), frame(PRIORITY, 0, 99, &[0, 0, 0, 0, 9])]
    {
        let mut raw = Raw::connect(&scene.weir).await;
        // Nobody reads the answers: what weir does not read stays with the client, and that is the bound.
        let sent = tokio::time::timeout(Duration::from_secs(2), raw.send(piece.repeat(4_000_000))).await;
        let is_priority = piece[3] == PRIORITY;
        assert!(sent.is_err() || is_priority || !raw.lives().await, "frames of kind {} are taken without end", piece[3]);
        scene.serves_as_before().await;
    }
}

#[tokio::test]
async fn a_stream_that_depends_on_itself_is_no_reason_to_serve_it() {
    let scene = Scene::new("").await;
    let mut raw = Raw::connect(&scene.weir).await;
    let block = [&[0, 0, 0, 1, 16][..], &get("/a")].concat();
    raw.send(frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, &block)).await;
    let took = raw.took(1).await;
    assert!(matches!(took, Took::Reset(PROTOCOL_ERROR) | Took::Gone(_)), "{took:?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn trees_of_priorities_change_nothing() {
    let scene = Scene::new("").await;
    let mut raw = Raw::connect(&scene.weir).await;
    // A chain, a ring and a star of streams that do not exist.
    let depends = |stream: u32, on: u32| frame(PRIORITY, 0, stream, &[&on.to_be_bytes()[..], &[255]].concat());
    let chain = (1..5_000).flat_map(|n| depends(2 * n + 1, 2 * n - 1));
    let ring = [depends(101, 103), depends(103, 101)].concat();
    let star = (1..5_000).flat_map(|n| depends(2 * n + 1, 0x8000_0001));
    raw.send(chain.chain(ring).chain(star).collect::<Vec<u8>>()).await;
    raw.send(table::request(10_001, &get("/a"))).await;
    let took = raw.took(10_001).await;
    assert!(matches!(took, Took::Answer(200) | Took::Gone(_)), "{took:?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_stream_window_that_overflows_ends_the_stream() {
    let scene = Scene::new("").await;
    let mut raw = Raw::connect(&scene.weir).await;
    let open = frame(
        HEADERS,
        END_HEADERS,
        1,
        &literals(&[(":method", "POST"), (":scheme", "http"), (":authority", "cdn.test"), (":path", "/none")]),
    );
    raw.send([open, frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes())].concat()).await;
    let took = raw.took(1).await;
    assert!(matches!(took, Took::Reset(FLOW_CONTROL_ERROR) | Took::Gone(Some(FLOW_CONTROL_ERROR))), "{took:?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_preface_that_is_none_or_never_ends_is_closed() {
    let scene = Scene::new("[timeouts]\nclient_head = \"1s\"\n").await;
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nS",
        b"PRI",
        &[PREFACE, b"garbage that is no frame at all"].concat(),
    ] {
        let mut raw = Raw::silent(&scene.weir).await;
        raw.send(bytes).await;
        let took = raw.took(u32::MAX).await;
        assert!(matches!(took, Took::Gone(_)), "{bytes:?}: {took:?}");
    }
    scene.serves_as_before().await;
}

#[tokio::test]
async fn clients_that_open_no_window_are_left_and_hold_nothing_up() {
    let scene = Scene::new("[timeouts]\nclient_write = \"1s\"\n").await;
    let mut stalled = JoinSet::new();
    for _ in 0..8 {
        let mut raw = Raw::connect(&scene.weir).await;
        raw.send(frame(SETTINGS, 0, 0, &setting(4, 0))).await;
        let asks: Vec<u8> = (0..100).flat_map(|n| table::request(2 * n + 1, &get("/a"))).collect();
        raw.send(asks).await;
        stalled.spawn(async move { raw.gone().await });
    }
    scene.serves_as_before().await;
    // Left alone, each is ended: nobody else has to wait for them.
    while let Some(gone) = within("stalled clients are left", stalled.join_next()).await {
        gone.unwrap();
    }
    eventually("no request is left running", || async {
        (scene.weir.metric("weir_requests_running", &[]).await == 0.0).then_some(())
    })
    .await;
    scene.serves_as_before().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_one_by_one() {
    let scene = Scene::new("").await;
    let gate = crate::support::Gate::closed();
    let held = gate.clone();
    scene
        .origin
        .answer("/held", move |_| crate::support::Answer::text("200 OK", "late").first(crate::support::Step::Hold(held.clone())));
    let mut raw = Raw::connect(&scene.weir).await;
    let post = literals(&[(":method", "DELETE"), (":scheme", "http"), (":authority", "cdn.test"), (":path", "/held")]);
    let asks: Vec<u8> = (0..400).flat_map(|n| table::request(2 * n + 1, &post)).collect();
    raw.send(asks).await;
    let took = raw.took(799).await;
    assert!(matches!(took, Took::Reset(_) | Took::Gone(_)), "{took:?}");
    gate.open();
    assert!(scene.origin.requests("/held") <= 128, "no more than the streams that are allowed");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_no_request() {
    let scene = Scene::new("").await;
    scene.origin.answer("/upload", |ask| crate::support::Answer::text("200 OK", &ask.body.len().to_string()));
    let head = |length| {
        literals(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "cdn.test"),
            (":path", "/upload"),
            ("content-length", length),
        ])
    };
    for (length, body) in [("2", &b"three"[..]), ("9", b"three")] {
        let mut raw = Raw::connect(&scene.weir).await;
        raw.send([frame(HEADERS, END_HEADERS, 1, &head(length)), frame(DATA, END_STREAM, 1, body)].concat()).await;
        let took = raw.took(1).await;
        assert!(took.is_refused() || took == Took::Answer(0), "{length}: {took:?}");
    }
    assert!(scene.origin.asks("/upload").iter().all(|ask| ask.body.len() != 5), "no origin took it for a request");
    scene.serves_as_before().await;
}
