//! What a 304 and a HEAD change about what is stored (RFC 9111 §3.2, §4.3.4, §4.3.5).

use super::{Row, Turn, get, hits, method, play, row, stores};

#[tokio::test]
async fn a_304_and_a_head_update_what_they_confirm_and_nothing_else() {
    play(rows()).await;
}

/// A validation that the origin confirms under these fields.
fn confirmed(fields: &'static str) -> Turn {
    get("").origin(304, fields, "").status(200).gets("one").says("fwd=stale; fwd-status=304; !stored")
}

fn head(status: u16, fields: &'static str) -> Turn {
    method("HEAD", "").origin(status, fields, "").says("fwd=stale; !stored")
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    const STALE: &str = "Cache-Control: max-age=20 | ETag: \"a\" | Last-Modified: Tue, 13 Jan 2026 10:00:00 GMT | Age: 30 | X-A: 1 | X-B: 2";
    const NO_VALIDATOR: &str = "Cache-Control: max-age=20 | Age: 30 | X-A: 1";
    vec![
        row("a 304 asks with both validators and makes what it confirms fresh",
            [stores(STALE), confirmed("ETag: \"a\" | Cache-Control: max-age=60").sent("if-none-match: \"a\" | if-modified-since: Tue, 13 Jan 2026 10:00:00 GMT"), hits()]),
        row("without a lifetime in the 304 the stored one counts from now",
            [stores(STALE), confirmed("ETag: \"a\""), hits()]),
        row("a 304 with an age does not make it younger than that",
            [stores(STALE), confirmed("ETag: \"a\" | Age: 30"), confirmed("ETag: \"a\"")]),
        row("its fields replace those of the same name, the others stay",
            [stores(STALE), confirmed("ETag: \"a\" | X-A: 7 | X-C: 9").has("x-a: 7 | x-b: 2 | x-c: 9"), hits().has("x-a: 7 | x-b: 2 | x-c: 9")]),
        row("several lines replace one",
            [stores(STALE), confirmed("ETag: \"a\" | X-A: 7 | X-A: 8").has("x-a: 7, 8"), hits().has("x-a: 7, 8")]),
        row("what describes the stored bytes stays",
            [stores("Cache-Control: max-age=5 | ETag: \"a\" | Age: 30 | Content-Encoding: x-one | Content-MD5: one"),
             confirmed("ETag: \"a\" | Content-Encoding: x-two | Content-MD5: two | Content-Range: bytes 0-0/9 | Content-Length: 9"),
             hits().has("content-encoding: x-one | content-md5: one | content-length: 3 | !content-range")]),
        row("a content type is updated",
            [stores("Cache-Control: max-age=5 | ETag: \"a\" | Age: 30 | Content-Type: text/plain"), confirmed("ETag: \"a\" | Content-Type: text/html"),
             hits().has("content-type: text/html")]),
        row("another tag in a 304 does not rename the stored bytes",
            [stores(STALE), confirmed("ETag: \"b\"").has("etag: \"a\""), hits().has("etag: \"a\"")]),
        row("another modification date counts under the same strong tag",
            [stores(STALE), confirmed("ETag: \"a\" | Last-Modified: Tue, 13 Jan 2026 11:00:00 GMT").has("last-modified: Tue, 13 Jan 2026 11:00:00 GMT"), hits().has("last-modified: Tue, 13 Jan 2026 11:00:00 GMT")]),
        row("under a weak tag it does not",
            [stores("Cache-Control: max-age=5 | ETag: W/\"a\" | Last-Modified: Tue, 13 Jan 2026 10:00:00 GMT | Age: 30"),
             confirmed("ETag: W/\"a\" | Last-Modified: Tue, 13 Jan 2026 11:00:00 GMT").has("last-modified: Tue, 13 Jan 2026 10:00:00 GMT")]),
        row("fields of the connection are not taken over",
            [stores(STALE), confirmed("ETag: \"a\" | Connection: x-a, keep-alive | X-A: 7 | Keep-Alive: timeout=5"), hits().has("x-a: 1 | !keep-alive")]),
        row("what a 304 calls private is served to who asked and to nobody else",
            [stores(STALE), confirmed("ETag: \"a\" | Cache-Control: private, max-age=60"), confirmed("ETag: \"a\" | Cache-Control: max-age=60"), hits()]),
        row("a client's own condition is answered after the validation",
            [stores(STALE), get("If-None-Match: \"a\"").origin(304, "ETag: \"a\" | Cache-Control: max-age=60", "").gets("").says("fwd=stale; fwd-status=304"), hits()]),
        row("a range is cut from what a 304 confirmed",
            [stores(STALE), get("Range: bytes=1-2").origin(304, "ETag: \"a\" | Cache-Control: max-age=60", "").status(206).gets("ne").has("content-range: bytes 1-2/3"), hits()]),
        row("and its fields go to who asked and to nobody else",
            [stores(STALE), confirmed("ETag: \"a\" | Cache-Control: private | Set-Cookie: sid=alice | X-A: 7").has("set-cookie: sid=alice | x-a: 7"),
             confirmed("ETag: \"a\" | Cache-Control: max-age=60").has("!set-cookie | x-a: 1"), hits().has("!set-cookie | x-a: 1")]),
        row("so do those of one that says no-store",
            [stores(STALE), confirmed("ETag: \"a\" | Cache-Control: no-store | Set-Cookie: sid=alice").has("set-cookie: sid=alice"),
             confirmed("ETag: \"a\" | Cache-Control: max-age=60").has("!set-cookie"), hits().has("!set-cookie")]),
        row("so do those of one that was asked for with credentials, if it does not say that it may be shared",
            [stores(STALE),
             get("Authorization: alice").origin(304, "ETag: \"a\" | Cache-Control: max-age=60 | Set-Cookie: sid=alice", "").status(200).gets("one").has("set-cookie: sid=alice"),
             confirmed("ETag: \"a\" | Cache-Control: max-age=60").has("!set-cookie"), hits().has("!set-cookie")]),
        row("one that says it may is taken over",
            [stores(STALE), get("Authorization: alice").origin(304, "ETag: \"a\" | Cache-Control: max-age=60, public | X-A: 7", "").status(200).gets("one"), hits().has("x-a: 7")]),
        row("one to a request with no-store is not",
            [stores(STALE), get("Cache-Control: no-store").origin(304, "ETag: \"a\" | Cache-Control: max-age=60 | X-A: 7", "").status(200).gets("one").has("x-a: 7"),
             confirmed("ETag: \"a\" | Cache-Control: max-age=60").has("x-a: 1")]),
        row("a field that a 304 names private goes to who asked, the rest to everybody",
            [stores(STALE), confirmed("ETag: \"a\" | Cache-Control: max-age=60, private=\"set-cookie\" | Set-Cookie: sid=alice | X-A: 7").has("set-cookie: sid=alice | x-a: 7"),
             hits().has("!set-cookie | x-a: 7")]),
        row("a 304 without a date gives the response its own",
            [stores("Cache-Control: max-age=5 | ETag: \"a\" | Age: 30 | Date: @-1000"), confirmed("ETag: \"a\" | Cache-Control: max-age=60").has("!date: @-1000"), hits().has("date")]),
        row("a 304 to one variant freshens those with the same strong tag",
            [get("X-L: a").origin(200, "Cache-Control: max-age=5 | Vary: X-L | ETag: \"a\" | Age: 30", "one").gets("one"),
             get("X-L: b").origin(200, "Cache-Control: max-age=5 | Vary: X-L | ETag: \"a\" | Age: 30", "one").gets("one"),
             get("X-L: a").origin(304, "ETag: \"a\" | Cache-Control: max-age=60", "").status(200).gets("one"),
             get("X-L: b").gets("one").says("hit")]),
        row("and leaves those with another one stale",
            [get("X-L: a").origin(200, "Cache-Control: max-age=5 | Vary: X-L | ETag: \"a\" | Age: 30", "one").gets("one"),
             get("X-L: b").origin(200, "Cache-Control: max-age=5 | Vary: X-L | ETag: \"b\" | Age: 30", "two").gets("two"),
             get("X-L: a").origin(304, "ETag: \"a\" | Cache-Control: max-age=60", "").status(200).gets("one"),
             get("X-L: b").origin(304, "ETag: \"b\"", "").status(200).gets("two").sent("if-none-match: \"b\"")]),
        row("a HEAD is answered from what is fresh",
            [stores("Cache-Control: max-age=60 | X-A: 1"), method("HEAD", "").says("hit").has("x-a: 1 | content-length: 3")]),
        row("a HEAD where nothing is stored stores nothing",
            [method("HEAD", "").origin(200, "Cache-Control: max-age=60 | Content-Length: 3", "").says("fwd=uri-miss; !stored"), stores("Cache-Control: max-age=60")]),
        row("a HEAD that finds the same makes it fresh and updates its fields",
            [stores(STALE), head(200, "ETag: \"a\" | Content-Length: 3 | Cache-Control: max-age=60 | X-A: 7").sent("if-none-match: \"a\""), hits().has("x-a: 7 | x-b: 2")]),
        row("a HEAD confirmed by 304 does, too",
            [stores(STALE), head(304, "ETag: \"a\" | Cache-Control: max-age=60").status(200).says("fwd-status=304"), hits()]),
        row("a HEAD without any validator finds the same by its length",
            [stores(NO_VALIDATOR), head(200, "Content-Length: 3 | Cache-Control: max-age=60"), hits()]),
        row("a HEAD with another tag makes what is stored unusable, even for an origin that fails",
            [stores(STALE), head(200, "ETag: \"b\" | Cache-Control: max-age=60"), get("").hangs_up().status(502)]),
        row("so does one with another modification date",
            [stores(STALE), head(200, "ETag: \"a\" | Last-Modified: Tue, 13 Jan 2026 11:00:00 GMT"), get("").origin(200, "Cache-Control: max-age=60", "two").gets("two")]),
        row("so does one with another length",
            [stores(NO_VALIDATOR), head(200, "Content-Length: 4 | Cache-Control: max-age=60"), get("").hangs_up().status(502)]),
        row("a HEAD that is answered with an error changes nothing",
            [stores(STALE), head(410, "X-A: 7 | Cache-Control: max-age=60"), get("").hangs_up().gets("one").has("x-a: 1")]),
        row("a HEAD that became no-store leaves nothing to be used unasked",
            [stores(STALE), head(200, "ETag: \"a\" | Cache-Control: no-store, max-age=60"), confirmed("ETag: \"a\" | Cache-Control: max-age=60"), hits()]),
        row("a private HEAD is for who asked",
            [stores(STALE), head(200, "ETag: \"a\" | Content-Length: 3 | Cache-Control: private | Set-Cookie: sid=alice").has("set-cookie: sid=alice"),
             confirmed("ETag: \"a\" | Cache-Control: max-age=60").has("!set-cookie"), hits().has("!set-cookie")]),
        row("so is one with credentials",
            [stores(STALE),
             method("HEAD", "Authorization: alice").origin(200, "ETag: \"a\" | Content-Length: 3 | Cache-Control: max-age=60 | Set-Cookie: sid=alice", "").has("set-cookie: sid=alice"),
             confirmed("ETag: \"a\" | Cache-Control: max-age=60").has("!set-cookie"), hits().has("!set-cookie")]),
        row("a full answer to a validation replaces what was stored",
            [stores(STALE), get("").origin(200, "ETag: \"b\" | Cache-Control: max-age=60", "two").gets("two").says("fwd=stale; fwd-status=200; stored"),
             get("").gets("two").says("hit").has("!x-a")]),
        row("a full answer that may not be stored ends the stored one, even as a stale one",
            [stores(STALE), get("").origin(200, "ETag: \"b\" | Cache-Control: no-store", "two").gets("two").says("!stored"), get("").hangs_up().status(502)]),
    ]
}
