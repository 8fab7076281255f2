//! The table in memory that answers lookups: which objects a key has, and which blobs there are. At most 150 bytes an object.
//!
//! Sharded, so that no two cores wait for one another for long. Lock order: a shard of keys before a shard of blobs.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hasher,
    num::NonZeroU32,
    ops::{Deref, DerefMut},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    digest::Digest,
    key::KeyHash,
    object::{BlobId, Object, ObjectId},
    store::{
        place::{BLOCK_LEN, Place},
        stamps::{Stamp, Stamps},
    },
};

/// What the table keeps of an object. Two equal slots mean the same stored response, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) object: ObjectId,
    pub(super) blob: BlobId,
    pub(super) tag: Tag,
    /// Never zero, so that [`Slots`] needs no tag.
    pub(super) revision: NonZeroU32,
}

/// Which variant of its key an object is, and whether the record in its blob's place is of this very state of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag(u32);

/// The objects of one key, the most recent first. Nearly always one.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a thin pointer: the rare case must not widen the usual one")]
pub(super) enum Slots {
    One(Slot),
    Many(Box<Vec<Slot>>),
}

/// What the table keeps of a blob.
#[derive(Debug)]
pub(super) struct BlobEntry {
    /// Bytes present.
    pub(super) bytes: u64,
    keys: Keys,
}

/// Keys of the objects that refer to a blob, nearly always one; the marks fill what alignment would leave empty beside it.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a thin pointer: the rare case must not widen the usual one")]
enum Keys {
    None(Marks),
    One(KeyHash, Marks),
    Many(Box<Vec<KeyHash>>, Marks),
}

/// What is marked about a blob. Reached through its [`BlobEntry`].
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) complete: bool,
    pub(super) pinned: bool,
    /// All its bytes were compared with their sums since the start.
    pub(super) checked: bool,
    /// Eviction knows it.
    pub(super) queued: bool,
    /// Writers at work, a little-endian number: while there are any the blob is not evicted.
    writers: [u8; 2],
    /// Uses since eviction last asked, at most [`USES_MAX`].
    uses: AtomicU8,
}

type KeyShard = HashMap<KeyHash, Slots, Spread>;
type BlobShard = HashMap<BlobId, BlobEntry, Spread>;

/// A shard in which one key is being changed. Its stamp changes at the end, before others can look.
pub(super) struct Changing<'a> {
    shard: RwLockWriteGuard<'a, KeyShard>,
    stamps: &'a Stamps,
    key: KeyHash,
}

#[derive(Debug)]
pub(super) struct Table {
    keys: Box<[RwLock<KeyShard>]>,
    stamps: Stamps,
    blobs: Box<[RwLock<BlobShard>]>,
    /// Declared digests of verified blobs. May name a blob that has gone: who asks looks.
    digests: RwLock<HashMap<Digest, BlobId>>,
    /// Blobs removed since `digests` was last tidied.
    gone: AtomicU64,
    pub(super) objects: AtomicU64,
    /// What the files of all blobs take on the disk.
    pub(super) used: AtomicU64,
    pub(super) pinned: AtomicU64,
}

/// What `bytes` of content take on the disk, about: whole blocks. Small contents would otherwise fill a disk far beyond what may be kept.
pub(super) fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_LEN)
}

/// What a blob of which `bytes` are present takes on the disk: of a pack its place, which holds a response's fields, too.
pub(super) fn taken_by(id: BlobId, bytes: u64) -> u64 {
    Place::of(id).map_or_else(|| on_disk(bytes), |place| place.range().len())
}

/// In a [`Tag`].
const IN_PACK: u32 = 1 << 31;

