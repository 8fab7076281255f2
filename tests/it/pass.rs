//! What is not content goes through: both ways, as it comes, unaltered.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::support::{Answer, Client, Content, Framing, Head, MIB, Origin, Proxy, Resource, Step, proxy, within};

/// An origin and a weir whose reverse door leads to it.
async fn scene() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let weir = proxy().reverse(&origin).start().await;
    (origin, weir)
}

fn echoing() -> Answer {
    Answer::new("200 OK").with("Transfer-Encoding", "chunked").then(Step::Echo)
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_but_for_hop_by_hop_fields() {
    let (origin, weir) = scene().await;
    origin.answer("/service", |_| {
        Answer::text("201 Created", "done")
            .with("X-Powered-By", "ASP.NET")
            .with("Set-Cookie", "a=1")
            .also("Set-Cookie", "b=2")
            .with("Keep-Alive", "timeout=5")
    });
    let mut client = weir.client().await;
    let head = "POST /service?x=%20y&Z HTTP/1.1\r\nHost: Update.Branch:8530\r\nSOAPAction: \"urn:x/Do\"\r\nUser-Agent: Windows-Update-Agent\r\n\
                Cookie: c=3\r\nMS-CV: abc.1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: gone\r\nKeep-Alive: 5\r\nContent-Length: 7\r\n\r\n";
    client.send(format!("{head}content")).await;
    let reply = client.reply("POST").await;

    let ask = &origin.asks("/service")[0];
    assert_eq!((ask.method.as_str(), ask.target.as_str(), ask.body.as_slice()), ("POST", "/service?x=%20y&Z", &b"content"[..]));
    for (name, value) in [
        ("host", "Update.Branch:8530"),
        ("soapaction", "\"urn:x/Do\""),
        ("cookie", "c=3"),
        ("ms-cv", "abc.1"),
        ("content-length", "7"),
    ] {
        assert_eq!(ask.field(name), Some(value), "{name}");
    }
    assert!(ask.field("x-hop").is_none() && ask.field("keep-alive").is_none(), "{:?}", ask.head);
    assert!(ask.field("via").is_some());

    assert_eq!((reply.status, reply.text().as_str()), (201, "done"));
    assert_eq!(reply.head.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(reply.field("x-powered-by"), Some("ASP.NET"));
    assert!(reply.field("keep-alive").is_none(), "{:?}", reply.head);
    assert!(reply.field("cache-status").unwrap().contains("fwd="), "{:?}", reply.head);
}

#[tokio::test]
async fn a_body_with_length_and_a_chunked_one_arrive_whole() {
    let (origin, weir) = scene().await;
    origin.answer("/service", |ask| Answer::text("200 OK", &ask.body.len().to_string()));
    let content = Content::new("body", 20 * MIB).all();
    let mut client = weir.client().await;
    client.send(format!("PUT /service HTTP/1.1\r\nHost: x.branch\r\nContent-Length: {}\r\n\r\n", content.len())).await;
    client.send(&content).await;
    assert_eq!(client.reply("PUT").await.text(), content.len().to_string());

    client.send("POST /service HTTP/1.1\r\nHost: x.branch\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for chunk in content.chunks(300_000) {
        client.send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.reply("POST").await.text(), content.len().to_string());
    assert!(origin.asks("/service").iter().all(|ask| ask.body == content));
}

#[tokio::test]
async fn no_body_is_buffered_in_either_direction() {
    let (origin, weir) = scene().await;
    origin.answer_early("/echo", |_| echoing());
    let mut client = weir.client().await;
    client.send("POST /echo HTTP/1.1\r\nHost: x.branch\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    let head = client.head().await.expect("the head of an answer while the request is still being sent");
    let mut framing = head.framing(Framing::Close);
    for (said, next) in [("one", "3\r\ntwo\r\n"), ("two", "5\r\nthree\r\n"), ("three", "0\r\n\r\n")] {
        assert_eq!(client.some(&mut framing).await.expect(said), said, "each part before the next is sent");
        client.send(next).await;
    }
    assert!(client.some(&mut framing).await.is_none());
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (origin, weir) = scene().await;
    origin.answer_early("/echo", |_| echoing().with("Trailer", "Sum"));
    let mut client = weir.client().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x.branch\r\nTE: trailers\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}2\r\nhi\r\n0\r\nSum: 2\r\n\r\n")).await;
    let reply = client.reply("POST").await;
    assert_eq!(reply.text(), "hi");
    let sum = reply.trailers.iter().find(|(name, _)| name.eq_ignore_ascii_case("sum")).map(|(_, value)| value.as_str());
    assert_eq!(sum, Some("2"), "{reply:?}");
}

#[tokio::test]
async fn who_expects_100_continue_gets_it_and_then_the_answer() {
    let (origin, weir) = scene().await;
    origin.answer("/service", |ask| Answer::text("200 OK", &String::from_utf8_lossy(&ask.body)));
    let mut client = weir.client().await;
    client.send("POST /service HTTP/1.1\r\nHost: x.branch\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    let interim = within("100", client.wire.read_head()).await.unwrap().unwrap();
    assert!(interim.start.starts_with("HTTP/1.1 100"), "{interim:?}");
    client.send("body").await;
    assert_eq!(client.reply("POST").await.text(), "body");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_passed_on() {
    let (origin, weir) = scene().await;
    origin
        .answer_early("/service", |_| Answer::text("413 Content Too Large", "no").with("Connection", "close").then(Step::Close));
    let mut client = weir.client().await;
    client.send("POST /service HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 100000000\r\n\r\nonly a little").await;
    let reply = client.reply("POST").await;
    assert_eq!((reply.status, reply.text().as_str()), (413, "no"));
}

#[tokio::test]
async fn an_origin_that_closes_after_each_answer_gets_every_unsafe_request_exactly_once() {
    let (origin, weir) = scene().await;
    // As a Python stand-in for WSUS does: no word of it in the head.
    origin.answer("/service", |ask| Answer::text("200 OK", &String::from_utf8_lossy(&ask.body)).then(Step::Close));
    let mut client = weir.client().await;
    for number in 0..20 {
        let body = format!("request {number:02}");
        client.send(format!("POST /service HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 10\r\n\r\n{body}")).await;
        let reply = client.reply("POST").await;
        assert_eq!((reply.status, reply.text()), (200, body), "{:?}", reply.head);
    }
    let bodies: Vec<_> = origin.asks("/service").into_iter().map(|ask| String::from_utf8(ask.body).unwrap()).collect();
    assert_eq!(bodies, (0..20).map(|number| format!("request {number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_unsafe_request_that_got_no_answer_is_not_sent_twice() {
    let (origin, weir) = scene().await;
    origin.answer("/service", |_| Answer::raw(""));
    let mut client = weir.client().await;
    client.send("POST /service HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 2\r\n\r\nhi").await;
    assert!(matches!(client.reply("POST").await.status, 502..=504));
    assert_eq!(origin.requests("/service"), 1);
}

#[tokio::test]
async fn errors_of_a_service_are_its_own() {
    let (origin, weir) = scene().await;
    let fault = "<s:Fault><faultcode>ServerBusy</faultcode></s:Fault>";
    origin.answer("/service", move |_| Answer::text("500 Internal Server Error", fault).with("Content-Type", "text/xml"));
    let mut client = weir.client().await;
    client.send("POST /service HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
    let reply = client.reply("POST").await;
    assert_eq!((reply.status, reply.text().as_str()), (500, fault));
}

/// An origin that authenticates connections, as NTLM does; who it is speaks in the answers.
async fn authenticating(origin: &Origin) {
    let users = Arc::new(Mutex::new(HashMap::<usize, String>::new()));
    origin.answer("/private", move |ask| {
        let mut users = users.lock().unwrap();
        let denied = Answer::text("401 Unauthorized", "who are you");
        match ask.field("authorization").and_then(|value| value.strip_prefix("NTLM ")) {
            Some("negotiate") => {
                users.insert(ask.connection, String::new());
                denied.with("WWW-Authenticate", "NTLM challenge")
            }
            Some(user) if users.contains_key(&ask.connection) => {
                users.insert(ask.connection, user.to_owned());
                Answer::text("200 OK", user)
            }
            _ => match users.get(&ask.connection).filter(|user| !user.is_empty()) {
                Some(user) => Answer::text("200 OK", user),
                None => denied.with("WWW-Authenticate", "NTLM"),
            },
        }
    });
}

async fn post(client: &mut Client, authorization: Option<&str>) -> (u16, String) {
    let line = authorization.map(|value| format!("Authorization: NTLM {value}\r\n")).unwrap_or_default();
    client.send(format!("POST /private HTTP/1.1\r\nHost: x.branch\r\n{line}Content-Length: 0\r\n\r\n")).await;
    let reply = client.reply("POST").await;
    (reply.status, reply.text())
}

#[tokio::test]
async fn an_authenticated_connection_stays_with_its_client() {
    let (origin, weir) = scene().await;
    authenticating(&origin).await;
    let (mut anna, mut ben, mut nobody) = (weir.client().await, weir.client().await, weir.client().await);
    assert_eq!(post(&mut anna, None).await.0, 401);
    // Interleaved, so that any mixing of connections shows.
    assert_eq!(post(&mut anna, Some("negotiate")).await.0, 401);
    assert_eq!(post(&mut ben, Some("negotiate")).await.0, 401);
    assert_eq!(post(&mut anna, Some("anna")).await, (200, "anna".into()));
    assert_eq!(post(&mut ben, Some("ben")).await, (200, "ben".into()));
    for _ in 0..3 {
        assert_eq!(post(&mut nobody, None).await.0, 401, "nobody inherits somebody's connection");
        assert_eq!(post(&mut anna, None).await, (200, "anna".into()), "anna need not log in again");
        assert_eq!(post(&mut ben, None).await, (200, "ben".into()));
    }
    drop((anna, ben));
    for _ in 0..5 {
        assert_eq!(post(&mut weir.client().await, None).await.0, 401, "nor does who comes later");
    }
}

#[tokio::test]
async fn content_is_cached_while_services_pass_on_the_same_connection() {
    let (origin, weir) = scene().await;
    let content = Content::new("a", 100_000);
    origin.serve("/a.cab", Resource::new(&content));
    origin.answer("/service", |_| Answer::text("200 OK", "served"));
    let mut client = weir.client().await;
    for turn in 0..3 {
        assert!(client.get("/a.cab", &[("Host", "x.branch")]).await.is_whole(&content.all()), "{turn}");
        client.send("POST /service HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.reply("POST").await.text(), "served", "{turn}");
    }
    assert_eq!((origin.requests("/a.cab"), origin.requests("/service")), (1, 3));
}

/// A recorded exchange with a real WSUS server.
struct Exchange {
    name: String,
    request: Vec<u8>,
    body: Vec<u8>,
    response: Head,
    answer: Vec<u8>,
}

/// The recorded exchanges, where they are at hand. They are not ours to carry.
fn exchanges() -> Vec<Exchange> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/wsus");
    let folders = ["flow", "scan", "reports"].iter().filter_map(|folder| fs::read_dir(root.join(folder)).ok()).flatten();
    let read = |folder: fs::DirEntry| {
        let file = |name: &str| fs::read(folder.path().join(name)).ok();
        Some(Exchange {
            name: folder.path().display().to_string(),
            request: file("request.headers")?,
            body: file("request.body")?,
            response: Head::parse(&file("response.headers")?),
            answer: file("response.body")?,
        })
    };
    folders.filter_map(|folder| read(folder.ok()?)).collect()
}

#[tokio::test]
async fn recorded_soap_exchanges_pass_unaltered() {
    let exchanges = exchanges();
    if exchanges.is_empty() {
        eprintln!("skipped: no recorded exchanges beside the package");
        return;
    }
    let origin = Origin::start().await;
    let weir = proxy().wsus(&origin).start().await;
    for exchange in exchanges {
        let Exchange { name, request, body, response, answer } = exchange;
        let asked = Head::parse(&request);
        let target = asked.start.split(' ').nth(1).unwrap().to_owned();
        let path = target.split('?').next().unwrap().to_owned();
        let (fields, text) = (response.fields.clone(), answer.clone());
        origin.answer(&path, move |_| Answer { fields: fields.clone(), ..Answer::new("200 OK") }.then(Step::Text(text.clone())));
        let mut client = weir.client().await;
        client.send([request.trim_ascii_end(), b"\r\n\r\n", &body].concat()).await;
        let reply = client.reply("POST").await;

        let seen = origin.asks(&path).pop().unwrap_or_else(|| panic!("{name}: did not arrive"));
        assert_eq!(seen.target, target, "{name}");
        assert!(seen.body == body, "{name}: the request body changed");
        for (field, value) in asked.fields.iter().filter(|(field, _)| !field.eq_ignore_ascii_case("connection")) {
            assert_eq!(seen.field(field), Some(value.as_str()), "{name}: {field}");
        }
        assert!(reply.is_whole(&answer), "{name}: the answer changed");
        for (field, value) in &response.fields {
            assert_eq!(reply.field(field), Some(value.as_str()), "{name}: {field}");
        }
    }
}
