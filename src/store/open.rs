//! Open blobs: one `Arc<Blob>` for each id at a time, and those used lately kept open between requests.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering::Relaxed},
};

use crate::{
    object::BlobId,
    store::{blob::Blob, place::Place, table::spread},
};

/// Sharded like the table. Nothing is dropped under a lock: dropping a blob comes back here.
#[derive(Debug)]
pub(super) struct OpenBlobs {
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    all: HashMap<BlobId, Weak<Blob>>,
    /// Kept open, the longest first; one that was used meanwhile gets a second round.
    kept: VecDeque<Arc<Blob>>,
}

const SHARDS: usize = 16;

/// Blobs kept open, 512 in all: with those that wait for a commit they stay below the 1,024 files that the listener leaves to all of weir.
const KEPT_PER_SHARD: usize = 32;

impl Default for OpenBlobs {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl OpenBlobs {
    fn shard(&self, id: BlobId) -> MutexGuard<'_, Shard> {
        self.shards[spread(id) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, id: BlobId) -> Option<Arc<Blob>> {
        let blob = self.shard(id).all.get(&id).and_then(Weak::upgrade)?;
        blob.used.store(true, Relaxed);
        Some(blob)
    }

    /// Enters `fresh`, unless its blob is open already; what is returned is the one `Arc`.
    pub(super) fn enter(&self, fresh: &Arc<Blob>) -> Arc<Blob> {
        let mut shard = self.shard(fresh.id);
        if let Some(there) = shard.all.get(&fresh.id).and_then(Weak::upgrade) {
            return there;
        }
        shard.all.insert(fresh.id, Arc::downgrade(fresh));
        Arc::clone(fresh)
    }

    /// All open blobs of one pack.
    pub(super) fn of_pack(&self, pack: u64) -> Vec<Arc<Blob>> {
        let in_pack = |id: &BlobId| Place::of(*id).is_some_and(|place| place.pack == pack);
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(shard.all.iter().filter(|(id, _)| in_pack(id)).filter_map(|(_, weak)| weak.upgrade()));
        }
        found
    }

    /// Keeps a blob open after its users are gone, as long as others are not used more.
    pub(super) fn keep(&self, blob: &Arc<Blob>) {
        let mut closing = None;
        let mut shard = self.shard(blob.id);
        if !shard.kept.iter().any(|kept| kept.id == blob.id) {
            shard.kept.push_back(Arc::clone(blob));
        }
        while shard.kept.len() > KEPT_PER_SHARD && closing.is_none() {
            closing = shard.kept.pop_front();
            if closing.as_ref().is_some_and(|oldest| oldest.used.swap(false, Relaxed)) {
                shard.kept.extend(closing.take());
            }
        }
        drop(shard);
        drop(closing);
    }

    /// No longer keeps a blob open; whoever holds it goes on.
    pub(super) fn release(&self, id: BlobId) {
        let released = {
            let mut shard = self.shard(id);
            let at = shard.kept.iter().position(|kept| kept.id == id);
            at.and_then(|at| shard.kept.remove(at))
        };
        drop(released);
    }

    pub(super) fn release_all(&self) {
        for shard in &self.shards {
            let released = std::mem::take(&mut shard.lock().unwrap_or_else(PoisonError::into_inner).kept);
            drop(released);
        }
    }

    /// The last `Arc` of a blob goes: forgets it. `false` if the id is open in another, for it lost a race of two openings.
    pub(super) fn forget(&self, id: BlobId) -> bool {
        let mut shard = self.shard(id);
        if shard.all.get(&id).is_some_and(|weak| weak.strong_count() > 0) {
            return false;
        }
        shard.all.remove(&id);
        true
    }
}
