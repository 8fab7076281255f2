//! What an operator does with the store: purge, pin, list, quarantine, figures.

use std::{
    collections::HashSet,
    io::{self, IoSlice},
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use crate::{
    key::KeyHash,
    object::{BlobId, Object, ObjectId, ObjectMeta},
    store::{
        Error, Listed, Page, Purge, Purged, Stats,
        format::ObjectRow,
        place::{PLACE_LEN_MAX, Place},
        shared::Shared,
        table::Slot,
    },
};

/// Responses read from the index at a time.
const PAGE_MAX: usize = 1_000;

/// What quarantine may hold; beyond, the oldest go.
const QUARANTINE_FILES_MAX: usize = 64;
const QUARANTINE_BYTES_MAX: u64 = 4 << 30;

impl Shared {
    /// Runs in the pool.
    pub(super) fn purge(&self, what: &Purge, dry_run: bool) -> Result<Purged, Error> {
        let objects = match what {
            Purge::Key(key) => self.table.slots(*key).into_iter().map(|slot| (*key, slot)).collect(),
            Purge::Group(group) => self.slots_of_group(group)?,
            Purge::All => self.all_slots(),
        };
        let mut purged = Purged { objects: objects.len() as u64, ..Purged::default() };
        let mentioned: HashSet<BlobId> = objects.iter().map(|(_, slot)| slot.blob).collect();
        for id in mentioned {
            let going = objects.iter().filter(|(_, slot)| slot.blob == id).count();
            if let Some((_, bytes)) =
                self.table.blob(id, |entry| (entry.keys().len(), entry.bytes)).filter(|(keys, _)| *keys <= going)
            {
                purged.blobs += 1;
                purged.bytes += bytes;
            }
        }
        if !dry_run {
            for (key, slot) in objects {
                self.remove_object(key, slot.object);
            }
        }
        Ok(purged)
    }

    fn all_slots(&self) -> Vec<(KeyHash, Slot)> {
        let keys = self.table.key_hashes().into_iter();
        keys.flat_map(|key| self.table.slots(key).into_iter().map(move |slot| (key, slot))).collect()
    }

    /// A group is only in the text of the keys, which is on disk: all of them are read, page by page.
    fn slots_of_group(&self, group: &str) -> Result<Vec<(KeyHash, Slot)>, Error> {
        let mut found = Vec::new();
        for (key, slot) in self.all_slots() {
            if self.load_object(key, slot)?.is_some_and(|object| object.meta.key.group() == group) {
                found.push((key, slot));
            }
        }
        Ok(found)
    }

    /// Runs in the pool.
    pub(super) fn page(&self, page: Option<Page>, count: usize) -> Result<(Vec<Listed>, Option<Page>), Error> {
        let count = count.clamp(1, PAGE_MAX);
        let after = page.map(|Page(key, id)| (key, id));
        let scanned = self.index.scan(after, count);
        let scanned = scanned.map_err(|error| self.io_failed("read index", self.layout.index(), error))?;
        let next = scanned.last().filter(|_| scanned.len() == count).map(|(key, id, _)| Page(*key, *id));
        let listed = scanned.into_iter().filter_map(|(key, id, row)| self.listed(key, id, row)).collect();
        Ok((listed, next))
    }

    /// `None` if it has gone since the last commit.
    fn listed(&self, key: KeyHash, id: ObjectId, row: ObjectRow) -> Option<Listed> {
        let slot = self.table.slots(key).into_iter().find(|slot| slot.object == id)?;
        let object = match row {
            ObjectRow::Whole(meta) => {
                let meta = ObjectMeta { blob: slot.blob, ..*meta };
                Arc::new(Object { id, revision: slot.revision, meta })
            }
            // Rot is met, and dropped, where it is looked up.
            ObjectRow::InPack => self.load_object(key, slot).ok().flatten()?,
        };
        self.table.blob(slot.blob, |entry| Listed {
            object,
            present: entry.bytes,
            complete: entry.complete,
            pinned: entry.pinned,
        })
    }

    pub(super) fn pin(&self, id: BlobId, pinned: bool) -> bool {
        let known = self.table.change_blob(id, |entry| entry.pinned = pinned).is_some();
        if known {
            self.journal.pin(id, pinned);
        }
        known
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            state: self.room.state(),
            objects: self.table.objects.load(Relaxed),
            blobs: self.table.blob_count(),
            used: self.table.used.load(Relaxed),
            limit: self.config.size,
            free: self.room.free(),
            reserve: self.config.reserve,
            pinned: self.table.pinned.load(Relaxed),
        }
    }

    /// Runs in the pool. The file is moved before the index forgets the blob: after a crash between, the blob is met as missing and forgotten.
    pub(super) fn quarantine(&self, key: KeyHash, object: ObjectId, reason: &str) -> Result<bool, Error> {
        let Some(slot) = self.table.slots(key).into_iter().find(|slot| slot.object == object) else { return Ok(false) };
        let id = slot.blob;
        if self.table.blob(id, |entry| entry.keys().len()).is_none_or(|responses| responses > 1) {
            self.remove_object(key, object);
            return Ok(false);
        }
        let (from, to) = (self.layout.blob(id), self.layout.quarantined(id));
        tracing::warn!(blob = %id, reason, kept = %to.display(), "a content was put into quarantine");
        let moved = match Place::of(id) {
            Some(_) => self.copy_out(id, &to),
            None => self.disk.rename(&from, &to),
        };
        self.remove_blob(id);
        moved.map_err(|error| self.io_failed("quarantine", from, error))?;
        let bounded = self.bound_quarantine().map_err(|error| self.io_failed("quarantine", self.layout.quarantine(), error));
        bounded.map(|()| true)
    }

    /// Copies a content that lies in a pack, as far as it is present.
    fn copy_out(&self, id: BlobId, to: &Path) -> io::Result<()> {
        let len = self.table.blob(id, |entry| entry.bytes).unwrap_or(0).min(PLACE_LEN_MAX);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.open_file(id)?.read_exact_at(0, &mut bytes)?;
        self.disk.create(to)?.write_at(0, &[IoSlice::new(&bytes)])
    }

    fn bound_quarantine(&self) -> io::Result<()> {
        let mut files = self.disk.list(&self.layout.quarantine())?;
        // Names are ids, and ids rise.
        files.sort_by(|a, b| b.name.cmp(&a.name));
        let mut bytes = 0;
        for (number, file) in files.iter().enumerate() {
            bytes += file.len;
            if number >= QUARANTINE_FILES_MAX || bytes > QUARANTINE_BYTES_MAX {
                self.disk.unlink(&self.layout.quarantine().join(&file.name))?;
            }
        }
        Ok(())
    }
}