const SHARDS: usize = 64;
const USES_MAX: u8 = 3;

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
    pub(super) fn keys(&self, key: KeyHash) -> RwLockReadGuard<'_, KeyShard> {
        self.keys[key_shard(key)].read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard of `key`, to change what is under that key and no other.
    pub(super) fn keys_mut(&self, key: KeyHash) -> Changing<'_> {
        let shard = self.keys_noting(key);
        Changing { shard, stamps: &self.stamps, key }
    }

    /// The same to note where fields are kept, which is nothing that a lookup finds: the stamp stays.
    pub(super) fn keys_noting(&self, key: KeyHash) -> RwLockWriteGuard<'_, KeyShard> {
        self.keys[key_shard(key)].write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for what a start found.
    pub(super) fn reserve(&self, keys: usize, blobs: usize) {
        for shard in 0..SHARDS {
            let share = |all: usize| all * shares_of(shard) / shares_before(SHARDS);
            self.keys[shard].write().unwrap_or_else(PoisonError::into_inner).reserve(share(keys));
            self.blobs[shard].write().unwrap_or_else(PoisonError::into_inner).reserve(share(blobs));
        }
    }

    /// See [`Stamp`].
    pub(super) fn stamp(&self, key: KeyHash) -> Stamp {
        self.stamps.of(key)
    }

    /// The objects of a key now, the most recent first.
    pub(super) fn slots(&self, key: KeyHash) -> Vec<Slot> {
        self.keys(key).get(&key).map_or_else(Vec::new, |slots| slots.as_slice().to_vec())
    }

    pub(super) fn blob<T>(&self, id: BlobId, look: impl FnOnce(&BlobEntry) -> T) -> Option<T> {
        self.blobs[blob_shard(id)].read().unwrap_or_else(PoisonError::into_inner).get(&id).map(look)
    }

    /// Changes a blob's entry and the sums over all of them.
    pub(super) fn change_blob<T>(&self, id: BlobId, change: impl FnOnce(&mut BlobEntry) -> T) -> Option<T> {
        let mut shard = self.blobs[blob_shard(id)].write().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.get_mut(&id)?;
        let (bytes, pinned) = (entry.bytes, entry.pinned);
        let outcome = change(entry);
        add_difference(&self.used, taken_by(id, bytes), taken_by(id, entry.bytes));
        add_difference(&self.pinned, u64::from(pinned), u64::from(entry.pinned));
        Some(outcome)
    }

    pub(super) fn add_blob(&self, id: BlobId, entry: BlobEntry) {
        self.used.fetch_add(taken_by(id, entry.bytes), Relaxed);
        self.pinned.fetch_add(u64::from(entry.pinned), Relaxed);
        self.blobs[blob_shard(id)].write().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
    }

    /// Takes a blob out, and says which keys referred to it. Their slots are the caller's to remove: no lock is held any more.
    pub(super) fn take_blob(&self, id: BlobId) -> Option<Vec<KeyHash>> {
        let entry = self.blobs[blob_shard(id)].write().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        self.used.fetch_sub(taken_by(id, entry.bytes), Relaxed);
        self.pinned.fetch_sub(u64::from(entry.pinned), Relaxed);
        Some(entry.keys.as_slice().to_vec())
    }

    pub(super) fn blob_count(&self) -> u64 {
        self.blobs.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len() as u64).sum()
    }

    /// All blob ids, shard by shard; not a moment's picture.
    pub(super) fn blob_ids(&self) -> Vec<BlobId> {
        let shards = self.blobs.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.keys().copied().collect::<Vec<_>>()).collect()
    }

    /// All keys, shard by shard; not a moment's picture.
    pub(super) fn key_hashes(&self) -> Vec<KeyHash> {
        let shards = self.keys.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner));
        shards.flat_map(|shard| shard.keys().copied().collect::<Vec<_>>()).collect()
    }

    /// Notes a use, for eviction.
    pub(super) fn touch(&self, id: BlobId) {
        self.blob(id, |entry| {
            // Lost increments do no harm, and the usual case, a hot blob at the maximum, writes nothing.
            let uses = entry.uses.load(Relaxed);
            if uses < USES_MAX {
                entry.uses.store(uses + 1, Relaxed);
            }
        });
    }

    pub(super) fn verified(&self, digest: &Digest) -> Option<BlobId> {
        let id = *self.digests.read().unwrap_or_else(PoisonError::into_inner).get(digest)?;
        self.blob(id, |entry| entry.complete)?.then_some(id)
    }

    pub(super) fn add_digest(&self, digest: Digest, id: BlobId) {
        self.digests.write().unwrap_or_else(PoisonError::into_inner).insert(digest, id);
    }

    /// Forgets the digests of blobs that have gone, once `gone` more blobs make it worth looking at all of them.
    pub(super) fn forget_digests(&self, gone: u64) {
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

impl Slot {
    /// Whether it stands for `object` as it is, its blob aside.
    pub(super) fn is_state_of(&self, object: &Object) -> bool {
        self.object == object.id && self.revision == object.revision
    }

    /// Whether both stand for the same state of the same response, wherever its fields are.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.object, self.revision, self.blob) == (other.object, other.revision, other.blob)
    }
}

