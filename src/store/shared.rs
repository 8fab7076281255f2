//! What all handles of one store share, and the life of a blob in it: created, opened, touched, closed, removed.
//!
//! Lock order: eviction queues, keys, blobs, a blob's state, open blobs, journal. An `Arc<Blob>` is never dropped under one of them, for its
//! drop takes them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    metrics,
    object::{BlobId, ObjectId},
    piece::ByteRange,
    store::{
        Config, Error,
        blob::{Blob, State as BlobState},
        buffers::Buffers,
        disk::{Disk, DiskFile},
        identity::Sum,
        index::Index,
        journal::Journal,
        layout::Layout,
        memory::Memory,
        open::OpenBlobs,
        packs::Packs,
        pieces::Run,
        pool::Pool,
        room::Room,
        table::{BlobEntry, Slots, Table},
    },
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) metrics: metrics::Store,
    pub(super) pool: Pool,
    pub(super) index: Index,
    pub(super) table: Table,
    pub(super) memory: Memory,
    pub(super) buffers: Buffers,
    pub(super) journal: Arc<Journal>,
    pub(super) room: Room,
    pub(super) packs: Packs,
    pub(super) blob_ids: Ids,
    pub(super) object_ids: Ids,
    pub(super) open: OpenBlobs,
    /// Held while a complete blob looks for its equal: of two that end at once, one must see the other.
    pub(super) completing: Mutex<()>,
    pub(super) closed: AtomicBool,
    /// Released by `close`, so that the directory can be opened again at once.
    pub(super) lock: Mutex<Option<Arc<dyn DiskFile>>>,
}

/// Ids that were durably reserved and not yet given away.
#[derive(Debug)]
pub(super) struct Ids {
    next: AtomicU64,
    /// The first that is not reserved.
    end: AtomicU64,
}

/// Counts a writer of a blob until dropped.
#[derive(Debug)]
pub(super) struct Writing {
    store: Weak<Shared>,
    blob: BlobId,
}

/// Ids reserved ahead. A crash skips them; there are 2^64.
pub(super) const IDS_RESERVED: u64 = 1 << 20;

/// Runs that are no whole piece, for one blob: beyond, the shortest are dropped.
pub(super) const EXTENTS_MAX: usize = 4_096;

/// Commits at the end: the last changes, what they made removable, and one to spare.
const SHUT_ROUNDS: usize = 3;

/// How many are dropped at once, so that the search is rare.
const EXTENTS_DROPPED: usize = 64;

impl Ids {
    pub(super) fn new(next: u64, end: u64) -> Self {
        Self { next: AtomicU64::new(next), end: AtomicU64::new(end) }
    }

    /// The next id; `None` when all reserved ones are used up (commits have been failing for a million ids).
    pub(super) fn next(&self) -> Option<u64> {
        let end = self.end.load(Relaxed);
        self.next.fetch_update(Relaxed, Relaxed, |next| (next < end).then_some(next + 1)).ok()
    }

    /// Up to where ids shall be reserved by the next commit.
    pub(super) fn wanted(&self) -> u64 {
        let (next, end) = (self.next.load(Relaxed), self.end.load(Relaxed));
        if end.saturating_sub(next) < IDS_RESERVED / 2 { next + IDS_RESERVED } else { end }
    }

    pub(super) fn reserved(&self, end: u64) {
        self.end.fetch_max(end, Relaxed);
    }
}

impl Shared {
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Finishes and commits what was begun, ends the committer, and releases the directory. Blocks.
    pub(super) fn shut(&self) -> Result<(), Error> {
        self.open.release_all();
        self.pool.wait_idle();
        let mut flushed = Ok(());
        for _ in 0..SHUT_ROUNDS {
            flushed = self.journal.flush().blocking_recv().unwrap_or(Err(Error::Closed));
            // A commit closes blobs; those of no more use are then removed, which is a change too.
            self.pool.wait_idle();
            if flushed.is_err() || self.journal.is_empty() {
                break;
            }
        }
        self.journal.end();
        self.index.close();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        flushed
    }

