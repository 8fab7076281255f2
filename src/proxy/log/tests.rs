use std::{collections::HashMap, fs, path::Path};

use http::Request;
use serde_json::Value;

use super::*;
use crate::metrics::Metrics;

const NOON: u64 = 1_795_435_200; // 2026-11-23T12:00:00Z

fn record(uri: &str) -> Record {
    let request = Request::get(uri).header("host", "weir.branch").header("user-agent", "Microsoft-Delivery-Optimization/10.0");
    let (head, ()) = request.body(()).unwrap().into_parts();
    let mut record = Record::new(7, SystemTime::UNIX_EPOCH + Duration::from_millis(NOON * 1000 + 7), [10, 0, 0, 9].into(), &head);
    (record.door, record.class, record.verdict, record.status) =
        (Some(Door::Delivery), Class::Content, Verdict::Hit, StatusCode::PARTIAL_CONTENT);
    record
}

fn line_of(record: &Record) -> String {
    let mut out = Vec::new();
    line::response(record, &mut out);
    String::from_utf8(out).unwrap()
}

fn parsed(record: &Record) -> Value {
    serde_json::from_str(&line_of(record)).unwrap()
}

fn path(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("weir-log-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory.join("access.log")
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_line_holds_what_happened() {
    let mut record = record("/files/a?P1=1&x=2");
    record.range = Some(HeaderValue::from_static("bytes=0-1048575"));
    record.cache_status = Some(HeaderValue::from_static("weir; hit"));
    for (source, bytes) in [(Source::Store, 1000), (Source::Upstream, 40), (Source::Relayed, 8), (Source::Own, 1)] {
        record.add(source, bytes);
    }
    (record.duration, record.first_byte) = (Duration::from_micros(12_345), Some(Duration::from_micros(800)));
    (record.end, record.reason, record.detail) = (End::Cut, Some("stalled"), Some("origin \"a\"".into()));
    assert_eq!(
        line_of(&record),
        concat!(
            r#"{"time":"2026-11-23T12:00:00.007Z","request":"0000000000000007","client":"10.0.0.9","door":"delivery","#,
            r#""class":"content","method":"GET","host":"weir.branch","url":"/files/a?P1=*&x=2","version":"1.1","status":206,"#,
            r#""verdict":"hit","cache_status":"weir; hit","sent_bytes":1049,"store_bytes":1000,"upstream_bytes":48,"#,
            r#""duration_ms":12.345,"first_byte_ms":0.800,"range":"bytes=0-1048575","#,
            r#""agent":"Microsoft-Delivery-Optimization/10.0","end":"cut","reason":"stalled","detail":"origin \"a\""}"#,
            "\n"
        )
    );
}

#[test]
fn secrets_never_reach_a_line() {
    let table = [
        ("/a", "/a"),
        ("/a?", "/a?"),
        ("/a?b", "/a?b"),
        ("/a?b=c&d=e", "/a?b=c&d=e"),
        ("/a?P1=SECRET&P2=SECRET&P3=SECRET&P4=SECRET", "/a?P1=*&P2=*&P3=*&P4=*"),
        ("/a?P4=SECRET", "/a?P4=*"),
        ("/a?p4=SECRET&b=c", "/a?p4=*&b=c"),
        ("/a?P4=SECRET=SECRET==&b", "/a?P4=*&b"),
        ("/a?P4=SECRET;b=c", "/a?P4=*;b=c"),
        ("/a?b=c?P4=SECRET", "/a?b=c?P4=*"),
        ("/a?%50%34=SECRET", "/a?%50%34=*"),
        ("/a?P4=", "/a?P4=*"),
        ("/a?&&P4=SECRET&&", "/a?&&P4=*&&"),
        ("/a?P5=shown&P44=shown&XP4=shown", "/a?P5=shown&P44=shown&XP4=shown"),
        ("/a?X-Amz-Signature=SECRET&X-Amz-Credential=SECRET", "/a?X-Amz-Signature=*&X-Amz-Credential=*"),
        ("/a?token=SECRET", "/a?token=*"),
        ("/a?cacheHostOrigin=user:SECRET@host.example", "/a?cacheHostOrigin=host.example"),
        ("/a?cacheHostOrigin=user:SECRET%40host.example", "/a?cacheHostOrigin=host.example"),
    ];
    for (uri, want) in table {
        let line = line_of(&record(uri));
        assert!(!line.contains("SECRET"), "{uri}: {line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["url"], want, "{uri}");
        assert!(!line::what(&record(uri)).contains("SECRET"), "{uri}");
    }
}

#[test]
fn credentials_in_an_authority_never_reach_a_line() {
    let record = record("http://user:SECRET@download.example:8080/a?P4=SECRET");
    let line = parsed(&record);
    assert_eq!((&line["host"], &line["url"]), (&"download.example:8080".into(), &"/a?P4=*".into()));
    assert_eq!(line::what(&record), "download.example:8080/a?P4=*");
}

#[test]
fn secrets_in_what_an_administrator_names_never_reach_a_line() {
    let (at, url) = (SystemTime::UNIX_EPOCH, "http://user:SECRET@a.example/b?P1=SECRET&c=d");
    let outcome = format!("refused: nothing is stored for {url}");
    let mut out = Vec::new();
    line::administration(&Administration { at, who: "unix:0", action: "pin", target: url, outcome: &outcome }, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","action":"pin","who":"unix:0","target":"http://a.example/b?P1=*&c=d","#,
            r#""outcome":"refused: nothing is stored for http://a.example/b?P1=*&c=d"}"#,
            "\n"
        )
    );
}

#[test]
fn a_connect_target_is_logged_as_its_host() {
    let (head, ()) = Request::connect("a.example:443").body(()).unwrap().into_parts();
    let line = parsed(&Record::new(1, SystemTime::UNIX_EPOCH, [127, 0, 0, 1].into(), &head));
    assert_eq!((&line["method"], &line["host"], &line["url"]), (&"CONNECT".into(), &"a.example:443".into(), &"".into()));
    assert_eq!(line["door"], "unknown");
}

#[test]
fn whatever_a_client_sends_the_line_stays_one_line_of_json() {
    let table: [(&[u8], &str); 8] = [
        (b"plain", "plain"),
        (br#"a"b\c"#, r#"a"b\c"#),
        (b"tab\there", "tab\there"),
        (b"\xc3\xa4\xe2\x82\xac", "ä€"),
        (b"\xe4 latin", "ä latin"),
        (b"\xff\xfe", "\u{ff}\u{fe}"),
        (b"\",\"status\":200,\"x\":\"", "\",\"status\":200,\"x\":\""),
        (b"", ""),
    ];
    for (bytes, want) in table {
        let mut record = record("/a");
        record.agent = Some(HeaderValue::from_bytes(bytes).unwrap());
        let line = line_of(&record);
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["agent"], want);
    }
    for byte in 0..=255 {
        let mut text = vec![b'"'];
        line::escape(&[byte], &mut text);
        text.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), char::from(byte).to_string());
    }
}