impl Tag {
    /// `variant`: of [`variant_of`]. Former formats used its top bit, too.
    pub(super) fn new(variant: u32, in_pack: bool) -> Self {
        Self(variant & !IN_PACK | if in_pack { IN_PACK } else { 0 })
    }

    pub(super) fn variant(self) -> u32 {
        self.0 & !IN_PACK
    }

    pub(super) fn is_in_pack(self) -> bool {
        self.0 & IN_PACK != 0
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}{}", self.variant(), if self.is_in_pack() { " in pack" } else { "" })
    }
}

impl Slots {
    pub(super) fn as_slice(&self) -> &[Slot] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    fn from_vec(mut slots: Vec<Slot>) -> Option<Self> {
        match slots.len() {
            0 => None,
            1 => slots.pop().map(Self::One),
            _ => Some(Self::Many(Box::new(slots))),
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Slot] {
        match self {
            Self::One(slot) => std::slice::from_mut(slot),
            Self::Many(slots) => slots,
        }
    }

    /// Puts `slot` in front of those of `key`.
    pub(super) fn enter(shard: &mut KeyShard, key: KeyHash, slot: Slot) {
        if let Entry::Vacant(vacant) = shard.entry(key) {
            vacant.insert(Self::One(slot));
            return;
        }
        Self::edit(shard, key, |slots| slots.insert(0, slot));
    }

    /// Replaces the slots of `key` by what `change` makes of them; a key without slots is removed.
    pub(super) fn edit(shard: &mut KeyShard, key: KeyHash, change: impl FnOnce(&mut Vec<Slot>)) {
        let mut slots = shard.remove(&key).map_or_else(Vec::new, |slots| slots.as_slice().to_vec());
        change(&mut slots);
        if let Some(slots) = Self::from_vec(slots) {
            shard.insert(key, slots);
        }
    }
}

impl BlobEntry {
    pub(super) fn new(bytes: u64, complete: bool, pinned: bool) -> Self {
        Self { bytes, keys: Keys::None(Marks { complete, pinned, ..Marks::default() }) }
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.as_slice().is_empty()
    }

    pub(super) fn keys(&self) -> &[KeyHash] {
        self.keys.as_slice()
    }

    pub(super) fn add_key(&mut self, key: KeyHash) {
        self.keys = match std::mem::replace(&mut self.keys, Keys::None(Marks::default())) {
            Keys::None(marks) => Keys::One(key, marks),
            Keys::One(first, marks) => Keys::Many(Box::new(vec![first, key]), marks),
            Keys::Many(mut keys, marks) => {
                keys.push(key);
                Keys::Many(keys, marks)
            }
        };
    }

    /// Takes out one mention of `key`.
    pub(super) fn remove_key(&mut self, key: KeyHash) {
        match &mut self.keys {
            Keys::One(only, marks) if *only == key => self.keys = Keys::None(std::mem::take(marks)),
            Keys::Many(keys, _) => {
                if let Some(at) = keys.iter().position(|there| *there == key) {
                    keys.swap_remove(at);
                }
            }
            _ => {}
        }
    }

    pub(super) fn begin_writing(&mut self) {
        self.writers = u16::from_le_bytes(self.writers).saturating_add(1).to_le_bytes();
    }