    pub(super) fn object_id(&self) -> Option<ObjectId> {
        self.object_ids.next().map(ObjectId)
    }

    /// A new, empty blob. Runs in the pool.
    pub(super) fn create_blob(self: &Arc<Self>, len: Option<u64>) -> Result<Arc<Blob>, Error> {
        let (id, file) = match len.filter(|_| self.is_packed(len)) {
            Some(len) => self.take_place(len)?,
            None => {
                let id = BlobId(self.blob_ids.next().ok_or(Error::Degraded)?);
                (id, self.create_file(&self.layout.blob(id))?)
            }
        };
        let state = BlobState { len, is_new: true, ..BlobState::default() };
        let blob = Blob::new(id, self.layout.blob(id), file, Arc::downgrade(self), state);
        self.table.add_blob(id, BlobEntry::new(0, false, false));
        self.open.enter(&blob);
        self.touched(&blob);
        self.finish_if_whole(&blob);
        Ok(blob)
    }

    /// A new file among the blobs. Its name, and that of a directory made for it, is synced with the first commit that needs it.
    pub(super) fn create_file(&self, path: &Path) -> Result<Arc<dyn DiskFile>, Error> {
        let file = match (self.disk.create(path), path.parent()) {
            // Only this one directory: where those above are gone, so is the store.
            (Err(error), Some(directory)) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create_dir(directory).and_then(|()| self.disk.create(path))
            }
            (file, _) => file,
        };
        file.map_err(|error| {
            let error = self.io_failed("create", path.to_owned(), error);
            if !matches!(error, Error::Full { .. }) {
                self.doubt_writing();
            }
            error
        })
    }

    /// Opens a blob from the index. Runs in the pool.
    pub(super) fn open_blob(self: &Arc<Self>, id: BlobId) -> Result<Arc<Blob>, Error> {
        let absent = Error::Absent { blob: id, offset: 0 };
        if let Some(blob) = self.open.find(id) {
            return Ok(blob);
        }
        let Some(checked) = self.table.blob(id, |entry| entry.checked) else { return Err(absent) };
        let row = self.index.blob(id).map_err(|error| self.io_failed("read index", self.layout.index(), error))?;
        let Some((row, runs)) = row else {
            // Its row rotted.
            self.remove_blob(id);
            return Err(absent);
        };
        let path = self.layout.blob(id);
        let file = match self.open_file(id) {
            Ok(file) => file,
            // All may come back with the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_there() => return Err(absent),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(blob = %id, "the file of an indexed blob is missing, its responses are forgotten");
                self.remove_blob(id);
                return Err(absent);
            }
            Err(error) => return Err(self.io_failed("open", path, error)),
        };
        let mut state = BlobState::loaded(row.len, runs, checked);
        state.complete = row.complete && row.len == Some(state.map.bytes());
        state.content = row.content;
        let fresh = Blob::new(id, path, file, Arc::downgrade(self), state);
        // Another may have opened it meanwhile.
        let blob = self.open.enter(&fresh);
        if self.table.blob(id, |_| ()).is_none() {
            // It was removed while it was opened: its place in a pack may be a hole already.
            blob.state().detached = true;
            return Err(absent);
        }
        // A crash may have come between the last byte and the completion.
        self.finish_if_whole(&blob);
        Ok(blob)
    }

    /// The last `Arc` is gone: what is of no more use goes too.
    pub(super) fn closed_blob(self: &Arc<Self>, blob: &Blob) {
        if !self.open.forget(blob.id) {
            return;
        }
        let (checked, detached, is_vacated) = {
            let state = blob.state();
            (state.map.is_all_checked(), state.detached, state.is_vacated)
        };
        if is_vacated {
            self.closed_vacated(blob);
        }
        if detached {
            return;
        }
        let unused = self.table.change_blob(blob.id, |entry| {
            entry.checked = checked;
            !entry.has_keys()
        });
        if unused == Some(true) {
            self.remove_blob(blob.id);
        }
    }

    /// The blob's map changed: the next commit looks at it.
    pub(super) fn touched(&self, blob: &Arc<Blob>) {
        if !blob.state().detached {
            self.journal.touch(blob);
        }
    }

    /// Enters a summed run of bytes that were written.
    pub(super) fn add_run(self: &Arc<Self>, blob: &Arc<Blob>, run: Run, identity: Option<Sum>) {
        let piece = run.piece();
        let (bytes, crowded) = {
            let mut state = blob.state();
            if !state.readable.contains(run.range) {
                // Cut off by a length learnt meanwhile; what is left of it has no sum and is dropped too.
                state.readable.remove(run.range);
                return;
            }
            if let Some(identity) = identity {
                state.short = Some((run.range.end, identity));
            }
            state.add(run);
            (state.map.bytes(), state.crowded_out())
        };
        self.table.change_blob(blob.id, |entry| entry.bytes = bytes);
        self.touched(blob);
        if crowded {
            return;
        }
        self.merge_if_full(blob, piece);
        self.finish_if_whole(blob);
    }

    /// Drops everything that overlaps `range`: it rotted. The index forgets it with the next commit.
    pub(super) fn drop_corrupt(self: &Arc<Self>, blob: &Arc<Blob>, range: ByteRange) {
        let bytes = {
            let mut state = blob.state();
            let runs: Vec<_> = state.map.overlapping(range);
            for run in &runs {
                state.drop_run(*run);
            }
            if runs.is_empty() {
                state.readable.remove(range);
            }
            self.metrics.corrupt_extents.add(runs.len().max(1) as u64);
            state.map.bytes()
        };
        tracing::warn!(blob = %blob.id, ?range, "stored bytes rotted and were dropped");
        self.table.change_blob(blob.id, |entry| {
            entry.bytes = bytes;
            entry.complete = false;
            entry.checked = false;
        });
        self.touched(blob);
    }

    /// Takes a blob and its objects out of the store; its file goes after the next commit. Says how many objects and bytes went.
    pub(super) fn remove_blob(&self, id: BlobId) -> (u64, u64) {
        let bytes = self.table.blob(id, |entry| entry.bytes).unwrap_or(0);
        // Before it no longer counts as stored: in no moment it shall count as neither.
        self.room.freeing(id, bytes);
        let Some(keys) = self.table.take_blob(id) else {
            self.room.freed(&[(id, bytes)]);
            return (0, 0);
        };
        let mut objects = 0;
        for key in keys {
            let mut shard = self.table.keys_mut(key);
            Slots::edit(&mut shard, key, |slots| {
                slots.retain(|slot| {
                    if slot.blob == id {
                        self.journal.remove_object(key, slot.object);
                        objects += 1;
                    }
                    slot.blob != id
                });
            });
            self.memory.responses.invalidate(&key);
        }
        self.table.objects.fetch_sub(objects, Relaxed);
        self.memory.contents.invalidate(&id);
        if let Some(blob) = self.open.find(id) {
            blob.state().detached = true;
        }
        self.journal.remove_blob(id, bytes);
        self.open.release(id);
        (objects, bytes)
    }

    pub(super) fn begin_writing(self: &Arc<Self>, blob: BlobId) -> Writing {
        self.table.change_blob(blob, |entry| entry.begin_writing());
        Writing { store: Arc::downgrade(self), blob }
    }

    /// Counts a failed disk call, and says it once in the words of an error.
    pub(super) fn io_failed(&self, op: &'static str, path: PathBuf, source: io::Error) -> Error {
        self.metrics.errors.inc(op);
        if source.kind() == io::ErrorKind::StorageFull {
            self.room.ran_out(0, &self.metrics);
            self.journal.hurry();
            return Error::Full { needed: 0 };
        }
        Error::Io { op, path, source }
    }
}

impl BlobState {
    /// Too many small runs: the shortest are dropped. Whether any were.
    fn crowded_out(&mut self) -> bool {
        if self.map.parts() <= EXTENTS_MAX {
            return false;
        }
        for run in self.map.shortest(EXTENTS_DROPPED) {
            self.drop_run(run.range);
        }
        true
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            store.table.change_blob(self.blob, |entry| entry.end_writing());
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.journal.end();
    }
}
