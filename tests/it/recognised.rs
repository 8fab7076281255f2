//! A weir that recognises request heads answers as one that parses every request: the same bytes, but for the moment.
//!
//! Each script is sent to both over a connection of its own that its last request closes, so that all that comes back can be compared.

use std::fmt::Write as _;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, Content, Origin, Proxy, Resource, proxy, within};

/// Two weirs before one origin.
struct Pair {
    origin: Origin,
    with: Proxy,
    without: Proxy,
}

const LAST: &str = "GET /small HTTP/1.1\r\nHost: cdn.test\r\nConnection: close\r\n\r\n";
/// Lengths that are copied, given as they are, and not kept in memory.
const CONTENTS: [(&str, u64); 6] =
    [("/empty", 0), ("/small", 1000), ("/middle", 20_000), ("/packed", 60_000), ("/large", 300_000), ("/other", 17)];
const DATE: &str = "Tue, 10 Nov 2026 18:00:00 GMT";

async fn pair() -> Pair {
    let origin = Origin::start().await;
    for (path, len) in CONTENTS {
        serve(&origin, path, 1, len);
    }
    let start = async |recognise| {
        let config = format!("[send]\nrecognise = {recognise}\n");
        let weir = proxy().config(&config).upstream("cdn.test", &origin).start().await;
        for (path, len) in CONTENTS {
            let content = content(path, 1, len);
            assert!(weir.download("cdn.test", path, &[], &content).await.is_all_of(&content));
        }
        weir.settled().await;
        weir
    };
    let (with, without) = (start(true).await, start(false).await);
    Pair { origin, with, without }
}

fn content(path: &str, version: u64, len: u64) -> Content {
    Content::new(&format!("{path} {version}"), len)
}

fn serve(origin: &Origin, path: &str, version: u64, len: u64) {
    let tag = format!("\"{version}\"");
    let resource = Resource::new(&content(path, version, len)).with("ETag", &tag).with("Last-Modified", DATE);
    origin.serve(path, resource.with("Cache-Control", "max-age=86400"));
}

impl Pair {
    /// Has both answer `head` alone, so often that it is recognised if it ever is.
    async fn teach(&self, head: &str) {
        let method = head.split(' ').next().unwrap();
        for weir in [&self.with, &self.without] {
            let mut client = weir.client().await;
            for _ in 0..4 {
                client.send(head).await;
                let Some(_) = client.try_reply(method).await else { break };
            }
        }
    }

    /// Sends `script` to both, in pieces that end at `cuts`, and says what came back.
    async fn same(&self, script: &str, cuts: &[usize]) -> String {
        let (with, without) = tokio::join!(answers(&self.with, script, cuts), answers(&self.without, script, &[]));
        assert_eq!(with, without, "cut at {cuts:?}:\n{script}");
        with
    }

    async fn recognised(&self) -> f64 {
        self.with.metric("weir_requests_recognised_total", &[]).await
    }
}

/// All that comes back for `script`, with the moment taken out.
async fn answers(weir: &Proxy, script: &str, cuts: &[usize]) -> String {
    let mut stream = TcpStream::connect(weir.doors()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut read, mut write) = stream.split();
    let sending = async {
        let mut from = 0;
        for to in cuts.iter().copied().chain([script.len()]) {
            // The peer may have closed, which shows in what it answered.
            let _ = write.write_all(&script.as_bytes()[from..to]).await;
            tokio::task::yield_now().await;
            from = to;
        }
    };
    let mut all = Vec::new();
    let reading = within("the end of the connection", read.read_to_end(&mut all));
    let ((), read) = tokio::join!(sending, reading);
    // A connection that is closed in the face of more requests may be reset.
    let _ = read;
    timeless(&String::from_utf8_lossy(&all))
}

/// The same without what depends on the moment and on which weir it was.
fn timeless(answers: &str) -> String {
    let mut out = String::with_capacity(answers.len());
    let boundaries = answers.split("boundary=").skip(1).filter_map(|rest| rest.split("\r\n").next());
    let answers = boundaries.fold(answers.to_owned(), |answers, boundary| answers.replace(boundary, "-"));
    for line in answers.split_inclusive("\r\n") {
        let name = line.split(':').next().unwrap_or_default();
        match line.split_once("ttl=") {
            _ if name == "Age" || name == "Date" || name == "Via" => writeln!(out, "{name}").unwrap(),
            Some((before, behind)) => {
                let rest = behind.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit());
                write!(out, "{before}ttl={rest}").unwrap();
            }
            None => out.push_str(line),
        }
    }
    out
}

fn head(line: &str, fields: &[&str]) -> String {
    let mut head = format!("{line}\r\n");
    fields.iter().for_each(|field| head.push_str(&format!("{field}\r\n")));
    head + "\r\n"
}

