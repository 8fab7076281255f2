//! Response heads that two readers could read in two ways, or that nobody can: each is a 502, for content and for what is passed alike.
//!
//! Two of them a proxy may also repair: RFC 9112 §5.1 has blanks before a colon removed, §5.2 folds replaced by a blank. weir refuses instead:
//! both are rare in good faith, and a repaired message is one that somebody in front of the origin may have read otherwise.

use tokio::task::JoinSet;

use crate::support::{Answer, Client, End, Origin, Step, proxy};

/// What an origin sends, byte for byte, and then closes. Where a body of `no` follows, it must never be taken for an answer.
const HEADS: &[(&str, &str)] = &[
    // Framing (RFC 9112 §6.3)
    ("a length beside chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("chunks beside a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nno!"),
    ("two lengths in one line", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nno!"),
    ("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nno"),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nno"),
    ("a length in hexadecimal", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nno"),
    ("a length with a unit", "HTTP/1.1 200 OK\r\nContent-Length: 2 bytes\r\n\r\nno"),
    ("a length with a blank inside", "HTTP/1.1 200 OK\r\nContent-Length: 1 0\r\n\r\n0123456789"),
    ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nno"),
    ("a length beyond all numbers", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nno"),
    ("a length in quotes", "HTTP/1.1 200 OK\r\nContent-Length: \"2\"\r\n\r\nno"),
    // A word that nobody can take for a coding is no ambiguity: the body ends with the connection (RFC 9112 §6.3). These are others.
    ("a transfer coding that looks like chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nno"),
    ("a transfer coding that changes the bytes", "HTTP/1.1 200 OK\r\nTransfer-Encoding: x-gzip\r\n\r\nno"),
    (
        "an unknown transfer coding beside a length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: sorcery\r\nContent-Length: 2\r\n\r\nno",
    ),
    ("gzip and then chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("chunks and then identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("chunks twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("chunks with a parameter", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;x=y\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("chunks behind a control character", "HTTP/1.1 200 OK\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    ("content where none can be", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nno"),
    ("chunks where none can be", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    (
        "an interim response with a body",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ),
    (
        "an interim response in chunks",
        "HTTP/1.1 102 Processing\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    ),
    // Lines (RFC 9112 §2.2, §5)
    ("line feeds alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nno"),
    ("one line feed alone", "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nno"),
    ("a carriage return alone", "HTTP/1.1 200 OK\r\nX: y\rContent-Length: 5\r\nContent-Length: 2\r\n\r\nno"),
    ("a carriage return alone after the status", "HTTP/1.1 200 OK\rX: y\r\nContent-Length: 2\r\n\r\nno"),
    ("two carriage returns before a line feed", "HTTP/1.1 200 OK\r\nX: y\r\r\nContent-Length: 2\r\n\r\nno"),
    ("an end of head without its carriage return", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nno"),
    ("a folded line", "HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 5\r\nContent-Length: 2\r\n\r\nno"),
    ("a length that is folded", "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nno"),
    ("a fold by a tab", "HTTP/1.1 200 OK\r\nX: y\r\n\tz\r\nContent-Length: 2\r\n\r\nno"),
    ("a first line that is folded", "HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 2\r\n\r\nno"),
    ("a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nno"),
    ("a tab before the colon", "HTTP/1.1 200 OK\r\nX\t: y\r\nContent-Length: 2\r\n\r\nno"),
    ("a name with a blank", "HTTP/1.1 200 OK\r\nBad Name: y\r\nContent-Length: 2\r\n\r\nno"),
    ("a name with a control character", "HTTP/1.1 200 OK\r\nContent\u{1}Length: 5\r\nContent-Length: 2\r\n\r\nno"),
    ("a name above ASCII", "HTTP/1.1 200 OK\r\nÄ: y\r\nContent-Length: 2\r\n\r\nno"),
    ("an empty name", "HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 2\r\n\r\nno"),
    ("a line without a colon", "HTTP/1.1 200 OK\r\nnothing\r\nContent-Length: 2\r\n\r\nno"),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nno"),
    ("an escape in a value", "HTTP/1.1 200 OK\r\nX: \u{1b}[31m\r\nContent-Length: 2\r\n\r\nno"),
    ("a delete in a value", "HTTP/1.1 200 OK\r\nX: \u{7f}\r\nContent-Length: 2\r\n\r\nno"),
    // Status lines (RFC 9112 §4)
    ("no status line", "Content-Length: 2\r\n\r\nno"),
    ("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a blank first", " HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a status below all", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a status that is a word", "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a negative status", "HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("two blanks before the status", "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a tab before the status", "HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a version from the future", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("version 2 as text", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a version in lower case", "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("another protocol", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nno"),
    ("a NUL in the reason", "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nno"),
    ("a request", "GET /no HTTP/1.1\r\nHost: x\r\n\r\n"),
    (
        "switching protocols though nobody asked",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nno",
    ),
    ("interim responses and no final one", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
    ("a head that stops", "HTTP/1.1 200 OK\r\nContent-Len"),
    ("an HTTP/2 preface's answer", "\0\0\0\u{4}\0\0\0\0\0"),
];

/// Heads longer than anybody writes: in bytes, and in lines.
fn long() -> Vec<(&'static str, String)> {
    vec![
        ("a value of 100 KiB", format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nno", "y".repeat(100 << 10))),
        ("a reason of 100 KiB", format!("HTTP/1.1 200 {}\r\nContent-Length: 2\r\n\r\nno", "y".repeat(100 << 10))),
        ("500 lines", format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nno", "X: y\r\n".repeat(500))),
        ("a line that never ends", format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1 << 20))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_could_be_read_in_two_ways_is_a_bad_gateway() {
    let origin = Origin::start().await;
    let rows: Vec<(&str, String)> = HEADS.iter().map(|(name, head)| (*name, (*head).to_owned())).chain(long()).collect();
    assert!(rows.len() >= 60);
    let weir = proxy().reverse(&origin).start().await;
    let mut scenes = JoinSet::new();
    for (index, (name, head)) in rows.into_iter().enumerate() {
        let path = format!("/row-{index}");
        origin.answer(&path, move |_| {
            Answer { status: String::new(), ..Answer::new("") }.then(Step::Text(head.clone().into())).then(Step::Close)
        });
        let doors = weir.doors();
        scenes.spawn(async move {
            let mut wrong = Vec::new();
            for method in ["GET", "POST"] {
                let mut client = Client::connect(doors).await;
                let framing = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
                client.send(format!("{method} {path} HTTP/1.1\r\nHost: x.branch\r\n{framing}\r\n")).await;
                let reply = client.try_reply(method).await;
                if !reply.as_ref().is_some_and(|reply| reply.status == 502 && !reply.text().starts_with("no")) {
                    wrong.push(format!("{name}, {method}: {reply:?}"));
                }
            }
            wrong
        });
    }
    let wrong: Vec<String> = scenes.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Bodies in chunks that a lax reader would find an end in (RFC 9112 §7.1). What comes before the fault may reach the client.
const CHUNKS: &[(&str, &str)] = &[
    ("line feeds alone", "2\nno\n0\n\n"),
    ("a line feed alone after the size", "2\nno\r\n0\r\n\r\n"),
    ("a line feed alone after the data", "2\r\nno\n0\r\n\r\n"),
    ("more data than the size says", "2\r\nno!\r\n0\r\n\r\n"),
    ("less data than the size says", "5\r\nno\r\n0\r\n\r\n"),
    ("a size with a prefix", "0x2\r\nno\r\n0\r\n\r\n"),
    ("a size with a sign", "+2\r\nno\r\n0\r\n\r\n"),
    ("a negative size", "-2\r\nno\r\n0\r\n\r\n"),
    ("a blank before the size", " 2\r\nno\r\n0\r\n\r\n"),
    ("a size beyond all numbers", "10000000000000002\r\nno\r\n0\r\n\r\n"),
    ("no size", "\r\nno\r\n0\r\n\r\n"),
    ("an extension with a line feed alone", "2;a\nb\r\nno\r\n0\r\n\r\n"),
    ("an extension without end", "2;"),
    ("no last chunk", "2\r\nno\r\n"),
    ("a last chunk without its line end", "2\r\nno\r\n0\r\n"),
    ("a trailer that is none", "2\r\nno\r\n0\r\nno colon\r\n\r\n"),
    ("a trailer with a blank before the colon", "2\r\nno\r\n0\r\nSum : 1\r\n\r\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_two_could_read_differently_are_never_a_whole_answer() {
    let origin = Origin::start().await;
    let weir = proxy().reverse(&origin).start().await;
    let mut wrong = Vec::new();
    for (name, chunks) in CHUNKS {
        let answer = Answer::new("200 OK").with("Transfer-Encoding", "chunked").then(Step::Text((*chunks).into()));
        origin.answer("/x", move |_| answer.clone().then(Step::Close));
        let mut client = weir.client().await;
        client.send("POST /x HTTP/1.1\r\nHost: x.branch\r\nContent-Length: 0\r\n\r\n").await;
        let reply = client.reply("POST").await;
        if reply.status != 502 && reply.end == End::Whole {
            wrong.push(format!("{name}: {reply:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
