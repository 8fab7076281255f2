//! Bytes and stored responses on disk and in memory. Knows nothing of HTTP requests.
//!
//! A write becomes durable in this order: bytes, `fdatasync`, index commit. What the index says is present is present and whole after a
//! kill at any moment; what was not committed is forgotten. A hit reads the table in memory and the file, never the index.
//!
//! ```text
//! lookup   responses   table (which objects, which blob) → memory tier → record beside a small content → index in the disk pool
//! read     reader      memory tier → file in the disk pool, compared with its sum once since the start
//! write    writer      queue → disk pool: file, sum → piece map → journal
//! commit   commit      journal → fdatasync → index → unlink
//! whole    complete    runs merge → identity → equal content is stored once
//! pack     packs place  small contents share files
//! room     room evict  limits, S3-FIFO, states of a failing disk
//! there    presence    a data directory that vanished, or takes no files
//! start    recover     lock, version; load: index → table; orphans in the background
//! ```

mod admin;
mod blob;
mod buffers;
mod commit;
mod complete;
pub mod disk;
mod evict;
mod format;
mod fsck;
mod identity;
mod index;
mod journal;
mod layout;
mod load;
mod memory;
mod open;
mod packs;
mod pieces;
mod place;
mod pool;
mod presence;
mod reader;
mod record;
mod recover;
mod responses;
mod room;
mod shared;
mod stamps;
mod table;
mod writer;

use std::{path::PathBuf, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use bytes::Bytes;

pub use blob::Blob;
pub use disk::{Disk, RealDisk};
pub use fsck::{Report, fsck};
pub use layout::Upgraded;
pub use memory::SMALL_MAX;
pub use reader::READ_AHEAD;
pub use recover::open;
pub use stamps::Stamp;
pub use writer::Writer;

use crate::{
    digest::Digest,
    key::KeyHash,
    object::{BlobId, Object, ObjectMeta},
    piece::{PIECE_LEN, piece_range},
    store::{
        journal::{CHANGED_BLOBS_MAX, CHANGED_PACKED_MAX},
        pool::Kind,
        shared::Shared,
    },
};

/// What the store needs to know. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Config {
    pub directory: PathBuf,
    /// How much of the disk content may take, in whole blocks of 4 KiB: what is arriving and what was removed but is not gone yet included.
    pub size: u64,
    /// Free space on the file system that is never touched.
    pub reserve: u64,
    /// How much memory holds small hot content, stored responses, what was derived from them, and pages of the index.
    pub memory: u64,
    /// The largest content that is stored.
    pub object_max: u64,
    /// How often the index is committed.
    pub commit_interval: Duration,
    /// Threads that do disk work.
    pub disk_threads: usize,
    /// The longest content that shares a file with others, at most 64 KiB; 0: none does.
    pub pack_max: u64,
}

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
    /// Serves what it has, refuses writes: making files, syncing or committing failed. Tried again by itself.
    Degraded,
    /// The data directory is gone: serves what is open or in memory, refuses writes. Ends when it is back.
    Missing,
}

/// Figures for the page, `weir status` and metrics. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub state: State,
    pub objects: u64,
    pub blobs: u64,
    /// What content takes on the disk, in whole blocks.
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

/// Handle to the store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

impl Store {
    /// All stored responses under `key`, most recent first. Answers from memory nearly always; else one index read in the disk pool.
    /// Counts as a use for eviction.
    pub async fn lookup(&self, key: KeyHash) -> Result<Arc<[Arc<Object>]>, Error> {
        match self.lookup_now(key) {
            Some(responses) => Ok(responses),
            None => self.run(Kind::Read, move |store| store.load_responses(key)).await,
        }
    }

    /// [`Store::lookup`] when memory suffices to answer; `None` means: use `lookup`.
    pub fn lookup_now(&self, key: KeyHash) -> Option<Arc<[Arc<Object>]>> {
        self.shared.lookup_now(key)
    }

    /// Whether what a lookup of `key` found still holds: as long as this gives what it gave before that lookup.
    pub fn stamp(&self, key: KeyHash) -> Stamp {
        self.shared.table.stamp(key)
    }

    /// Notes a use of a response that was not looked up, for eviction and for the memory tier.
    pub fn used(&self, object: &Object) {
        // They keep what is asked for.
        let _ = (self.lookup_now(object.meta.key.hash()), self.shared.memory.contents.get(&object.meta.blob));
    }

