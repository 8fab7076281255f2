//! The table in memory that answers lookups: which objects a key has, and which blobs there are. About 95 bytes an object, and 8 to 16 for its
//! place in the queues of eviction.
//!
//! Sharded, so that no two cores wait for one another for long. Lock order: a shard of keys before a shard of blobs.

mod entry;
mod map;
mod slots;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    ops::{Deref, DerefMut},
    sync::{
        LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

pub(super) use entry::BlobEntry;
pub(super) use slots::{Slot, Slots, Tag, variant_of};

use crate::{
    digest::Digest,
    key::KeyHash,
    object::BlobId,
    store::{
        place::{BLOCK_LEN, Place},
        stamps::{Stamp, Stamps},
        table::map::{Hashed, Map},
    },
};

type KeyShard = Map<KeyHash, Slots>;
type BlobShard = Map<BlobId, BlobEntry>;

/// A shard in which one key is being changed. Its stamp changes at the end, before others can look.
pub(in crate::store) struct Changing<'a> {
    shard: RwLockWriteGuard<'a, KeyShard>,
    stamps: &'a Stamps,
    key: KeyHash,
}

#[derive(Debug)]
pub(in crate::store) struct Table {
    keys: Box<[RwLock<KeyShard>]>,
    stamps: Stamps,
    blobs: Box<[RwLock<BlobShard>]>,
    /// Declared digests of verified blobs. May name a blob that has gone: who asks looks.
    digests: RwLock<HashMap<Digest, BlobId>>,
    /// Blobs removed since `digests` was last tidied.
    gone: AtomicU64,
    pub(in crate::store) objects: AtomicU64,
    /// What the files of all blobs take on the disk.
    pub(in crate::store) used: AtomicU64,
    pub(in crate::store) pinned: AtomicU64,
}

/// What `bytes` of content take on the disk, about: whole blocks. Small contents would otherwise fill a disk far beyond what may be kept.
pub(in crate::store) fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_LEN)
}

/// What a blob of which `bytes` are present takes on the disk: of a pack its place, which holds a response's fields, too.
pub(in crate::store) fn taken_by(id: BlobId, bytes: u64) -> u64 {
    Place::of(id).map_or_else(|| on_disk(bytes), |place| place.range().len())
}

const SHARDS: usize = 64;

/// 2^64 over the golden ratio: multiplied by it, running numbers spread.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Default for Table {
    fn default() -> Self {
        Self {
            keys: (0..SHARDS).map(|_| RwLock::default()).collect(),
            stamps: Stamps::default(),
            blobs: (0..SHARDS).map(|_| RwLock::default()).collect(),
            digests: RwLock::default(),
            gone: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            used: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
        }
    }
}

