//! The misbehaviours, each with what a client may get.

use std::net::SocketAddr;

use super::{BadGateway, Cut, Misbehaviour, Other, Outcome, Right, Row, Short, Status};
use crate::support::{Answer, Ask, Content, Resource, Step};

/// Three pieces, the last one short.
pub(super) const LEN: u64 = 2_500_000;
const MIDDLE: u64 = 1_300_000;

/// A misbehaviour as a change to what a good origin would answer.
fn tampered(good: &Resource, tamper: impl Fn(&Ask, Answer) -> Answer + Send + Sync + 'static) -> Misbehaviour {
    let good = good.clone();
    Box::new(move |ask| tamper(ask, good.answer(ask)))
}

/// The same whatever is asked.
fn always(answer: Answer) -> Misbehaviour {
    Box::new(move |_| answer.clone())
}

/// The same bytes whatever is asked.
fn raw(bytes: impl Into<Vec<u8>>) -> Misbehaviour {
    always(Answer::raw(bytes))
}

fn whole(name: &'static str, origin: Misbehaviour, gets: Outcome) -> Row {
    Row { name, range: None, origin, first: gets, again: gets }
}

fn part(name: &'static str, start: u64, end: u64, origin: Misbehaviour, gets: Outcome) -> Row {
    Row { name, range: Some((start, end)), origin, first: gets, again: gets }
}

pub(super) fn rows(content: &Content, origin: SocketAddr) -> Vec<Row> {
    let mut rows = framing(content);
    rows.extend(cuts(content));
    rows.extend(ranges(content));
    rows.extend(validators(content));
    rows.extend(heads(content));
    rows.extend(statuses(content, origin));
    rows
}