    pub(super) fn end_writing(&mut self) {
        self.writers = u16::from_le_bytes(self.writers).saturating_sub(1).to_le_bytes();
    }

    pub(super) fn is_being_written(&self) -> bool {
        self.writers != [0; 2]
    }

    /// Whether it was used since this was last asked; forgets one use.
    pub(super) fn take_use(&self) -> bool {
        let uses = self.uses.load(Relaxed);
        self.uses.store(uses.saturating_sub(1), Relaxed);
        uses > 0
    }
}

impl Deref for BlobEntry {
    type Target = Marks;

    fn deref(&self) -> &Marks {
        let (Keys::None(marks) | Keys::One(_, marks) | Keys::Many(_, marks)) = &self.keys;
        marks
    }
}

impl DerefMut for BlobEntry {
    fn deref_mut(&mut self) -> &mut Marks {
        let (Keys::None(marks) | Keys::One(_, marks) | Keys::Many(_, marks)) = &mut self.keys;
        marks
    }
}

impl Keys {
    fn as_slice(&self) -> &[KeyHash] {
        match self {
            Self::None(_) => &[],
            Self::One(key, _) => std::slice::from_ref(key),
            Self::Many(keys, _) => keys,
        }
    }
}

fn add_difference(sum: &AtomicU64, before: u64, after: u64) {
    if after >= before {
        sum.fetch_add(after - before, Relaxed);
    } else {
        sum.fetch_sub(before - after, Relaxed);
    }
}

/// Which shard each of [`SHARES`] hash values belongs to. The last shard gets twice as many as the first: if all were alike, the maps of all would
/// double at the same number of objects, and the table would be half empty just after.
const SHARD_OF: [u8; SHARES] = {
    let mut shards = [0; SHARES];
    let all = shares_before(SHARDS);
    let (mut shard, mut at) = (0, 0);
    while shard < SHARDS {
        while at < shares_before(shard + 1) * SHARES / all {
            shards[at] = shard as u8;
            at += 1;
        }
        shard += 1;
    }
    shards
};

const SHARES: usize = 1 << 10;

/// Shard number n weighs `SHARDS + n`.
const fn shares_of(shard: usize) -> usize {
    shares_before(shard + 1) - shares_before(shard)
}

const fn shares_before(shard: usize) -> usize {
    shard * SHARDS + shard * shard.saturating_sub(1) / 2
}

fn key_shard(key: KeyHash) -> usize {
    let hash = usize::from(u16::from_le_bytes([key.0[14], key.0[15]]));
    usize::from(SHARD_OF[hash % SHARES])
}

/// A number from an id, spread evenly: it may be a running number or name a place in blocks, and neither must crowd one shard. Not of
/// the bits that the maps use.
pub(super) fn spread(id: BlobId) -> usize {
    (id.0.wrapping_mul(SPREAD) >> 40) as usize
}

fn blob_shard(id: BlobId) -> usize {
    usize::from(SHARD_OF[spread(id) % SHARES])
}

/// Hashing for keys that are spread already (a key hash) or only need spreading (a running number): nobody outside chooses them freely.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread;

#[derive(Debug, Default)]
pub(super) struct SpreadHasher(u64);

impl std::hash::BuildHasher for Spread {
    type Hasher = SpreadHasher;

    fn build_hasher(&self) -> SpreadHasher {
        SpreadHasher::default()
    }
}

impl Hasher for SpreadHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let count = bytes.len().min(8);
        first[..count].copy_from_slice(&bytes[..count]);
        self.write_u64(u64::from_le_bytes(first));
    }

    fn write_usize(&mut self, _: usize) {}

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing: the map uses the top and the bottom bits.
        let spread = (self.0 ^ value).wrapping_mul(SPREAD);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Tells variants of a key apart, in 31 bits. Equal hashes of different fields only cost a replaced variant.
