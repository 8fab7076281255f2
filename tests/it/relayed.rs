//! Conditions of clients against responses that are not stored (RFC 9110 §13): weir asks without them, so it has to answer them.

use crate::support::{Answer, Content, Origin, Resource, proxy};

const TAG: &str = "ETag: \"new\"";
const WEAK: &str = "ETag: W/\"new\"";
const DATED: &str = "Last-Modified: Tue, 13 Jan 2026 10:00:00 GMT";
/// Of a resource that is made anew for each request.
const MADE: &str = "X-Made: now";
const PART: (&str, &str) = ("Range", "bytes=5-9");
const BEFORE: &str = "Mon, 12 Jan 2026 10:00:00 GMT";
const LATER: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

/// Method, what the origin says of its content, what the client says, and the status it gets.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], u16);

const ROWS: &[Row] = &[
    ("GET", TAG, &[PART, ("If-Match", "\"old\"")], 412),
    ("GET", TAG, &[PART, ("If-Match", "\"new\"")], 206),
    ("GET", TAG, &[PART, ("If-Match", "*")], 206),
    ("GET", TAG, &[PART, ("If-None-Match", "\"new\"")], 304),
    ("GET", TAG, &[PART, ("If-None-Match", "\"old\"")], 206),
    ("GET", TAG, &[PART, ("If-Range", "\"old\"")], 200),
    ("GET", WEAK, &[PART, ("If-Match", "\"new\"")], 412),
    ("GET", WEAK, &[PART, ("If-None-Match", "\"new\"")], 304),
    ("GET", DATED, &[PART, ("If-Unmodified-Since", BEFORE)], 412),
    ("GET", DATED, &[PART, ("If-Unmodified-Since", LATER)], 206),
    ("GET", DATED, &[("If-Modified-Since", LATER)], 304),
    ("GET", DATED, &[("If-Modified-Since", BEFORE)], 200),
    ("GET", MADE, &[("If-Modified-Since", LATER)], 200),
    ("GET", TAG, &[("If-Match", "\"old\"")], 412),
    ("HEAD", TAG, &[("If-Match", "\"old\"")], 412),
    ("HEAD", TAG, &[("If-None-Match", "\"new\"")], 304),
    ("HEAD", TAG, &[("If-None-Match", "\"old\"")], 200),
    ("HEAD", MADE, &[("If-Modified-Since", LATER)], 200),
];

#[tokio::test]
async fn conditions_count_for_parts_heads_and_whole_contents_that_are_not_stored() {
    let content = Content::new("new", 100);
    let origin = Origin::start().await;
    let weir = proxy().reverse(&origin).start().await;
    let mut wrong = Vec::new();
    for (index, (method, says, asks, status)) in ROWS.iter().enumerate() {
        let path = format!("/{index}");
        let (name, value) = says.split_once(": ").unwrap();
        let resource = Resource::new(&content).without("ETag").without("Last-Modified").with("Cache-Control", "no-store");
        origin.serve(&path, resource.with(name, value));
        let mut client = weir.client().await;
        client.ask(method, &path, &[&[("Host", "x.branch")], *asks].concat()).await;
        let reply = client.reply(method).await;
        let is_right = match reply.status {
            206 => reply.is_whole(&content.bytes(5, 10)),
            200 if *method == "GET" => reply.is_whole(&content.all()),
            _ => reply.body.is_empty() && reply.field("content-range").is_none(),
        };
        if reply.status != *status || !is_right {
            wrong.push(format!("{method} {says} {asks:?}: wanted {status}, got {:?}", reply.head));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn conditions_say_nothing_of_an_error() {
    let origin = Origin::start().await;
    origin.answer("/x", |_| Answer::text("404 Not Found", "gone").with("Cache-Control", "no-store"));
    let weir = proxy().reverse(&origin).start().await;
    let mut client = weir.client().await;
    assert_eq!(client.get("/x", &[("Host", "x.branch"), ("If-Match", "\"a\"")]).await.status, 404);
}
