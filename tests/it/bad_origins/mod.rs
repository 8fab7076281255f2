//! Bad origins: whatever an origin does, a client gets the right bytes, a cut, or an error; and nothing wrong stays behind.

mod heads;
mod table;

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::support::{Answer, Ask, Client, Content, End, Gate, Origin, Proxy, Reply, Resource, Step, eventually, proxy};

/// What the client of a misbehaving origin gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Everything that was asked for, right, ended as framed.
    Right,
    /// A complete 200 of the other content, which the origin has by now.
    Other,
    /// The promised bytes up to somewhere, then the end of the connection before the end of the body.
    Cut,
    /// The origin's own answer of this status.
    Status(u16),
    /// 502, 503 or 504.
    BadGateway,
    /// A complete 200 of exactly so many right bytes: the origin framed it so.
    Short(u64),
}
use Outcome::{BadGateway, Cut, Other, Right, Short, Status};

type Misbehaviour = Box<dyn Fn(&Ask) -> Answer + Send + Sync>;

/// One way to misbehave.
struct Row {
    name: &'static str,
    /// The `Range` that the client asks with, if any.
    range: Option<(u64, u64)>,
    origin: Misbehaviour,
    /// What the first client gets, and what the next one, who may find something that the first left behind.
    first: Outcome,
    again: Outcome,
}

impl Row {
    fn then(self, again: Outcome) -> Self {
        Self { again, ..self }
    }
}

/// Short enough for a test, long enough for a busy machine.
const TIMEOUTS: &str = "[timeouts]\nupstream_first_byte = \"3s\"\nupstream_stall = \"3s\"\nupstream_connect = \"3s\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misbehaving_origin_never_makes_weir_lie() {
    let before = Content::new("before", table::LEN);
    let origin = Origin::start().await;
    let rows = table::rows(&before, origin.address());
    assert!(rows.len() >= 25);
    let mut builder = proxy().config(TIMEOUTS);
    for index in 0..rows.len() {
        builder = builder.upstream(&host(index), &origin);
    }
    let weir = builder.start().await;

    let mut scenes = JoinSet::new();
    for (index, row) in rows.into_iter().enumerate() {
        let path = format!("/row-{index}");
        let misbehave = row.origin;
        origin.answer(&path, misbehave);
        let (doors, before) = (weir.doors(), before.clone());
        let (range, name) = (row.range, row.name);
        scenes.spawn(async move {
            let mut seen = Vec::new();
            for (turn, wanted) in [("first", row.first), ("again", row.again)] {
                let got = ask(doors, &host(index), &path, range).await;
                if !wanted.describes(got.as_ref(), range, &before) {
                    seen.push(format!("{name} ({turn}): wanted {wanted:?}, got {}", describe(got.as_ref(), &before)));
                }
            }
            seen
        });
    }
    let wrong: Vec<String> = scenes.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    nothing_wrong_stayed_behind(&origin, &weir, &before).await;
}

