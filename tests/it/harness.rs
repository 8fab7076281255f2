//! The harness against itself: what scenarios rely on, without a weir in between.

use crate::support::{Answer, Client, Content, End, Gate, MIB, Origin, Resource, Step};

#[tokio::test]
async fn the_origin_serves_wholes_parts_and_several_parts() {
    let content = Content::new("a", 3 * MIB + 17);
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    let mut client = Client::connect(origin.address()).await;

    let whole = client.download("/a", &[("Host", "x")], &content).await;
    assert!(whole.is_all_of(&content), "{whole:?}");
    let part = client.download("/a", &[("Host", "x"), ("Range", "bytes=5-1048580")], &content).await;
    assert!(part.status == 206 && part.is_right(MIB), "{part:?}");
    let suffix = client.get("/a", &[("Range", "bytes=-17")]).await;
    assert!(suffix.is_whole(&content.bytes(3 * MIB, 3 * MIB + 17)));
    let two = client.get("/a", &[("Range", "bytes=0-0,7-8")]).await;
    assert!(two.status == 206 && two.end == End::Whole && two.field("content-type").unwrap().starts_with("multipart/byteranges"));
    assert_eq!(client.get("/a", &[("Range", "bytes=9999999-")]).await.status, 416);
    assert_eq!(origin.requests("/a"), 5);
    assert!(origin.sent("/a") > 4 * MIB);
}

#[tokio::test]
async fn the_origin_answers_conditional_requests() {
    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&Content::new("a", 10)).with("ETag", "\"one\""));
    let mut client = Client::connect(origin.address()).await;
    assert_eq!(client.get("/a", &[("If-None-Match", "\"one\"")]).await.status, 304);
    assert_eq!(client.get("/a", &[("If-Match", "\"two\"")]).await.status, 412);
    assert_eq!(client.get("/a", &[("If-Range", "\"two\""), ("Range", "bytes=1-")]).await.status, 200);
    assert_eq!(client.get("/a", &[("If-Modified-Since", "Tue, 13 Jan 2026 10:00:01 GMT")]).await.status, 304);
}

#[tokio::test]
async fn a_held_body_stops_where_it_was_told_and_goes_on_when_released() {
    let content = Content::new("a", MIB);
    let (origin, gate) = (Origin::start().await, Gate::closed());
    origin.serve("/a", Resource::new(&content).held_from(1000, &gate));
    let mut client = Client::connect(origin.address()).await;
    client.ask("GET", "/a", &[]).await;
    gate.reached_by(1).await;
    assert_eq!(origin.sent("/a"), 1000);
    gate.open();
    let head = client.head().await.unwrap();
    assert!(client.check(head, &content).await.is_all_of(&content));
}

#[tokio::test]
async fn a_cut_body_is_told_from_a_whole_one() {
    let content = Content::new("a", 100);
    let origin = Origin::start().await;
    let good = Resource::new(&content);
    let cut = good.clone();
    let short = vec![Step::Body(content.clone(), 0, 99), Step::Close];
    origin.answer("/cut", move |ask| cut.answer(ask).only(short.clone()));
    let chunks = vec![Step::Chunks(content.clone(), 0, 100), Step::Reset];
    origin.answer("/chunks", move |_| Answer::new("200 OK").with("Transfer-Encoding", "chunked").only(chunks.clone()));
    origin.serve("/whole", good.chunked());
    for (path, end) in [("/cut", End::Cut), ("/chunks", End::Cut), ("/whole", End::Whole)] {
        assert_eq!(Client::connect(origin.address()).await.get(path, &[]).await.end, end, "{path}");
    }
}

#[tokio::test]
async fn a_request_body_is_echoed_as_it_comes() {
    let origin = Origin::start().await;
    let echo = Answer::new("200 OK").with("Transfer-Encoding", "chunked").then(Step::Echo);
    origin.answer_early("/echo", move |_| echo.clone());
    let mut client = Client::connect(origin.address()).await;
    client.send("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    let head = client.head().await.unwrap();
    let mut framing = head.framing(crate::support::Framing::Close);
    assert_eq!(client.some(&mut framing).await.unwrap(), "one", "before the request has ended");
    client.send("3\r\ntwo\r\n0\r\nSum: 2\r\n\r\n").await;
    assert_eq!(client.some(&mut framing).await.unwrap(), "two");
}
