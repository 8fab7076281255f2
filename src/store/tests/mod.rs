//! The store over a simulated disk.

mod basics;
mod contents;
mod crash;
mod packs;
mod real;
mod records;
mod responses;
mod room;
mod rot;
mod starts;

use std::{path::PathBuf, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Blob, Config, Store, disk::sim::SimDisk, open};
use crate::{
    key::{CacheKey, Scheme},
    metrics,
    object::{ObjectMeta, Trust},
    piece::{ByteRange, ExtentSet},
};

pub(super) const MIB: u64 = 1 << 20;

pub(super) fn config() -> Config {
    Config {
        directory: PathBuf::from("/data"),
        size: 1 << 30,
        reserve: 0,
        memory: 16 << 20,
        object_max: 1 << 30,
        commit_interval: Duration::from_millis(5),
        disk_threads: 2,
        pack_max: 0,
    }
}

pub(super) async fn start(disk: &SimDisk) -> Store {
    open(config(), Arc::new(disk.clone()), metrics::Store::default()).await.unwrap()
}

pub(super) async fn start_with(disk: &SimDisk, change: impl FnOnce(&mut Config)) -> Store {
    let mut config = config();
    change(&mut config);
    open(config, Arc::new(disk.clone()), metrics::Store::default()).await.unwrap()
}

/// Waits until all work in the background is done.
pub(super) async fn settle(store: &Store) {
    let shared = Arc::clone(&store.shared);
    tokio::task::spawn_blocking(move || shared.pool.wait_idle()).await.unwrap();
}

/// The file of the only blob.
pub(super) fn blob_file(disk: &SimDisk) -> PathBuf {
    let files = disk.files();
    let mut blobs = files.iter().filter(|path| path.starts_with("/data/blobs"));
    let (Some(file), None) = (blobs.next(), blobs.next()) else { panic!("not one blob: {files:?}") };
    file.clone()
}

/// Bytes that differ everywhere and between seeds.
pub(super) fn content(seed: u64, len: u64) -> Bytes {
    let mut bytes = vec![0; len as usize];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub(super) fn key(path: &str) -> CacheKey {
    CacheKey::new(Scheme::Http, "h.example", path)
}

pub(super) fn meta(path: &str, blob: &Blob) -> ObjectMeta {
    ObjectMeta {
        key: key(path),
        selecting: Vec::new(),
        status: StatusCode::OK,
        fields: HeaderMap::new(),
        request_time: SystemTime::UNIX_EPOCH,
        response_time: SystemTime::UNIX_EPOCH,
        blob: blob.id(),
        len: blob.len(),
        source: "h.example".into(),
        declared: None,
        trust: Trust::Transport,
        invalidated: false,
    }
}

/// Stores `bytes` whole under `path`.
pub(super) async fn put(store: &Store, path: &str, bytes: &Bytes) -> Arc<Blob> {
    let blob = store.create(Some(bytes.len() as u64)).await.unwrap();
    store.insert(meta(path, &blob));
    write(&blob, 0, bytes).await.unwrap();
    blob
}

pub(super) async fn write(blob: &Arc<Blob>, offset: u64, bytes: &Bytes) -> Result<(), super::Error> {
    let mut writer = blob.writer(offset);
    for at in (0..bytes.len()).step_by(100_000) {
        writer.write(bytes.slice(at..bytes.len().min(at + 100_000))).await?;
    }
    writer.finish().await
}

/// All that is readable from the start.
pub(super) async fn read(blob: &Arc<Blob>) -> Result<Vec<u8>, super::Error> {
    match ByteRange::new(0, blob.present_until(0).unwrap_or(0)) {
        Some(range) => read_range(blob, range).await,
        None => Ok(Vec::new()),
    }
}

pub(super) async fn read_range(blob: &Arc<Blob>, range: ByteRange) -> Result<Vec<u8>, super::Error> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < range.len() {
        let max = (range.len() - bytes.len() as u64).min(300_000);
        bytes.extend(blob.read(range.start + bytes.len() as u64, max as usize).await?);
    }
    Ok(bytes)
}

/// What is readable of a content of `len` bytes.
pub(super) fn present(blob: &Blob, len: u64) -> Vec<ByteRange> {
    let mut extents = ExtentSet::whole(len);
    if let Some(all) = ByteRange::new(0, len) {
        blob.missing(all).into_iter().for_each(|gap| extents.remove(gap));
    }
    extents.iter().collect()
}

/// The blob under `path`, if there is one.
pub(super) async fn find(store: &Store, path: &str) -> Option<Arc<Blob>> {
    let responses = store.lookup(key(path).hash()).await.unwrap();
    store.open(responses.first()?.meta.blob).await.ok()
}
