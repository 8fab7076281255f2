//! Tables of what is refused and what is not, and properties that hold for any bytes.

use http_body_util::Empty;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const BOUNDS: Bounds = Bounds { head_max: 8192, fields_max: 20 };

/// Checks `bytes` at once: how many pass, and what is malformed.
fn check(bytes: &[u8]) -> (usize, Option<Malformed>) {
    let Checked { passed, malformed } = Messages::new(BOUNDS).check(bytes);
    (passed, malformed)
}

/// A GET with these field lines more.
fn fields(lines: &str) -> Option<Malformed> {
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n");
    let (passed, malformed) = check(head.as_bytes());
    assert_eq!(passed == head.len(), malformed.is_none(), "{head}");
    malformed
}

/// A chunked POST with this body.
fn chunks(body: &str) -> Option<Malformed> {
    let whole = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    check(whole.as_bytes()).1
}

#[test]
fn a_request_line_is_three_words_of_their_kind() {
    use Malformed::*;
    let long = "x".repeat(9000);
    for (line, expected) in [
        ("GET / HTTP/1.1", None),
        ("GET /a?b={c|d} HTTP/1.0", None),
        ("OPTIONS * HTTP/1.1", None),
        ("M-SEARCH http://h:80/a HTTP/1.1", None),
        ("CONNECT h:443 HTTP/1.1", None),
        ("GET  / HTTP/1.1", Some(Target)),
        ("GET /  HTTP/1.1", Some(Target)),
        (" GET / HTTP/1.1", Some(RequestLine)),
        ("GET / HTTP/1.1 ", Some(RequestLine)),
        ("GET\t/\tHTTP/1.1", Some(RequestLine)),
        ("GET / x HTTP/1.1", Some(Target)),
        ("GET /", Some(RequestLine)),
        ("GET", Some(RequestLine)),
        ("G(T / HTTP/1.1", Some(RequestLine)),
        ("GET / http/1.1", Some(RequestLine)),
        ("GET / HTTP/1.10", Some(RequestLine)),
        ("GET / HTTP/1", Some(RequestLine)),
        ("GET / HTTP/1.2", Some(Version)),
        ("GET / HTTP/0.9", Some(Version)),
        ("GET / HTTP/2.0", Some(Version)),
        ("GET /a#b HTTP/1.1", Some(Target)),
        ("GET /ä HTTP/1.1", Some(Target)),
        ("GET /<a> HTTP/1.1", Some(Target)),
        ("GET /a\tb HTTP/1.1", Some(Target)),
        ("GET ?a HTTP/1.1", Some(Target)),
        ("GET http://h:99999/ HTTP/1.1", Some(Target)),
        ("GET http:// HTTP/1.1", Some(Target)),
        (&format!("{} / HTTP/1.1", "M".repeat(65)), Some(MethodLength)),
        (&format!("GET /{long} HTTP/1.1"), Some(TargetLength)),
        (&format!("GET /{long}"), Some(TargetLength)),
    ] {
        let head = format!("{line}\r\nHost: h\r\n\r\n");
        assert_eq!(check(head.as_bytes()).1, expected, "{line}");
    }
}

#[test]
fn a_field_line_is_a_name_a_colon_and_text() {
    use Malformed::*;
    for (lines, expected) in [
        ("X:", None),
        ("X-Y: \t z \t", None),
        ("X: ü\t,", None),
        ("X: a\r\n b", Some(Fold)),
        ("X: a\r\n\tb: c", Some(Fold)),
        ("X : a", Some(FieldName)),
        ("X\t: a", Some(FieldName)),
        ("X y: a", Some(FieldName)),
        ("X", Some(FieldName)),
        (": a", Some(FieldName)),
        ("X[]: a", Some(FieldName)),
        ("X: a\nY: b", Some(BareLf)),
        ("X: a\rY: b", Some(BareCr)),
        ("X: a\r\r\nY: b", Some(BareCr)),
        ("X: a\0b", Some(Control)),
        ("X: a\u{b}b", Some(Control)),
        ("X: a\x7fb", Some(Control)),
        (&"X: y\r\n".repeat(20), Some(FieldCount)),
        (&format!("X: {}", "y".repeat(9000)), Some(HeadLength)),
    ] {
        assert_eq!(fields(lines), expected, "{lines:?}");
    }
    assert_eq!(check(b"GET / HTTP/1.1\r\n Host: h\r\n\r\n").1, Some(Fold), "the first line folds, too");
}

