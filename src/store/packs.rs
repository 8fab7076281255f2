//! Packs: small contents of known length share files, so that one sync makes many of them durable and none costs a file.
//!
//! Places are given out in order and never twice. What goes leaves a hole, and the pack goes with its last content: nothing is ever moved, so
//! there is no compaction that could be in the way of clients. The next start makes the holes that a kill left out.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    object::BlobId,
    piece::ByteRange,
    store::{
        Error,
        blob::Blob,
        disk::{Disk, DiskFile},
        layout::Layout,
        place::{BLOCK_LEN, PACK_BLOCKS, PLACE_LEN_MAX, Place, file_number},
        pool::Kind,
        record::RECORD_ROOM,
        shared::Shared,
    },
};

#[derive(Debug, Default)]
pub(super) struct Packs {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    current: Option<Current>,
    /// How many contents each pack has, being written ones included.
    contents: HashMap<u64, u32>,
    /// Open files, the one used last at the end.
    files: VecDeque<(u64, Arc<dyn DiskFile>)>,
}

/// The pack that new contents go to.
#[derive(Clone, Copy, Debug)]
struct Current {
    pack: u64,
    /// The first block not given away.
    next: u64,
}

/// Packs kept open: 8 GiB of small contents.
const FILES_MAX: usize = 128;

impl Packs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the contents that a start found, which stand in order.
    pub(super) fn restore(&self, ids: &[BlobId]) {
        let mut inner = self.lock();
        for of_pack in ids.chunk_by(|one, next| file_number(*one) == file_number(*next)) {
            if let Some(place) = Place::of(of_pack[0]) {
                inner.contents.insert(place.pack, of_pack.len() as u32);
            }
        }
    }

    /// Whether anything is or may be in the pack.
    pub(super) fn holds(&self, pack: u64) -> bool {
        let inner = self.lock();
        inner.contents.contains_key(&pack) || inner.current.is_some_and(|current| current.pack == pack)
    }

    /// The file of `pack` if it is open.
    pub(super) fn file_now(&self, pack: u64) -> Option<Arc<dyn DiskFile>> {
        self.lock().file(pack)
    }

    /// Gives no more places in `pack`.
    pub(super) fn retire(&self, pack: u64) {
        let mut inner = self.lock();
        inner.current = inner.current.filter(|current| current.pack != pack);
    }

    /// A content has gone; `true` if it was the last of a pack that gets no more.
    fn forget(&self, pack: u64) -> bool {
        let mut inner = self.lock();
        let Some(left) = inner.contents.get_mut(&pack) else { return false };
        *left -= 1;
        if *left > 0 || inner.current.is_some_and(|current| current.pack == pack) {
            return false;
        }
        inner.drop_pack(pack);
        true
    }
}

impl Inner {
    /// The next place of `blocks` in the current pack, if it has room.
    fn next_place(&mut self, blocks: u64) -> Option<Place> {
        let current = self.current.as_mut().filter(|current| current.next + blocks <= PACK_BLOCKS)?;
        let place = Place { pack: current.pack, block: current.next, blocks };
        current.next += blocks;
        *self.contents.entry(place.pack).or_default() += 1;
        Some(place)
    }

    /// Goes on with `pack`; gives the one before if nothing is in it any more.
    fn turn_to(&mut self, pack: u64) -> Option<u64> {
        let before = self.current.replace(Current { pack, next: 0 })?.pack;
        let is_empty = self.contents.get(&before).is_none_or(|left| *left == 0);
        is_empty.then(|| {
            self.drop_pack(before);
            before
        })
    }

    fn drop_pack(&mut self, pack: u64) {
        self.contents.remove(&pack);
        self.files.retain(|(there, _)| *there != pack);
    }

    fn file(&mut self, pack: u64) -> Option<Arc<dyn DiskFile>> {
        let at = self.files.iter().rposition(|(there, _)| *there == pack)?;
        let used = self.files.remove(at)?;
        self.files.push_back(used);
        self.files.back().map(|(_, file)| Arc::clone(file))
    }

    fn keep_open(&mut self, pack: u64, file: Arc<dyn DiskFile>) {
        self.files.push_back((pack, file));
        if self.files.len() > FILES_MAX {
            self.files.pop_front();
        }
    }
}

/// Whether files on this disk can have holes: without them a pack keeps its room until its last content goes, which may be never.
pub(super) fn are_possible(disk: &dyn Disk, layout: &Layout) -> bool {
    let probe = layout.probe();
    let punched = disk.create(&probe).and_then(|file| {
        file.write_at(0, &[IoSlice::new(&[1; BLOCK_LEN as usize])])?;
        file.punch_hole(ByteRange { start: 0, end: BLOCK_LEN })
    });
    // Another start makes it anew; the file is tiny.
    let _ = disk.unlink(&probe);
    // A disk that is full or fails says nothing about holes.
    !punched.is_err_and(|error| error.kind() == io::ErrorKind::Unsupported)
}

