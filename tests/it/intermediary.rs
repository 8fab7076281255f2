//! What an intermediary changes in a message, and what it must not (RFC 9110 §6, §7.6, §9, §15; RFC 9112 §5): both ends as bytes.

use crate::support::{Answer, Client, Head, Origin, Proxy, Step, proxy};

/// An origin and a weir whose reverse door leads to it.
async fn scene() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    let weir = proxy().reverse(&origin).start().await;
    (origin, weir)
}

fn line<'a>(head: &'a Head, name: &str) -> Option<&'a (String, String)> {
    head.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))
}

/// What a request says, and what of it arrives: lines as they are spelt, in any order but that of one name.
struct Asked {
    claim: &'static str,
    start: &'static str,
    fields: &'static [(&'static str, &'static str)],
    arrives: &'static [(&'static str, &'static str)],
    gone: &'static [&'static str],
}

const ASKED: &[Asked] = &[
    Asked {
        claim: "fields arrive in their own spelling",
        start: "PUT /x HTTP/1.1",
        fields: &[("x-LOWER-Upper", "1"), ("SOAPAction", "\"a\""), ("content-length", "0")],
        arrives: &[("x-LOWER-Upper", "1"), ("SOAPAction", "\"a\""), ("content-length", "0")],
        gone: &[],
    },
    Asked {
        claim: "lines of one name keep their order and are not joined",
        start: "POST /x HTTP/1.1",
        fields: &[("X-A", "1"), ("X-B", "b"), ("X-A", "2, 3"), ("X-A", ""), ("Content-Length", "0")],
        arrives: &[("X-A", "1"), ("X-A", "2, 3"), ("X-A", "")],
        gone: &[],
    },
    Asked {
        claim: "what Connection lists stays on the connection, whatever it is",
        start: "POST /x HTTP/1.1",
        fields: &[
            ("Connection", "close, X-One,x-two"),
            ("X-One", "1"),
            ("X-Two", "2"),
            ("X-Three", "3"),
            ("Content-Length", "0"),
        ],
        arrives: &[("X-Three", "3")],
        gone: &["connection", "x-one", "x-two"],
    },
    Asked {
        claim: "hop-by-hop fields go without being listed",
        start: "POST /x HTTP/1.1",
        fields: &[
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eDp5"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAAA"),
            ("Content-Length", "0"),
        ],
        arrives: &[("Content-Length", "0")],
        gone: &["keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings", "connection"],
    },
    Asked {
        claim: "who takes trailers is said to, by the next hop's own TE",
        start: "POST /x HTTP/1.1",
        fields: &[("TE", "trailers, deflate;q=0.5"), ("Connection", "TE"), ("Content-Length", "0")],
        arrives: &[("TE", "trailers"), ("Connection", "TE")],
        gone: &[],
    },
    Asked {
        claim: "who takes no trailers is not said to",
        start: "POST /x HTTP/1.1",
        fields: &[("TE", "deflate"), ("Content-Length", "0")],
        arrives: &[],
        gone: &["te", "connection"],
    },
    Asked {
        claim: "credentials and cookies are the origin's",
        start: "PUT /x?q HTTP/1.1",
        fields: &[("Authorization", "Basic eDp5"), ("Cookie", "a=b; c=d"), ("Content-Length", "0")],
        arrives: &[("Authorization", "Basic eDp5"), ("Cookie", "a=b; c=d")],
        gone: &[],
    },
    Asked {
        claim: "Via is appended to, not replaced",
        start: "POST /x HTTP/1.1",
        fields: &[("Via", "1.0 fred, 1.1 p.example.net"), ("Content-Length", "0")],
        arrives: &[("Via", "1.0 fred, 1.1 p.example.net")],
        gone: &[],
    },
    Asked {
        claim: "Via and CDN-Loop stay whoever lists them: loops show by them",
        start: "POST /x HTTP/1.1",
        fields: &[("Connection", "Via, CDN-Loop"), ("Via", "1.0 fred"), ("CDN-Loop", "other"), ("Content-Length", "0")],
        arrives: &[("Via", "1.0 fred"), ("CDN-Loop", "other")],
        gone: &["connection"],
    },
    Asked {
        claim: "an OPTIONS that may go on goes on with one hop less",
        start: "OPTIONS /x HTTP/1.1",
        fields: &[("Max-Forwards", "5")],
        arrives: &[("Max-Forwards", "4")],
        gone: &[],
    },
    Asked {
        claim: "other methods do not count their hops",
        start: "POST /x HTTP/1.1",
        fields: &[("Max-Forwards", "5"), ("Content-Length", "0")],
        arrives: &[("Max-Forwards", "5")],
        gone: &[],
    },
    Asked {
        claim: "methods nobody knows are passed on",
        start: "BREW /x HTTP/1.1",
        fields: &[("Accept-Additions", "milk")],
        arrives: &[("Accept-Additions", "milk")],
        gone: &[],
    },
    Asked {
        claim: "a method is case-sensitive and has odd characters",
        start: "get!x~Y /x HTTP/1.1",
        fields: &[("Content-Length", "0")],
        arrives: &[],
        gone: &[],
    },
    Asked {
        claim: "values keep bytes above ASCII",
        start: "POST /x HTTP/1.1",
        fields: &[("X-Name", "Jürgen ☕"), ("Content-Length", "0")],
        arrives: &[("X-Name", "Jürgen ☕")],
        gone: &[],
    },
    Asked {
        claim: "target and query arrive as they were sent",
        start: "POST /x/%7e/a;b=c//d?x=%20+y&&=&a[]=1 HTTP/1.1",
        fields: &[("Content-Length", "0")],
        arrives: &[],
        gone: &[],
    },
    Asked {
        claim: "a body of chunks has chunks on the next hop, and no length",
        start: "POST /x HTTP/1.1",
        fields: &[("Transfer-Encoding", "chunked")],
        arrives: &[("Transfer-Encoding", "chunked")],
        gone: &["content-length"],
    },
    Asked {
        claim: "weir's own Expect handling leaves other expectations alone",
        start: "POST /x HTTP/1.1",
        fields: &[("Expect", "x-wonders"), ("Content-Length", "0")],
        arrives: &[("Expect", "x-wonders")],
        gone: &[],
    },
];