    /// Counts a response whose content came from memory, where it was kept by somebody who has it from [`Store::small`].
    pub fn count_memory_hit(&self) {
        self.shared.metrics.memory_hits.inc();
    }

    /// Stores a response; one with the same key and the same `selecting` is replaced. Seen by `lookup` at once, durable with the next commit
    /// (together with, never before, the bytes of its blob that were present now). If its blob has gone, or commits have been
    /// failing for long, it is returned but not stored.
    pub fn insert(&self, meta: ObjectMeta) -> Arc<Object> {
        let object = self.draft(meta);
        self.publish(&object);
        object
    }

    /// A response under the id it will have, which no look-up finds before [`Self::publish`]: who stores it can prepare first what others expect of
    /// something that is stored.
    pub fn draft(&self, meta: ObjectMeta) -> Arc<Object> {
        self.shared.draft(meta)
    }

    /// Stores a draft, as [`Self::insert`] would.
    pub fn publish(&self, draft: &Arc<Object>) {
        self.shared.publish(draft);
    }

    /// Replaces the metadata of `old` (freshening, invalidation) if it is still stored and in this state: of two who change one response at a
    /// time, the second gets `None` and looks again. The id stays.
    pub fn update(&self, old: &Object, meta: ObjectMeta) -> Option<Arc<Object>> {
        self.shared.update(old, meta)
    }

    /// Forgets a stored response; its blob goes when nothing refers to it and nobody holds it.
    pub fn remove(&self, object: &Object) {
        self.shared.remove_object(object.meta.key.hash(), object.id);
    }

    /// A new, empty blob. `len` is the whole length when known: it must fit into the store at all, and room for its first 64 MiB is made now
    /// (or `Full`); the rest is made as it arrives. A blob that no object refers to when its last `Arc` goes is removed.
    ///
    /// When contents come in faster than they can be made durable, this waits for a commit: each changed one is an open file.
    pub async fn create(&self, len: Option<u64>) -> Result<Arc<Blob>, Error> {
        self.shared.check_open()?;
        let changed_max = if self.shared.is_packed(len) { CHANGED_PACKED_MAX } else { CHANGED_BLOBS_MAX };
        if self.shared.journal.changed_blobs() >= changed_max {
            self.flush().await?;
        }
        self.run(Kind::Write, move |store| {
            store.make_room(len)?;
            store.create_blob(len)
        })
        .await
    }

    /// The blob, with its piece map. The same `Arc` for all who hold it at a time.
    pub async fn open(&self, id: BlobId) -> Result<Arc<Blob>, Error> {
        if let Some(blob) = self.open_now(id) {
            return Ok(blob);
        }
        self.shared.check_open()?;
        let blob = self.run(Kind::Read, move |store| store.open_blob(id)).await?;
        self.shared.open.keep(&blob);
        Ok(blob)
    }

    /// [`Store::open`] when the blob is open already; `None` means: use `open`.
    pub fn open_now(&self, id: BlobId) -> Option<Arc<Blob>> {
        self.shared.open.find(id)
    }

    /// The whole content of a small object, if that takes no waiting for a disk and no opening of a file.
    pub fn small(&self, object: &Object) -> Option<Bytes> {
        self.shared.small_now(object.meta.blob)
    }

    /// A complete blob that was verified against `digest`.
    pub fn verified(&self, digest: &Digest) -> Option<BlobId> {
        self.shared.table.verified(digest)
    }

    /// Reads the whole complete blob (piece by piece, after everything that clients wait for) and compares; true: recorded, `verified` finds it
    /// from now on. [`Error::Absent`] if it is not complete.
    pub async fn verify(&self, blob: &Arc<Blob>, digest: &Digest) -> Result<bool, Error> {
        let Some(len) = blob.len().filter(|_| blob.is_complete()) else {
            return Err(Error::Absent { blob: blob.id(), offset: 0 });
        };
        let mut hasher = digest.hasher();
        for piece in (0..len.div_ceil(PIECE_LEN)).filter_map(|number| piece_range(number, len)) {
            let blob = Arc::clone(blob);
            hasher = self
                .run(Kind::Background, move |store| {
                    blob.read_whole(store, piece, |bytes| hasher.update(bytes))?;
                    Ok(hasher)
                })
                .await?;
        }
        let matches = hasher.finish() == *digest;
        if matches {
            self.mark_verified(blob, digest);
        }
        Ok(matches)
    }