#[test]
fn a_body_has_one_framing() {
    use Malformed::*;
    for (lines, expected) in [
        ("Content-Length: 0", None),
        ("content-LENGTH: 000", None),
        ("Content-Length: +5", Some(ContentLength)),
        ("Content-Length: -5", Some(ContentLength)),
        ("Content-Length: 0x5", Some(ContentLength)),
        ("Content-Length: 5 ,", Some(ContentLength)),
        ("Content-Length: 5, 5", Some(ContentLength)),
        ("Content-Length: 5\r\nContent-Length: 5", Some(ContentLength)),
        ("Content-Length: 5\r\nX: y\r\ncontent-length: 6", Some(ContentLength)),
        ("Content-Length:", Some(ContentLength)),
        ("Content-Length: 1 0", Some(ContentLength)),
        ("Content-Length: 5.0", Some(ContentLength)),
        ("Content-Length: 9999999999999999999", Some(ContentLength)),
        ("Transfer-Encoding: chunked", None),
        ("TRANSFER-ENCODING: \tChunked ", None),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Some(TransferCoding)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Some(TransferCoding)),
        ("Transfer-Encoding: chunked, chunked", Some(TransferCoding)),
        ("Transfer-Encoding: chunked, identity", Some(TransferCoding)),
        ("Transfer-Encoding: ,chunked", Some(TransferCoding)),
        ("Transfer-Encoding: xchunked", Some(TransferCoding)),
        ("Transfer-Encoding: chunkedx", Some(TransferCoding)),
        ("Transfer-Encoding: \"chunked\"", Some(TransferCoding)),
        ("Transfer-Encoding: chunked;q=1", Some(TransferCoding)),
        ("Transfer-Encoding: ", Some(TransferCoding)),
        ("Transfer-Encoding: identity", Some(TransferCoding)),
        ("Transfer-Encoding: gzip, chunked", Some(UnknownCoding)),
        ("Transfer-Encoding: sorcery, chunked", Some(UnknownCoding)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", Some(BothFramings)),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", Some(BothFramings)),
        ("Host: other", Some(HostCount)),
    ] {
        assert_eq!(fields(lines), expected, "{lines:?}");
    }
    assert_eq!(check(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").1, Some(TransferCoding));
    assert_eq!(check(b"GET / HTTP/1.1\r\n\r\n").1, Some(HostCount));
    assert_eq!(check(b"GET / HTTP/1.0\r\n\r\n").1, None);
    assert_eq!(check(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 1\r\n\r\n").1, Some(TunnelContent));
    assert_eq!(check(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n").1, Some(TunnelContent));
}

#[test]
fn chunks_are_exactly_what_they_say() {
    use Malformed::*;
    for (body, expected) in [
        ("0\r\n\r\n", None),
        ("5\r\nhello\r\n000\r\n\r\n", None),
        ("A;x;y=\"z\"\r\n0123456789\r\n0 ;z\r\n\r\n", None),
        ("0\r\nSum: 5\r\n\r\n", None),
        ("z\r\n", Some(ChunkSize)),
        ("z", Some(ChunkSize)),
        ("\r\n", Some(ChunkSize)),
        ("-1\r\n", Some(ChunkSize)),
        ("+5\r\n", Some(ChunkSize)),
        ("0x5\r\n", Some(ChunkSize)),
        (" 5\r\n", Some(ChunkSize)),
        ("5 \r\n", Some(ChunkSize)),
        ("5\n", Some(ChunkSize)),
        ("5\rx", Some(ChunkSize)),
        ("5;x\n", Some(ChunkSize)),
        ("5\0\r\n", Some(ChunkSize)),
        ("5 6\r\n", Some(ChunkSize)),
        ("fffffffffffffffff\r\n", Some(ChunkSize)),
        ("ffffffffffffffff\r\n", Some(ChunkSize)),
        ("00000000000000005\r\n", Some(ChunkSize)),
        ("5\r\nhello!\r\n", Some(ChunkEnd)),
        ("5\r\nhello\n0\r\n\r\n", Some(ChunkEnd)),
        ("5\r\nhello\rX", Some(ChunkEnd)),
        ("5\r\nhello0\r\n\r\n", Some(ChunkEnd)),
        (&format!("5;{}\r\n", "x".repeat(600)), Some(ChunkExtensions)),
        (&format!("5;{}", "x".repeat(600)), Some(ChunkExtensions)),
        (&format!("1;{}\r\na\r\n", "x".repeat(400)).repeat(30), Some(ChunkExtensions)),
        ("0\r\nContent-Length: 5\r\n\r\n", Some(Trailers)),
        ("0\r\nHost: other\r\n\r\n", Some(Trailers)),
        ("0\r\nX : y\r\n\r\n", Some(Trailers)),
        ("0\r\nX: y\n\r\n", Some(Trailers)),
        ("0\r\n X: y\r\n\r\n", Some(Trailers)),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", Some(Trailers)),
        (&format!("0\r\n{}\r\n", "X: y\r\n".repeat(21)), Some(Trailers)),
        (&format!("0\r\nX: {}", "y".repeat(9000)), Some(Trailers)),
    ] {
        assert_eq!(chunks(body), expected, "{body:?}");
    }
}

#[test]
fn what_is_not_whole_yet_does_not_pass_but_content_does() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(check(&head.as_bytes()[..head.len() - 1]), (0, None));
    assert_eq!(check(format!("{head}hel").as_bytes()), (head.len() + 3, None));
    assert_eq!(check(format!("{head}helloGET /").as_bytes()), (head.len() + 5, None));
    let connect = "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n";
    assert_eq!(check(format!("{connect}\x16\x03\x01").as_bytes()), (connect.len() + 3, None), "a tunnel is nobody's business");
}

#[test]
fn a_few_empty_lines_before_a_request_are_forgiven() {
    let after = |lines: &str| check(format!("{lines}GET / HTTP/1.0\r\n\r\n").as_bytes()).1;
    assert_eq!(after("\r\n\r\n"), None);
    assert_eq!(after(&"\r\n".repeat(5)), Some(Malformed::RequestLine));
    assert_eq!(after("\n"), Some(Malformed::BareLf));
}

/// What hyper makes of `bytes`, all of them there at once: the number of requests, or `None` when it refuses one itself.
fn hyper_reads(bytes: &[u8]) -> Option<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let count = std::cell::Cell::new(0);
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
            count.set(count.get() + 1);
            async move {
                use http_body_util::BodyExt;
                request.into_body().collect().await.map(|_| http::Response::new(Empty::<bytes::Bytes>::new()))
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .preserve_header_case(true)
            .max_header_size(BOUNDS.head_max + 1)
            .serve_connection(hyper_util::rt::TokioIo::new(server), service)
            .await;
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.unwrap();
        let refused = answers.windows(12).any(|answer| answer == b"HTTP/1.1 400" || answer == b"HTTP/1.1 431");
        (served.is_ok() && !refused).then(|| count.get())
    })
}

/// Pieces of messages, good and bad, in any order.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a?b HTTP/1.1\r\nHost: h\r\n",
        "GET http://h/ HTTP/1.1\r\n",
        "PUT / HTTP/1.0\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: h\r\n",
        "Connection: keep-alive\r\n",
        "X: y",
        "\r\n",
        "\r\n",
        "hello",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "3;x=y\r\nabc\r\n",
        "Sum: 1\r\n",
        "\n",
        " ",
        "\t",
        "\0",
        ":",
        ",",
        "chunked",
        "é",
    ]);
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat().into_bytes())
}