#[tokio::test]
async fn requests_arrive_as_they_were_sent_but_for_what_concerns_one_hop() {
    let (origin, weir) = scene().await;
    for asked in ASKED {
        let target = asked.start.split(' ').nth(1).unwrap();
        origin.answer(target.split('?').next().unwrap(), |_| Answer::text("200 OK", "done"));
        let seen = origin.requests_in_all();
        let mut client = weir.client().await;
        let fields: String = asked.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let body = if asked.start.contains("POST") && fields.contains("chunked") { "0\r\n\r\n" } else { "" };
        client.send(format!("{}\r\nHost: X.branch:80\r\n{fields}\r\n{body}", asked.start)).await;
        let reply = client.reply("POST").await;
        assert_eq!((reply.status, origin.requests_in_all()), (200, seen + 1), "{}: {reply:?}", asked.claim);
        let came = origin.asks(target.split('?').next().unwrap()).pop().unwrap();
        assert_eq!(came.head.start, asked.start, "{}", asked.claim);
        assert_eq!(came.field("host"), Some("X.branch:80"), "{}", asked.claim);
        assert!(came.head.all("via").last().is_some_and(|via| via.starts_with("1.1 ")), "{}: {:?}", asked.claim, came.head);
        arrived(asked.claim, &came.head, asked.arrives, asked.gone);
    }
}

/// Whether `lines` are there as they are spelt, those of one name together and in order.
fn arrived(claim: &str, head: &Head, lines: &[(&str, &str)], gone: &[&str]) {
    for (name, _) in lines {
        let wanted: Vec<_> = lines.iter().filter(|(n, _)| n == name).copied().collect();
        let came: Vec<_> = head.fields.iter().filter(|(n, _)| n == name).map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(came[..wanted.len().min(came.len())], wanted, "{claim}: {name} in {:?}", head.fields);
    }
    for name in gone {
        assert!(line(head, name).is_none(), "{claim}: {name} is still there: {:?}", head.fields);
    }
}

/// What an origin says, and what of it the client gets.
struct Said {
    claim: &'static str,
    head: &'static str,
    body: &'static str,
    /// The status line the client gets.
    start: &'static str,
    gets: &'static [(&'static str, &'static str)],
    gone: &'static [&'static str],
}

