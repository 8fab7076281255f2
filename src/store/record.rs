//! Records: a small content's response and checksum lie at the end of the content's place in its pack, so that one read brings all of a hit.
//!
//! ```text
//! place   content | unused | record | length of the record, 4 B
//! ```
//!
//! The committer writes a record and syncs it before the index says, by a row without fields, that it is there. Only the one response of
//! a complete content that is not empty has one. A record that a power cut tore, or that rotted, costs its response; other responses have all of their fields in the index.

use std::{cell::RefCell, collections::HashMap, io, io::IoSlice, sync::Arc};

use bytes::Bytes;

use crate::{
    key::KeyHash,
    object::{BlobId, Object, ObjectId, ObjectMeta},
    store::{
        Error,
        disk::DiskFile,
        format::{self, ObjectHead},
        identity::{self, Sum},
        index::join_key,
        journal::Batch,
        memory::Responses,
        place::{PLACE_LEN_MAX, Place},
        shared::Shared,
        table::{Slot, Slots, Tag, variant_of},
    },
};

/// Room beside each small content for its record: a long URL with its signature and a dozen fields.
pub(super) const RECORD_ROOM: u64 = 1 << 10;

const LEN_LEN: usize = 4;

/// A response read from where it is stored.
pub(super) struct Loaded {
    pub(super) object: Arc<Object>,
    /// All of its content, compared with its checksum, if the same read brought it.
    pub(super) content: Option<Bytes>,
}

/// A record that was written for a commit, and is of use once its pack is synced.
pub(super) struct Written {
    pub(super) pack: u64,
    pub(super) file: Arc<dyn DiskFile>,
}

/// Records of one commit, by their responses.
pub(super) type Records = HashMap<ObjectId, Written>;

