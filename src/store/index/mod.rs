//! The durable index: what is stored, in one redb file. Nothing on the path of a hit reads it.
//!
//! | table | key | row |
//! | --- | --- | --- |
//! | `objects` | key hash 16 B, object id 8 B (big-endian) | response, see `format/object.rs` |
//! | `blobs` | blob id | length, flags, identity, digests |
//! | `pieces` | blob id, row number | runs of 64 pieces with their sums |
//! | `contents` | BLAKE3 of a complete content | blob id |
//! | `digests` | declared digest | blob id |
//! | `counters` | name | first id not yet reserved |

mod apply;
mod backend;
mod rows;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableDefinition, TableError};

pub(super) use apply::{BlobChange, Changes, Snapshot};
pub(super) use rows::{Counters, object_parts};

use backend::{Backend, Overlay};

use crate::{
    digest::Digest,
    key::KeyHash,
    object::{BlobId, ObjectId},
    store::{
        disk::DiskFile,
        format::{self, BlobRow, ObjectRow},
        identity::Sum,
        pieces::Run,
    },
};

// Arrays by reference: redb spells them as it does arrays, and neither decodes nor compares them byte by byte.
const OBJECTS: TableDefinition<'_, &[u8; 24], &[u8]> = TableDefinition::new("objects");
const BLOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blobs");
const PIECES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("pieces");
const CONTENTS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("contents");
const DIGESTS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("digests");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");

const NEXT_BLOB: &str = "blob";
const NEXT_OBJECT: &str = "object";

/// The open index. Reads run beside the one writer.
#[derive(Debug)]
pub(super) struct Index {
    open: RwLock<Open>,
    cache_bytes: usize,
}

#[derive(Debug)]
struct Open {
    /// `None` after an error, until it is opened anew, and at the end.
    database: Option<Database>,
    file: Arc<dyn DiskFile>,
    /// What redb writes is not written to the file.
    read_only: bool,
    closed: bool,
}

/// One page of stored responses.
pub(super) type Scanned = Vec<(KeyHash, ObjectId, ObjectRow)>;

impl Index {
    /// Opens the index in `file`, or starts one if the file is empty. A file that rotted is an error, never a panic.
    pub(super) fn open(file: Arc<dyn DiskFile>, cache_bytes: usize) -> io::Result<Self> {
        let database = open_database(Backend(Arc::clone(&file)), cache_bytes)?;
        Ok(Self { open: RwLock::new(Open { database: Some(database), file, read_only: false, closed: false }), cache_bytes })
    }