impl Table {
    pub(in crate::store) fn keys(&self, key: KeyHash) -> RwLockReadGuard<'_, KeyShard> {
        self.keys[key_shard(key)].read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard of `key`, to change what is under that key and no other.
    pub(in crate::store) fn keys_mut(&self, key: KeyHash) -> Changing<'_> {
        let shard = self.keys_noting(key);
        Changing { shard, stamps: &self.stamps, key }
    }

    /// The same to note where fields are kept, which is nothing that a lookup finds: the stamp stays.
    pub(in crate::store) fn keys_noting(&self, key: KeyHash) -> RwLockWriteGuard<'_, KeyShard> {
        self.keys[key_shard(key)].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for what a start found.
    pub(in crate::store) fn reserve(&self, keys: usize, blobs: usize) {
        // A shard gets its share, and what chance may add to it.
        let share = |all: usize| all / SHARDS + all / SHARDS / 32;
        for shard in 0..SHARDS {
            self.keys[shard].write().unwrap_or_else(PoisonError::into_inner).reserve(share(keys));
            self.blobs[shard].write().unwrap_or_else(PoisonError::into_inner).reserve(share(blobs));
        }
    }

    /// See [`Stamp`].
    pub(in crate::store) fn stamp(&self, key: KeyHash) -> Stamp {
        self.stamps.of(key)
    }

    /// The objects of a key now, the most recent first.
    pub(in crate::store) fn slots(&self, key: KeyHash) -> Vec<Slot> {
        self.keys(key).get(&key).map_or_else(Vec::new, |slots| slots.as_slice().to_vec())
    }

    pub(in crate::store) fn blob<T>(&self, id: BlobId, look: impl FnOnce(&BlobEntry) -> T) -> Option<T> {
        self.blobs[blob_shard(id)].read().unwrap_or_else(PoisonError::into_inner).get(&id).map(look)
    }

    /// Changes a blob's entry and the sums over all of them.
    pub(in crate::store) fn change_blob<T>(&self, id: BlobId, change: impl FnOnce(&mut BlobEntry) -> T) -> Option<T> {
        let mut shard = self.blobs[blob_shard(id)].write().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.get_mut(&id)?;
        let (bytes, pinned) = (entry.bytes, entry.pinned);
        let outcome = change(entry);
        add_difference(&self.used, taken_by(id, bytes), taken_by(id, entry.bytes));
        add_difference(&self.pinned, u64::from(pinned), u64::from(entry.pinned));
        Some(outcome)
    }

    pub(in crate::store) fn add_blob(&self, id: BlobId, entry: BlobEntry) {
        self.used.fetch_add(taken_by(id, entry.bytes), Relaxed);
        self.pinned.fetch_add(u64::from(entry.pinned), Relaxed);
        self.blobs[blob_shard(id)].write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
    }

    /// Takes a blob out, and says which keys referred to it. Their slots are the caller's to remove: no lock is held any more.
    pub(in crate::store) fn take_blob(&self, id: BlobId) -> Option<Vec<KeyHash>> {
        let entry = self.blobs[blob_shard(id)].write().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        self.used.fetch_sub(taken_by(id, entry.bytes), Relaxed);
        self.pinned.fetch_sub(u64::from(entry.pinned), Relaxed);
        Some(entry.keys().to_vec())
    }

    /// Takes out the blobs that no key refers to and nobody pinned; says which.
    pub(in crate::store) fn take_unused(&self) -> Vec<BlobId> {
        let shards = self.blobs.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        let is_unused = |(id, entry): (BlobId, &BlobEntry)| (!entry.has_keys() && !entry.pinned).then_some(id);
        let unused: Vec<BlobId> = shards.flat_map(|shard| shard.iter().filter_map(is_unused).collect::<Vec<_>>()).collect();
        unused.iter().for_each(|id| drop(self.take_blob(*id)));
        unused
    }

    pub(in crate::store) fn blob_count(&self) -> u64 {
        self.blobs.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len() as u64).sum()
    }

    /// All blob ids, shard by shard; not a moment's picture.
    pub(in crate::store) fn blob_ids(&self) -> Vec<BlobId> {
        let shards = self.blobs.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.keys().collect::<Vec<_>>()).collect()
    }

    /// All keys, shard by shard; not a moment's picture.
    pub(in crate::store) fn key_hashes(&self) -> Vec<KeyHash> {
        let shards = self.keys.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.keys().collect::<Vec<_>>()).collect()
    }

    /// Notes a use, for eviction.
    pub(in crate::store) fn touch(&self, id: BlobId) {
        self.blob(id, BlobEntry::note_use);
    }

    pub(in crate::store) fn verified(&self, digest: &Digest) -> Option<BlobId> {
        let id = *self.digests.read().unwrap_or_else(PoisonError::into_inner).get(digest)?;
        self.blob(id, |entry| entry.complete)?.then_some(id)
    }

    pub(in crate::store) fn add_digest(&self, digest: Digest, id: BlobId) {
        self.digests.write().unwrap_or_else(PoisonError::into_inner).insert(digest, id);
    }

    /// Forgets the digests of blobs that have gone, once `gone` more blobs make it worth looking at all of them.
    pub(in crate::store) fn forget_digests(&self, gone: u64) {
        let gone = self.gone.fetch_add(gone, Relaxed) + gone;
        let mut digests = self.digests.write().unwrap_or_else(PoisonError::into_inner);
        if gone >= digests.len() as u64 / 8 {
            self.gone.store(0, Relaxed);
            digests.retain(|_, id| self.blob(*id, |_| ()).is_some());
        }
    }
}

impl Deref for Changing<'_> {
    type Target = KeyShard;

    fn deref(&self) -> &KeyShard {
        &self.shard
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut KeyShard {
        &mut self.shard
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.stamps.change(self.key);
    }
}

fn add_difference(sum: &AtomicU64, before: u64, after: u64) {
    if after >= before {
        sum.fetch_add(after - before, Relaxed);
    } else {
        sum.fetch_sub(before - after, Relaxed);
    }
}

/// A number from an id, spread evenly: it may be a running number or name a place in blocks, and neither must crowd one shard. Not of
/// the bits that the maps use.
pub(in crate::store) fn spread(id: BlobId) -> usize {
    (id.0.wrapping_mul(SPREAD) >> 40) as usize
}

fn blob_shard(id: BlobId) -> usize {
    spread(id) % SHARDS
}

fn key_shard(key: KeyHash) -> usize {
    usize::from(key.0[15]) % SHARDS
}

/// Clients choose URLs, and can look for many whose hashes begin alike; multiplied by a number that only this process knows they do not stay together.
static FACTOR: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(SPREAD) | 1);

impl Hashed for KeyHash {
    fn hashed(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).wrapping_mul(*FACTOR)
    }
}

impl Hashed for BlobId {
    fn hashed(self) -> u64 {
        // Nobody outside chooses ids. They are dense in some of their bits, which all of the hash shall depend on.
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(SPREAD);
        (mixed ^ mixed >> 29).wrapping_mul(SPREAD)
    }
}

#[cfg(test)]
mod tests;
