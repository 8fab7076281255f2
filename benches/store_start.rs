//! How long a start takes with 100,000 objects: from `open` to the first lookup answered.
//!
//! `cargo bench --bench store_start [-- OBJECTS]`

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use weir::{
    key::{CacheKey, Scheme},
    metrics,
    object::{ObjectMeta, Trust},
    store::{Blob, Config, RealDisk, Store, open},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), weir::store::Error> {
    let objects = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let directory = std::env::temp_dir().join(format!("weir-bench-store-start-{}", std::process::id()));
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
    let outcome = measure(&config, objects).await;
    if let Err(error) = std::fs::remove_dir_all(&directory) {
        eprintln!("{}: {error}", directory.display());
    }
    outcome
}

async fn measure(config: &Config, objects: u64) -> Result<(), weir::store::Error> {
    let began = Instant::now();
    let store = start(config).await?;
    for number in 0..objects {
        let blob = store.create(Some(64)).await?;
        store.insert(meta(number, &blob));
        let mut writer = blob.writer(0);
        writer.write(Bytes::copy_from_slice(&[number.to_le_bytes(); 8].concat())).await?;
        writer.finish().await?;
    }
    store.flush().await?;
    store.close().await?;
    drop(store);
    println!("built {objects} objects in {:.1} s", began.elapsed().as_secs_f64());
    for round in 1..=5 {
        let before = resident();
        let began = Instant::now();
        let store = start(config).await?;
        let opened = began.elapsed();
        let found = store.lookup(key(objects / 2).hash()).await?.len();
        let looked_up = began.elapsed();
        assert_eq!((found, store.stats().objects), (1, objects));
        let grown = resident().saturating_sub(before);
        println!("start {round}: open {opened:.0?}, first lookup after {looked_up:.0?}, memory grew by {} KiB", grown / 1024);
        store.close().await?;
    }
    Ok(())
}

async fn start(config: &Config) -> Result<Store, weir::store::Error> {
    open(config.clone(), Arc::new(RealDisk), metrics::Store::default()).await
}

fn key(number: u64) -> CacheKey {
    CacheKey::new(Scheme::Http, "dl.delivery.mp.microsoft.com", &format!("/filestreamingservice/files/{number:032x}"))
}

fn meta(number: u64, blob: &Blob) -> ObjectMeta {
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    fields.insert(header::LAST_MODIFIED, HeaderValue::from_static("Tue, 10 Nov 2026 18:00:00 GMT"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=604800"));
    fields.insert(header::ETAG, HeaderValue::from(number));
    ObjectMeta {
        key: key(number),
        selecting: Vec::new(),
        status: StatusCode::OK,
        fields,
        request_time: SystemTime::UNIX_EPOCH,
        response_time: SystemTime::UNIX_EPOCH,
        blob: blob.id(),
        len: blob.len(),
        source: "dl.delivery.mp.microsoft.com".into(),
        declared: None,
        trust: Trust::Transport,
        invalidated: false,
    }
}

/// Resident memory of this process in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
