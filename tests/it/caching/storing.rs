//! What is stored, and what the directives of a request make of it (RFC 9111 §3, §5.2).

use super::{Row, get, hits, method, passes, play, row, stores};
use crate::support::{Answer, Ask, Origin, proxy};

#[tokio::test]
async fn what_may_be_stored_answers_and_what_may_not_is_asked_for_again() {
    play(rows()).await;
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let again = || get("").origin(200, "Cache-Control: no-store", "two").gets("two");
    vec![
        row("a 404 with a lifetime is stored",
            [get("").origin(404, "Cache-Control: max-age=60", "none").gets("none").says("stored"), get("").status(404).gets("none").says("hit")]),
        row("a 500 with a lifetime is stored",
            [get("").origin(500, "Cache-Control: max-age=60", "sorry").says("stored"), get("").status(500).gets("sorry").says("hit")]),
        row("a 404 without any is not",
            [get("").origin(404, "", "none").says("!stored"), again()]),
        row("must-understand stores what we understand in spite of no-store",
            [stores("Cache-Control: must-understand, no-store, max-age=60"), hits()]),
        row("must-understand does not store what we do not",
            [get("").origin(299, "Cache-Control: must-understand, max-age=60", "one").gets("one").says("!stored"), again()]),
        row("a field named by no-cache is not sent again without validation",
            [stores("Cache-Control: max-age=60, no-cache=\"x-a\" | X-A: 1 | X-B: 2"), hits().has("!x-a | x-b: 2")]),
        row("and comes back with it",
            [stores("Cache-Control: max-age=5, no-cache=\"x-a\" | X-A: 1 | ETag: \"a\" | Age: 30"),
             get("").origin(304, "ETag: \"a\" | Cache-Control: max-age=60, no-cache=\"x-a\" | X-A: 2", "").status(200).has("x-a: 2"),
             hits().has("!x-a")]),
        row("a field named by private goes to who asked and is not stored",
            [stores("Cache-Control: max-age=60, private=\"set-cookie\" | Set-Cookie: a=b | Set-Cookie: c=d").has("set-cookie: a=b, c=d"), hits().has("!set-cookie")]),
        row("an origin that takes no ranges is not contradicted",
            [stores("Cache-Control: max-age=60 | Accept-Ranges: none").has("accept-ranges: none"), hits().has("accept-ranges: none")]),
        row("only-if-cached gets what is stored",
            [stores("Cache-Control: max-age=60"), get("Cache-Control: only-if-cached").gets("one").says("hit")]),
        row("only-if-cached gets 504 where nothing is",
            [get("Cache-Control: only-if-cached").status(504).says("detail=only-if-cached")]),
        row("only-if-cached gets 504 where what is stored is stale",
            [stores("Cache-Control: max-age=5 | Age: 30 | ETag: \"a\""), get("Cache-Control: only-if-cached").status(504)]),
        row("only-if-cached gets 504 where a part is missing",
            [get("Range: bytes=0-1").origin(206, "Cache-Control: max-age=60 | ETag: \"a\" | Content-Range: bytes 0-1/3", "on").gets("on").says("stored"),
             get("Range: bytes=0-0 | Cache-Control: only-if-cached").status(206).gets("o").says("hit"),
             get("Range: bytes=1-2 | Cache-Control: only-if-cached").status(504),
             get("Cache-Control: only-if-cached").status(504)]),
        row("a request with no-store leaves nothing behind",
            [get("Cache-Control: no-store").origin(200, "Cache-Control: max-age=60", "one").gets("one").says("!stored"), stores("Cache-Control: max-age=60")]),
        row("max-age of a request limits the age",
            [stores("Cache-Control: max-age=600 | Age: 30 | ETag: \"a\""),
             get("Cache-Control: max-age=60").gets("one").says("hit"),
             get("Cache-Control: max-age=10").origin(304, "ETag: \"a\"", "").status(200).gets("one").says("fwd=request; fwd-status=304")]),
        row("min-fresh of a request demands lasting freshness",
            [stores("Cache-Control: max-age=600 | Age: 30 | ETag: \"a\""),
             get("Cache-Control: min-fresh=60").gets("one").says("hit"),
             get("Cache-Control: min-fresh=590").origin(304, "ETag: \"a\"", "").status(200).gets("one").says("fwd=request")]),
        row("what needs credentials is stored only if it says so",
            [get("Authorization: x").origin(200, "Cache-Control: max-age=60", "one").gets("one").says("!stored"),
             get("Authorization: x").origin(200, "Cache-Control: max-age=60, public", "one").gets("one").says("stored"), hits()]),
        row("the most recent of several variants is chosen, each by its own field",
            [get("X-L: a").origin(200, "Cache-Control: max-age=60 | Vary: X-L", "A").gets("A").says("fwd=uri-miss"),
             get("X-L: b").origin(200, "Cache-Control: max-age=60 | Vary: X-L", "B").gets("B").says("fwd=vary-miss"),
             get("X-L: a").gets("A").says("hit"), get("X-L: b").gets("B").says("hit"),
             get("").origin(200, "Cache-Control: max-age=60 | Vary: X-L", "none").gets("none").says("fwd=vary-miss")]),
        row("a field that Connection keeps back selects no variant",
            [get("Accept-Language: de | Connection: Accept-Language").origin(200, "Cache-Control: max-age=60 | Vary: Accept-Language", "EN").gets("EN").sent("!accept-language"),
             get("Accept-Language: de").origin(200, "Cache-Control: max-age=60 | Vary: Accept-Language", "DE").gets("DE").says("fwd=vary-miss"),
             get("").gets("EN").says("hit"), get("Accept-Language: de").gets("DE").says("hit"),
             get("Accept-Language: de | Connection: Accept-Language").gets("EN").says("hit")]),
        row("the missing bytes of a variant are asked for with the fields that selected it",
            [get("Range: bytes=0-0 | Accept-Language: de | X-L: 1, 2")
                 .origin(206, "Cache-Control: max-age=60 | ETag: \"a\" | Vary: Accept-Language, X-L | Content-Language: de | Content-Range: bytes 0-0/3", "o").says("stored"),
             // Of fields that say the same it may be the words of either request: the first one's are remembered while its content is open.
             get("Range: bytes=1-1 | Accept-Language: de, en;q=0.5 | X-L: 1, 2")
                 .origin(206, "ETag: \"a\" | Content-Range: bytes 1-1/3", "n").gets("n").says("fwd=partial")
                 .sent("accept-language: de | x-l: 1, 2 | range: bytes=1-1 | if-range: \"a\"")]),
        row("a response to POST that is what a GET would get answers GETs",
            [method("POST", "").origin(200, "Cache-Control: max-age=60 | Content-Location: {path}", "one").gets("one").says("fwd=method; stored"),
             hits()]),
        row("a response to POST without its own address does not",
            [method("POST", "").origin(200, "Cache-Control: max-age=60", "one").gets("one").says("fwd=method; !stored"), stores("Cache-Control: max-age=60")]),
        row("a POST makes what is stored unusable",
            [stores("Cache-Control: max-age=60 | ETag: \"a\""), method("POST", "").origin(200, "", "done"),
             get("").origin(200, "Cache-Control: max-age=60 | ETag: \"b\"", "two").gets("two").sent("if-none-match: \"a\"").says("fwd=stale; stored"),
             get("").gets("two").says("hit")]),
        row("a POST that fails does not",
            [stores("Cache-Control: max-age=60"), method("POST", "").origin(409, "", "no"), hits()]),
        row("the length of a close-delimited response is its own end",
            [get("").origin(200, "Connection: close | Content-Length: 3 | Cache-Control: max-age=60", "one").gets("one").says("stored"), hits()]),
        row("an upstream cache's own words stay before ours",
            [stores("Cache-Control: max-age=60 | Cache-Status: far; hit"), hits()]),
        row("a date in the future makes nothing fresher",
            [stores("Expires: @100 | Date: @90 | Age: 50"), again().says("fwd=stale")]),
        row("what is forwarded names its key, a hit does not",
            [passes("Cache-Control: no-store").says("key"), stores("Cache-Control: max-age=60").says("key; ttl"), hits().says("!key; ttl")]),
    ]
}

