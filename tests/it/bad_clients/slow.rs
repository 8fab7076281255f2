//! Clients that take their time: heads, bodies and reads that do not come.

use std::time::{Duration, Instant};

use super::Scene;
use crate::support::{Answer, Client};

/// Short, so that a scenario need not wait; see the documented defaults for real ones.
const IMPATIENT: &str = "[timeouts]\nclient_head = \"1s\"\nclient_body = \"1s\"\nclient_idle = \"1s\"\n";

/// Waits for the end of the connection; what came before it, and how long that took.
async fn outlive(client: &mut Client) -> (String, Duration) {
    let begun = Instant::now();
    let rest = crate::support::within("weir ends the connection", client.wire.read_rest()).await;
    (String::from_utf8_lossy(&rest).into_owned(), begun.elapsed())
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let scene = Scene::new(IMPATIENT).await;
    for start in ["", "GET /a HTTP/1.1\r\nHost: cdn.test\r\nX-Slow: "] {
        let mut client = scene.weir.client().await;
        client.send(start).await;
        let (said, took) = outlive(&mut client).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_head_that_drips_does_not_buy_time() {
    let scene = Scene::new(IMPATIENT).await;
    let mut client = scene.weir.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: cdn.test\r\nX-Slow: ").await;
    let begun = Instant::now();
    // Each byte comes well within the timeout; together they never end.
    while client.wire.send("x").await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "still listening");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.serves_as_before().await;
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up_and_frees_the_origin() {
    let scene = Scene::new(IMPATIENT).await;
    scene.origin.answer("/post", |ask| Answer::text("200 OK", &ask.body.len().to_string()));
    let mut client = scene.weir.client().await;
    client.send("POST /post HTTP/1.1\r\nHost: cdn.test\r\nContent-Length: 100\r\n\r\nonly this").await;
    let (said, took) = outlive(&mut client).await;
    assert!(!said.starts_with("HTTP/1.1 2"), "{said:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    scene.serves_as_before().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let scene = Scene::new(IMPATIENT).await;
    let mut client = scene.weir.client().await;
    assert_eq!(client.get("/a", &[("Host", "cdn.test")]).await.status, 200);
    let (said, took) = outlive(&mut client).await;
    assert_eq!(said, "");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn at_the_connection_limit_the_answer_is_503_and_room_comes_back() {
    let scene = Scene::new("[limits]\nconnections = 8\nconnections_per_client = 8\n").await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut client = scene.weir.client().await;
        assert_eq!(client.get("/a", &[("Host", "cdn.test"), ("Range", "bytes=0-0")]).await.status, 206);
        idle.push(client);
    }
    let refused = scene.weir.get("cdn.test", "/a").await;
    assert_eq!(refused.status, 503, "a refused connection would ban weir for a quarter of an hour");
    drop(idle);
    crate::support::eventually("there is room again", || async {
        (scene.weir.get("cdn.test", "/a").await.status == 200).then_some(())
    })
    .await;
}
