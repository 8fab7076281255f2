//! Bytes and stored responses on disk and in memory. Knows nothing of HTTP requests.

pub mod disk;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;

pub use disk::{Disk, RealDisk};

use crate::{
    digest::Digest,
    key::KeyHash,
    metrics,
    object::{BlobId, Object, ObjectMeta},
    piece::ByteRange,
};

/// What the store needs to know. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Config {
    pub directory: PathBuf,
    /// How much content may be kept on disk.
    pub size: u64,
    /// Free space on the file system that is never touched.
    pub reserve: u64,
    /// How much memory holds small hot content and stored responses.
    pub memory: u64,
    /// The largest content that is stored.
    pub object_max: u64,
    /// How often the index is committed.
    pub commit_interval: Duration,
    /// Threads that do disk work.
    pub disk_threads: usize,
}

/// Handle to the store; clones share it.
#[derive(Clone)]
pub struct Store;

/// The bytes of one content. While an `Arc<Blob>` is held its bytes stay readable, even if it is evicted meanwhile.
pub struct Blob;

/// Writes one contiguous run of bytes into a blob. Dropped without `finish`, what was accepted may or may not be kept:
/// whole checksummed extents are, a torn tail is not.
pub struct Writer;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No room, and nothing that could be evicted; or the disk says so (ENOSPC).
    #[error("store full: {needed} bytes needed")]
    Full { needed: u64 },
    #[error("{blob}: bytes at {offset} do not match their checksum")]
    Corrupt { blob: BlobId, offset: u64 },
    #[error("{blob}: bytes at {offset} are not present")]
    Absent { blob: BlobId, offset: u64 },
    /// The content is longer than `object_max`: it is never stored.
    #[error("content of {len} bytes is longer than the {max} that are stored")]
    TooLarge { len: u64, max: u64 },
    /// Writing does not work at the moment (a failed commit, a failing disk); reading does. Ends by itself.
    #[error("the store takes no writes at the moment")]
    Degraded,
    /// [`Store::close`] was called.
    #[error("the store is closed")]
    Closed,
    /// Another weir uses the data directory.
    #[error("data directory {} is in use by another weir", .directory.display())]
    Locked { directory: PathBuf },
    /// The data directory was written by another version, or is no data directory.
    #[error("data directory {}: {reason}", .directory.display())]
    Version { directory: PathBuf, reason: String },
    #[error("{op} {}", .path.display())]
    Io { op: &'static str, path: PathBuf, source: std::io::Error },
}

/// What a purge is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// All responses under one cache key.
    Key(KeyHash),
    /// All responses of a host or host group ([`crate::key::CacheKey::group`]).
    Group(String),
    /// Everything, pinned content included.
    All,
}

/// What a purge removed, or with `dry_run` would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    pub objects: u64,
    pub blobs: u64,
    /// Bytes of the blobs that nothing else refers to.
    pub bytes: u64,
}

/// How well the store can keep things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Reads and writes.
    Working,
    /// Serves what it has, refuses new content: no room left, and nothing can be evicted.
    Full,
    /// Serves what it has, refuses writes: syncing or committing failed. Tried again by itself.
    Degraded,
}

/// Figures for the page, `weir status` and metrics. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub state: State,
    pub objects: u64,
    pub blobs: u64,
    /// Content on disk.
    pub used: u64,
    /// Content that may be kept ([`Config::size`]).
    pub limit: u64,
    /// Free on the file system.
    pub free: u64,
    /// Free space that is left alone ([`Config::reserve`]).
    pub reserve: u64,
    pub pinned: u64,
}

/// One stored response as the administration lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub object: Arc<Object>,
    /// Bytes present of its content.
    pub present: u64,
    pub complete: bool,
    pub pinned: bool,
}

/// Where the next page of [`Store::objects`] starts; opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page(pub KeyHash, pub crate::object::ObjectId);

impl Store {
    /// All stored responses under `key`, most recent first. Answers from memory nearly always; else one index read in the disk pool.
    pub async fn lookup(&self, key: KeyHash) -> Result<Arc<[Arc<Object>]>, Error> {
        unimplemented!("{key:?}")
    }

    /// Stores a response; one with the same key and the same `selecting` is replaced. Seen by `lookup` at once, durable with the next commit
    /// (together with, never before, the bytes of its blob that were present now).
    pub fn insert(&self, meta: ObjectMeta) -> Arc<Object> {
        unimplemented!("{meta:?}")
    }

    /// Replaces the metadata of `old` (freshening, invalidation) if it is still stored.
    pub fn update(&self, old: &Object, meta: ObjectMeta) -> Option<Arc<Object>> {
        unimplemented!("{old:?} {meta:?}")
    }

    /// Forgets a stored response; its blob goes when nothing refers to it.
    pub fn remove(&self, object: &Object) {
        unimplemented!("{object:?}")
    }

    /// A new, empty blob. `len` is the whole length when known: room for it is made now (or `Full`).
    pub async fn create(&self, len: Option<u64>) -> Result<Arc<Blob>, Error> {
        unimplemented!("{len:?}")
    }

    /// The blob, with its piece map. The same `Arc` for all who hold it at a time.
    pub async fn open(&self, id: BlobId) -> Result<Arc<Blob>, Error> {
        unimplemented!("{id}")
    }

    /// A complete blob that was verified against `digest`.
    pub fn verified(&self, digest: &Digest) -> Option<BlobId> {
        unimplemented!("{digest}")
    }

