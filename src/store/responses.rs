//! Stored responses: looked up, inserted, replaced, removed.

use std::{
    io,
    num::NonZeroU32,
    sync::{Arc, LazyLock, atomic::Ordering::Relaxed},
};

use crate::{
    key::KeyHash,
    object::{BlobId, Object, ObjectId, ObjectMeta},
    store::{
        Error,
        format::ObjectRow,
        memory::Responses,
        record::Loaded,
        shared::Shared,
        table::{Slot, Slots, Tag, variant_of},
    },
};

/// Variants kept under one key; the oldest goes first. A `Vary` on something that differs for every client must not fill the store.
const VARIANTS_MAX: usize = 32;

/// Readings of a key that changes all the time; then what the last one found is the answer, and is not kept.
const LOADS_MAX: usize = 8;

/// The id of a response that is served but not stored: no room in the journal, or its blob has gone.
const UNSTORED: ObjectId = ObjectId(u64::MAX);

/// What a response that is entered takes the place of.
#[derive(Clone, Copy)]
enum Replaces<'a> {
    /// The response with the same selecting fields, if there is one.
    Variant,
    /// This state of the same response, which must still be there.
    State(&'a Object),
}

static NONE: LazyLock<Responses> = LazyLock::new(|| Arc::new([]));

impl Shared {
    /// What memory knows of a key; `None`: the index must be asked.
    pub(super) fn lookup_now(&self, key: KeyHash) -> Option<Responses> {
        if let Some(responses) = self.memory.responses.get(&key) {
            responses.iter().for_each(|object| self.table.touch(object.meta.blob));
            return Some(responses);
        }
        if self.table.keys(key).get(&key).is_none() {
            return Some(Arc::clone(&NONE));
        }
        self.recorded_now(key)
    }

    /// Reads the responses of a key from the index and keeps them in memory. Runs in the pool.
    pub(super) fn load_responses(&self, key: KeyHash) -> Result<Responses, Error> {
        let mut latest = Arc::clone(&NONE);
        for _ in 0..LOADS_MAX {
            let slots = self.table.slots(key);
            let mut objects = Vec::with_capacity(slots.len());
            for slot in &slots {
                match self.load(key, *slot)? {
                    Some(Loaded { object, content }) => {
                        content.iter().for_each(|content| self.memory.keep(slot.blob, content));
                        objects.push(object);
                    }
                    None if self.table.slots(key).contains(slot) => self.forget_rotten(key, *slot),
                    None => {}
                }
            }
            latest = objects.into();
            // Kept only if nothing changed meanwhile; who changes a key does so under this lock.
            let shard = self.table.keys(key);
            let now = shard.get(&key).map_or(&[][..], Slots::as_slice);
            if now == slots && latest.len() == slots.len() {
                self.memory.responses.insert(key, Arc::clone(&latest));
                break;
            }
        }
        latest.iter().for_each(|object| self.table.touch(object.meta.blob));
        Ok(latest)
    }

    /// One response; `None` if its row rotted or it has just gone.
    pub(super) fn load_object(&self, key: KeyHash, slot: Slot) -> Result<Option<Arc<Object>>, Error> {
        Ok(self.load(key, slot)?.map(|loaded| loaded.object))
    }

    /// The same with its content, if that was read with it.
    fn load(&self, key: KeyHash, slot: Slot) -> Result<Option<Loaded>, Error> {
        if slot.tag.is_in_pack() {
            return self.load_record(key, slot);
        }
        // The journal first: what is no longer in it is in the index.
        if let Some(object) = self.journal.object(slot.object) {
            return Ok(object.map(|object| Loaded { object, content: None }));
        }
        match self.index.object(key, slot.object) {
            Ok(Some(ObjectRow::Whole(meta))) => {
                let meta = ObjectMeta { blob: slot.blob, ..*meta };
                let object = Arc::new(Object { id: slot.object, revision: slot.revision, meta });
                Ok(Some(Loaded { object, content: None }))
            }
            // Committed since the slot was read.
            Ok(Some(ObjectRow::InPack)) => self.load_record(key, slot),
            Ok(None) => Ok(None),
            // Rot in the index: the removal that follows makes the committer meet it too.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(self.io_failed("read index", self.layout.index(), error)),
        }
    }

    fn forget_rotten(&self, key: KeyHash, slot: Slot) {
        tracing::warn!(?key, "a stored response rotted in the index and was dropped");
        self.metrics.errors.inc("decode");
        self.remove_object(key, slot.object);
    }

    pub(super) fn draft(&self, meta: ObjectMeta) -> Arc<Object> {
        let id = if self.takes_objects() { self.object_id() } else { None };
        Arc::new(Object { id: id.unwrap_or(UNSTORED), revision: NonZeroU32::MIN, meta: meta.detached() })
    }

    pub(super) fn publish(&self, draft: &Arc<Object>) {
        if draft.id != UNSTORED {
            self.put(draft, Replaces::Variant);
        }
    }