thread_local! {
    /// What a place is read into; grows to the longest place read.
    static PLACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Shared {
    /// The response of a key that has one only, if that lies in a pack whose pages are in the page cache. It and its content are offered to memory.
    pub(super) fn recorded_now(&self, key: KeyHash) -> Option<Responses> {
        let slot = {
            let shard = self.table.keys(key);
            let Slots::One(slot) = shard.get(&key)? else { return None };
            *slot
        };
        let place = Place::of(slot.blob).filter(|_| slot.tag.is_in_pack())?;
        let file = self.packs.file_now(place.pack)?;
        let loaded = with_place(place, |bytes| {
            let whole = file.read_cached_at(place.range().start, bytes)? == bytes.len();
            whole.then(|| self.loaded(key, slot, bytes)).flatten()
        })?;
        let responses: Responses = Arc::new([loaded.object]);
        // Who changes a key does so under this lock.
        let shard = self.table.keys(key);
        if !matches!(shard.get(&key), Some(Slots::One(now)) if *now == slot) {
            return None;
        }
        self.memory.keep_responses(key, &responses);
        drop(shard);
        loaded.content.iter().for_each(|content| self.memory.keep(slot.blob, content));
        self.table.touch(slot.blob);
        Some(responses)
    }

    /// Reads the record of a slot; `None` if it rotted, or its response has gone. Runs in the pool.
    pub(super) fn load_record(&self, key: KeyHash, slot: Slot) -> Result<Option<Loaded>, Error> {
        let Some(place) = Place::of(slot.blob) else { return Ok(None) };
        let read = self.pack_file(place.pack).and_then(|file| {
            with_place(place, |bytes| {
                file.read_exact_at(place.range().start, bytes)?;
                Ok(self.loaded(key, slot, bytes))
            })
        });
        match read {
            // All may come back with the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_there() => {
                Err(Error::Absent { blob: slot.blob, offset: 0 })
            }
            Err(error) => {
                tracing::warn!(blob = %slot.blob, %error, "the fields of a response cannot be read");
                self.metrics.errors.inc("read");
                Ok(None)
            }
            Ok(loaded) => Ok(loaded),
        }
    }

    fn loaded(&self, key: KeyHash, slot: Slot, place: &[u8]) -> Option<Loaded> {
        let (meta, sum) = record_in(place, &join_key(key, slot.object))?;
        let meta = ObjectMeta { blob: slot.blob, ..meta };
        let object = Arc::new(Object { id: slot.object, revision: slot.revision, meta });
        Some(Loaded { object, content: self.whole_content(slot.blob, place, &sum) })
    }

    /// The content at the front of its place; compared with its sum, once since the start. One that rotted is left to its readers to find.
    fn whole_content(&self, blob: BlobId, place: &[u8], sum: &Sum) -> Option<Bytes> {
        let (len, checked) = self.table.blob(blob, |entry| entry.complete.then_some((entry.bytes, entry.checked)))??;
        let content = place.get(..usize::try_from(len).ok()?)?;
        if !checked {
            if identity::sum(0, content) != *sum {
                return None;
            }
            self.table.change_blob(blob, |entry| entry.checked = true);
        }
        self.metrics.read_bytes.add(len);
        Some(Bytes::copy_from_slice(content))
    }

    /// Writes the records of a batch: of each response that is the only one of a complete content in a pack, and fits beside it. `sums` are
    /// those of contents that became complete.
    pub(super) fn write_records(&self, batch: &Batch, sums: &HashMap<BlobId, Sum>) -> Records {
        let stored = batch.objects.iter().filter_map(|(id, (key, object))| Some((*id, *key, object.as_ref()?)));
        stored.filter_map(|(id, key, object)| Some((id, self.write_record(key, object, sums)?))).collect()
    }

    fn write_record(&self, key: KeyHash, object: &Object, sums: &HashMap<BlobId, Sum>) -> Option<Written> {
        let blob = object.meta.blob;
        let place = Place::of(blob)?;
        let len = self.table.blob(blob, |entry| (entry.complete && entry.keys() == [key]).then_some(entry.bytes))??;
        let key = join_key(key, object.id);
        let file = self.pack_file(place.pack).ok()?;
        let sum = match sums.get(&blob) {
            Some(sum) => *sum,
            None => with_place(place, |bytes| {
                file.read_exact_at(place.range().start, bytes).ok()?;
                record_in(bytes, &key).map(|(_, sum)| sum)
            })?,
        };
        let head = ObjectHead { blob, variant: variant_of(&object.meta.selecting), in_pack: true };
        let record = format::record(&key, head, &sum, &object.meta);
        let start = place.range().len().checked_sub((record.len() + LEN_LEN) as u64).filter(|start| *start >= len)?;
        let record_len = (record.len() as u32).to_le_bytes();
        file.write_at(place.range().start + start, &[IoSlice::new(&record), IoSlice::new(&record_len)]).ok()?;
        Some(Written { pack: place.pack, file })
    }

    /// Notes, after a commit, which of its responses have records now.
    pub(super) fn mark_records(&self, batch: &Batch, records: &Records) {
        for (key, object) in batch.objects.values() {
            let Some(object) = object.as_ref().filter(|object| Place::of(object.meta.blob).is_some()) else { continue };
            let mut shard = self.table.keys_noting(*key);
            let slots = shard.get_mut(key).map_or(&mut [][..], Slots::as_mut_slice);
            for slot in slots.iter_mut().filter(|slot| slot.is_state_of(object) && slot.blob == object.meta.blob) {
                slot.tag = Tag::new(slot.tag.variant(), records.contains_key(&object.id));
            }
        }
    }

    /// A content in a pack is complete: its response, which an earlier commit may have met without it, is committed with its record.
    pub(super) fn record_again(&self, blob: BlobId) {
        let only = |keys: &[KeyHash]| <[KeyHash; 1]>::try_from(keys).ok();
        let Some([key]) = Place::of(blob).and_then(|_| self.table.blob(blob, |entry| only(entry.keys()))?) else { return };
        let Some(responses) = self.memory.responses.get(&key) else { return };
        // Who changes a key does so under this lock.
        let shard = self.table.keys(key);
        let slots = shard.get(&key).map_or(&[][..], Slots::as_slice);
        for slot in slots.iter().filter(|slot| slot.blob == blob && !slot.tag.is_in_pack()) {
            let same = responses.iter().find(|object| slot.is_state_of(object) && object.meta.blob == blob);
            same.into_iter().for_each(|object| self.journal.put_object(key, Arc::clone(object)));
        }
    }
}

/// Whether the record of a response is as it was written. Blocks.
pub(super) fn is_whole(file: &dyn DiskFile, blob: BlobId, key: &[u8]) -> bool {
    Place::of(blob)
        .is_some_and(|place| with_place(place, |bytes| file.read_exact_at(0, bytes).is_ok() && record_in(bytes, key).is_some()))
}

fn record_in(place: &[u8], key: &[u8]) -> Option<(ObjectMeta, Sum)> {
    let (before, len) = place.split_last_chunk::<LEN_LEN>()?;
    let start = before.len().checked_sub(u32::from_le_bytes(*len) as usize)?;
    format::record_of(key, &before[start..])
}

/// Lends `work` a buffer as long as `place`.
fn with_place<T>(place: Place, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let len = place.range().len().min(PLACE_LEN_MAX) as usize;
    PLACE.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        work(&mut buffer[..len])
    })
}