    /// Reads the whole complete blob (paced, in the disk pool) and compares; true: recorded, `verified` finds it from now on.
    pub async fn verify(&self, blob: &Arc<Blob>, digest: &Digest) -> Result<bool, Error> {
        unimplemented!("{digest} {}", blob.id())
    }

    /// Everything accepted so far is durable when this returns: finished runs and the whole pieces of running ones,
    /// and the responses inserted.
    pub async fn flush(&self) -> Result<(), Error> {
        unimplemented!()
    }

    /// [`Store::lookup`] when memory suffices to answer; `None` means: use `lookup`. Counts as a use for eviction.
    pub fn lookup_now(&self, key: KeyHash) -> Option<Arc<[Arc<Object>]>> {
        unimplemented!("{key:?}")
    }

    /// [`Store::open`] when the blob is open already; `None` means: use `open`.
    pub fn open_now(&self, id: BlobId) -> Option<Arc<Blob>> {
        unimplemented!("{id}")
    }

    /// The whole content of a small hot object, if it is in memory. Filled by reading.
    pub fn small(&self, object: &Object) -> Option<Bytes> {
        unimplemented!("{object:?}")
    }

    /// Records that the whole content matched `digest`, hashed by the caller as the bytes went by. Nothing happens unless the blob is complete.
    pub fn mark_verified(&self, blob: &Blob, digest: &Digest) {
        unimplemented!("{digest} {}", blob.id())
    }

    /// Exempts a blob from eviction, or ends that. `false` if there is no such blob.
    pub fn pin(&self, id: BlobId, pinned: bool) -> bool {
        unimplemented!("{id} {pinned}")
    }

    /// Forgets stored responses on an operator's word; with `dry_run` only counts.
    pub async fn purge(&self, what: Purge, dry_run: bool) -> Result<Purged, Error> {
        unimplemented!("{what:?} {dry_run}")
    }

    /// At most `count` (bounded by 1,000) stored responses after `page`, in the order of their key hashes, and where the next page starts.
    pub async fn objects(&self, page: Option<Page>, count: usize) -> Result<(Vec<Listed>, Option<Page>), Error> {
        unimplemented!("{page:?} {count}")
    }

    pub fn stats(&self) -> Stats {
        unimplemented!()
    }

    /// Takes a blob and all its objects out of the cache and keeps its bytes for the administrator (bounded; the oldest go first).
    pub async fn quarantine(&self, id: BlobId, reason: &str) -> Result<(), Error> {
        unimplemented!("{id} {reason}")
    }

    /// Makes everything durable, ends the threads and releases the data directory. Later calls get [`Error::Closed`].
    pub async fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
}

impl Blob {
    pub fn id(&self) -> BlobId {
        unimplemented!()
    }

    /// Length of the whole content, once known.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> Option<u64> {
        unimplemented!()
    }

    /// Says how long the content is (a length learnt from `Content-Range`, or the clean end of a chunked body).
    pub fn set_len(&self, len: u64) {
        unimplemented!("{len}")
    }

    /// All bytes present.
    pub fn is_complete(&self) -> bool {
        unimplemented!()
    }

    /// The end of the contiguous readable bytes that start at `offset`; `None` when that byte is not readable now.
    pub fn present_until(&self, offset: u64) -> Option<u64> {
        unimplemented!("{offset}")
    }

    /// What of `range` is not readable now, in order.
    pub fn missing(&self, range: ByteRange) -> Vec<ByteRange> {
        unimplemented!("{range:?}")
    }

    /// Between 1 and `max` bytes at `offset`. The first read of a piece since the start compares its checksum; on a mismatch
    /// the extent is dropped from the map, counted, and the caller gets `Corrupt` and fetches it anew.
    pub async fn read(&self, offset: u64, max: usize) -> Result<Bytes, Error> {
        unimplemented!("{offset} {max}")
    }

    /// The end of the contiguous readable bytes from `offset` that were also compared with their checksums since the start
    /// (or written since): they may be sent from [`Blob::file`] without `read`.
    pub fn checked_until(&self, offset: u64) -> Option<u64> {
        unimplemented!("{offset}")
    }

    /// The file behind the blob; `None` on a simulated disk. A byte's offset in the content is its offset in the file.
    pub fn file(&self) -> Option<&std::fs::File> {
        unimplemented!()
    }

    /// A writer for the run of bytes that starts at `offset`.
    pub fn writer(self: &Arc<Self>, offset: u64) -> Writer {
        unimplemented!("{offset}")
    }
}

impl Writer {
    /// Takes the next bytes of the run. Returns as soon as they are queued; waits while more than a bounded amount
    /// (4 MiB) of this run is queued. An error means the store cannot keep this run (disk full, failed): stop writing, the reason was counted.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        unimplemented!("{}", bytes.len())
    }

    /// Up to where the run's bytes are readable from the blob.
    pub fn readable_until(&self) -> u64 {
        unimplemented!()
    }

    /// Resolves when all that was taken is readable (written to the file; durable with the next commit).
    pub async fn finish(self) -> Result<(), Error> {
        unimplemented!()
    }
}

/// Keeps `metrics` in the signature of `open` below honest.
pub async fn open(config: Config, disk: Arc<dyn Disk>, metrics: metrics::Store) -> Result<Store, Error> {
    let _ = (config, disk, metrics);
    unimplemented!()
}