    pub(super) fn update(&self, old: &Object, mut meta: ObjectMeta) -> Option<Arc<Object>> {
        let key = old.meta.key.hash();
        let there = self.table.slots(key).into_iter().find(|slot| slot.is_state_of(old))?;
        if meta.blob == old.meta.blob {
            // Its bytes may have been found equal to another blob's meanwhile.
            meta.blob = there.blob;
        }
        if !self.takes_objects() {
            return None;
        }
        let revision = old.revision.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let object = Arc::new(Object { id: old.id, revision, meta: meta.detached() });
        self.put(&object, Replaces::State(old)).then_some(object)
    }

    pub(super) fn remove_object(&self, key: KeyHash, id: ObjectId) {
        let mut removed = None;
        {
            let mut shard = self.table.keys_mut(key);
            Slots::edit(&mut shard, key, |slots| {
                if let Some(at) = slots.iter().position(|slot| slot.object == id) {
                    removed = Some(slots.remove(at));
                }
            });
            if removed.is_some() {
                self.journal.remove_object(key, id);
                self.memory.responses.invalidate(&key);
            }
        }
        if let Some(slot) = removed {
            self.table.objects.fetch_sub(1, Relaxed);
            self.release(key, slot.blob);
        }
    }

    fn takes_objects(&self) -> bool {
        self.check_open().is_ok() && !self.journal.is_full()
    }

    /// Enters `object` in the place of what it replaces, in front of the others. `false` if its blob, or the state it replaces, has gone.
    fn put(&self, object: &Arc<Object>, replaces: Replaces<'_>) -> bool {
        let key = object.meta.key.hash();
        let slot = Slot {
            object: object.id,
            blob: object.meta.blob,
            tag: Tag::new(variant_of(&object.meta.selecting), false),
            revision: object.revision,
        };
        let mut gone = Vec::new();
        let is_first = {
            let mut shard = self.table.keys_mut(key);
            let there = shard.get(&key).map_or(&[][..], Slots::as_slice);
            let replaced = match replaces {
                Replaces::Variant => there.iter().position(|there| there.tag.variant() == slot.tag.variant()),
                Replaces::State(old) => match there.iter().position(|there| there.is_state_of(old)) {
                    None => return false,
                    at => at,
                },
            };
            let entered = self.table.change_blob(slot.blob, |entry| {
                entry.add_key(key);
                !std::mem::replace(&mut entry.queued, true)
            });
            let Some(is_first) = entered else { return false };
            let mut is_only = true;
            Slots::edit(&mut shard, key, |slots| {
                gone.extend(replaced.map(|at| slots.remove(at)));
                slots.insert(0, slot);
                gone.extend(slots.drain(VARIANTS_MAX.min(slots.len())..));
                is_only = slots.len() == 1;
            });
            self.journal.put_object(key, Arc::clone(object));
            let others = gone.iter().filter(|slot| slot.object != object.id);
            others.for_each(|slot| self.journal.remove_object(key, slot.object));
            if is_only {
                self.memory.responses.insert(key, Arc::new([Arc::clone(object)]));
            } else {
                self.memory.responses.invalidate(&key);
            }
            is_first
        };
        self.table.objects.fetch_add(1, Relaxed);
        self.table.objects.fetch_sub(gone.len() as u64, Relaxed);
        if is_first {
            self.room.admit(slot.blob, u64::from_le_bytes(key.0[..8].try_into().unwrap_or_default()));
        }
        gone.iter().for_each(|slot| self.release(key, slot.blob));
        true
    }

    /// One object of `key` no longer refers to `blob`, which goes with its last object unless somebody holds it.
    fn release(&self, key: KeyHash, blob: BlobId) {
        let unused = self.table.change_blob(blob, |entry| {
            entry.remove_key(key);
            !entry.has_keys()
        });
        if unused == Some(true) {
            // Kept open between requests does not count as held.
            self.open.release(blob);
            if self.open.find(blob).is_none() {
                self.remove_blob(blob);
            }
        }
    }

    /// Has all objects of `from` refer to `to`, which holds the same bytes. Runs in the pool.
    pub(super) fn repoint(&self, from: BlobId, to: BlobId) -> Result<(), Error> {
        let keys = self.table.blob(from, |entry| entry.keys().to_vec()).unwrap_or_default();
        for key in keys {
            for slot in self.table.slots(key).into_iter().filter(|slot| slot.blob == from) {
                let Some(object) = self.load_object(key, slot)? else { continue };
                let to = Slot { blob: to, tag: Tag::new(slot.tag.variant(), false), ..slot };
                self.repoint_slot(key, slot, to, &object);
            }
        }
        Ok(())
    }

    fn repoint_slot(&self, key: KeyHash, from: Slot, to: Slot, object: &Arc<Object>) {
        let mut shard = self.table.keys_mut(key);
        let is_there = shard.get(&key).is_some_and(|slots| slots.as_slice().iter().any(|slot| slot.is_same(&from)));
        if !is_there || self.table.change_blob(to.blob, |entry| entry.add_key(key)).is_none() {
            return;
        }
        Slots::edit(&mut shard, key, |slots| {
            slots.iter_mut().filter(|slot| slot.is_same(&from)).for_each(|slot| *slot = to);
        });
        let meta = ObjectMeta { blob: to.blob, ..object.meta.clone() };
        self.journal.put_object(key, Arc::new(Object { id: object.id, revision: object.revision, meta }));
        self.memory.responses.invalidate(&key);
        self.table.change_blob(from.blob, |entry| entry.remove_key(key));
    }
}
