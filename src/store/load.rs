//! The index becomes the table, at a start: rows are read, checked and entered by several threads, and no list of them is made on the way.

use std::{
    collections::HashSet,
    io,
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    object::BlobId,
    store::{
        format::{BlobRow, ObjectHead},
        index::{Changes, Index, object_parts, split_key},
        place::file_number,
        table::{BlobEntry, Slot, Slots, Table, Tag},
    },
};

/// What a start found in the index.
pub(super) struct Loaded {
    pub(super) table: Table,
    /// All blobs of the table, in order.
    pub(super) ids: Vec<BlobId>,
    /// What has no counterpart, or rotted, and is to be removed from the index.
    pub(super) changes: Changes,
    /// The first ids not reserved; 0 if the index does not say.
    pub(super) next_blob: u64,
    pub(super) next_object: u64,
    /// Above all ids that were met.
    pub(super) above_files: u64,
    pub(super) above_objects: u64,
}

/// Threads that read, at most: beyond, they wait for the disk and for one another.
const THREADS_MAX: usize = 4;

/// Reads the whole index.
pub(super) fn load(index: &Index) -> io::Result<Loaded> {
    let counters = index.counters()?;
    let table = Table::default();
    table.reserve(counters.objects, counters.blobs);
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX));
    let changes = Mutex::default();
    let mut ids = load_blobs(index, &table, threads, &changes)?;
    let above_files = ids.iter().map(|id| file_number(*id).saturating_add(1)).max().unwrap_or(0);
    let above_objects = load_objects(index, &table, threads, &changes)?;
    let mut changes = changes.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !changes.bad_objects.is_empty() || !changes.removed.is_empty() {
        let (objects, blobs) = (changes.bad_objects.len(), changes.removed.len());
        tracing::warn!(objects, blobs, "rows of the index rotted and are dropped");
    }
    let unused = table.take_unused();
    if !unused.is_empty() {
        let unused: HashSet<BlobId> = unused.into_iter().collect();
        ids.retain(|id| !unused.contains(id));
        changes.removed.extend(unused);
    }
    let (next_blob, next_object) = (counters.next_blob, counters.next_object);
    Ok(Loaded { table, ids, changes, next_blob, next_object, above_files, above_objects })
}

/// Enters all blobs; gives their ids in order.
fn load_blobs(index: &Index, table: &Table, threads: usize, changes: &Mutex<Changes>) -> io::Result<Vec<BlobId>> {
    let parts = index.blob_parts(threads as u64)?;
    let of_parts = in_parallel(parts, |part| {
        let mut ids = Vec::new();
        index.blobs_in(part, |id, row| match row {
            Some(row) => {
                enter_blob(table, id, &row);
                ids.push(id);
            }
            None => lock(changes).removed.push(id),
        })?;
        Ok(ids)
    })?;
    Ok(of_parts.concat())
}

fn enter_blob(table: &Table, id: BlobId, row: &BlobRow) {
    let mut entry = BlobEntry::new(row.present, row.complete, row.pinned);
    entry.queued = true;
    table.add_blob(id, entry);
    row.verified.iter().for_each(|digest| table.add_digest(*digest, id));
}

/// Enters all objects whose blobs are there; gives the id above theirs.
fn load_objects(index: &Index, table: &Table, threads: usize, changes: &Mutex<Changes>) -> io::Result<u64> {
    let above = AtomicU64::new(0);
    in_parallel(object_parts(threads), |part| {
        // The newest object of a key is to stand in front: ids rise.
        index.objects_in(part, |key, head| {
            let (hash, id) = split_key(&key);
            above.fetch_max(id.0.saturating_add(1), Relaxed);
            let Some(ObjectHead { blob, variant, in_pack }) = head else {
                return lock(changes).bad_objects.push(key);
            };
            if table.change_blob(blob, |entry| entry.add_key(hash)).is_none() {
                return lock(changes).objects.push((hash, id, None));
            }
            let slot = Slot { object: id, blob, tag: Tag::new(variant, in_pack), revision: NonZeroU32::MIN };
            // Nobody has looked anything up yet.
            Slots::enter(&mut table.keys_noting(hash), hash, slot);
            table.objects.fetch_add(1, Relaxed);
        })
    })?;
    Ok(above.into_inner())
}

/// Does `work` on all parts, each in a thread of its own, the first in this one.
fn in_parallel<P: Send, T: Send>(parts: Vec<P>, work: impl Fn(P) -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let mut parts = parts.into_iter();
        let first = parts.next();
        let others: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let mut done: Vec<T> = first.map(work).transpose()?.into_iter().collect();
        for other in others {
            done.push(other.join().unwrap_or_else(|_| Err(io::Error::other("reading the index panicked")))?);
        }
        Ok(done)
    })
}

fn lock(changes: &Mutex<Changes>) -> std::sync::MutexGuard<'_, Changes> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}