    /// Opens it anew if it is not open: after an I/O error redb takes no more work, and [`Index::apply`] closed it. On a disk that takes no
    /// writes it is opened for reading only.
    fn ensure_open(&self) -> io::Result<()> {
        if self.open.read().unwrap_or_else(PoisonError::into_inner).database.is_some() {
            return Ok(());
        }
        let mut open = self.write();
        if open.closed {
            return Err(io::Error::other("the index is closed"));
        }
        let opened = open_database(Backend(Arc::clone(&open.file)), self.cache_bytes);
        open.read_only = opened.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::InvalidData);
        open.database = Some(match opened {
            Err(_) if open.read_only => open_database(Overlay::new(Arc::clone(&open.file))?, self.cache_bytes)?,
            opened => opened?,
        });
        Ok(())
    }

    /// Opens it for writing, or fails.
    fn ensure_writable(&self) -> io::Result<()> {
        if self.open.read().unwrap_or_else(PoisonError::into_inner).read_only {
            self.discard();
        }
        self.ensure_open()?;
        match self.open.read().unwrap_or_else(PoisonError::into_inner).read_only {
            true => Err(io::Error::other("the disk takes no writes")),
            false => Ok(()),
        }
    }

    /// Goes on with an empty index in `file`.
    pub(super) fn replace(&self, file: Arc<dyn DiskFile>) -> io::Result<()> {
        self.discard();
        let mut open = self.write();
        open.file = file;
        open.read_only = false;
        open.database = Some(open_database(Backend(Arc::clone(&open.file)), self.cache_bytes)?);
        Ok(())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it until the next call that needs it.
    fn discard(&self) {
        let database = self.write().database.take();
        // Its drop writes, if it can; on rotten pages redb may panic.
        let _ = caught(|| {
            drop(database);
            Ok(())
        });
    }

    /// Closes the file in good order. Later calls fail.
    pub(super) fn close(&self) {
        self.write().closed = true;
        self.discard();
    }

    /// One stored response; `None` if it is not there or rotted.
    pub(super) fn object(&self, hash: KeyHash, id: ObjectId) -> io::Result<Option<ObjectRow>> {
        self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let Some(table) = present(read.open_table(OBJECTS))? else { return Ok(None) };
            let key = join_key(hash, id);
            Ok(table.get(&key).map_err(other)?.and_then(|row| format::object_of(&key, row.value())))
        })
    }

    /// At most `count` stored responses after `after`, in key order.
    pub(super) fn scan(&self, after: Option<(KeyHash, ObjectId)>, count: usize) -> io::Result<Scanned> {
        self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let Some(table) = present(read.open_table(OBJECTS))? else { return Ok(Vec::new()) };
            let from = after.map_or(std::ops::Bound::Unbounded, |(hash, id)| std::ops::Bound::Excluded(join_key(hash, id)));
            let mut found = Vec::new();
            for entry in table.range::<&[u8; 24]>((from.as_ref(), std::ops::Bound::Unbounded)).map_err(other)? {
                let (key, row) = entry.map_err(other)?;
                let (hash, id) = split_key(key.value());
                found.extend(format::object_of(key.value(), row.value()).map(|row| (hash, id, row)));
                if found.len() >= count {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// A blob with its runs; rotten rows of pieces are left out. `None` if the blob is not there or its own row rotted.
    pub(super) fn blob(&self, id: BlobId) -> io::Result<Option<(BlobRow, Vec<Run>)>> {
        self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let Some(table) = present(read.open_table(BLOBS))? else { return Ok(None) };
            let Some(row) = table.get(id.0).map_err(other)?.and_then(|row| format::blob_of(id.0, row.value())) else {
                return Ok(None);
            };
            let mut runs = Vec::new();
            if let Some(table) = present(read.open_table(PIECES))? {
                for entry in table.range((id.0, 0)..=(id.0, u64::MAX)).map_err(other)? {
                    let (key, bytes) = entry.map_err(other)?;
                    runs.extend(format::pieces_of(id.0, key.value().1, bytes.value()).unwrap_or_default());
                }
            }
            Ok(Some((row, runs)))
        })
    }

    /// The blob that holds this content.
    pub(super) fn content(&self, content: &Sum) -> io::Result<Option<BlobId>> {
        self.guarded(|database| {
            let read = database.begin_read().map_err(other)?;
            let Some(table) = present(read.open_table(CONTENTS))? else { return Ok(None) };
            Ok(table.get(content).map_err(other)?.map(|id| BlobId(id.value())))
        })
    }

    /// Runs `work` on the database. redb may panic on rotten pages: that is an error here.
    fn guarded<T>(&self, work: impl FnOnce(&Database) -> io::Result<T>) -> io::Result<T> {
        self.ensure_open()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.database.as_ref().ok_or_else(|| io::Error::other("the index is not open"))?;
        caught(|| work(database))
    }
}

fn open_database(backend: impl StorageBackend, cache_bytes: usize) -> io::Result<Database> {
    caught(|| Builder::new().set_cache_size(cache_bytes).create_with_backend(backend).map_err(other))
}

fn caught<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::InvalidData, "index rotted")))
}

/// A table that was never written to is empty.
fn present<T>(table: Result<T, TableError>) -> io::Result<Option<T>> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(other(error)),
    }
}

/// Keeps the operating system's error visible: what to do about a full disk depends on it. Rot is `InvalidData`.
fn other(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        redb::Error::PreviousIo => io::Error::other(redb::Error::PreviousIo),
        // Used as it is used here, redb has nothing else to complain of but its file.
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

pub(super) fn join_key(hash: KeyHash, id: ObjectId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&hash.0);
    key[16..].copy_from_slice(&id.0.to_be_bytes());
    key
}

pub(super) fn split_key(key: &[u8; 24]) -> (KeyHash, ObjectId) {
    let (mut hash, mut id) = ([0; 16], [0; 8]);
    hash.copy_from_slice(&key[..16]);
    id.copy_from_slice(&key[16..]);
    (KeyHash(hash), ObjectId(u64::from_be_bytes(id)))
}

/// How a digest is spelled as a key: SHA-1 and SHA-256 differ in length.
fn digest_key(digest: &Digest) -> &[u8] {
    digest.bytes()
}
