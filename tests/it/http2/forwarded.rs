//! What an origin that speaks HTTP/1.1 gets of an HTTP/2 request, and that it is what HTTP/1.1 would have brought.

use super::{Scene, frames::*};
use crate::support::Answer;

/// Method and path at w.branch, and `more`.
fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "w.branch"), (":path", path)];
    literals(&[&pseudo, more].concat())
}

/// A request whose content no field speaks of.
fn with_content(block: &[u8], content: &[u8]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, 1, block), frame(DATA, END_STREAM, 1, content)].concat()
}

async fn answered(scene: &Scene, bytes: Vec<u8>) -> Took {
    let mut raw = Raw::connect(&scene.weir).await;
    raw.send(bytes).await;
    raw.took(1).await
}

#[tokio::test]
async fn a_get_with_content_that_no_field_speaks_of_is_passed_with_it_and_not_stored() {
    let scene = Scene::new("").await;
    scene.origin.answer("/gb", |ask| Answer::text("200 OK", &format!("{:?}", ask.body)).with("Cache-Control", "max-age=60"));
    for (method, query) in [("GET", "query-A"), ("GET", "query-B"), ("HEAD", "query-C")] {
        let took = answered(&scene, with_content(&head(method, "/gb", &[]), query.as_bytes())).await;
        assert_eq!(took, Took::Answer(200), "{method} {query}");
        assert_eq!(scene.origin.asks("/gb").pop().unwrap().body, query.as_bytes(), "{method} {query}");
    }
    assert_eq!(scene.origin.requests("/gb"), 3, "none was answered with what another asked for");
}

#[tokio::test]
async fn a_passed_request_has_the_host_and_the_cookies_that_http1_would_have_brought() {
    let scene = Scene::new("").await;
    scene.origin.answer("/p", |_| Answer::text("200 OK", "done"));
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")];
    assert_eq!(answered(&scene, with_content(&head("POST", "/p", &crumbs), b"body")).await, Took::Answer(200));
    let mut client = scene.weir.client().await;
    client.send("POST /p HTTP/1.1\r\nHost: w.branch\r\nCookie: a=1; b=2; c=3\r\nContent-Length: 4\r\n\r\nbody").await;
    assert_eq!(client.reply("POST").await.status, 200);
    for ask in scene.origin.asks("/p") {
        assert_eq!(ask.head.all("cookie").collect::<Vec<_>>(), ["a=1; b=2; c=3"], "{:?}", ask.head);
        assert_eq!(ask.head.all("host").collect::<Vec<_>>(), ["w.branch"], "{:?}", ask.head);
    }
}

#[tokio::test]
async fn trailers_that_say_how_long_the_content_is_make_it_no_request() {
    let scene = Scene::new("").await;
    scene.origin.answer("/p", |_| Answer::text("200 OK", "done"));
    for (name, taken) in [("content-length", false), ("host", false), ("x-sum", true)] {
        let open = frame(HEADERS, END_HEADERS, 1, &head("POST", "/p", &[]));
        let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &literals(&[(name, "4")]));
        let took = answered(&scene, [open, frame(DATA, 0, 1, b"body"), trailers].concat()).await;
        assert_eq!(took == Took::Answer(200), taken, "{name}: {took:?}");
    }
    assert_eq!(scene.origin.requests("/p"), 1, "only what is right was heard to its end");
}

/// The library that reads frames drops these before anybody sees them, so they cannot be refused: they are gone instead.
#[tokio::test]
async fn what_is_dropped_unseen_reaches_no_origin() {
    let scene = Scene::new("").await;
    scene.origin.answer("/p", |_| Answer::text("200 OK", "done"));
    // RFC 9113 §8.3.1: a path has no fragment. It is cut off where the target is parsed.
    assert_eq!(answered(&scene, with_content(&head("POST", "/p#fragment", &[]), b"")).await, Took::Answer(200));
    // RFC 9113 §8.1: trailers have no pseudo-fields. Only fields are handed on of them.
    let open = frame(HEADERS, END_HEADERS, 1, &head("POST", "/p", &[]));
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &literals(&[(":path", "/q")]));
    assert_eq!(answered(&scene, [open, trailers].concat()).await, Took::Answer(200));
    let asks = scene.origin.asks("/p");
    assert!(asks.len() == 2 && asks.iter().all(|ask| ask.target == "/p" && ask.trailers.is_empty()), "{asks:?}");
    assert_eq!(scene.origin.requests("/q"), 0);
}
