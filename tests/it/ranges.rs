//! Ranges and conditions: answered the same whether the content is cold, partly here, or stored.

use crate::support::{Content, End, KIB, MIB, Origin, Proxy, Reply, Resource, proxy};

const LEN: u64 = 3 * MIB + 17;
const LAST_MODIFIED: &str = "Tue, 13 Jan 2026 10:00:00 GMT";

struct Scene {
    content: Content,
    origin: Origin,
    weir: Proxy,
}

impl Scene {
    async fn new() -> Self {
        let content = Content::new("ranged", LEN);
        let origin = Origin::start().await;
        for path in ["/a", "/cold"] {
            origin.serve(path, Resource::new(&content).with("ETag", "\"one\""));
        }
        let weir = proxy().upstream("cdn.test", &origin).start().await;
        Self { content, origin, weir }
    }

    /// With `/a` stored.
    async fn warm() -> Self {
        let scene = Self::new().await;
        assert!(scene.weir.download("cdn.test", "/a", &[], &scene.content).await.is_all_of(&scene.content));
        scene.weir.settled().await;
        scene
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.weir.get_with("cdn.test", path, fields).await
    }
}

/// Ranges that one part answers, with the part.
const SINGLE: &[(&str, u64, u64)] = &[
    ("bytes=0-0", 0, 1),
    ("bytes=0-1048575", 0, MIB),
    ("bytes=1048576-2097151", MIB, 2 * MIB),
    ("bytes=1048575-1048576", MIB - 1, MIB + 1),
    ("bytes=500-2500000", 500, 2_500_001),
    ("bytes=3145728-", 3 * MIB, LEN),
    ("bytes=-17", 3 * MIB, LEN),
    ("bytes=-1", LEN - 1, LEN),
    ("bytes=-99999999999", 0, LEN),
    ("bytes=3145744-3145744", LEN - 1, LEN),
    ("bytes=100-99999999999", 100, LEN),
    ("bytes=0-", 0, LEN),
    ("Bytes=7-9", 7, 10),
    ("bytes= 7-9", 7, 10),
    ("bytes=7-9,", 7, 10),
];

#[tokio::test]
async fn every_kind_of_single_range_is_answered_exactly_cold_and_stored() {
    let scene = Scene::warm().await;
    for (index, (range, start, end)) in SINGLE.iter().enumerate() {
        let cold = format!("/cold-{index}");
        scene.origin.serve(&cold, Resource::new(&scene.content));
        for path in ["/a", &cold] {
            let reply = scene.get(path, &[("Range", range)]).await;
            assert_eq!(reply.status, 206, "{range} of {path}");
            assert_eq!(reply.field("content-range"), Some(&*format!("bytes {start}-{}/{LEN}", end - 1)), "{range} of {path}");
            assert_eq!(reply.field("content-length"), Some(&*(end - start).to_string()), "{range} of {path}");
            assert!(reply.is_whole(&scene.content.bytes(*start, *end)), "{range} of {path}: wrong bytes");
            assert_eq!(reply.is_hit(), path == "/a", "{range} of {path}: {:?}", reply.head);
        }
    }
}

