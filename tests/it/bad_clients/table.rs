//! The requests, each with its answer.

use std::net::SocketAddr;

use super::{
    Got::{self, Closed, Status},
    Row,
};

fn row(name: &'static str, bytes: impl Into<Vec<u8>>, gets: Got) -> Row {
    Row { name, bytes: bytes.into(), gets }
}

/// A GET of `target` with the Host of an allowed origin.
fn target(name: &'static str, target: &str, gets: Got) -> Row {
    row(name, format!("GET {target} HTTP/1.1\r\nHost: cdn.test\r\n\r\n"), gets)
}

/// A proxy request, with the Host that belongs to it.
fn absolute(name: &'static str, authority: &str, gets: Got) -> Row {
    row(name, format!("GET http://{authority}/a HTTP/1.1\r\nHost: {authority}\r\n\r\n"), gets)
}

/// A GET of a good target with more field lines.
fn fields(name: &'static str, lines: &str, gets: Got) -> Row {
    row(name, format!("GET /a HTTP/1.1\r\nHost: cdn.test\r\n{lines}\r\n\r\n"), gets)
}

/// A Delivery Optimization request with this `cacheHostOrigin` query.
fn delivery(name: &'static str, query: &str, gets: Got) -> Row {
    row(name, format!("GET /a?{query} HTTP/1.1\r\nHost: weir.branch\r\n\r\n"), gets)
}