const SAID: &[Said] = &[
    Said {
        claim: "fields come in the origin's spelling, lines of one name in its order",
        head: "HTTP/1.1 200 OK\r\nx-lower: 1\r\nETAG: \"a\"\r\nSet-Cookie: b=2\r\nX-Mid: m\r\nSet-Cookie: a=1\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[("x-lower", "1"), ("ETAG", "\"a\""), ("Set-Cookie", "b=2"), ("Set-Cookie", "a=1")],
        gone: &[],
    },
    Said {
        claim: "what concerned the origin's connection stays there",
        head: "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
               Upgrade: h2c\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[],
        gone: &["x-hop", "keep-alive", "proxy-connection", "upgrade"],
    },
    Said {
        claim: "a Date is the origin's",
        head: "HTTP/1.1 200 OK\r\nDate: Tue, 13 Jan 2026 12:00:00 GMT\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[("Date", "Tue, 13 Jan 2026 12:00:00 GMT")],
        gone: &[],
    },
    Said {
        claim: "a status nobody knows is passed on with its reason",
        head: "HTTP/1.1 299 Rather Fine\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 299 Rather Fine",
        gets: &[],
        gone: &[],
    },
    Said {
        claim: "a status nobody knows without a reason gets none",
        head: "HTTP/1.1 599 \r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 599 ",
        gets: &[],
        gone: &[],
    },
    Said {
        claim: "three digits are a status",
        head: "HTTP/1.1 999 Blocked\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 999 Blocked",
        gets: &[],
        gone: &[],
    },
    Said {
        claim: "a reason of the origin's own stays",
        head: "HTTP/1.1 404 Nicht da\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 404 Nicht da",
        gets: &[],
        gone: &[],
    },
    Said {
        claim: "a response of HTTP/1.0 is told in our version",
        head: "HTTP/1.0 200 OK\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[],
        gone: &[],
    },
    Said {
        claim: "a length said twice is said once",
        head: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[("Content-Length", "2")],
        gone: &[],
    },
    Said {
        claim: "a length said twice in one line is said once",
        head: "HTTP/1.1 200 OK\r\nContent-Length: 2, 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[("Content-Length", "2")],
        gone: &[],
    },
    Said {
        claim: "a challenge and a redirect are the client's own business",
        head: "HTTP/1.1 302 Found\r\nLocation: /else where\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 302 Found",
        gets: &[("Location", "/else where"), ("WWW-Authenticate", "Basic realm=\"x\"")],
        gone: &[],
    },
    Said {
        claim: "content codings are not touched",
        head: "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-MD5: x\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[("Content-Encoding", "gzip"), ("Content-MD5", "x")],
        gone: &[],
    },
    Said {
        claim: "values keep bytes above ASCII and inner blanks",
        head: "HTTP/1.1 200 OK\r\nX-Name: J\u{fc}rgen  \t ☕\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[("X-Name", "J\u{fc}rgen  \t ☕")],
        gone: &[],
    },
    Said {
        claim: "no content is no content",
        head: "HTTP/1.1 204 No Content\r\nX-A: b",
        body: "",
        start: "HTTP/1.1 204 No Content",
        gets: &[("X-A", "b")],
        gone: &["content-length", "transfer-encoding"],
    },
    Said {
        claim: "an extension to a media type, a Server and a Warning pass",
        head: "HTTP/1.1 200 OK\r\nServer: Microsoft-IIS/10.0\r\nWarning: 199 - \"x\"\r\nContent-Type: text/x; a=\"b;c\"\r\nContent-Length: 2",
        body: "hi",
        start: "HTTP/1.1 200 OK",
        gets: &[("Server", "Microsoft-IIS/10.0"), ("Warning", "199 - \"x\""), ("Content-Type", "text/x; a=\"b;c\"")],
        gone: &[],
    },
];

