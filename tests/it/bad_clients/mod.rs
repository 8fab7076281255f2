//! Bad clients: malformed and hostile requests each get their answer, nobody else notices, and weir serves as before.

mod slow;
mod smuggling;
mod table;

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::support::{Client, Content, MIB, Origin, Proxy, Resource, proxy};

/// What a client sends, byte for byte, and what it gets for it.
struct Row {
    name: &'static str,
    bytes: Vec<u8>,
    gets: Got,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    /// A complete answer of this status.
    Status(u16),
    /// The end of the connection without an answer.
    Closed,
}

/// An origin with a secret that only a door's rules keep from clients, and a weir in front.
struct Scene {
    origin: Origin,
    /// On loopback like the origin, but nobody configured it.
    private: Origin,
    weir: Proxy,
    content: Content,
}

impl Scene {
    async fn new(config: &str) -> Self {
        let content = Content::new("a", 2 * MIB);
        let (origin, private) = (Origin::start().await, Origin::start().await);
        origin.serve("/a", Resource::new(&content));
        private.serve("/a", Resource::new(&Content::new("secret", 100)));
        let weir = proxy().upstream("cdn.test", &origin).config(config).start().await;
        Self { origin, private, weir, content }
    }

    async fn serves_as_before(&self) {
        let got = self.weir.download("cdn.test", "/a", &[], &self.content).await;
        assert!(got.is_all_of(&self.content), "{got:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_or_hostile_request_gets_its_answer() {
    let scene = Scene::new("").await;
    scene.serves_as_before().await;
    let rows = table::rows(scene.weir.doors(), scene.weir.admin(), scene.private.address());
    assert!(rows.len() >= 40);
    let mut exchanges = JoinSet::new();
    for row in rows {
        let doors = scene.weir.doors();
        exchanges.spawn(async move {
            let got = exchange(doors, &row.bytes).await;
            (got != row.gets).then(|| format!("{}: wanted {:?}, got {got:?}", row.name, row.gets))
        });
    }
    let wrong: Vec<String> = exchanges.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(scene.private.requests_in_all(), 0, "an address nobody configured was asked");
    scene.serves_as_before().await;
}

async fn exchange(doors: SocketAddr, bytes: &[u8]) -> Got {
    let mut client = Client::connect(doors).await;
    client.send(bytes).await;
    let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
    match client.try_reply(method).await {
        Some(reply) => Got::Status(reply.status),
        None => Got::Closed,
    }
}

#[tokio::test]
async fn a_refused_request_never_reaches_the_origin() {
    let scene = Scene::new("").await;
    for target in ["/../a", "/%2e%2e/a", "/x/..%2fa", "/a\\b", "/a%00b", "http://127.0.0.1/a", "http://user:pw@cdn.test/a"] {
        let reply = scene.weir.get("cdn.test", target).await;
        assert!((400..500).contains(&reply.status), "{target}: {}", reply.status);
    }
    assert_eq!(scene.origin.requests_in_all(), 0);
}

#[tokio::test]
async fn what_follows_a_malformed_request_on_its_connection_is_never_answered() {
    let scene = Scene::new("").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: cdn.test\r\n\r\n";
    let rows = [
        format!(
            "POST /a HTTP/1.1\r\nHost: cdn.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("POST /a HTTP/1.1\r\nHost: cdn.test\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n{smuggled}"),
        format!("POST /a HTTP/1.1\r\nHost: cdn.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{smuggled}"),
        format!("GET /a HTTP/1.1\r\nHost: cdn.test\r\nTransfer-Encoding: xchunked\r\n\r\n{smuggled}"),
    ];
    for row in rows {
        let mut client = scene.weir.client().await;
        client.send(&row).await;
        client.try_reply("POST").await;
        let second = client.try_reply("GET").await;
        assert!(second.is_none(), "{row:?} was followed by {second:?}");
    }
    assert_eq!(scene.origin.requests("/smuggled"), 0);
    scene.serves_as_before().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let scene = Scene::new("").await;
    let mut client = scene.weir.client().await;
    let asks: String = (0..100).map(|n| format!("GET /a HTTP/1.1\r\nHost: cdn.test\r\nRange: bytes={n}-{n}\r\n\r\n")).collect();
    client.send(asks).await;
    for n in 0..100 {
        let reply = client.reply("GET").await;
        assert!(reply.status == 206 && reply.is_whole(&scene.content.bytes(n, n + 1)), "{n}: {reply:?}");
    }
}

#[tokio::test]
async fn a_client_that_pipelines_and_never_reads_is_held_back() {
    let scene = Scene::new("").await;
    scene.serves_as_before().await;
    let mut client = scene.weir.client().await;
    let asks = "GET /a HTTP/1.1\r\nHost: cdn.test\r\n\r\n".repeat(10_000);
    // What weir does not read stays with the client: the send never ends, and that is the bound.
    let sent = tokio::time::timeout(std::time::Duration::from_secs(2), client.wire.send(asks.repeat(50))).await;
    assert!(
        sent.is_err() || sent.is_ok_and(|sent| sent.is_err()),
        "weir took 19 MB of requests from a client that reads nothing"
    );
    scene.serves_as_before().await;
    client.abort();
    scene.serves_as_before().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_downloads_leave_nothing_behind() {
    let scene = Scene::new("").await;
    let content = Content::new("big", 48 * MIB);
    scene.origin.serve("/big", Resource::new(&content));
    for turn in 0..40 {
        let mut client = scene.weir.client().await;
        let range = format!("bytes={}-", turn * MIB);
        client.ask("GET", "/big", &[("Host", "cdn.test"), ("Range", &range)]).await;
        if turn % 2 == 0 {
            client.head().await;
        }
        client.abort();
    }
    crate::support::eventually("no request is left running", || async {
        (scene.weir.metric("weir_requests_running", &[]).await == 0.0).then_some(())
    })
    .await;
    let whole = scene.weir.download("cdn.test", "/big", &[], &content).await;
    assert!(whole.is_all_of(&content), "{whole:?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn ten_thousand_ranges_cost_no_more_than_one_answer() {
    let scene = Scene::new("").await;
    scene.serves_as_before().await;
    let overlapping = vec!["0-"; 8_000].join(",");
    let tiny: String = (0..8_000).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
    for ranges in [overlapping, tiny] {
        let mut client = scene.weir.client().await;
        client.ask("GET", "/a", &[("Host", "cdn.test"), ("Range", &format!("bytes={ranges}"))]).await;
        let Some(reply) = client.try_reply("GET").await else { continue };
        assert!(matches!(reply.status, 200 | 416 | 431 | 400), "{}", reply.status);
        assert!(reply.body.len() as u64 <= scene.content.len(), "{} bytes", reply.body.len());
    }
    scene.serves_as_before().await;
}

#[tokio::test]
async fn the_administration_is_out_of_reach_through_the_doors() {
    let scene = Scene::new("").await;
    let admin = scene.weir.admin();
    let targets = [
        "/metrics".to_owned(),
        "/healthz".into(),
        format!("http://{admin}/metrics"),
        format!("http://localhost:{}/metrics", admin.port()),
    ];
    for target in &targets {
        for host in [admin.to_string(), "cdn.test".into(), "localhost".into()] {
            let reply = scene.weir.get(&host, target).await;
            assert!(!reply.text().contains("weir_requests_total"), "{host} {target}");
            assert!((400..500).contains(&reply.status), "{host} {target}: {}", reply.status);
        }
    }
    for authority in [admin.to_string(), format!("localhost:{}", admin.port()), scene.weir.doors().to_string()] {
        let mut client = scene.weir.client().await;
        client.ask("CONNECT", &authority, &[("Host", &authority)]).await;
        assert_eq!(client.reply("CONNECT").await.status, 403, "{authority}");
    }
}

#[tokio::test]
async fn a_host_the_administration_does_not_know_is_refused_there() {
    let scene = Scene::new("").await;
    // DNS rebinding: a page of evil.example that resolves to loopback.
    let reply = Client::connect(scene.weir.admin()).await.get("/metrics", &[("Host", "evil.example")]).await;
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    assert!(!reply.text().contains("weir_"));
}