/// How many messages begin in what passed.
fn count(bytes: &[u8]) -> usize {
    let mut messages = Messages::new(BOUNDS);
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        count += usize::from(messages.is_in_head());
        match messages.step(&bytes[at..]) {
            Ok(Step::Took(len)) => at += len,
            Ok(Step::NeedsMore) | Err(_) => break,
        }
    }
    count
}

proptest! {
    #[test]
    fn verdicts_do_not_depend_on_how_bytes_arrive(bytes in pieces(), cuts in prop::collection::vec(0usize..200, 0..6)) {
        let at_once = check(&bytes);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([bytes.len()]).collect();
        cuts.sort_unstable();
        let mut messages = Messages::new(BOUNDS);
        let (mut passed, mut malformed) = (0, None);
        for cut in cuts {
            let checked = messages.check(&bytes[passed..cut.max(passed)]);
            passed += checked.passed;
            malformed = checked.malformed;
            if malformed.is_some() {
                break;
            }
        }
        prop_assert_eq!((passed, malformed), at_once);
    }

    #[test]
    fn what_passes_is_read_alike_by_hyper(bytes in pieces()) {
        let (passed, _) = check(&bytes);
        // Without half a body at its end, which hyper could only call cut short.
        let mut messages = Messages::new(BOUNDS);
        messages.check(&bytes[..passed]);
        if messages.is_in_head() {
            let read = hyper_reads(&bytes[..passed]);
            prop_assert!(read.is_some(), "hyper refuses {:?}", String::from_utf8_lossy(&bytes[..passed]));
            // HTTP/1.0 may end the connection early.
            prop_assert!(read.unwrap() <= count(&bytes[..passed]));
            if !String::from_utf8_lossy(&bytes).contains("HTTP/1.0") {
                prop_assert_eq!(read.unwrap(), count(&bytes[..passed]));
            }
        }
    }

    #[test]
    fn any_target_and_field_that_passes_is_taken_by_hyper(
        target in prop_oneof!["/[ -~]{0,20}", "[a-z]{1,5}://[ -~]{1,20}", "[ -~]{1,20}"],
        method in "[!-~]{1,10}",
        name in "[!-~]{1,10}",
        value in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{name}: ").into_bytes();
        head.extend_from_slice(&value);
        head.extend_from_slice(b"\r\n\r\n");
        let mut messages = Messages::new(BOUNDS);
        if messages.check(&head) == (Checked { passed: head.len(), malformed: None }) && messages.is_in_head() {
            prop_assert_eq!(hyper_reads(&head), Some(1), "{:?}", String::from_utf8_lossy(&head));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
        chunks(&String::from_utf8_lossy(&bytes));
    }
}
