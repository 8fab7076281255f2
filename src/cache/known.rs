//! Stored responses with what was read from their fields once, so that a hit parses nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use moka::sync::Cache as Memory;

use crate::{
    object::{Object, ObjectId, ObjectMeta},
    semantics::{Facts, Policy, vary::Variant},
};

/// A stored response and its facts.
#[derive(Debug)]
pub struct Known {
    pub object: Arc<Object>,
    pub facts: Facts,
}

impl Known {
    /// What choosing among variants needs (RFC 9111 §4.1).
    pub(super) fn variant(&self) -> Variant<'_> {
        let meta = &self.object.meta;
        Variant { selecting: &meta.selecting, fields: &meta.fields, date: self.facts.date }
    }
}

/// The facts of recently used responses; bounded in bytes.
pub(super) struct KnownCache {
    by_id: Memory<ObjectId, Arc<Known>>,
    bytes_max: u64,
    /// Responses met while it was full.
    readings: AtomicU32,
}

impl Known {
    pub(super) fn of(object: Arc<Object>, policy: &Policy) -> Arc<Self> {
        let meta = &object.meta;
        let mut facts = Facts::of(meta.status, &meta.fields, meta.request_time, meta.response_time, policy);
        facts.invalidated = meta.invalidated;
        Arc::new(Self { object, facts })
    }

    /// The same with other metadata, for one request: it is stored nowhere.
    pub(super) fn with(&self, meta: ObjectMeta, policy: &Policy) -> Arc<Self> {
        Self::of(Arc::new(Object { id: self.object.id, revision: self.object.revision, meta }), policy)
    }
}

impl KnownCache {
    /// `bytes`: the memory it may take, responses included, for it may be the last that holds one.
    pub(super) fn new(bytes: u64) -> Self {
        let weight = |_: &ObjectId, known: &Arc<Known>| {
            let bytes = ENTRY_BYTES + size_of::<Known>() + known.object.meta.memory_bytes();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let by_id = Memory::builder().weigher(weight).max_capacity(bytes).build();
        Self { by_id, bytes_max: bytes, readings: AtomicU32::new(0) }
    }

    /// The facts of `object`; of an older state of it never.
    pub(super) fn of(&self, object: &Arc<Object>, policy: &Policy) -> Arc<Known> {
        match self.by_id.get(&object.id) {
            Some(known) if Arc::ptr_eq(&known.object, object) => known,
            _ => {
                let known = Known::of(object.clone(), policy);
                let is_full = self.by_id.weighted_size() >= self.bytes_max / 10 * 9;
                if !is_full || self.readings.fetch_add(1, Relaxed).is_multiple_of(OFFERED) {
                    self.by_id.insert(object.id, known.clone());
                }
                known
            }
        }
    }
}

/// While it is full, one in so many that are not in it gets in: a working set far beyond memory would only change it all the time.
const OFFERED: u32 = 8;

/// What an entry costs beside the facts and the response, about.
const ENTRY_BYTES: usize = 256;