/// Every origin is good again, with new content: what comes is all old or all new, and whole.
async fn nothing_wrong_stayed_behind(origin: &Origin, weir: &Proxy, before: &Content) {
    let after = Content::new("after", before.len() - 1000);
    let other = Content::new("other", before.len());
    let mut wrong = Vec::new();
    for (index, row) in table::rows(before, origin.address()).iter().enumerate() {
        let path = format!("/row-{index}");
        origin.serve(&path, Resource::new(&after));
        // What was rightly stored is fresh for an hour; what was cut finds out with the first request.
        let stored = |got: &Reply| {
            [row.first, row.again].iter().any(|outcome| *outcome != Cut && outcome.describes(Some(got), None, before))
        };
        let (first, second) =
            (ask(weir.doors(), &host(index), &path, None).await, ask(weir.doors(), &host(index), &path, None).await);
        let fits = |got: &Reply| stored(got) || [&after, &other].iter().any(|content| got.is_whole(&content.all()));
        let cut = |got: &Reply| got.end == End::Cut && before.difference(0, &got.body).is_none();
        let first_fits = first.as_ref().is_some_and(|got| fits(got) || cut(got) || matches!(got.status, 502..=504));
        if !first_fits || !second.as_ref().is_some_and(fits) {
            wrong.push(format!(
                "{}: {} and then {}",
                row.name,
                describe(first.as_ref(), &after),
                describe(second.as_ref(), &after)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn ask(doors: SocketAddr, host: &str, path: &str, range: Option<(u64, u64)>) -> Option<Reply> {
    let mut client = Client::connect(doors).await;
    let range = range.map(|(start, end)| format!("bytes={start}-{}", end - 1));
    let mut fields = vec![("Host", host)];
    fields.extend(range.as_deref().map(|range| ("Range", range)));
    client.ask("GET", path, &fields).await;
    client.try_reply("GET").await
}

/// What came, for a failure's message: no megabytes.
fn describe(got: Option<&Reply>, content: &Content) -> String {
    let Some(got) = got else { return "no answer".into() };
    let start = got.body.iter().take(80).map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect::<String>();
    let difference = content.difference(0, &got.body);
    format!(
        "{} {:?} with {} bytes ({start}…), different at {difference:?}, {:?}",
        got.status,
        got.end,
        got.body.len(),
        got.head.fields
    )
}

fn host(index: usize) -> String {
    format!("row-{index}.test")
}

impl Outcome {
    /// Whether this is what the client got; `None` is a connection that ended without an answer.
    fn describes(self, got: Option<&Reply>, range: Option<(u64, u64)>, content: &Content) -> bool {
        let Some(got) = got else { return self == Cut };
        let promised = match (got.status, range) {
            (200, _) => Some((0, content.len())),
            (206, Some((start, end))) if got.field("content-range") == Some(&*range_field(start, end, content)) => {
                Some((start, end))
            }
            _ => None,
        };
        let right = |(start, end): (u64, u64)| got.is_whole(&content.bytes(start, end));
        let begun =
            |(start, end): (u64, u64)| got.body.len() as u64 <= end - start && content.difference(start, &got.body).is_none();
        match self {
            Right => promised.is_some_and(right),
            Other => got.status == 200 && got.is_whole(&Content::new("other", content.len()).all()),
            Cut => got.end == End::Cut && promised.is_some_and(begun),
            Status(code) => got.status == code,
            BadGateway => matches!(got.status, 502..=504),
            Short(len) => got.status == 200 && got.is_whole(&content.bytes(0, len)),
        }
    }
}

fn range_field(start: u64, end: u64, content: &Content) -> String {
    format!("bytes {start}-{}/{}", end - 1, content.len())
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_a_bad_gateway_and_comes_back() {
    let content = Content::new("a", 1000);
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = format!("[[upstream]]\nname = \"u\"\nurl = \"http://cdn.test\"\nhosts = [\"cdn.test\"]\naddress = \"{gone}\"\n");
    let mut weir = proxy().config(&line).start().await;
    let reply = weir.get("cdn.test", "/a").await;
    assert!(matches!(reply.status, 502..=504), "{reply:?}");
    assert!(reply.field("cache-status").is_some() && reply.field("content-length").is_some(), "{reply:?}");

    let origin = Origin::start().await;
    origin.serve("/a", Resource::new(&content));
    weir.reload(&line.replace(&gone.to_string(), &origin.address().to_string()));
    eventually("the origin is asked where it is now", || async {
        weir.get("cdn.test", "/a").await.is_whole(&content.all()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_closes_after_its_head_cuts_who_has_the_head_and_is_an_error_for_the_next() {
    let content = Content::new("a", 100_000);
    let (origin, gate) = (Origin::start().await, Gate::closed());
    let (plain, hold) = (Resource::new(&content).without_ranges(), gate.clone());
    origin.answer("/a", move |ask| plain.answer(ask).only([Step::Hold(hold.clone()), Step::Close]));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let mut client = weir.client().await;
    client.ask("GET", "/a", &[("Host", "cdn.test")]).await;
    let head = client.head().await.expect("a head before the origin closes");
    gate.open();
    let first = client.check(head, &content).await;
    assert!(first.status == 200 && first.end == End::Cut && first.len == 0, "{first:?}");
    let second = weir.get("cdn.test", "/a").await;
    assert!(second.status == 502 && second.end == End::Whole, "{second:?}");

    origin.serve("/a", Resource::new(&content));
    assert!(weir.get("cdn.test", "/a").await.is_whole(&content.all()), "nothing of it stayed behind");
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_a_504_after_one_request() {
    let origin = Origin::start().await;
    let silent = Answer { status: String::new(), ..Answer::new("") }.then(Step::Stall);
    origin.answer("/a", move |_| silent.clone());
    let timeout = "[timeouts]\nupstream_first_byte = \"200 ms\"\n";
    let weir = proxy().config(timeout).upstream("cdn.test", &origin).start().await;
    for (method, asked) in [("GET", 1), ("POST", 2)] {
        let mut client = weir.client().await;
        client.ask(method, "/a", &[("Host", "cdn.test"), ("Content-Length", "0")]).await;
        let reply = client.reply(method).await;
        assert_eq!((reply.status, reply.end), (504, End::Whole), "{method}: {reply:?}");
        assert_eq!(reply.field("cache-control"), Some("no-store"), "{method}");
        assert_eq!(origin.requests("/a"), asked, "{method}");
    }
}

#[tokio::test]
async fn a_head_that_lies_about_the_length_spoils_no_get() {
    let content = Content::new("a", 100_000);
    let origin = Origin::start().await;
    let good = Resource::new(&content);
    origin.answer("/a", move |ask| match ask.method.as_str() {
        "HEAD" => good.answer(ask).with("Content-Length", 10),
        _ => good.answer(ask),
    });
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    assert_eq!(weir.head("cdn.test", "/a", &[]).await.status, 200);
    for _ in 0..2 {
        let got = weir.download("cdn.test", "/a", &[], &content).await;
        assert!(got.is_all_of(&content), "{got:?}");
    }
    let honest = weir.head("cdn.test", "/a", &[]).await;
    assert_eq!(honest.field("content-length"), Some("100000"), "what was received counts: {:?}", honest.head);
}

#[tokio::test]
async fn content_that_changes_between_two_downloads_is_never_mixed() {
    let (one, two) = (Content::new("one", 8_000_000), Content::new("two", 8_000_000));
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    origin.serve("/a", Resource::new(&one));
    for range in ["bytes=0-2000000", "bytes=5000000-6000000"] {
        assert_eq!(weir.get_with("cdn.test", "/a", &[("Range", range)]).await.status, 206);
    }
    // Same length, same URL, other bytes: what is missing now belongs to another representation.
    origin.serve("/a", Resource::new(&two));
    for _ in 0..3 {
        let mut client = weir.client().await;
        client.ask("GET", "/a", &[("Host", "cdn.test")]).await;
        let reply = client.reply("GET").await;
        match reply.end {
            End::Whole => assert!(reply.body == two.all() || reply.body == one.all(), "mixed"),
            End::Cut => assert!(one.difference(0, &reply.body).is_none() || two.difference(0, &reply.body).is_none(), "mixed"),
        }
    }
    assert!(weir.get("cdn.test", "/a").await.is_whole(&two.all()), "settled on what the origin has");
}

#[tokio::test]
async fn an_origin_that_closes_after_each_answer_serves_pieces_all_the_same() {
    let content = Content::new("a", 12_000_000);
    let origin = Origin::start().await;
    let good = Resource::new(&content);
    origin.answer("/a.iso", move |ask| good.answer(ask).then(Step::Close));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    for piece in [7, 3, 9, 0, 4] {
        let range = format!("bytes={}-{}", piece * 1_000_000, (piece + 1) * 1_000_000 - 1);
        let got = weir.download("cdn.test", "/a.iso", &[("Range", &range)], &content).await;
        assert!(got.status == 206 && got.is_right(1_000_000), "{piece}: {got:?}");
    }
    assert!(weir.download("cdn.test", "/a.iso", &[], &content).await.is_all_of(&content));
    assert_eq!(origin.sent("/a.iso"), content.len());
}

#[tokio::test]
async fn a_retry_resumes_at_the_missing_byte_under_the_same_validator() {
    let content = Content::new("a", 4_000_000);
    let origin = Origin::start().await;
    let good = Resource::new(&content).with("ETag", "\"one\"");
    let cut = content.clone();
    origin.answer("/a", move |ask| {
        let answer = good.answer(ask);
        match ask.earlier {
            0 => answer.only([Step::Body(cut.clone(), 0, 1_000_000), Step::Reset]),
            _ => answer,
        }
    });
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    assert!(weir.download("cdn.test", "/a", &[], &content).await.is_all_of(&content));
    let resumed = &origin.asks("/a")[1];
    assert!(resumed.field("range").is_some(), "{resumed:?}");
    let under = resumed.field("if-range").or(resumed.field("if-match"));
    assert_eq!(under, Some("\"one\""), "{resumed:?}");
    // A reset may take with it what lay in the buffers, no more.
    assert!(origin.sent("/a") <= content.len() + 1_000_000);
}