#[tokio::test]
async fn no_error_is_stored_at_the_doors_that_fetch_content_for_everybody() {
    let origin = Origin::start().await;
    for (path, status) in [("/gone", "404 Gone"), ("/broken", "503 Broken")] {
        origin.answer(path, move |_| Answer::text(status, "sorry").with("Cache-Control", "max-age=600"));
    }
    origin.answer("/cookie", |_| Answer::text("200 OK", "yours").with("Cache-Control", "max-age=600").with("Set-Cookie", "a=b"));
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    for path in ["/gone", "/broken", "/cookie"] {
        for (door, target) in [("transparent", path.to_owned()), ("delivery", format!("{path}?cacheHostOrigin=cdn.test"))] {
            let asked = origin.requests(path);
            for turn in [1, 2] {
                let reply = weir.get("cdn.test", &target).await;
                assert!(
                    !reply.is_hit() && !reply.field("cache-status").unwrap().contains("stored"),
                    "{door} {turn}: {:?}",
                    reply.head
                );
            }
            assert_eq!(origin.requests(path) - asked, 2, "{door} {path}");
        }
    }
}

#[tokio::test]
async fn what_does_not_reach_the_origin_does_not_split_variants() {
    let origin = Origin::start().await;
    let vary =
        |_: &Ask| Answer::text("200 OK", "one").with("Cache-Control", "max-age=600").with("Vary", "Accept-Encoding, User-Agent");
    origin.answer("/a", vary);
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    assert!(!weir.get_with("cdn.test", "/a", &[("User-Agent", "one")]).await.is_hit());
    let other = [("User-Agent", "two"), ("Accept-Encoding", "gzip")];
    assert!(weir.get_with("cdn.test", "/a", &other).await.is_hit(), "nobody's fields went there, so the answer is everybody's");
    assert_eq!(origin.requests("/a"), 1);
}