#[test]
fn long_values_are_cut_between_characters() {
    for len in 250..260 {
        let mut record = record(&format!("/{}", "a".repeat(5000)));
        let agent = "x".repeat(len) + "äöü€";
        record.agent = Some(HeaderValue::from_bytes(agent.as_bytes()).unwrap());
        let line = parsed(&record);
        let shown = line["agent"].as_str().unwrap();
        assert!(agent.starts_with(shown.trim_end_matches('…')) && shown.len() <= 256 + '…'.len_utf8(), "{shown}");
        assert_eq!(line["url"].as_str().unwrap().len(), 2048 + '…'.len_utf8());
    }
}

#[test]
fn times_are_those_of_the_calendar() {
    let table = [
        (0, "1970-01-01T00:00:00.000Z"),
        (68_169_599_999, "1972-02-28T23:59:59.999Z"),
        (68_169_600_000, "1972-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_798_761_599_001, "2026-12-31T23:59:59.001Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ];
    for (millis, want) in table {
        let mut out = Vec::new();
        line::timestamp(SystemTime::UNIX_EPOCH + Duration::from_millis(millis), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}

#[test]
fn the_end_of_a_response_is_counted_and_written_once() {
    let (path, metrics) = (path("once"), Metrics::new());
    _ = fs::remove_file(&path);
    let log = AccessLog::open(Destination::File(path.clone()), metrics.proxy.clone()).unwrap();
    let mut record = record("/a");
    (record.end, record.first_byte) = (End::Aborted, Some(Duration::from_millis(1)));
    record.add(Source::Store, 10);
    log.finish(&record);
    assert!(log.flush(PATIENCE));
    assert_eq!(lines(&path).len(), 1);
    assert_eq!(metrics.proxy.requests[(metrics::Door::Delivery, Class::Content, Verdict::Hit)].value(), 1);
    assert_eq!(metrics.proxy.responses[(metrics::Door::Delivery, StatusClass::Success)].value(), 1);
    assert_eq!(metrics.proxy.sent_bytes[(metrics::Door::Delivery, Class::Content, Source::Store)].value(), 10);
    assert_eq!(metrics.proxy.aborted[metrics::Door::Delivery].value(), 1);
    assert_eq!(metrics.proxy.first_byte[(metrics::Door::Delivery, Verdict::Hit)].count(), 1);
}

#[test]
fn a_long_download_is_counted_while_it_lasts_and_once() {
    let metrics = Metrics::new();
    let log = AccessLog::open(Destination::Nowhere, metrics.proxy.clone()).unwrap();
    let counted = || metrics.proxy.sent_bytes[(metrics::Door::Delivery, Class::Content, Source::Store)].value();
    let mut record = record("/a");
    let mut seen = Vec::new();
    for _ in 0..5 {
        record.add(Source::Store, PROGRESS_LEN / 2);
        log.progress(&mut record);
        seen.push(counted() / (PROGRESS_LEN / 2));
    }
    log.finish(&record);
    assert_eq!((seen, counted()), (vec![0, 2, 2, 4, 4], 5 * PROGRESS_LEN / 2));
}

#[test]
fn refusals_and_failures_are_counted_by_reason_and_remembered_newest_first() {
    let metrics = Metrics::new();
    let log = AccessLog::open(Destination::Nowhere, metrics.proxy.clone()).unwrap();
    for index in 0..REMEMBERED_MAX + 5 {
        let mut refused = record(&format!("/{index}?P4=SECRET"));
        (refused.class, refused.verdict, refused.reason) = (Class::Refuse, Verdict::Refused, Some("origin"));
        log.finish(&refused);
    }
    let mut failed = record("/failed");
    (failed.verdict, failed.reason, failed.detail) = (Verdict::Error, Some("connect"), Some("10.1.1.1".into()));
    log.finish(&failed);
    log.finish(&record("/served"));
    let refused = log.refused();
    assert_eq!((refused.len(), refused[0].what.as_str()), (REMEMBERED_MAX, "weir.branch/54?P4=*"));
    assert_eq!(log.failed().len(), 1);
    assert_eq!(metrics.proxy.refusals.value("origin"), 55);
    assert_eq!(metrics.proxy.errors.value("connect"), 1);
}

#[test]
fn a_flood_of_hits_pushes_out_no_refusal_and_no_act_of_administration() {
    let (path, metrics) = (path("flood"), Metrics::new());
    _ = fs::remove_file(&path);
    let writer = Writer::held(metrics.proxy.log_dropped.clone());
    let hit = record("/hit");
    for _ in 0..20_000 {
        writer.append(Queue::Served, |out| line::response(&hit, out));
    }
    writer.append(Queue::Refused, |out| line::response(&record("/refused"), out));
    let act = Administration { at: hit.started, who: "unix:0", action: "purge", target: "all", outcome: "3 objects" };
    writer.append(Queue::Administration, |out| line::administration(&act, out));
    let dropped = metrics.proxy.log_dropped[Queue::Served].value();
    assert!(writer.queued_bytes() <= 1024 * 1024 + 2 * 1024, "the queues are bounded");
    writer.release(&path);
    drop(writer);
    let mut counts: HashMap<String, u64> = HashMap::new();
    for line in lines(&path) {
        let kind = line.get("action").or(line.get("url")).unwrap();
        *counts.entry(kind.as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(dropped > 0);
    assert_eq!(counts["/hit"] + dropped, 20_000, "what is not written is counted");
    assert_eq!((counts["/refused"], counts["purge"]), (1, 1));
    assert_eq!(metrics.proxy.log_dropped[Queue::Refused].value(), 0);
}

#[test]
fn after_a_rotation_lines_go_to_the_new_file() {
    let path = path("rotate");
    let old = path.with_extension("old");
    _ = fs::remove_file(&path);
    let log = AccessLog::open(Destination::File(path.clone()), metrics::Proxy::default()).unwrap();
    log.finish(&record("/before"));
    assert!(log.flush(PATIENCE));
    fs::rename(&path, &old).unwrap();
    log.reopen();
    assert!(log.flush(PATIENCE));
    log.finish(&record("/after"));
    drop(log);
    assert_eq!((lines(&old)[0]["url"].as_str(), lines(&path)[0]["url"].as_str()), (Some("/before"), Some("/after")));
}

#[test]
fn when_the_new_file_cannot_be_opened_lines_stay_in_the_old_one() {
    let path = path("stay");
    let old = path.with_extension("old");
    _ = fs::remove_dir(&path);
    _ = fs::remove_file(&path);
    let log = AccessLog::open(Destination::File(path.clone()), metrics::Proxy::default()).unwrap();
    fs::rename(&path, &old).unwrap();
    fs::create_dir(&path).unwrap();
    log.reopen();
    log.finish(&record("/a"));
    drop(log);
    assert_eq!(lines(&old).len(), 1);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let metrics = Metrics::new();
    let log = AccessLog::open(Destination::File("/dev/full".into()), metrics.proxy.clone()).unwrap();
    for _ in 0..3 {
        log.finish(&record("/a"));
        assert!(log.flush(PATIENCE));
    }
    assert_eq!(metrics.proxy.log_dropped[Queue::Served].value(), 3);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let result = AccessLog::open(Destination::File("/nonexistent/access.log".into()), metrics::Proxy::default());
    assert_eq!(result.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
}

#[test]
fn ids_do_not_repeat() {
    let log = AccessLog::open(Destination::Nowhere, metrics::Proxy::default()).unwrap();
    assert_ne!(log.next_id(), log.next_id());
}

#[test]
fn each_threads_lines_stay_in_order_and_none_is_lost_when_threads_end() {
    let (path, metrics) = (path("threads"), Metrics::new());
    _ = fs::remove_file(&path);
    let log = AccessLog::open(Destination::File(path.clone()), metrics.proxy.clone()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || (0..200).for_each(|line| log.finish(&record(&format!("/{thread}/{line}")))));
        }
    });
    assert!(log.flush(PATIENCE));
    let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
    for line in lines(&path) {
        let (_, rest) = line["url"].as_str().unwrap().split_once('/').unwrap();
        let (thread, number) = rest.split_once('/').unwrap();
        seen.entry(thread.to_owned()).or_default().push(number.parse().unwrap());
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.values().all(|numbers| *numbers == (0..200).collect::<Vec<_>>()), "{seen:?}");
}