impl Shared {
    /// Whether a content of `len` bytes goes to a pack.
    pub(super) fn is_packed(&self, len: Option<u64>) -> bool {
        len.is_some_and(|len| len <= self.config.pack_max.min(PLACE_LEN_MAX) && self.config.pack_max > 0)
    }

    /// A place for a content of `len` bytes, which must fit into one, and the file of its bytes. Runs in the pool.
    pub(super) fn take_place(&self, len: u64) -> Result<(BlobId, Arc<dyn DiskFile>), Error> {
        let blocks = (len + RECORD_ROOM).div_ceil(BLOCK_LEN).min(PLACE_LEN_MAX / BLOCK_LEN);
        let mut emptied = None;
        let place = {
            let mut packs = self.packs.lock();
            match packs.next_place(blocks) {
                Some(place) => place,
                None => {
                    let pack = self.blob_ids.next().ok_or(Error::Degraded)?;
                    let file = self.create_file(&self.layout.pack(pack))?;
                    emptied = packs.turn_to(pack);
                    packs.keep_open(pack, file);
                    packs.next_place(blocks).ok_or(Error::Degraded)?
                }
            }
        };
        if let Some(pack) = emptied {
            self.unlink_file(&self.layout.pack(pack));
        }
        match self.pack_file(place.pack) {
            Ok(file) => Ok((place.id(), place.part(file))),
            Err(error) => {
                self.packs.forget(place.pack);
                Err(self.io_failed("open", self.layout.pack(place.pack), error))
            }
        }
    }

    /// Opens the bytes of `id`, over a pack that is open already if there is one.
    pub(super) fn open_file(&self, id: BlobId) -> io::Result<Arc<dyn DiskFile>> {
        match Place::of(id) {
            Some(place) => Ok(place.part(self.pack_file(place.pack)?)),
            None => self.disk.open(&self.layout.blob(id)),
        }
    }

    pub(super) fn pack_file(&self, pack: u64) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.packs.file_now(pack) {
            return Ok(file);
        }
        let file = self.disk.open(&self.layout.pack(pack))?;
        self.packs.lock().keep_open(pack, Arc::clone(&file));
        Ok(file)
    }

    /// Gives back the places of contents that no commit knows any more. Those of contents that somebody still has open go when they are closed.
    pub(super) fn vacate(&self, removed: &[(BlobId, u64)]) {
        for (id, _) in removed {
            let Some(place) = Place::of(*id) else { continue };
            // What was removed is not opened again: whoever finds no open blob here finds none later.
            match self.open.find(*id) {
                Some(blob) => blob.state().is_vacated = true,
                None => self.hollow(place),
            }
        }
    }

    /// Makes holes of what was removed, whatever the index says: a full disk needs the room to write just that. What is open is left alone.
    pub(super) fn hollow_early(&self, removed: &[(BlobId, u64)]) {
        for place in removed.iter().filter(|(id, _)| self.open.find(*id).is_none()).filter_map(|(id, _)| Place::of(*id)) {
            self.punch(place.pack, place.range());
        }
    }

    /// The last who had a vacated content open is gone.
    pub(super) fn closed_vacated(self: &Arc<Self>, blob: &Blob) {
        let Some(place) = Place::of(blob.id) else { return };
        let store = Arc::clone(self);
        self.pool.spawn(Kind::Background, move || store.hollow(place));
    }

    fn hollow(&self, place: Place) {
        if self.packs.forget(place.pack) {
            self.unlink_file(&self.layout.pack(place.pack));
        } else {
            self.punch(place.pack, place.range());
        }
    }

    /// Where that fails the room comes back with the whole pack, or at the next start.
    fn punch(&self, pack: u64, range: ByteRange) {
        match self.pack_file(pack).and_then(|file| file.punch_hole(range)) {
            // The whole pack has gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::debug!(pack, %error, "no hole could be made");
                self.metrics.errors.inc("punch");
            }
            Ok(()) => {}
        }
    }

    /// Makes the holes that a kill left out: `ids` are all contents of packs that there are, in the order of their places.
    pub(super) fn hollow_gaps(&self, ids: &[BlobId]) {
        let places: Vec<Place> = ids.iter().filter_map(|id| Place::of(*id)).collect();
        for of_pack in places.chunk_by(|one, next| one.pack == next.pack) {
            let pack = of_pack[0].pack;
            let mut at = 0;
            for place in of_pack {
                let range = place.range();
                ByteRange::new(at, range.start).into_iter().for_each(|gap| self.punch(pack, gap));
                at = range.end;
            }
            let end = self.pack_file(pack).and_then(|file| file.len()).map_or(at, |len| len.next_multiple_of(BLOCK_LEN));
            ByteRange::new(at, end).into_iter().for_each(|gap| self.punch(pack, gap));
        }
    }
}
