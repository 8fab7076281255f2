//! Answers from what is stored in part, whose first byte is missing: nothing is promised before the origin has shown that it still
//! has the same representation. What cannot be had is an error then, not the head of an answer that is cut.

use std::sync::Arc;

use crate::support::{Answer, Content, End, Gate, Origin, Proxy, Reply, Resource, Step, eventually, proxy};

const LEN: u64 = 20;
const FRESH: &str = "max-age=60";
/// Stale on arrival, and good for answers when the origin fails.
const STALE: &str = "max-age=5, stale-if-error=600";

/// What clients ask for, with what they get of the content; all of it begins before what is stored.
const ASKED: [(&str, u16, u64, u64); 2] = [("bytes=0-2", 206, 0, 3), ("", 200, 0, LEN)];

struct Scene {
    origin: Origin,
    weir: Proxy,
    before: Content,
    after: Content,
}

impl Scene {
    async fn new() -> Self {
        let origin = Origin::start().await;
        let weir = proxy().reverse(&origin).start().await;
        Self { origin, weir, before: Content::new("before", LEN), after: Content::new("after", LEN) }
    }

    /// Has bytes 4 to 6 of `before` stored at `path`.
    async fn store(&self, path: &str, lifetime: &str) {
        let age = if lifetime == STALE { "30" } else { "0" };
        let resource = Resource::new(&self.before).without("Last-Modified").with("Cache-Control", lifetime).with("Age", age);
        self.origin.serve(path, resource);
        let reply = self.get(path, "bytes=4-6").await;
        assert!(reply.status == 206 && reply.is_whole(&self.before.bytes(4, 7)), "{reply:?}");
    }

    async fn get(&self, path: &str, range: &str) -> Reply {
        let range = [("Range", range)];
        self.weir.get_with("site.test", path, if range[0].1.is_empty() { &[] } else { &range }).await
    }

    /// The same, and how many requests the origin got meanwhile.
    async fn counted(&self, path: &str, range: &str) -> (Reply, usize) {
        let before = self.origin.requests(path);
        let reply = self.get(path, range).await;
        (reply, self.origin.requests(path) - before)
    }
}

/// No head, no word: FIN.
fn hang_up() -> Answer {
    Answer::raw("")
}

#[tokio::test]
async fn what_changed_meanwhile_is_answered_with_what_is_there_now() {
    let scene = Scene::new().await;
    for (index, (range, status, start, end)) in ASKED.into_iter().enumerate() {
        for lifetime in [FRESH, STALE] {
            let path = format!("/{index}-{}", lifetime.len());
            scene.store(&path, lifetime).await;
            scene.origin.serve(&path, Resource::new(&scene.after).without("Last-Modified"));
            let (reply, requests) = scene.counted(&path, range).await;
            assert!(reply.status == status && reply.is_whole(&scene.after.bytes(start, end)), "{path}: {reply:?}");
            assert!(!reply.is_hit(), "{path}: {reply:?}");
            assert!(requests <= 2, "{path}: {requests} requests");
        }
    }
}

#[tokio::test]
async fn what_changes_between_validation_and_the_first_byte_is_answered_with_what_is_there_now() {
    let scene = Scene::new().await;
    scene.store("/a", STALE).await;
    let (before, after) = (scene.before.clone(), scene.after.clone());
    scene.origin.answer("/a", move |ask| {
        let is_validation = ask.field("if-none-match").is_some();
        Resource::new(if is_validation { &before } else { &after }).without("Last-Modified").answer(ask)
    });
    let (reply, requests) = scene.counted("/a", "bytes=0-2").await;
    assert!(reply.status == 206 && reply.is_whole(&scene.after.bytes(0, 3)), "{reply:?}");
    assert!(requests <= 3, "{requests} requests: validated, found out, fetched");
}

#[tokio::test]
async fn an_origin_that_hangs_up_is_a_502_after_few_requests() {
    let scene = Scene::new().await;
    for (index, (range, ..)) in ASKED.into_iter().enumerate() {
        for lifetime in [FRESH, STALE] {
            let path = format!("/{index}-{}", lifetime.len());
            scene.store(&path, lifetime).await;
            scene.origin.answer(&path, |_| hang_up());
            let (reply, requests) = scene.counted(&path, range).await;
            assert!(reply.status == 502 && reply.end == End::Whole, "{path}: {reply:?}");
            // As many as for something that is not stored at all.
            assert_eq!(requests, 2, "{path}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_has_an_error_of_its_own_is_asked_once() {
    let scene = Scene::new().await;
    for (index, (range, ..)) in ASKED.into_iter().enumerate() {
        for (status, lifetime, expected) in [("500 Broken", FRESH, 502), ("404 Gone", FRESH, 502), ("500 Broken", STALE, 500)] {
            let path = format!("/{index}-{expected}-{}", &status[..3]);
            scene.store(&path, lifetime).await;
            scene.origin.answer(&path, move |_| Answer::text(status, "sorry"));
            let (reply, requests) = scene.counted(&path, range).await;
            assert_eq!((reply.status, reply.end, requests), (expected, End::Whole, 1), "{path}");
        }
    }
}

#[tokio::test]
async fn what_failed_once_is_had_when_the_origin_is_back() {
    let scene = Scene::new().await;
    scene.store("/a", FRESH).await;
    scene.origin.answer("/a", |_| Answer::text("500 Broken", "sorry"));
    assert_eq!(scene.get("/a", "").await.status, 502);
    scene.origin.serve("/a", Resource::new(&scene.before).without("Last-Modified"));
    let sent = scene.origin.sent("/a");
    let reply = scene.get("/a", "").await;
    assert!(reply.status == 200 && reply.is_whole(&scene.before.all()), "{reply:?}");
    assert_eq!(scene.origin.sent("/a") - sent, LEN - 3, "what was stored is still used");
}

#[tokio::test]
async fn those_who_wait_for_the_same_first_byte_share_the_request_that_fails() {
    let scene = Arc::new(Scene::new().await);
    scene.store("/a", FRESH).await;
    let (gate, before) = (Gate::closed(), scene.origin.requests("/a"));
    let hold = gate.clone();
    scene.origin.answer("/a", move |_| Answer::text("500 Broken", "sorry").first(Step::Hold(hold.clone())));
    let herd: tokio::task::JoinSet<_> = (0..20)
        .map(|_| {
            let scene = scene.clone();
            async move { scene.get("/a", "bytes=0-2").await }
        })
        .collect();
    gate.reached_by(1).await;
    eventually("all are waiting", || async { (scene.weir.metric("weir_requests_running", &[]).await >= 20.0).then_some(()) })
        .await;
    gate.open();
    assert!(herd.join_all().await.iter().all(|reply| reply.status == 502));
    // Who was not yet waiting when it failed asks for itself.
    let requests = scene.origin.requests("/a") - before;
    assert!((1..20).contains(&requests), "{requests} requests");
}

#[tokio::test]
async fn bytes_that_are_here_are_sent_before_the_missing_ones_are_certain() {
    let scene = Scene::new().await;
    scene.store("/a", FRESH).await;
    let (gate, before) = (Gate::closed(), scene.before.clone());
    let hold = gate.clone();
    scene.origin.answer("/a", move |ask| Resource::new(&before).without("Last-Modified").held(&hold).answer(ask));
    let mut client = scene.weir.client().await;
    client.ask("GET", "/a", &[("Host", "site.test"), ("Range", "bytes=4-9")]).await;
    let head = client.head().await.expect("a head while the origin is silent");
    gate.open();
    let download = client.check(head, &scene.before).await;
    assert!(download.status == 206 && download.is_right(6), "{download:?}");
}
