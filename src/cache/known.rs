//! Stored responses with what was read from their fields once, so that a hit parses nothing.

use std::sync::Arc;

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
        Self { by_id: Memory::builder().weigher(weight).max_capacity(bytes).build() }
    }

    /// The facts of `object`; of an older state of it never.
    pub(super) fn of(&self, object: &Arc<Object>, policy: &Policy) -> Arc<Known> {
        match self.by_id.get(&object.id) {
            Some(known) if Arc::ptr_eq(&known.object, object) => known,
            _ => {
                let known = Known::of(object.clone(), policy);
                self.by_id.insert(object.id, known.clone());
                known
            }
        }
    }
}

/// What an entry costs beside the facts and the response, about.
const ENTRY_BYTES: usize = 256;
