//! Frames that break a rule, and requests that are none.

use super::frames::*;

/// What a client sends after its SETTINGS, and the name of the rule it breaks.
pub(super) struct Violation {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
}

fn violation(name: &'static str, bytes: Vec<u8>) -> Violation {
    Violation { name, bytes }
}

/// A block as one HEADERS frame that is a whole request.
pub(super) fn request(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, block)
}

/// Each ends the connection (RFC 9113 §5.4.1).
pub(super) fn violations() -> Vec<Violation> {
    let open = frame(HEADERS, END_HEADERS, 1, &get("/a"));
    let maximal = 0x7fff_ffff_u32.to_be_bytes();
    vec![
        violation("DATA on stream 0", frame(DATA, 0, 0, b"x")),
        violation("HEADERS on stream 0", request(0, &get("/a"))),
        violation("a stream that is the server's", request(2, &get("/a"))),
        violation("DATA on a stream nobody opened", frame(DATA, END_STREAM, 1, b"x")),
        violation("RST_STREAM of a stream nobody opened", frame(RST_STREAM, 0, 1, &[0; 4])),
        violation("RST_STREAM that is too short", [open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])].concat()),
        violation("a promise from a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        violation("a frame longer than allowed", frame(DATA, 0, 1, &[0; 20_000])),
        violation("a HEADERS longer than allowed", frame(HEADERS, END_HEADERS, 1, &[0; 20_000])),
        violation("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        violation("SETTINGS of half an entry", frame(SETTINGS, 0, 0, &[0; 5])),
        violation("an acknowledgement with content", frame(SETTINGS, 1, 0, &setting(1, 1))),
        violation("ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, &setting(2, 2))),
        violation("a window beyond all bounds", frame(SETTINGS, 0, 0, &setting(4, 0x8000_0000))),
        violation("a frame size below the least", frame(SETTINGS, 0, 0, &setting(5, 100))),
        violation("a PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        violation("a PING on a stream", frame(PING, 0, 1, &[0; 8])),
        violation("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        violation("a connection window that overflows", frame(WINDOW_UPDATE, 0, 0, &maximal).repeat(2)),
        violation("a WINDOW_UPDATE that is too short", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        violation("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &get("/a"))),
        violation("another frame inside a header block", [frame(HEADERS, 0, 1, &get("/a")), frame(PING, 0, 0, &[0; 8])].concat()),
        violation(
            "a block that goes on on another stream",
            [frame(HEADERS, 0, 1, &get("/a")), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
        ),
        violation("more padding than content", frame(DATA, 8, 1, &[200, 0, 0])),
        violation("an entry that no table has", request(1, &[0x80 | 127, 0xff, 0x7f])),
        violation("the entry number zero", request(1, &[0x80])),
        violation("a number without end", request(1, &[0xff; 40])),
        violation("a string that ends too early", request(1, &[0, 10, b'x'])),
        violation("Huffman code that is none", request(1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 0])),
        violation("a table larger than allowed", request(1, &[0x3f, 0xe1, 0xff, 0x7f])),
    ]
}

/// A header block that no request may have, and what is wrong with it.
pub(super) struct Impossible {
    pub(super) name: &'static str,
    pub(super) block: Vec<u8>,
}

fn impossible(name: &'static str, fields: &[(&str, &str)]) -> Impossible {
    Impossible { name, block: literals(fields) }
}

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "cdn.test");
const PATH: (&str, &str) = (":path", "/a");

/// A good request with `more` after it.
fn with(name: &'static str, more: (&str, &str)) -> Impossible {
    impossible(name, &[METHOD, SCHEME, AUTHORITY, PATH, more])
}

fn path(name: &'static str, path: &str) -> Impossible {
    impossible(name, &[METHOD, SCHEME, AUTHORITY, (":path", path)])
}

/// None may reach an origin (RFC 9113 §8.2, §8.3, §10.3). Written out for HTTP/1.1 some would be two requests.
pub(super) fn impossibles() -> Vec<Impossible> {
    vec![
        path("a path with a line end", "/a HTTP/1.1\r\nHost: cdn.test\r\n\r\nGET /smuggled"),
        path("a path with a blank", "/a b"),
        path("a path with a NUL", "/a\0b"),
        path("a path without a slash", "a"),
        path("a path that is a URL of another host", "http://evil.test/a"),
        path("a path that is an at sign and a host", "@evil.test/a"),
        path("no path in it", ""),
        impossible("no path", &[METHOD, SCHEME, AUTHORITY]),
        impossible("no method", &[SCHEME, AUTHORITY, PATH]),
        impossible("no scheme", &[METHOD, AUTHORITY, PATH]),
        impossible("neither authority nor Host", &[METHOD, SCHEME, PATH]),
        impossible("a method with a line end", &[(":method", "GET /x HTTP/1.1\r\nX: y\r\n\r\nPOST"), SCHEME, AUTHORITY, PATH]),
        impossible("a method with a blank", &[(":method", "GE T"), SCHEME, AUTHORITY, PATH]),
        impossible("an empty method", &[(":method", ""), SCHEME, AUTHORITY, PATH]),
        impossible("a scheme with a line end", &[METHOD, (":scheme", "http\r\nx: y"), AUTHORITY, PATH]),
        impossible("an authority with a line end", &[METHOD, SCHEME, (":authority", "cdn.test\r\nX: y"), PATH]),
        impossible("an authority with a path", &[METHOD, SCHEME, (":authority", "cdn.test/x"), PATH]),
        impossible("an authority with a user", &[METHOD, SCHEME, (":authority", "me:pw@cdn.test"), PATH]),
        impossible("an authority with a blank", &[METHOD, SCHEME, (":authority", "cdn.test evil.test"), PATH]),
        impossible("the method twice", &[METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
        impossible("the path twice", &[METHOD, SCHEME, AUTHORITY, PATH, (":path", "/b")]),
        impossible("a pseudo-field nobody knows", &[METHOD, SCHEME, AUTHORITY, PATH, (":evil", "1")]),
        impossible("a response's pseudo-field", &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")]),
        impossible("a pseudo-field after the others", &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH]),
        with("a Host that says otherwise", ("host", "evil.test")),
        with("a value with a line end", ("x", "a\r\nTransfer-Encoding: chunked")),
        with("a value with a bare line feed", ("x", "a\nb")),
        with("a value with a NUL", ("x", "a\0b")),
        with("a name in upper case", ("X-Upper", "1")),
        with("a name with a line end", ("x: y\r\nz", "1")),
        with("a name with a blank", ("x y", "1")),
        with("a name with a colon", ("x:", "1")),
        with("an empty name", ("", "1")),
        with("Connection", ("connection", "keep-alive")),
        with("Transfer-Encoding", ("transfer-encoding", "chunked")),
        with("Upgrade", ("upgrade", "h2c")),
        with("Keep-Alive", ("keep-alive", "timeout=5")),
        with("Proxy-Connection", ("proxy-connection", "close")),
        with("TE that is not trailers", ("te", "gzip")),
        with("a length that is no number", ("content-length", "+1")),
        with("a length and no content", ("content-length", "5")),
        with("a blank before a value", ("x", " a")),
        with("a blank after a value", ("x", "a ")),
        with("a tab before a value", ("x", "\ta")),
        impossible("a length twice", &[METHOD, SCHEME, AUTHORITY, PATH, ("content-length", "0"), ("content-length", "0")]),
        impossible("two lengths", &[METHOD, SCHEME, AUTHORITY, PATH, ("content-length", "0"), ("content-length", "5")]),
    ]
}