#[tokio::test]
async fn responses_arrive_as_they_were_sent_but_for_what_concerns_one_hop() {
    let (origin, weir) = scene().await;
    for said in SAID {
        let bytes = format!("{}\r\n\r\n{}", said.head, said.body);
        origin.answer("/x", move |_| Answer { status: String::new(), ..Answer::new("") }.then(Step::Text(bytes.clone().into())));
        let mut client = weir.client().await;
        client.send("POST /x HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
        let reply = client.reply("POST").await;
        assert_eq!((reply.head.start.as_str(), reply.text().as_str()), (said.start, said.body), "{}", said.claim);
        arrived(said.claim, &reply.head, said.gets, said.gone);
        assert!(reply.head.all("date").count() == 1, "{}: {:?}", said.claim, reply.head);
        let version = if said.head.starts_with("HTTP/1.0") { "1.0 " } else { "1.1 " };
        let via = reply.head.all("via").last().unwrap_or_default();
        assert!(via.starts_with(version), "{}: {via}", said.claim);
    }
}

#[tokio::test]
async fn an_options_that_may_go_no_further_is_answered_here() {
    let (origin, weir) = scene().await;
    let mut client = weir.client().await;
    client.ask("OPTIONS", "/x", &[("Host", "x.branch"), ("Max-Forwards", "0")]).await;
    let reply = client.reply("OPTIONS").await;
    assert_eq!((reply.status, reply.field("content-length"), origin.requests_in_all()), (200, Some("0"), 0), "{reply:?}");
}

#[tokio::test]
async fn a_trace_shows_nobody_anything() {
    let (origin, weir) = scene().await;
    for hops in ["0", "3"] {
        let mut client = weir.client().await;
        client.ask("TRACE", "/x", &[("Host", "x.branch"), ("Max-Forwards", hops), ("Cookie", "secret=1")]).await;
        let reply = client.reply("TRACE").await;
        assert!(reply.status == 405 && reply.field("allow").is_some() && !reply.text().contains("secret"), "{reply:?}");
    }
    assert_eq!(origin.requests_in_all(), 0);
}

#[tokio::test]
async fn an_options_for_the_whole_server_is_about_this_one() {
    let (origin, weir) = scene().await;
    let mut client = weir.client().await;
    client.ask("OPTIONS", "*", &[("Host", "x.branch")]).await;
    let reply = client.reply("OPTIONS").await;
    assert_eq!((reply.status, reply.field("content-length"), origin.requests_in_all()), (200, Some("0"), 0), "{reply:?}");
    client.ask("GET", "*", &[("Host", "x.branch")]).await;
    assert_eq!(client.reply("GET").await.status, 400);
}

#[tokio::test]
async fn trailers_go_to_those_who_take_them_and_are_left_out_for_others() {
    let (origin, weir) = scene().await;
    origin.answer("/x", |_| {
        Answer::new("200 OK")
            .with("Transfer-Encoding", "chunked")
            .with("Trailer", "X-Sum")
            .then(Step::Text(b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n".to_vec()))
    });
    for (te, sums) in [("trailers", 1), ("deflate", 0)] {
        let mut client = weir.client().await;
        client.send(format!("POST /x HTTP/1.1\r\nHost: x.branch\r\nTE: {te}\r\nContent-Length: 0\r\n\r\n")).await;
        let reply = client.reply("POST").await;
        assert_eq!((reply.text().as_str(), reply.trailers.len()), ("hi", sums), "{te}: {reply:?}");
    }
}

#[tokio::test]
async fn a_pooled_connection_with_stray_bytes_is_thrown_away() {
    let (origin, weir) = scene().await;
    let stray = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    let body = format!("mine{stray}");
    origin.answer("/x", move |_| Answer::new("200 OK").with("Content-Length", 4).then(Step::Text(body.clone().into())));
    for _ in 0..10 {
        let mut client = Client::connect(weir.doors()).await;
        client.send("OPTIONS /x HTTP/1.1\r\nHost: x.branch\r\n\r\n").await;
        let reply = client.reply("OPTIONS").await;
        assert_eq!(reply.text(), "mine", "{reply:?}");
    }
}

#[tokio::test]
async fn a_post_whose_connection_breaks_is_never_sent_twice() {
    let (origin, weir) = scene().await;
    origin.answer("/x", |_| Answer::raw(""));
    let mut client = weir.client().await;
    client.send("POST /x HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 4\r\n\r\nsoap").await;
    assert_eq!(client.reply("POST").await.status, 502);
    assert_eq!(origin.requests("/x"), 1);
}

#[tokio::test]
async fn what_an_unsafe_method_changes_may_be_named_as_the_client_knows_it() {
    let (origin, weir) = scene().await;
    origin.answer("/page", |ask| Answer::text("200 OK", &ask.earlier.to_string()).with("Cache-Control", "max-age=60"));
    origin.answer("/edit", |_| Answer::text("201 Created", "done").with("Location", "http://w.branch/page"));
    assert_eq!(weir.get("w.branch", "/page").await.text(), "0");
    weir.settled().await;
    assert!(weir.get("w.branch", "/page").await.is_hit());
    for (host, earlier) in [("other.branch", "0"), ("w.branch", "1")] {
        let mut client = weir.client().await;
        client.send(format!("POST /edit HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(client.reply("POST").await.status, 201);
        assert_eq!(weir.get("w.branch", "/page").await.text(), earlier, "after a POST to {host}");
    }
}