    /// Records that the whole content matched `digest`, hashed by the caller as the bytes went by. Nothing happens unless the blob is complete.
    pub fn mark_verified(&self, blob: &Blob, digest: &Digest) {
        self.shared.mark_verified(blob, digest);
    }

    /// Everything accepted so far is durable when this returns: finished runs and the whole pieces of running ones,
    /// and the responses inserted.
    pub async fn flush(&self) -> Result<(), Error> {
        self.shared.journal.flush().await.unwrap_or(Err(Error::Closed))
    }

    /// Exempts a blob from eviction, or ends that. `false` if there is no such blob.
    pub fn pin(&self, id: BlobId, pinned: bool) -> bool {
        self.shared.pin(id, pinned)
    }

    /// Forgets stored responses on an operator's word; with `dry_run` only counts. What is said to be removed stays so after a kill.
    pub async fn purge(&self, what: Purge, dry_run: bool) -> Result<Purged, Error> {
        let purged = self.run(Kind::Background, move |store| store.purge(&what, dry_run)).await?;
        if !dry_run {
            self.flush().await?;
        }
        Ok(purged)
    }

    /// At most `count` (bounded by 1,000) stored responses after `page` as of the last commit, in the order of their key hashes, and where the
    /// next page starts.
    pub async fn objects(&self, page: Option<Page>, count: usize) -> Result<(Vec<Listed>, Option<Page>), Error> {
        self.run(Kind::Background, move |store| store.page(page, count)).await
    }

    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Whether new content is likely to be taken; it may still be refused.
    pub fn takes_content(&self) -> bool {
        self.shared.room.state() == State::Working
    }

    /// The part of [`Config::memory`] that is left to what users of the store derive from stored responses, in bytes.
    pub fn derived_memory(&self) -> u64 {
        memory::derived_bytes(self.shared.config.memory)
    }

    /// Takes a stored response out of the cache and keeps its content for the administrator (bounded; the oldest go first): true. Content that
    /// other responses share stays theirs, and only this one goes.
    pub async fn quarantine(&self, object: &Object, reason: &str) -> Result<bool, Error> {
        let (key, id, reason) = (object.meta.key.hash(), object.id, reason.to_owned());
        self.run(Kind::Background, move |store| store.quarantine(key, id, &reason)).await
    }

    /// Makes everything durable, ends the threads and releases the data directory. Later calls get [`Error::Closed`].
    pub async fn close(&self) -> Result<(), Error> {
        if self.shared.closed.swap(true, Relaxed) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let (done, closed) = tokio::sync::oneshot::channel();
        // A thread of its own waits for the pool, which cannot wait for itself.
        let shut = move || {
            // Who closed the store may have stopped waiting.
            let _ = done.send(shared.shut());
        };
        let started = std::thread::Builder::new().name("weir-close".into()).spawn(shut);
        started.map_err(|source| Error::Io { op: "start threads", path: self.shared.config.directory.clone(), source })?;
        closed.await.unwrap_or(Err(Error::Degraded))
    }

    /// Runs `job` in the disk pool.
    async fn run<T: Send + 'static>(
        &self,
        kind: Kind,
        job: impl FnOnce(&Arc<Shared>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        self.shared.pool.run(kind, move || job(&shared)).await.unwrap_or(Err(Error::Degraded))
    }
}

impl Error {
    /// The same error once more, for each further call it concerns.
    fn again(&self) -> Self {
        match self {
            Self::Full { needed } => Self::Full { needed: *needed },
            Self::Corrupt { blob, offset } => Self::Corrupt { blob: *blob, offset: *offset },
            Self::Absent { blob, offset } => Self::Absent { blob: *blob, offset: *offset },
            Self::TooLarge { len, max } => Self::TooLarge { len: *len, max: *max },
            Self::Degraded => Self::Degraded,
            Self::Closed => Self::Closed,
            Self::Locked { directory } => Self::Locked { directory: directory.clone() },
            Self::Version { directory, reason } => Self::Version { directory: directory.clone(), reason: reason.clone() },
            Self::Io { op, path, source } => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                Self::Io { op, path: path.clone(), source }
            }
        }
    }
}

#[cfg(test)]
mod tests;
