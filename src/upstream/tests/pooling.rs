//! Which connections are used again, by whom, and which never.

use http::Request;
use http_body_util::Full;

use super::*;
use crate::upstream::{Bound, Connections};

const AT: &str = "8.8.8.8:80";

fn post(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/call").header("content-length", body.len()).body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}

async fn posted(upstreams: &Upstreams) -> Result<String, Error> {
    text(upstreams.relay(&target("http://dl.test"), post("soap"), &mut Bound::default()).await?).await
}

async fn got(upstreams: &Upstreams) -> Result<String, Error> {
    fetched(upstreams, get("http://dl.test", "/")).await
}

/// Lets everything that can happen now happen.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_again_until_it_has_been_idle_for_too_long() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::Send(ok("x")));
    let upstreams = world.start();
    for _ in 0..3 {
        got(&upstreams).await.unwrap();
        tokio::time::sleep(Duration::from_secs(50)).await;
    }
    assert_eq!(log.connections(), 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    got(&upstreams).await.unwrap();
    assert_eq!(log.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_although_nobody_comes() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok("x")));
    let upstreams = world.start();
    got(&upstreams).await.unwrap();
    settle().await;
    assert_eq!(upstreams.health()[0].connections_idle, 1);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(upstreams.health()[0].connections_idle, 0);
    assert_eq!(world.metrics.upstream.named("origin").connections.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_stray_bytes_is_thrown_away() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| {
        Reply::SendThen(ok("x"), Duration::from_millis(5), b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison".to_vec())
    });
    let upstreams = world.start();
    for _ in 0..3 {
        assert_eq!(got(&upstreams).await.unwrap(), "x");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((log.connections(), log.requests()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn bytes_after_a_response_never_become_part_of_the_next() {
    let world = World::new();
    let mut smuggled = ok("x");
    smuggled.extend(ok("poison"));
    world.server("dl.test", AT, move |_| Reply::Send(smuggled.clone()));
    let upstreams = world.start();
    for _ in 0..5 {
        assert_eq!(got(&upstreams).await.unwrap(), "x");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_without_saying_so_costs_a_reconnect_and_no_error() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::SendAndClose(ok("x")));
    let upstreams = world.start();
    for _ in 0..5 {
        assert_eq!(got(&upstreams).await.unwrap(), "x");
    }
    assert_eq!((log.connections(), log.requests()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_get_on_a_connection_that_dies_is_sent_once_more() {
    let world = World::new();
    // The second request on a connection is swallowed.
    let log = world.server("dl.test", AT, |seen| if seen.number % 2 == 0 { Reply::Send(ok("x")) } else { Reply::Close });
    let upstreams = world.start();
    for _ in 0..2 {
        assert_eq!(got(&upstreams).await.unwrap(), "x");
    }
    assert_eq!((log.connections(), log.requests()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_early_closes_its_connection() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::Send(ok(&"x".repeat(1 << 20))));
    let upstreams = world.start();
    drop(upstreams.fetch(get("http://dl.test", "/")).await.unwrap());
    settle().await;
    assert_eq!(world.metrics.upstream.named("origin").connections.value(), 0);
    got(&upstreams).await.unwrap();
    assert_eq!(log.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn connection_close_is_obeyed() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::Send(answer("200 OK", "Connection: close\r\n", "x")));
    let upstreams = world.start();
    got(&upstreams).await.unwrap();
    got(&upstreams).await.unwrap();
    assert_eq!(log.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn content_and_pass_never_share_a_connection() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::Send(ok("x")));
    let upstreams = world.start();
    got(&upstreams).await.unwrap();
    let request = Request::get("/").body(empty()).unwrap();
    text(upstreams.relay(&target("http://dl.test"), request, &mut Bound::default()).await.unwrap()).await.unwrap();
    assert_eq!(log.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_a_request_waits_and_then_gives_up() {
    let mut world = World::new();
    world.config.connections = Connections { content: 1, pass: 1 };
    world.server("dl.test", AT, |_| Reply::Send(ok(&"x".repeat(1 << 20))));
    let upstreams = world.start();
    let held = upstreams.fetch(get("http://dl.test", "/")).await.unwrap();
    let started = tokio::time::Instant::now();
    let error = got(&upstreams).await.unwrap_err();
    assert!(matches!(error, Error::Busy { limit: 1, .. }), "{error:?}");
    assert_eq!(started.elapsed().as_secs(), 5);
    let (waited, ()) = tokio::join!(got(&upstreams), async { drop(held) });
    assert_eq!(waited.unwrap().len(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_standstill_of_the_machine_makes_nobody_give_up() {
    let mut world = World::new();
    world.config.connections = Connections { content: 1, pass: 1 };
    world.server("dl.test", AT, |_| Reply::Send(ok(&"x".repeat(1 << 20))));
    let upstreams = world.start();
    let held = upstreams.fetch(get("http://dl.test", "/")).await.unwrap();
    let standstill = async {
        tokio::time::advance(Duration::from_secs(20)).await;
        // Those who wait are awake before the one that has the connection.
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(held);
    };
    let (waited, ()) = tokio::join!(got(&upstreams), standstill);
    assert_eq!(waited.unwrap().len(), 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_post_uses_a_kept_connection_only_where_the_server_is_known_to_keep_them() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::Send(ok("x")));
    let upstreams = world.start();
    posted(&upstreams).await.unwrap();
    settle().await;
    posted(&upstreams).await.unwrap();
    assert_eq!(log.connections(), 2, "nothing is known yet");
    tokio::time::sleep(Duration::from_secs(10)).await;
    posted(&upstreams).await.unwrap();
    assert_eq!(log.connections(), 3, "kept, but idle for long");
    settle().await;
    posted(&upstreams).await.unwrap();
    assert_eq!(log.connections(), 3, "kept, and hardly idle");
}

#[tokio::test(start_paused = true)]
async fn posts_to_a_server_that_closes_after_each_answer_are_neither_lost_nor_sent_twice() {
    let world = World::new();
    let log = world.server("dl.test", AT, |_| Reply::SendAndClose(ok("x")));
    let upstreams = world.start();
    for pause in [0, 0, 1, 500, 6000, 0, 1, 900] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(posted(&upstreams).await.unwrap(), "x");
    }
    assert_eq!(log.requests(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_post_whose_answer_is_lost_is_not_sent_again() {
    let world = World::new();
    let log = world.server("dl.test", AT, |seen| if seen.number < 2 { Reply::Send(ok("x")) } else { Reply::Close });
    let upstreams = world.start();
    posted(&upstreams).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    posted(&upstreams).await.unwrap();
    settle().await;
    let error = posted(&upstreams).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    assert_eq!(log.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn after_close_nothing_is_asked_but_bodies_go_on() {
    let world = World::new();
    world.server("dl.test", AT, |_| Reply::Send(ok("still here")));
    let upstreams = world.start();
    let running = upstreams.fetch(get("http://dl.test", "/")).await.unwrap();
    upstreams.close();
    assert!(matches!(got(&upstreams).await, Err(Error::Closed)));
    assert!(matches!(posted(&upstreams).await, Err(Error::Closed)));
    assert!(matches!(upstreams.tunnel(&target("http://dl.test")).await, Err(Error::Closed)));
    assert_eq!(text(running.response).await.unwrap(), "still here");
}
