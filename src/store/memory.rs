//! The memory tier: decoded responses and small hot content. Bounded in bytes; what falls out is read again.

use std::sync::Arc;

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
}

/// Content up to this length is kept in memory whole; above, the page cache serves as well.
pub(super) const SMALL_MAX: u64 = 32 << 10;

impl Memory {
    /// Shares `bytes`: half for content, a quarter for responses; an eighth is left to what is derived from them, and the rest to the index.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            responses: Cache::builder().weigher(responses_weight).max_capacity(bytes / 4).build(),
            contents: Cache::builder().weigher(|_, bytes: &Bytes| weight(bytes.len() + ENTRY)).max_capacity(bytes / 2).build(),
        }
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
