//! The functions on the way of a hit, each alone: nanoseconds a call.
//!
//! `cargo bench --bench hot [-- PART-OF-A-NAME]`. Median and lowest of batches; the lowest is what a quiet machine would show.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use weir::{
    key::{CacheKey, Scheme},
    metrics,
    object::{ObjectMeta, Trust},
    piece::{ByteRange, ExtentSet, PIECE_LEN},
    semantics::{Facts, Policy, cache_control::RequestDirectives, fields, freshness, head, range::RangeLimits, select},
    store::{Blob, Config, RealDisk, Store, open},
};

const BATCHES: usize = 31;
/// So long a batch takes about, that the clock counts for nothing.
const BATCH: Duration = Duration::from_millis(2);
/// In the store, for lookups.
const OBJECTS: u64 = 20_000;
const HOST: &str = "dl.delivery.mp.microsoft.com";

/// Names to run, and how to run one.
struct Bench {
    wanted: String,
}

impl Bench {
    fn run<T>(&self, name: &str, mut call: impl FnMut() -> T) {
        if !name.contains(&self.wanted) {
            return;
        }
        let mut calls = 1;
        while batch(calls, &mut call) < BATCH {
            calls *= 2;
        }
        let mut times: Vec<f64> = (0..BATCHES).map(|_| batch(calls, &mut call).as_secs_f64() * 1e9 / f64::from(calls)).collect();
        times.sort_unstable_by(f64::total_cmp);
        println!("{name:44} {:9.1} ns (lowest {:.1})", times[BATCHES / 2], times[0]);
    }
}

fn batch<T>(calls: u32, call: &mut impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    for _ in 0..calls {
        black_box(call());
    }
    began.elapsed()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let bench = Bench { wanted };
    key_of(&bench);
    judgement(&bench);
    ranges(&bench);
    pieces(&bench);
    lookups(&bench).await
}

fn key_of(bench: &Bench) {
    let path = format!("/filestreamingservice/files/{:032x}", 7);
    bench.run("key: text and hash", || CacheKey::new(Scheme::Http, black_box(HOST), black_box(&path)));
}

/// From the fields of a request and of a stored response to the verdict.
fn judgement(bench: &Bench) {
    let (request, stored, now) = (request(&[]), facts(&response()), SystemTime::UNIX_EPOCH + Duration::from_secs(60));
    let target = Uri::from_static("/filestreamingservice/files/7");
    bench.run("head: is the request unambiguous", || {
        head::request(Version::HTTP_11, &Method::GET, black_box(&target), black_box(&request)).is_ok()
    });
    bench.run("directives: of a request", || RequestDirectives::of(black_box(&request)));
    let directives = RequestDirectives::of(&request);
    bench.run("freshness: of a stored response", || freshness(black_box(&stored), &directives, &Policy::HTTP, now));
    let block = response();
    bench.run("facts: of a stored response's fields", || facts(black_box(&block)));
    bench.run("header block: fields of a stored response", || black_box(&block).clone());
    bench.run("header block: age and date", || (fields::age_value(Duration::from_secs(60)), fields::date_value(now)));
}

fn ranges(bench: &Bench) {
    let (stored, limits) = (facts(&response()), RangeLimits::default());
    let one = |request: &HeaderMap| select(&Method::GET, black_box(request), &stored, Some(1 << 30), &limits);
    let plain = request(&[]);
    bench.run("selection: no range", || one(&plain));
    let piece = request(&[(header::RANGE, "bytes=1048576-2097151")]);
    bench.run("selection: one range", || one(&piece));
    let many = request(&[(header::RANGE, "bytes=0-9, 100-199, 4096-8191, 65536-131071")]);
    bench.run("selection: four ranges", || one(&many));
    let same = request(&[(header::IF_NONE_MATCH, "\"7\"")]);
    bench.run("selection: not modified", || one(&same));
}

/// The map of what is present, with every second of 1,024 pieces.
fn pieces(bench: &Bench) {
    let piece = |number: u64| ByteRange::new(number * PIECE_LEN, (number + 1) * PIECE_LEN).expect("a piece is not empty");
    let half: ExtentSet = (0..512).map(|number| piece(number * 2)).collect();
    bench.run("piece map: is a piece present", || half.contains(black_box(piece(500))));
    bench.run("piece map: gaps within 8 MiB", || half.gaps(black_box(ByteRange { start: 0, end: 8 * PIECE_LEN })));
    bench.run("piece map: a piece added and taken away", {
        let mut map = half.clone();
        move || {
            map.insert(black_box(piece(501)));
            map.remove(piece(501));
        }
    });
}

async fn lookups(bench: &Bench) -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("weir-bench-hot-{}", std::process::id()));
    let config = Config {
        directory: directory.clone(),
        size: 1 << 40,
        reserve: 0,
        memory: 256 << 20,
        object_max: 1 << 40,
        commit_interval: Duration::from_millis(100),
        disk_threads: 4,
        pack_max: 64 << 10,
    };
    let store = open(config, Arc::new(RealDisk), metrics::Store::default()).await?;
    for number in 0..OBJECTS {
        keep(&store, number).await?;
    }
    store.flush().await?;
    let keys: Vec<_> = (0..OBJECTS).map(|number| key(number).hash()).collect();
    let mut turn = 0;
    // A prime step visits all of them in an order that no cache line foresees.
    bench.run("lookup: one of 20,000 objects", || {
        turn = (turn + 7_919) % keys.len();
        store.lookup_now(keys[turn]).is_some()
    });
    let hot = store.lookup_now(keys[7]).and_then(|found| found.first().cloned()).expect("just stored");
    bench.run("content: of a small object in memory", || store.small(black_box(&hot)));
    store.close().await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

async fn keep(store: &Store, number: u64) -> anyhow::Result<()> {
    let blob = store.create(Some(64)).await?;
    store.insert(meta(number, &blob));
    let mut writer = blob.writer(0);
    writer.write(Bytes::copy_from_slice(&[number.to_le_bytes(); 8].concat())).await?;
    writer.finish().await?;
    Ok(())
}

fn key(number: u64) -> CacheKey {
    CacheKey::new(Scheme::Http, HOST, &format!("/filestreamingservice/files/{number:032x}"))
}

fn meta(number: u64, blob: &Blob) -> ObjectMeta {
    ObjectMeta {
        key: key(number),
        selecting: Vec::new(),
        status: StatusCode::OK,
        fields: response(),
        request_time: SystemTime::UNIX_EPOCH,
        response_time: SystemTime::UNIX_EPOCH,
        blob: blob.id(),
        len: blob.len(),
        source: HOST.into(),
        declared: None,
        trust: Trust::Transport,
        invalidated: false,
    }
}

fn facts(response: &HeaderMap) -> Facts {
    Facts::of(StatusCode::OK, response, SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH, &Policy::HTTP)
}

fn response() -> HeaderMap {
    let fields = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::LAST_MODIFIED, "Tue, 10 Nov 2026 18:00:00 GMT"),
        (header::CACHE_CONTROL, "public, max-age=604800"),
        (header::ETAG, "\"7\""),
    ];
    fields.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// What a simple client sends, and `more`.
fn request(more: &[(header::HeaderName, &'static str)]) -> HeaderMap {
    let fields = [(header::HOST, HOST), (header::USER_AGENT, "bench"), (header::ACCEPT, "*/*")];
    fields.iter().chain(more).map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}