pub(super) fn variant_of(selecting: &[(http::HeaderName, Option<http::HeaderValue>)]) -> u32 {
    if selecting.is_empty() {
        return 0;
    }
    let mut text = blake3::Hasher::new();
    for (name, value) in selecting {
        text.update(name.as_str().as_bytes()).update(&[0]);
        if let Some(value) = value {
            text.update(&[1]).update(&(value.len() as u64).to_le_bytes()).update(value.as_bytes());
        }
    }
    let hash = text.finalize();
    u32::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1], hash.as_bytes()[2], hash.as_bytes()[3]]) & !IN_PACK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::place::Place;

    #[test]
    fn a_slot_and_a_blob_entry_stay_small() {
        assert_eq!((size_of::<(KeyHash, Slots)>(), size_of::<(BlobId, BlobEntry)>()), (40, 40));
    }

    /// What a map takes: a power of two of buckets, at most 7 of 8 full, each with a byte of its own.
    fn map_bytes<K, V>(map: &HashMap<K, V, Spread>) -> usize {
        (map.capacity() * 8 / 7).next_power_of_two() * (size_of::<(K, V)>() + 1)
    }

    #[test]
    fn an_object_takes_at_most_150_bytes_of_the_table_however_many_there_are() {
        let table = Table::default();
        for number in 1..=1_000_000_u64 {
            let hash = blake3::hash(&number.to_le_bytes());
            let key = KeyHash(hash.as_bytes()[..16].try_into().unwrap());
            let blob = Place { pack: number >> 14, block: number % (1 << 14), blocks: 1 }.id();
            let mut entry = BlobEntry::new(4_096, true, false);
            entry.add_key(key);
            table.add_blob(blob, entry);
            let slot = Slot { object: ObjectId(number), blob, tag: Tag::new(0, false), revision: NonZeroU32::MIN };
            Slots::edit(&mut table.keys_mut(key), key, |slots| slots.push(slot));
            if number >= 200_000 && number.is_multiple_of(50_000) {
                let keys: usize = table.keys.iter().map(|shard| map_bytes(&shard.read().unwrap())).sum();
                let blobs: usize = table.blobs.iter().map(|shard| map_bytes(&shard.read().unwrap())).sum();
                let each = (keys + blobs) as u64 / number;
                // And 8 for its place in the queues of eviction.
                assert!(each + 8 <= 150, "{each} bytes each of {number}");
            }
        }
    }

    #[test]
    fn no_shard_is_crowded() {
        let mut counts = [0; SHARDS];
        for number in 0..1_000_000_u64 {
            counts[blob_shard(Place { pack: number >> 10, block: number % 1_024 * 16, blocks: 16 }.id())] += 1;
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 8_000 && *most < 25_000, "{least} to {most}");
    }

    #[test]
    fn sums_follow_what_is_added_changed_and_taken() {
        let table = Table::default();
        let id = BlobId(1);
        table.add_blob(id, BlobEntry::new(10, true, false));
        table.change_blob(id, |entry| {
            entry.bytes = 4;
            entry.pinned = true;
            entry.add_key(KeyHash([1; 16]));
            entry.add_key(KeyHash([2; 16]));
            entry.remove_key(KeyHash([1; 16]));
        });
        assert_eq!((table.used.load(Relaxed), table.pinned.load(Relaxed), table.blob_count()), (4_096, 1, 1));
        assert_eq!(table.take_blob(id), Some(vec![KeyHash([2; 16])]));
        assert_eq!((table.used.load(Relaxed), table.pinned.load(Relaxed)), (0, 0));
        assert_eq!(table.take_blob(id), None);
    }

    #[test]
    fn a_digest_is_found_only_while_its_blob_is_complete() {
        let table = Table::default();
        let digest = Digest::Sha1([1; 20]);
        table.add_blob(BlobId(1), BlobEntry::new(1, false, false));
        table.add_digest(digest, BlobId(1));
        assert_eq!(table.verified(&digest), None);
        table.change_blob(BlobId(1), |entry| entry.complete = true);
        assert_eq!(table.verified(&digest), Some(BlobId(1)));
        table.take_blob(BlobId(1));
        assert_eq!(table.verified(&digest), None);
    }
}