/// How a body says where it ends.
fn framing(content: &Content) -> Vec<Row> {
    let good = Resource::new(content);
    let all = Step::Body(content.clone(), 0, LEN);
    let plain = good.clone().without_ranges();
    let (long, short, trailing) = (all.clone(), all.clone(), all.clone());
    let (both, drip) = (content.clone(), content.clone());
    vec![
        whole(
            "no length: the connection's end ends the body",
            {
                let close = plain.clone().close_delimited();
                Box::new(move |ask| close.answer(ask))
            },
            Right,
        ),
        whole(
            "chunked, whole",
            {
                let chunked = plain.clone().chunked();
                Box::new(move |ask| chunked.answer(ask))
            },
            Right,
        ),
        whole(
            "a length larger than the body",
            tampered(&plain, move |_, a| a.with("Content-Length", LEN + 10).only([long.clone(), Step::Close])),
            Cut,
        ),
        whole(
            "a length smaller than the body",
            tampered(&plain, move |_, a| a.with("Content-Length", 1000).only([short.clone(), Step::Close])),
            Short(1000),
        ),
        whole(
            "garbage after the body",
            tampered(&plain, move |_, a| {
                a.only([trailing.clone(), Step::Text(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad".to_vec())])
            }),
            Right,
        ),
        whole(
            "chunked and a length",
            tampered(&plain, move |_, a| {
                a.with("Transfer-Encoding", "chunked").only([
                    Step::Chunks(both.clone(), 0, LEN),
                    Step::Text(b"0\r\n\r\n".to_vec()),
                    Step::Close,
                ])
            }),
            BadGateway,
        ),
        whole("a negative length", tampered(&plain, |_, a| a.with("Content-Length", "-5")), BadGateway),
        whole("a length that is no number", tampered(&plain, |_, a| a.with("Content-Length", "lots")), BadGateway),
        whole("two lengths that differ", tampered(&plain, |_, a| a.also("Content-Length", "7")), BadGateway),
        whole("a coding nobody asked for", tampered(&plain, |_, a| a.with("Content-Encoding", "gzip")), Right),
        whole(
            "a transfer coding nobody knows",
            tampered(&plain, |_, a| a.without("Content-Length").with("Transfer-Encoding", "sorcery").then(Step::Close)),
            Right,
        ),
        whole(
            "a bad chunk size",
            always(
                Answer::new("200 OK").with("Transfer-Encoding", "chunked").then(Step::Text(b"zz\r\n".to_vec())).then(Step::Close),
            ),
            Cut,
        ),
        whole(
            "drips",
            tampered(&plain, move |_, a| {
                let drops = (0..200).map(|n| Step::Body(drip.clone(), n, n + 1));
                let paced = Answer { rate: Some(2_000_000), ..a };
                paced.only(drops.chain([Step::Body(drip.clone(), 200, LEN)]).collect::<Vec<_>>())
            }),
            Right,
        ),
    ]
}

/// Bodies that stop in the middle.
fn cuts(content: &Content) -> Vec<Row> {
    let good = Resource::new(content);
    let plain = good.clone().without_ranges();
    let cut_first = |end: Step| {
        let content = content.clone();
        tampered(&good, move |ask, answer| match ask.earlier {
            0 => answer.only([Step::Body(content.clone(), 0, MIDDLE.min(body_len(ask))), end.clone()]),
            _ => answer,
        })
    };
    let cut_always = |resource: &Resource, end: Step| {
        let content = content.clone();
        tampered(resource, move |_, answer| answer.only([Step::Body(content.clone(), 0, MIDDLE), end.clone()]))
    };
    let chunks = content.clone();
    let after_head = good.clone();
    vec![
        whole("reset in the middle, once, ranges known", cut_first(Step::Reset), Right),
        whole("closed in the middle, once, ranges known", cut_first(Step::Close), Right),
        whole("stalls in the middle, once, ranges known", cut_first(Step::Stall), Right),
        whole("reset in the middle, always, no ranges", cut_always(&plain, Step::Reset), Cut),
        whole("closed in the middle, always, no ranges", cut_always(&plain, Step::Close), Cut),
        whole("stalls in the middle, always, no ranges", cut_always(&plain, Step::Stall), Cut),
        whole(
            "chunked, cut between chunks",
            tampered(&plain.clone().chunked(), move |_, a| a.only([Step::Chunks(chunks.clone(), 0, MIDDLE), Step::Close])),
            Cut,
        ),
        whole(
            "closes after the head once",
            tampered(&after_head, |ask, a| if ask.earlier == 0 { a.only([Step::Close]) } else { a }),
            Right,
        ),
    ]
}

/// How much a request asks for, as far as the rows care.
fn body_len(ask: &Ask) -> u64 {
    let last = ask.field("range").and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
    last.map_or(LEN, |last| last + 1)
}

/// Ranges answered wrongly.
fn ranges(content: &Content) -> Vec<Row> {
    let good = Resource::new(content);
    let plain = good.clone().without_ranges();
    let (shifted, multi, tail) = (good.clone(), content.clone(), content.clone());
    vec![
        whole("knows no ranges", tampered(&plain, |_, a| a), Right),
        part("knows no ranges, asked for some bytes", MIDDLE, MIDDLE + 100, tampered(&plain, |_, a| a), Right),
        part(
            "claims ranges but answers 200",
            MIDDLE,
            MIDDLE + 100,
            tampered(&plain, |_, a| a.with("Accept-Ranges", "bytes")),
            Right,
        ),
        part(
            "206 of other bytes than asked",
            MIDDLE,
            MIDDLE + 100,
            Box::new(
                move |ask| {
                    if ask.field("range").is_some() { shifted.part(MIDDLE + 1, MIDDLE + 101) } else { shifted.answer(ask) }
                },
            ),
            BadGateway,
        ),
        part(
            "206 with a total that grows",
            MIDDLE,
            MIDDLE + 100,
            tampered(&good, |ask, a| {
                let total = LEN + ask.earlier as u64;
                match a.status.contains("206") {
                    true => a.with("Content-Range", format!("bytes {MIDDLE}-{}/{total}", MIDDLE + 99)),
                    false => a,
                }
            }),
            Right,
        ),
        part("206 without Content-Range", MIDDLE, MIDDLE + 100, tampered(&good, |_, a| a.without("Content-Range")), BadGateway),
        part(
            "206 with a Content-Range that is no range",
            MIDDLE,
            MIDDLE + 100,
            tampered(&good, |_, a| a.with("Content-Range", "bytes many")),
            BadGateway,
        ),
        part(
            "206 with a first byte after the last",
            MIDDLE,
            MIDDLE + 100,
            tampered(&good, |_, a| a.with("Content-Range", format!("bytes 90-80/{LEN}"))),
            BadGateway,
        ),
        part(
            "206 longer than its Content-Range",
            MIDDLE,
            MIDDLE + 100,
            tampered(&good, |ask, a| match ask.field("range") {
                Some(_) => a.with("Content-Range", format!("bytes {MIDDLE}-{}/{LEN}", MIDDLE + 49)),
                None => a,
            }),
            BadGateway,
        ),
        whole("206 to a plain GET", always(good.part(0, 1000)), BadGateway),
        part(
            "several parts where one was asked for",
            MIDDLE,
            MIDDLE + 100,
            Box::new(move |_| {
                Answer::new("206 Partial Content")
                    .with("Content-Type", "multipart/byteranges; boundary=x")
                    .with("ETag", "\"m\"")
                    .then(Step::Text(b"\r\n--x\r\n\r\n".to_vec()))
                    .then(Step::Body(multi.clone(), 0, 100))
                    .then(Step::Close)
            }),
            BadGateway,
        ),
        part(
            "416 to a range that exists",
            MIDDLE,
            MIDDLE + 100,
            tampered(&good, |ask, a| match ask.field("range") {
                Some(_) => Answer::new("416 Range Not Satisfiable")
                    .with("Content-Range", format!("bytes */{LEN}"))
                    .with("Content-Length", 0),
                None => a,
            }),
            Status(416),
        ),
        whole(
            "the rest comes as 200 from the start",
            tampered(&good, move |ask, a| match ask.earlier {
                0 => a.only([Step::Body(tail.clone(), 0, MIDDLE.min(body_len(ask))), Step::Reset]),
                _ => Resource::new(&tail).without_ranges().answer(ask),
            }),
            Right,
        ),
    ]
}

/// Validators that do not hold.
fn validators(content: &Content) -> Vec<Row> {
    let good = Resource::new(content);
    let other = Content::new("other", LEN);
    // Cuts the first answer; later ones are of `then`.
    let change = |first: Resource, then: Resource| -> Misbehaviour {
        let content = content.clone();
        Box::new(move |ask| match ask.earlier {
            0 => first.answer(ask).only([Step::Body(content.clone(), 0, MIDDLE.min(body_len(ask))), Step::Reset]),
            _ => then.answer(ask),
        })
    };
    let weak = good.clone().with("ETag", "W/\"weak\"").without("Last-Modified");
    let weak_other = Resource::new(&other).with("ETag", "W/\"weak\"").without("Last-Modified");
    let bare = good.clone().without("ETag").without("Last-Modified");
    let bare_other = Resource::new(&other).without("ETag").without("Last-Modified");
    let dated = good.clone().without("ETag").with("Date", "Tue, 13 Jan 2026 12:00:00 GMT");
    let redated = Resource::new(&other).without("ETag").with("Last-Modified", "Wed, 14 Jan 2026 10:00:00 GMT");
    let lying = Resource::new(&other).with("ETag", "\"other\"");
    vec![
        whole("the ETag changes in the middle", change(good.clone(), Resource::new(&other)), Cut).then(Other),
        whole(
            "If-Range is ignored and the ETag has changed",
            change(good.clone(), {
                // It answers the range of the new content although the validator differs.
                lying.without("Cache-Control")
            }),
            Cut,
        )
        .then(Other),
        whole("a weak ETag, cut, other bytes after", change(weak.clone(), weak_other), Cut).then(Other),
        whole("no validator, cut, other bytes after", change(bare.clone(), bare_other), Cut).then(Other),
        whole("a strong Last-Modified, cut, the same after", change(dated.clone(), dated.clone()), Right),
        whole("Last-Modified changes in the middle", change(dated, redated), Cut).then(Other),
        whole("a weak ETag, whole", tampered(&weak, |_, a| a), Right),
        whole("no validator, whole", tampered(&bare, |_, a| a), Right),
        part("no validator, a part", MIDDLE, MIDDLE + 100, tampered(&bare, |_, a| a), Right),
        whole("an ETag without its quotes", tampered(&good.clone().with("ETag", "naked"), |_, a| a), Right),
    ]
}

/// Heads that are none.
fn heads(content: &Content) -> Vec<Row> {
    let good = Resource::new(content);
    vec![
        whole("closes without a word", raw(""), BadGateway),
        whole("garbage", raw("\u{1}\u{2}SSH-2.0-OpenSSH\r\n\r\n"), BadGateway),
        whole("HTTP/0.9", raw("<html>no head at all</html>"), BadGateway),
        whole(
            "a head of 1 MiB",
            raw(format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(1 << 20))),
            BadGateway,
        ),
        whole(
            "ten thousand fields",
            raw(format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X-A: b\r\n".repeat(10_000))),
            BadGateway,
        ),
        whole("a field name with a space", raw("HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 2\r\n\r\nno"), BadGateway),
        whole("a NUL in a field", raw("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nno"), BadGateway),
        whole("a status code of 42", raw("HTTP/1.1 42 What\r\nContent-Length: 0\r\n\r\n"), BadGateway),
        whole("says nothing", always(Answer { status: String::new(), ..Answer::new("") }.then(Step::Stall)), BadGateway),
        whole(
            "stops inside the head",
            always(
                Answer { status: String::new(), ..Answer::new("") }
                    .then(Step::Text(b"HTTP/1.1 200 OK\r\nCont".to_vec()))
                    .then(Step::Stall),
            ),
            BadGateway,
        ),
        whole(
            "100 Continue three times first",
            tampered(&good, |_, a| a.first(Step::Text(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(3)))),
            Right,
        ),
    ]
}

/// Statuses, and redirects.
fn statuses(content: &Content, origin: SocketAddr) -> Vec<Row> {
    let good = Resource::new(content);
    let to = |status: &'static str, location: String| always(Answer::text(status, "elsewhere").with("Location", location));
    let redirected = good.clone();
    vec![
        whole("404", always(Answer::text("404 Not Found", "none")), Status(404)),
        whole("403", always(Answer::text("403 Forbidden", "no")), Status(403)),
        whole("500", always(Answer::text("500 Internal Server Error", "oops")), Status(500)),
        whole(
            "503 and then well",
            tampered(&good, |ask, a| if ask.earlier == 0 { Answer::text("503 Service Unavailable", "wait") } else { a }),
            BadGateway,
        )
        .then(Right),
        whole("304 to an unconditional request", always(Answer::new("304 Not Modified").with("ETag", "\"x\"")), BadGateway),
        whole(
            "101 nobody asked for",
            raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxxxx"),
            BadGateway,
        ),
        whole(
            "a redirect to itself by another query",
            Box::new(move |ask| match ask.target.contains("moved") {
                true => redirected.answer(ask),
                false => Answer::text("302 Found", "").with("Location", format!("{}?moved", ask.path())),
            }),
            Right,
        ),
        whole(
            "a redirect that goes round",
            Box::new(|ask| Answer::text("302 Found", "").with("Location", ask.target.clone())),
            BadGateway,
        ),
        whole("a redirect to a host no rule allows", to("302 Found", "http://evil.example/a".into()), BadGateway),
        whole("a redirect to a private address", to("301 Moved Permanently", format!("http://{origin}/secret")), BadGateway),
        whole(
            "a redirect to a metadata address",
            to("307 Temporary Redirect", "http://169.254.169.254/latest/meta-data/".into()),
            BadGateway,
        ),
        whole("a redirect to a file", to("302 Found", "file:///etc/passwd".into()), BadGateway),
        whole("a redirect without a Location", always(Answer::text("302 Found", "")), Status(302)),
        whole(
            "HEAD says another length than GET",
            tampered(&good, |ask, a| if ask.method == "HEAD" { a.with("Content-Length", 10) } else { a }),
            Right,
        ),
    ]
}
