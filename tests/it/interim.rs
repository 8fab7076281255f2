//! Interim responses (1xx): handed on to whom they concern, in order, and never instead of the answer.

use crate::support::{Answer, Client, Content, Gate, Head, MIB, Origin, Proxy, Resource, Step, eventually, proxy, within};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

/// An origin and a weir whose reverse door leads to it.
async fn scene() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let weir = proxy().reverse(&origin).start().await;
    (origin, weir)
}

fn text(bytes: &str) -> Step {
    Step::Text(bytes.into())
}

/// The next head, interim or not.
async fn any_head(client: &mut Client) -> Head {
    within("a head", client.wire.read_head()).await.unwrap().expect("a head before the end of the connection")
}

fn code(head: &Head) -> &str {
    head.start.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn early_hints_arrive_before_the_origin_has_its_answer() {
    let (origin, weir) = scene().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.answer("/page", move |_| Answer::text("200 OK", "page").first(text(HINTS)).first(Step::Hold(held.clone())));
    let mut client = weir.client().await;
    client.send("POST /page HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
    let hints = any_head(&mut client).await;
    assert_eq!((code(&hints), hints.field("link")), ("103", Some("</style.css>; rel=preload")));
    assert!(hints.field("via").is_some());
    gate.open();
    assert_eq!(client.reply("POST").await.text(), "page");
}

#[tokio::test]
async fn hints_and_answer_in_one_packet_are_told_apart() {
    let (origin, weir) = scene().await;
    let packet = format!("{HINTS}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage");
    origin.answer("/page", move |_| Answer { status: String::new(), ..Answer::new("") }.then(text(&packet)));
    let mut client = weir.client().await;
    for _ in 0..3 {
        client.send("POST /page HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(code(&any_head(&mut client).await), "103");
        let reply = client.reply("POST").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "page"));
    }
}

#[tokio::test]
async fn every_interim_response_passes_in_order_without_what_concerned_its_connection() {
    let (origin, weir) = scene().await;
    let many = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\nLink: <b>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n\
                HTTP/1.1 199 Odd\r\nX-Odd: yes\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    origin.answer("/page", move |_| Answer::text("200 OK", "page").first(text(many)));
    let mut client = weir.client().await;
    client.send("DELETE /page HTTP/1.1\r\nHost: x.branch\r\n\r\n").await;
    let mut heads = Vec::new();
    for _ in 0..5 {
        heads.push(any_head(&mut client).await);
    }
    assert_eq!(heads.iter().map(code).collect::<Vec<_>>(), ["102", "103", "199", "102", "200"]);
    assert_eq!(heads[1].all("link").collect::<Vec<_>>(), ["<a>", "<b>"]);
    assert!(heads[1].field("x-hop").is_none() && heads[1].field("connection").is_none(), "{:?}", heads[1]);
    assert_eq!(heads[2].field("x-odd"), Some("yes"));
}

#[tokio::test]
async fn hints_for_content_reach_the_one_who_asked_and_nobody_later() {
    let (origin, weir) = scene().await;
    let content = Content::new("a", 10_000);
    let good = Resource::new(&content);
    origin.answer("/a", move |ask| good.answer(ask).first(text(HINTS)));
    let mut client = weir.client().await;
    client.ask("GET", "/a", &[("Host", "x.branch")]).await;
    assert_eq!(code(&any_head(&mut client).await), "103");
    assert!(client.reply("GET").await.is_whole(&content.all()));
    weir.settled().await;
    client.ask("GET", "/a", &[("Host", "x.branch")]).await;
    assert_eq!(code(&any_head(&mut client).await), "200", "a hit has nothing to hint at");
}

#[tokio::test]
async fn clients_of_old_versions_and_of_http2_get_the_answer_alone() {
    let (origin, weir) = scene().await;
    origin.answer("/page", move |_| Answer::text("200 OK", "page").first(text(HINTS)));
    let mut old = weir.client().await;
    old.send("POST /page HTTP/1.0\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(code(&any_head(&mut old).await), "200");

    let stream = tokio::net::TcpStream::connect(weir.doors()).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://x.branch/page").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    assert_eq!(within("an answer", response).await.unwrap().status(), 200);
    connection.abort();
}

#[tokio::test]
async fn answers_to_pipelined_requests_keep_their_own_hints() {
    let (origin, weir) = scene().await;
    for path in ["/one", "/two", "/three"] {
        let hints = format!("HTTP/1.1 103 Early Hints\r\nLink: <{path}>\r\n\r\n");
        let body = path.repeat(20_000);
        origin.answer(path, move |_| Answer::text("200 OK", &body).first(text(&hints)));
    }
    let mut client = weir.client().await;
    let asks = ["/one", "/two", "/three"].map(|path| format!("DELETE {path} HTTP/1.1\r\nHost: x.branch\r\n\r\n"));
    client.send(asks.concat()).await;
    for path in ["/one", "/two", "/three"] {
        let hints = any_head(&mut client).await;
        assert_eq!((code(&hints), hints.field("link")), ("103", Some(&*format!("<{path}>"))));
        assert_eq!(client.reply("DELETE").await.text(), path.repeat(20_000));
    }
}

#[tokio::test]
async fn hints_never_get_into_the_content_before_them() {
    let (origin, weir) = scene().await;
    let content = Content::new("a", 5 * MIB);
    origin.serve("/a", Resource::new(&content));
    origin.answer("/page", move |_| Answer::text("200 OK", "page").first(text(HINTS)));
    assert!(weir.download("x.branch", "/a", &[], &content).await.is_all_of(&content));
    weir.settled().await;
    let mut client = weir.client().await;
    let pair = "GET /a HTTP/1.1\r\nHost: x.branch\r\n\r\nDELETE /page HTTP/1.1\r\nHost: x.branch\r\n\r\n";
    client.send(pair.repeat(3)).await;
    for _ in 0..3 {
        let head = any_head(&mut client).await;
        let got = client.check(head, &content).await;
        assert!(got.is_all_of(&content), "{got:?}");
        assert_eq!(code(&any_head(&mut client).await), "103");
        assert_eq!(client.reply("DELETE").await.text(), "page");
    }
}

#[tokio::test]
async fn interim_responses_without_end_are_a_bad_gateway() {
    let (origin, weir) = scene().await;
    origin.answer("/page", move |_| Answer::raw("HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)));
    let mut client = weir.client().await;
    client.send("POST /page HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.reply("POST").await.status, 502);
}

#[tokio::test]
async fn an_expectation_that_the_origin_refuses_is_answered_without_the_body() {
    let (origin, weir) = scene().await;
    origin.answer_early("/upload", |_| Answer::text("417 Expectation Failed", "no"));
    let mut client = weir.client().await;
    client.send("PUT /upload HTTP/1.1\r\nHost: x.branch\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n").await;
    assert_eq!(code(&any_head(&mut client).await), "417", "and no 100 before");
    assert_eq!(origin.asks("/upload")[0].field("expect"), Some("100-continue"));
}

#[tokio::test]
async fn the_body_is_asked_for_when_the_origin_asks_for_it() {
    let (origin, weir) = scene().await;
    let gate = Gate::closed();
    let held = gate.clone();
    origin.answer_early("/upload", move |_| {
        let asks_for_it = text("HTTP/1.1 100 Continue\r\n\r\n");
        Answer::new("200 OK")
            .first(Step::Hold(held.clone()))
            .first(asks_for_it)
            .with("Transfer-Encoding", "chunked")
            .then(Step::Echo)
    });
    let mut client = weir.client().await;
    let head = "POST /upload HTTP/1.1\r\nHost: x.branch\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    eventually("the request arrives", || async { (origin.requests("/upload") == 1).then_some(()) }).await;
    gate.open();
    assert_eq!(code(&any_head(&mut client).await), "100");
    client.send("4\r\nsoap\r\n0\r\n\r\n").await;
    assert_eq!(client.reply("POST").await.text(), "soap");
}

#[tokio::test]
async fn an_origin_that_knows_no_expectations_still_gets_the_body() {
    let (origin, weir) = scene().await;
    origin.answer_early("/upload", |_| Answer::new("200 OK").with("Transfer-Encoding", "chunked").then(Step::Echo));
    let mut client = weir.client().await;
    // Early, but silent: the answer begins only with the body.
    let silent = Gate::closed();
    let held = silent.clone();
    origin.answer_early("/upload", move |_| {
        Answer::new("200 OK").first(Step::Hold(held.clone())).with("Transfer-Encoding", "chunked").then(Step::Echo)
    });
    client.send("POST /upload HTTP/1.1\r\nHost: x.branch\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(code(&any_head(&mut client).await), "100", "after a while");
    client.send("4\r\nsoap\r\n0\r\n\r\n").await;
    silent.open();
    assert_eq!(client.reply("POST").await.text(), "soap");
}

#[tokio::test]
async fn an_expectation_of_http_1_0_is_nobodys_business() {
    let (origin, weir) = scene().await;
    origin.answer("/upload", |ask| Answer::text("200 OK", &ask.body.len().to_string()));
    let mut client = weir.client().await;
    client.send("POST /upload HTTP/1.0\r\nHost: x.branch\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nsoap").await;
    assert_eq!(code(&any_head(&mut client).await), "200");
    assert_eq!(origin.asks("/upload")[0].field("expect"), None);
}