/// A request of which most are hits, in many spellings, some of them wrong.
fn any_request(random: &mut StdRng) -> String {
    let method = *["GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "get"].choose(random).unwrap();
    let target =
        *["/small", "/small", "/small?x=1", "/empty", "/middle", "/packed", "/large", "/other", "http://cdn.test/small", "*"]
            .choose(random)
            .unwrap();
    let version = *["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1"].choose(random).unwrap();
    let mut fields = vec![*["Host: cdn.test", "host:cdn.test", "HOST: \tcdn.test ", "Host: CDN.test."].choose(random).unwrap()];
    const MORE: [&str; 32] = [
        "Range: bytes=0-9",
        "Range: bytes=5-",
        "Range: bytes=-7",
        "Range: bytes=99999999-",
        "Range: bytes=0-1,4-5",
        "Range: x",
        "If-None-Match: \"1\"",
        "If-None-Match: \"2\"",
        "If-None-Match: *",
        "If-Match: \"2\"",
        "If-Modified-Since: Tue, 10 Nov 2026 18:00:00 GMT",
        "If-Unmodified-Since: Mon, 09 Nov 2026 18:00:00 GMT",
        "If-Range: \"1\"",
        "Cache-Control: no-cache",
        "Cache-Control: max-age=0",
        "Cache-Control: max-age=99999999",
        "Cache-Control: only-if-cached",
        "Cache-Control: no-store",
        "Pragma: no-cache",
        "Connection: keep-alive",
        "Connection: Keep-Alive",
        "Connection: x",
        "X: 1",
        "Content-Length: 0",
        "Expect: 100-continue",
        "Upgrade: h2c",
        "TE: trailers",
        "Authorization: Basic YTpi",
        "Cookie: a=b",
        "Accept-Encoding: gzip",
        "User-Agent: \"quoted\\\"",
        "Host : cdn.test",
    ];
    for _ in 0..random.random_range(0..3) {
        // What is refused ends its connection: not too often.
        let choice = if random.random_bool(0.02) { MORE.len() - 1 } else { random.random_range(0..MORE.len() - 1) };
        fields.push(MORE[choice]);
    }
    head(&format!("{method} {target} {version}"), &fields)
}

#[tokio::test]
async fn answers_are_the_same_whether_heads_are_recognised_or_not() {
    let pair = pair().await;
    let mut random = StdRng::seed_from_u64(4);
    for round in 0..200 {
        let request = any_request(&mut random);
        let other = any_request(&mut random);
        pair.teach(&request).await;
        for script in [&request, &request.repeat(3), &(other.clone() + &request + &other)] {
            pair.same(&(script.clone() + LAST), &[]).await;
        }
        if round % 50 == 49 {
            let version = round / 50 + 2;
            CONTENTS.iter().for_each(|(path, len)| serve(&pair.origin, path, version, *len));
            for weir in [&pair.with, &pair.without] {
                assert!(weir.command(&["purge", "--all"]).0.success());
            }
        }
    }
    let recognised = pair.recognised().await;
    assert!(recognised > 80.0, "{recognised}");
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row_wherever_their_bytes_are_cut() {
    let pair = pair().await;
    let known = head("GET /small HTTP/1.1", &["Host: cdn.test"]);
    let short = head("HEAD /other HTTP/1.1", &["Host: cdn.test", "Connection: keep-alive"]);
    let middle = head("GET /middle HTTP/1.1", &["Host: cdn.test"]);
    for head in [&known, &short, &middle] {
        pair.teach(head).await;
    }
    let unknown = head("GET /other HTTP/1.1", &["Host: cdn.test", "X: 1"]);
    let post = "POST /posted HTTP/1.1\r\nHost: cdn.test\r\nContent-Length: 31\r\n\r\n".to_owned() + &known[..31];
    let script = [&known, &known, &short, &unknown, &known, &post, &known, &middle, &short].map(String::as_str).concat() + LAST;
    // A step that is prime to the lengths of the heads.
    for at in (1..script.len()).step_by(7) {
        pair.same(&script, &[at]).await;
    }
    let each: Vec<usize> = (1..script.len()).collect();
    pair.same(&script, &each).await;
    let recognised = pair.recognised().await;
    assert!(recognised > 150.0, "{recognised}");
}

#[tokio::test]
async fn empty_lines_in_front_of_a_request_are_never_learnt_as_one() {
    let pair = pair().await;
    let known = head("GET /small HTTP/1.1", &["Host: cdn.test"]);
    for turn in 0..4 {
        let mut client = pair.with.client().await;
        let another = head("GET /small HTTP/1.1", &["Host: cdn.test", &format!("X: {turn}")]);
        for sent in [&known, "\r\n\r\n", &another] {
            client.send(sent).await;
            if sent.starts_with("GET") {
                assert_eq!(client.reply("GET").await.status, 200);
            }
        }
    }
    let other = "\r\n\r\n".to_owned() + &head("GET /other HTTP/1.1", &["Host: cdn.test", "Connection: close"]);
    let answers = pair.same(&other, &[]).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}

#[tokio::test]
async fn a_recognised_request_that_ends_its_connection_ends_it() {
    let pair = pair().await;
    for last in [LAST, &LAST.replace("close", "Close"), &LAST.replace("GET", "HEAD"), &LAST.replace("/small", "/packed")] {
        let before = pair.recognised().await;
        for _ in 0..5 {
            let answers = pair.same(last, &[]).await;
            assert_eq!(answers.matches("Connection: close\r\n").count(), 1, "{answers}");
        }
        assert!(pair.recognised().await >= before + 2.0, "{last}");
    }
    let more = head("GET /other HTTP/1.1", &["Host: cdn.test"]);
    pair.teach(&more).await;
    let script = more.clone() + LAST + &more;
    for cut in [0, more.len(), more.len() + LAST.len()] {
        let answers = pair.same(&script, &[cut]).await;
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "nothing behind the last request is answered: {answers}");
    }
}

#[tokio::test]
async fn what_is_purged_replaced_or_ruled_out_is_recognised_no_more() {
    let mut pair = pair().await;
    let known = head("GET /other HTTP/1.1", &["Host: cdn.test"]);
    let mut client = pair.with.client().await;
    let mut ask = async |times| {
        let mut replies = Vec::new();
        for _ in 0..times {
            client.send(&known).await;
            replies.push(client.reply("GET").await);
        }
        replies
    };
    let is = |version| content("/other", version, 17).bytes(0, 17);
    assert!(ask(10).await.iter().all(|reply| reply.body == is(1)));
    assert!(pair.recognised().await >= 7.0);

    serve(&pair.origin, "/other", 2, 17);
    assert!(pair.with.command(&["purge", "--all"]).0.success());
    assert!(ask(5).await.iter().all(|reply| reply.body == is(2)));

    // A change of what is stored, by a request that it is no answer to.
    serve(&pair.origin, "/other", 3, 17);
    assert_eq!(pair.with.get_with("cdn.test", "/other", &[("Cache-Control", "no-cache")]).await.body, is(3));
    assert!(ask(5).await.iter().all(|reply| reply.body == is(3)));

    // An invalidation (RFC 9111 §4.4).
    pair.origin.answer("/other", |ask| match &*ask.method {
        "POST" => Answer::text("200 OK", "done"),
        _ => Answer::text("200 OK", "anew"),
    });
    let mut poster = pair.with.client().await;
    poster.send("POST /other HTTP/1.1\r\nHost: cdn.test\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(poster.reply("POST").await.status, 200);
    assert!(ask(5).await.iter().all(|reply| reply.text() == "anew"));

    let config = pair.with.config().replace("cdn.test", "elsewhere.test");
    pair.with.reload(&config);
    let with = &pair.with;
    crate::support::eventually("the new rules refuse it", || async {
        let reply = with.get("cdn.test", "/other").await;
        (reply.status == 403 || reply.status == 404 || reply.status == 421).then_some(())
    })
    .await;
    let refused = ask(2).await;
    assert!(refused.iter().all(|reply| reply.status >= 400), "{refused:?}");
}

#[tokio::test]
async fn recognised_requests_are_logged_like_any_other() {
    let pair = pair().await;
    let agent = head("GET /small HTTP/1.1", &["Host: cdn.test", "User-Agent: \"a\""]);
    pair.teach(&agent).await;
    pair.same(&(agent.repeat(4) + LAST), &[]).await;
    assert!(pair.recognised().await >= 4.0);
    let lines = async |weir: &Proxy| {
        crate::support::eventually("all is logged", || async {
            let mut lines: Vec<String> =
                weir.log().into_iter().filter(|line| line["verdict"] == "hit").map(timeless_line).collect();
            // Each thread writes lines of its own.
            lines.sort();
            (lines.len() == 9).then_some(lines)
        })
        .await
    };
    assert_eq!(lines(&pair.with).await, lines(&pair.without).await);
}

/// A log line without what depends on the moment.
fn timeless_line(mut line: Value) -> String {
    let fields = line.as_object_mut().unwrap();
    for name in ["time", "request", "duration_ms", "first_byte_ms"] {
        fields.entry(name).and_modify(|value| *value = "of the moment".into());
    }
    let status = fields["cache_status"].as_str().unwrap();
    fields["cache_status"] = status.trim_end_matches(|c: char| c.is_ascii_digit()).into();
    line.to_string()
}

#[tokio::test]
async fn a_client_that_asks_faster_than_it_reads_gets_every_answer_whole() {
    const TIMES: usize = 200;
    let pair = pair().await;
    let known = head("GET /packed HTTP/1.1", &["Host: cdn.test"]);
    pair.teach(&known).await;
    let mut stream = TcpStream::connect(pair.with.doors()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let all = known.repeat(TIMES);
    let asking = async {
        write.write_all(all.as_bytes()).await.unwrap();
        write.write_all(LAST.as_bytes()).await.unwrap();
    };
    // All is asked for before anything is read: weir has to stop answering, and to go on.
    within("asking", asking).await;
    let mut answers = Vec::new();
    within("the end of the connection", read.read_to_end(&mut answers)).await.unwrap();
    let body = content("/packed", 1, 60_000).all();
    let bodies = answers.windows(4).enumerate().filter(|(_, four)| *four == b"\r\n\r\n").map(|(at, _)| &answers[at + 4..]);
    assert_eq!(bodies.filter(|rest| rest.starts_with(&body)).count(), TIMES);
    // A head that came in two reads, and what came with its rest, went the whole way.
    assert!(pair.recognised().await >= TIMES as f64 / 4.0);
}
