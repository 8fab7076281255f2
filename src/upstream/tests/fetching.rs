//! Content: one hop, its failures, and redirects.

use super::*;
use crate::upstream::{Framing, dial::Fault};

#[tokio::test(start_paused = true)]
async fn content_comes_with_its_framing_and_source() {
    let world = World::new();
    let log = world.server("dl.test", "8.8.8.8:8080", |_| Reply::Send(ok("content")));
    let upstreams = world.start();
    let fetched = upstreams.fetch(get("http://dl.test:8080", "/a?b=c")).await.unwrap();
    assert_eq!((&*fetched.source, &*fetched.upstream), ("dl.test:8080", "origin"));
    assert_eq!(fetched.response.body().framing(), Framing::Length(7));
    assert_eq!(text(fetched.response).await.unwrap(), "content");
    assert_eq!(log.head(0), "GET /a?b=c HTTP/1.1\r\nHost: dl.test:8080\r\n\r\n");
}