#[tokio::test]
async fn a_range_beyond_the_end_is_416_with_the_length() {
    let scene = Scene::warm().await;
    for path in ["/a", "/cold"] {
        for range in ["bytes=3145745-", "bytes=9999999-99999999", "bytes=-0", "bytes=3145745-,9999999-"] {
            let reply = scene.get(path, &[("Range", range)]).await;
            assert_eq!(reply.status, 416, "{range} of {path}");
            assert_eq!(reply.field("content-range"), Some(&*format!("bytes */{LEN}")), "{range} of {path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_byte_range_is_answered_whole() {
    let scene = Scene::warm().await;
    for range in ["pages=1-2", "bytes=9-7", "bytes=a-b", "bytes", "bytes=--5", "bytes=1-2-3"] {
        let reply = scene.get("/a", &[("Range", range)]).await;
        assert!(matches!(reply.status, 200 | 416), "{range}: {}", reply.status);
        assert!(reply.status == 416 || reply.is_whole(&scene.content.all()), "{range}");
    }
}

#[tokio::test]
async fn several_ranges_come_as_parts_in_the_order_asked_with_an_exact_length() {
    let scene = Scene::warm().await;
    for path in ["/a", "/cold"] {
        let reply = scene.get(path, &[("Range", "bytes=2000000-2000009,0-4,-3")]).await;
        assert_eq!(reply.status, 206, "{path}");
        assert_eq!(reply.end, End::Whole);
        assert_eq!(reply.field("content-length"), Some(&*reply.body.len().to_string()), "{path}: no chunks, an exact length");
        assert!(reply.field("content-range").is_none(), "{path}: only its parts have one");
        let parts = parts(&reply);
        let ranges: Vec<_> = parts.iter().map(|(range, _)| range.as_str()).collect();
        assert_eq!(
            ranges,
            [format!("bytes 2000000-2000009/{LEN}"), format!("bytes 0-4/{LEN}"), format!("bytes {}-{}/{LEN}", LEN - 3, LEN - 1)]
        );
        assert_eq!(parts[0].1, scene.content.bytes(2_000_000, 2_000_010), "{path}");
        assert_eq!(parts[1].1, scene.content.bytes(0, 5), "{path}");
        assert_eq!(parts[2].1, scene.content.bytes(LEN - 3, LEN), "{path}");
    }
}

/// The parts of a `multipart/byteranges` body: `Content-Range` and bytes of each. Strict (RFC 2046 §5.1.1).
fn parts(reply: &Reply) -> Vec<(String, Vec<u8>)> {
    let kind = reply.field("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap_or_else(|| panic!("{kind}")).trim_matches('"');
    let (open, close) = (format!("--{boundary}\r\n"), format!("--{boundary}--\r\n"));
    let mut rest = reply.body.as_slice();
    rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    let mut parts = Vec::new();
    while let Some(part) = rest.strip_prefix(open.as_bytes()) {
        let head_len = part.windows(4).position(|w| w == b"\r\n\r\n").expect("the end of a part's head");
        let head = crate::support::Head::parse(&[b"\r\n", &part[..head_len]].concat());
        let range = head.field("content-range").expect("each part says what it is").to_owned();
        assert_eq!(head.field("content-type"), Some("application/octet-stream"));
        let (first, last) = range["bytes ".len()..range.find('/').unwrap()].split_once('-').unwrap();
        let len = last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap();
        let bytes = &part[head_len + 4..];
        parts.push((range, bytes[..len].to_vec()));
        rest = bytes[len..].strip_prefix(b"\r\n").expect("a line end after a part");
    }
    assert_eq!(rest, close.as_bytes(), "nothing after the last boundary");
    parts
}

#[tokio::test]
async fn if_range_decides_between_part_and_whole() {
    let scene = Scene::warm().await;
    let rows =
        [("\"one\"", 206), ("\"two\"", 200), ("W/\"one\"", 200), (LAST_MODIFIED, 206), ("Tue, 13 Jan 2026 10:00:01 GMT", 200)];
    for (validator, status) in rows {
        let reply = scene.get("/a", &[("Range", "bytes=10-19"), ("If-Range", validator)]).await;
        assert_eq!(reply.status, status, "{validator}");
        let right = if status == 206 { scene.content.bytes(10, 20) } else { scene.content.all() };
        assert!(reply.is_whole(&right), "{validator}");
    }
}

#[tokio::test]
async fn a_resume_under_if_range_works_on_content_that_is_not_here() {
    for (number, validator) in [LAST_MODIFIED, "\"one\""].into_iter().enumerate() {
        let scene = Scene::new().await;
        // As apt resumes, after the cache was emptied.
        let reply = scene.get("/cold", &[("Range", "bytes=2000000-"), ("If-Range", validator)]).await;
        assert_eq!(reply.status, 206, "{number}");
        assert!(reply.is_whole(&scene.content.bytes(2_000_000, LEN)), "{number}: {:?}", reply.head);
        let other = scene.get("/a", &[("Range", "bytes=2000000-"), ("If-Range", "\"other\"")]).await;
        assert!(other.status == 200 && other.is_whole(&scene.content.all()), "{number}: {:?}", other.head);
    }
}

#[tokio::test]
async fn conditions_are_answered_from_the_store() {
    let scene = Scene::warm().await;
    let before = scene.origin.requests("/a");
    let rows: &[(&str, &str, u16)] = &[
        ("If-None-Match", "\"one\"", 304),
        ("If-None-Match", "W/\"one\"", 304),
        ("If-None-Match", "\"zero\", \"one\"", 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"two\"", 200),
        ("If-Modified-Since", LAST_MODIFIED, 304),
        ("If-Modified-Since", "Tue, 13 Jan 2026 09:59:59 GMT", 200),
        ("If-Modified-Since", "no date", 200),
        ("If-Match", "\"one\"", 200),
        ("If-Match", "*", 200),
        ("If-Match", "\"two\"", 412),
        ("If-Match", "W/\"one\"", 412),
        ("If-Unmodified-Since", LAST_MODIFIED, 200),
        ("If-Unmodified-Since", "Tue, 13 Jan 2026 09:59:59 GMT", 412),
    ];
    for (name, value, status) in rows {
        let reply = scene.get("/a", &[(name, value)]).await;
        assert_eq!(reply.status, *status, "{name}: {value}");
        assert!(*status == 412 || reply.field("etag") == Some("\"one\""), "{name}: {value}: {:?}", reply.head);
        assert!(*status != 304 || reply.body.is_empty(), "{name}: {value}");
        let ranged = scene.get("/a", &[("Range", "bytes=0-9"), (name, value)]).await;
        assert_eq!(ranged.status, if *status == 200 { 206 } else { *status }, "{name}: {value} with a range");
    }
    assert_eq!(scene.origin.requests("/a"), before, "nobody was asked");
}

#[tokio::test]
async fn head_says_what_get_would_and_sends_nothing() {
    let scene = Scene::warm().await;
    for path in ["/a", "/cold"] {
        let reply = scene.weir.head("cdn.test", path, &[]).await;
        assert_eq!((reply.status, reply.field("content-length")), (200, Some(&*LEN.to_string())), "{path}");
        assert_eq!(reply.field("accept-ranges"), Some("bytes"), "{path}");
        // RFC 9110 §14.2: Range means something for GET only.
        let ranged = scene.weir.head("cdn.test", path, &[("Range", "bytes=0-9")]).await;
        assert_eq!((ranged.status, ranged.field("content-length")), (200, Some(&*LEN.to_string())), "{path}");
    }
    assert_eq!(scene.origin.sent("/cold"), 0, "a HEAD fetches no content");
}

#[tokio::test]
async fn of_several_range_lines_the_last_counts() {
    let scene = Scene::warm().await;
    for path in ["/a", "/cold"] {
        let lines = [("Range", "bytes=0-9"), ("Range", "bytes=5-9"), ("Range", "bytes=1048576-1048585")];
        let reply = scene.get(path, &lines).await;
        assert_eq!(reply.field("content-range"), Some(&*format!("bytes 1048576-1048585/{LEN}")), "{path}");
        assert!(reply.is_whole(&scene.content.bytes(MIB, MIB + 10)), "{path}");
    }
    assert!(scene.origin.asks("/cold").iter().all(|ask| ask.head.all("range").count() <= 1), "one line goes upstream");
}

#[tokio::test]
async fn field_names_leave_in_title_case_or_as_the_origin_spelled_them() {
    let scene = Scene::warm().await;
    for (path, range) in [("/cold", "bytes=0-9"), ("/a", "bytes=0-9"), ("/a", "bytes=99999999-")] {
        let reply = scene.get(path, &[("Range", range)]).await;
        let names: Vec<_> = reply.head.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.iter().all(|name| name.starts_with(|c: char| c.is_ascii_uppercase())), "{path} {range}: {names:?}");
        for name in ["Content-Length", "Content-Range"] {
            assert!(names.contains(&name), "{path} {range}: no {name} in {names:?}");
        }
    }
}

#[tokio::test]
async fn parts_that_different_clients_asked_for_are_joined_without_asking_again() {
    let scene = Scene::new().await;
    for range in ["bytes=0-1048575", "bytes=2097152-3145727", "bytes=1048576-2097151"] {
        assert_eq!(scene.get("/a", &[("Range", range)]).await.status, 206);
    }
    scene.weir.settled().await;
    let across = scene.get("/a", &[("Range", "bytes=1000000-2500000")]).await;
    assert!(across.is_hit() && across.is_whole(&scene.content.bytes(1_000_000, 2_500_001)), "{:?}", across.head);
    assert!(scene.origin.sent("/a") <= LEN);
}

#[tokio::test]
async fn a_partly_stored_object_is_completed_with_what_is_missing() {
    let scene = Scene::new().await;
    assert_eq!(scene.get("/a", &[("Range", "bytes=1048576-2097151")]).await.status, 206);
    let whole = scene.weir.download("cdn.test", "/a", &[], &scene.content).await;
    assert!(whole.is_all_of(&scene.content), "{whole:?}");
    assert_eq!(scene.origin.sent("/a"), LEN, "no byte crossed twice");
    scene.weir.settled().await;
    assert!(scene.weir.download("cdn.test", "/a", &[], &scene.content).await.is_hit());
}

#[tokio::test]
async fn many_small_ranges_of_a_cold_object_are_each_right() {
    let scene = Scene::new().await;
    for index in 0..60_u64 {
        let start = (index * 7_919_111) % (LEN - 5000);
        let end = start + 1 + (index * 313) % 5000;
        let reply = scene.get("/a", &[("Range", &format!("bytes={start}-{}", end - 1))]).await;
        assert!(reply.status == 206 && reply.is_whole(&scene.content.bytes(start, end)), "{start}..{end}: {:?}", reply.head);
    }
    assert!(scene.origin.sent("/a") <= LEN + 60 * KIB, "{}", scene.origin.sent("/a"));
}

#[tokio::test]
async fn an_empty_object_is_whole_and_has_no_satisfiable_range() {
    let scene = Scene::new().await;
    scene.origin.serve("/empty", Resource::new(&Content::new("empty", 0)));
    for _ in 0..2 {
        let reply = scene.get("/empty", &[]).await;
        assert!(reply.status == 200 && reply.is_whole(b"") && reply.field("content-length") == Some("0"), "{reply:?}");
        assert_eq!(scene.get("/empty", &[("Range", "bytes=0-0")]).await.status, 416);
    }
}
