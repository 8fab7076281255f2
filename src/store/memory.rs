//! The memory tier: decoded responses and small hot content. Bounded in bytes; what falls out is read again.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use bytes::Bytes;
use moka::sync::Cache;

use crate::{
    key::KeyHash,
    object::{BlobId, Object},
};

/// The responses of one key, as lookups hand them out.
pub(super) type Responses = Arc<[Arc<Object>]>;

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) responses: Cache<KeyHash, Responses>,
    pub(super) contents: Cache<BlobId, Bytes>,
    /// In bytes.
    contents_max: u64,
    responses_max: u64,
    /// Contents and responses read while their share was full.
    readings: AtomicU32,
}

/// Content up to this length is kept in memory whole, so that it leaves with its head by one system call; above, the page cache serves as well.
pub const SMALL_MAX: u64 = 64 << 10;

/// While content fills its share, one in so many readings of what is not in memory offers it: what is asked for often gets in soon, and a
/// working set far beyond memory does not make the tier change all the time.
const OFFERED: u32 = 8;

impl Memory {
    /// Shares `bytes`: half for content, a quarter for responses; an eighth is left to what is derived from them, and the rest to the index.
    pub(super) fn new(bytes: u64) -> Self {
        let (contents_max, responses_max) = (bytes / 2, bytes / 4);
        Self {
            responses: Cache::builder().weigher(responses_weight).max_capacity(responses_max).build(),
            contents: Cache::builder().weigher(|_, bytes: &Bytes| weight(bytes.len() + ENTRY)).max_capacity(contents_max).build(),
            contents_max,
            responses_max,
            readings: AtomicU32::new(0),
        }
    }

    /// Offers a small content that was read.
    pub(super) fn keep(&self, id: BlobId, bytes: &Bytes) {
        if self.has_room(&self.contents, self.contents_max) {
            // A copy: `bytes` may be a slice of a larger buffer.
            self.contents.insert(id, Bytes::copy_from_slice(bytes));
        }
    }

    /// Offers the responses of a key that were read.
    pub(super) fn keep_responses(&self, key: KeyHash, responses: &Responses) {
        if self.has_room(&self.responses, self.responses_max) {
            self.responses.insert(key, Arc::clone(responses));
        }
    }

    /// Whether what was read is to be offered to `tier`.
    fn has_room<K, V>(&self, tier: &Cache<K, V>, max: u64) -> bool
    where
        K: std::hash::Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        tier.weighted_size() < max / 10 * 9 || self.readings.fetch_add(1, Relaxed).is_multiple_of(OFFERED)
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.responses.weighted_size() + self.contents.weighted_size()
    }
}

/// What the index may use for pages of its file.
pub(super) fn index_cache_bytes(bytes: u64) -> usize {
    usize::try_from(bytes / 8).unwrap_or(usize::MAX).clamp(1 << 20, 64 << 20)
}

/// What users of the store may use for what they derive from stored responses.
pub(super) fn derived_bytes(bytes: u64) -> u64 {
    bytes / 8
}

/// What an entry costs beside its bytes, about: the cache's own record of it.
const ENTRY: usize = 256;

fn responses_weight(_: &KeyHash, responses: &Responses) -> u32 {
    weight(responses.iter().map(|object| object.meta.memory_bytes()).sum::<usize>() + ENTRY)
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