fn connect(name: &'static str, authority: &str, gets: Got) -> Row {
    row(name, format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"), gets)
}

const BAD: Got = Status(400);
const REFUSED: Got = Status(403);
/// Goes to the origin byte for byte, which knows no such path.
const PASSED_ON: Got = Status(404);

pub(super) fn rows(doors: SocketAddr, admin: SocketAddr, private: SocketAddr) -> Vec<Row> {
    let mut rows = paths();
    rows.extend(hosts(private));
    rows.extend(cache_host_origins(private));
    rows.extend(tunnels(doors, admin, private));
    rows.extend(heads());
    rows.extend(bodies());
    rows.extend(ranges());
    rows.extend(methods());
    rows
}

fn paths() -> Vec<Row> {
    vec![
        target("traversal", "/../etc/passwd", BAD),
        target("traversal in the middle", "/x/../../etc/passwd", BAD),
        target("a dot segment", "/./a", BAD),
        target("encoded dots", "/%2e%2e/etc/passwd", BAD),
        target("half encoded dots", "/.%2E/etc/passwd", BAD),
        target("an encoded slash", "/x%2f..%2fetc", BAD),
        // Names of packages have them.
        target("an encoded slash in a name", "/x%2Fy", PASSED_ON),
        target("a backslash", "/x\\..\\y", BAD),
        target("an encoded backslash", "/x%5c..%5cy", BAD),
        target("an encoded NUL", "/a%00.cab", BAD),
        target("an encoded line end", "/a%0d%0aX:%20y", BAD),
        target("a broken escape", "/a%zz", PASSED_ON),
        row("a raw NUL", b"GET /a\0b HTTP/1.1\r\nHost: cdn.test\r\n\r\n".to_vec(), BAD),
        target("a target of 100,000 bytes", &format!("/{}", "x".repeat(100_000)), Status(414)),
        target("a target that is no path", "a", BAD),
        target("an asterisk with GET", "*", BAD),
        target("a file URL", "file:///etc/passwd", BAD),
        target("a gopher URL", "gopher://cdn.test/a", BAD),
    ]
}

fn hosts(private: SocketAddr) -> Vec<Row> {
    let get = |host: &str| format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n");
    vec![
        row("no Host", "GET /a HTTP/1.1\r\n\r\n", BAD),
        row("an empty Host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", BAD),
        row("two Hosts", "GET /a HTTP/1.1\r\nHost: cdn.test\r\nHost: evil.example\r\n\r\n", BAD),
        row("two equal Hosts", "GET /a HTTP/1.1\r\nHost: cdn.test\r\nHost: cdn.test\r\n\r\n", BAD),
        row("a Host with userinfo", get("user@cdn.test"), BAD),
        row("a Host with a path", get("cdn.test/x"), BAD),
        row("a Host with a space", get("cdn.test evil"), BAD),
        row("a Host with a port that is none", get("cdn.test:99999"), BAD),
        row("a Host on another port", get("cdn.test:22"), REFUSED),
        row("loopback as Host", get("127.0.0.1"), Status(404)),
        row("a private origin as Host", get(&private.to_string()), Status(404)),
        row("the metadata address as Host", get("169.254.169.254"), REFUSED),
        row("IPv6 loopback as Host", get("[::1]"), REFUSED),
        absolute("an absolute target to a private origin", &private.to_string(), REFUSED),
        absolute("loopback in decimal", "2130706433", BAD),
        absolute("loopback in hex", "0x7f000001", BAD),
        absolute("loopback in octal", "0177.0.0.1", BAD),
        absolute("IPv4 in IPv6", "[::ffff:127.0.0.1]", REFUSED),
        target("userinfo in the target", "http://cdn.test@evil.example/a", BAD),
        target("no host in the target", "http:///a", BAD),
        // RFC 9112 §3.2.2 lets the target win; who sends both means to be read in two ways.
        row("target and Host contradict", "GET http://cdn.test/a HTTP/1.1\r\nHost: evil.example\r\n\r\n", BAD),
        row("an allowed Host under a target that is not", "GET http://evil.example/a HTTP/1.1\r\nHost: cdn.test\r\n\r\n", BAD),
        row("the suffix of an allowed host", get("evilcdn.test"), REFUSED),
        row("an allowed host as a prefix", get("cdn.test.evil.example"), REFUSED),
    ]
}

fn cache_host_origins(private: SocketAddr) -> Vec<Row> {
    vec![
        delivery("a private cacheHostOrigin", &format!("cacheHostOrigin={private}"), BAD),
        delivery("a metadata cacheHostOrigin", "cacheHostOrigin=169.254.169.254", REFUSED),
        delivery("an IPv6 cacheHostOrigin", "cacheHostOrigin=%5B::1%5D", REFUSED),
        delivery("userinfo in cacheHostOrigin", "cacheHostOrigin=cdn.test%40evil.example", BAD),
        delivery("a path in cacheHostOrigin", "cacheHostOrigin=cdn.test%2f..%2fx", BAD),
        delivery("a fragment in cacheHostOrigin", "cacheHostOrigin=evil.example%23cdn.test", BAD),
        delivery("a line end in cacheHostOrigin", "cacheHostOrigin=cdn.test%0d%0aX:y", BAD),
        delivery("a NUL in cacheHostOrigin", "cacheHostOrigin=cdn.test%00.evil.example", BAD),
        delivery("a port in cacheHostOrigin", "cacheHostOrigin=cdn.test:22", BAD),
        delivery("an empty cacheHostOrigin", "cacheHostOrigin=", BAD),
        delivery(
            "an unknown cacheHostOrigin after a known one",
            "cacheHostOrigin=cdn.test&cacheHostOrigin=evil.example",
            REFUSED,
        ),
        delivery("a cacheHostOrigin of services", "cacheHostOrigin=sls.update.microsoft.com", REFUSED),
    ]
}

fn tunnels(doors: SocketAddr, admin: SocketAddr, private: SocketAddr) -> Vec<Row> {
    vec![
        connect("CONNECT to weir itself", &doors.to_string(), REFUSED),
        connect("CONNECT to the administration", &admin.to_string(), REFUSED),
        connect("CONNECT to the administration by name", &format!("localhost:{}", admin.port()), REFUSED),
        connect("CONNECT to mail", "cdn.test:25", REFUSED),
        connect("CONNECT to a private address", &private.to_string(), REFUSED),
        connect("CONNECT to nobody's host", "evil.example:443", REFUSED),
        connect("CONNECT without a port", "cdn.test", BAD),
        connect("CONNECT to a path", "/a", BAD),
        row("CONNECT with an absolute target", "CONNECT http://cdn.test/a HTTP/1.1\r\nHost: cdn.test\r\n\r\n", BAD),
    ]
}

fn heads() -> Vec<Row> {
    const TOO_LARGE: Got = Status(431);
    vec![
        row("garbage", "\u{1}\u{2}\u{3}\r\n\r\n", BAD),
        row("TLS on a plain port", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n".to_vec(), BAD),
        row("HTTP/0.9", "GET /a\r\n\r\n", BAD),
        row("HTTP/3.0", "GET /a HTTP/3.0\r\nHost: cdn.test\r\n\r\n", Status(505)),
        row("HTTP/1.0", "GET /a HTTP/1.0\r\nHost: cdn.test\r\n\r\n", Status(200)),
        row("two spaces in the request line", "GET  /a HTTP/1.1\r\nHost: cdn.test\r\n\r\n", BAD),
        row("the preface of HTTP/2 and then nothing of it", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n", Closed),
        fields("one field of 1 MiB", &format!("X-Long: {}", "x".repeat(1 << 20)), TOO_LARGE),
        fields("ten thousand fields", &"X: y\r\n".repeat(10_000), TOO_LARGE),
        fields("a folded line", "X: a\r\n b", BAD),
        fields("a field name with a space", "X y: z", BAD),
        fields("a space before the colon", "X-Y : z", BAD),
        fields("a line without a colon", "nonsense", BAD),
        fields("an empty name", ": z", BAD),
        row("a NUL in a field", b"GET /a HTTP/1.1\r\nHost: cdn.test\r\nX: a\0b\r\n\r\n".to_vec(), BAD),
        row("bare CR in a field", "GET /a HTTP/1.1\r\nHost: cdn.test\r\nX: a\rb\r\n\r\n", BAD),
        // RFC 9112 §2.2 lets a recipient take a bare LF as a line end, and others do not: read in two ways.
        row("bare LFs", "GET /a HTTP/1.1\nHost: cdn.test\n\n", BAD),
        fields("loops: CDN-Loop of many", &format!("CDN-Loop: {}", vec!["other"; 50].join(", ")), Status(200)),
        fields("an Upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x", Status(200)),
        fields(
            "an h2c upgrade",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
            Status(200),
        ),
        fields("Connection that names Host", "Connection: close, Host", Status(200)),
    ]
}

fn bodies() -> Vec<Row> {
    let post = |lines: &str| format!("POST /a HTTP/1.1\r\nHost: cdn.test\r\n{lines}");
    vec![
        row("both lengths", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), BAD),
        row("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), BAD),
        row("a list of lengths", post("Content-Length: 5, 6\r\n\r\nhello"), BAD),
        row("a negative length", post("Content-Length: -1\r\n\r\n"), BAD),
        row("a signed length", post("Content-Length: +5\r\n\r\nhello"), BAD),
        row("a length beyond 64 bits", post("Content-Length: 99999999999999999999999\r\n\r\n"), BAD),
        row("a bad chunk size", post("Transfer-Encoding: chunked\r\n\r\nzz\r\n"), BAD),
        row("a chunk size beyond 64 bits", post("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"), BAD),
        row("chunked, but not last", post("Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), BAD),
        row("an unknown transfer coding", post("Transfer-Encoding: sorcery\r\n\r\n"), BAD),
        row("chunked in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: cdn.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
        fields("GET with an empty body", "Content-Length: 0", Status(200)),
        row("GET with a body", "GET /a HTTP/1.1\r\nHost: cdn.test\r\nContent-Length: 5\r\n\r\nhello", Status(200)),
        row("an expectation nobody meets", post("Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n"), Status(200)),
    ]
}

fn ranges() -> Vec<Row> {
    let many: Vec<_> = (0..100).map(|n| format!("{}-{}", n * 10, n * 10 + 1)).collect();
    vec![
        fields("a range beyond 64 bits", "Range: bytes=99999999999999999999-", Status(416)),
        fields("a range to beyond 64 bits", "Range: bytes=0-99999999999999999999", Status(206)),
        fields("a negative range", "Range: bytes=-5-9", Status(200)),
        fields("a backward range", "Range: bytes=9-5", Status(200)),
        fields("a suffix of nothing", "Range: bytes=-0", Status(416)),
        fields("no range at all", "Range: bytes=", Status(200)),
        fields("another unit", "Range: lines=1-2", Status(200)),
        fields("ranges that overlap", "Range: bytes=0-100,50-150,0-200", Status(206)),
        fields("a hundred ranges", &format!("Range: bytes={}", many.join(",")), Status(200)),
    ]
}

fn methods() -> Vec<Row> {
    let method = |name: &str| format!("{name} /a HTTP/1.1\r\nHost: cdn.test\r\nContent-Length: 0\r\n\r\n");
    vec![
        row("TRACE", method("TRACE"), Status(405)),
        // Methods that weir does not know are the origin's business; here it answers them like any other.
        row("PURGE through a door", method("PURGE"), Status(200)),
        row("a method in lower case", method("get"), Status(200)),
        row("a method that is no token", method("G(E)T"), BAD),
        row("a method of 10,000 letters", method(&"G".repeat(10_000)), Status(501)),
        // RFC 9110 §9.3.7: it asks the server, which is weir.
        row("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: cdn.test\r\n\r\n", Status(200)),
    ]
}
