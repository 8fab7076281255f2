//! Reading: bytes out of a blob, compared with their checksum the first time since the start.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    object::BlobId,
    piece::ByteRange,
    store::{
        Error, blob::Blob, buffers::BUFFER_LEN, identity, memory::SMALL_MAX, pieces::Run, place::Place, pool::Kind,
        shared::Shared, table::BlobEntry,
    },
};

/// What a read has to do.
enum Plan {
    /// The bytes are known to be good.
    Plain(ByteRange),
    /// The run that holds them was not read since the start: all of it is read and compared.
    Compare(Run),
}

/// What a caller may say at most that it is going to read: so much the disk is told to bring at once.
pub const READ_AHEAD: usize = 1 << 20;

/// A slice of less than a quarter of the buffer it is from is copied, so that it does not keep the rest alive.
const COPY_BELOW: usize = 4;

impl Blob {
    /// Between 1 and `max` bytes at `offset`, a buffer full at most; the rest of `max` is going to be read next. The first read of a piece
    /// since the start compares its checksum; on a mismatch the extent is dropped from the map, counted, and the caller gets `Corrupt` and
    /// fetches it anew.
    pub async fn read(self: &Arc<Self>, offset: u64, max: usize) -> Result<Bytes, Error> {
        let store = self.store.upgrade().ok_or(Error::Closed)?;
        if let Some(bytes) = self.read_at_once(&store, offset, max) {
            return Ok(bytes);
        }
        let blob = Arc::clone(self);
        let read = store.pool.run(Kind::Read, {
            let store = Arc::clone(&store);
            move || blob.read_blocking(&store, offset, max.clamp(1, READ_AHEAD))
        });
        read.await.unwrap_or(Err(Error::Degraded))
    }

    /// [`Blob::read`] of what is in memory or in the page cache and known to be good; `None` of anything else.
    pub fn read_now(&self, offset: u64, max: usize) -> Option<Bytes> {
        self.read_at_once(&*self.store.upgrade()?, offset, max)
    }

    fn read_at_once(&self, store: &Shared, offset: u64, max: usize) -> Option<Bytes> {
        if offset < SMALL_MAX
            && let Some(bytes) = store.memory.contents.get(&self.id)
            && let Some(slice) = slice_of(&bytes, offset, max)
        {
            store.metrics.memory_hits.inc();
            return Some(slice);
        }
        self.read_cached(store, offset, max)
    }

    /// Bytes that were checked and are in the page cache: a trip through the pool would cost more than the copy.
    fn read_cached(&self, store: &Shared, offset: u64, max: usize) -> Option<Bytes> {
        let until = self.checked_until(offset)?;
        let mut buffer = store.buffers.take(usize::try_from(until - offset).unwrap_or(usize::MAX).min(max));
        let read = self.file.read_cached_at(offset, buffer.room()).filter(|read| *read > 0)?;
        let bytes = buffer.into_bytes(read);
        self.remember(store, ByteRange { start: offset, end: offset + read as u64 }, &bytes);
        Some(bytes)
    }

    fn read_blocking(self: &Arc<Self>, store: &Arc<Shared>, offset: u64, max: usize) -> Result<Bytes, Error> {
        match self.plan(offset, max)? {
            Plan::Plain(range) => {
                self.foretell(range);
                let mut buffer = store.buffers.take(usize::try_from(range.len()).unwrap_or(usize::MAX));
                let len = buffer.room().len();
                self.fill(store, offset, buffer.room())?;
                let bytes = buffer.into_bytes(len);
                self.remember(store, ByteRange { start: offset, end: offset + len as u64 }, &bytes);
                Ok(bytes)
            }
            Plan::Compare(run) => {
                let bytes = Bytes::from(self.read_compared(store, &run)?);
                self.remember(store, run.range, &bytes);
                let start = usize::try_from(offset - run.range.start).unwrap_or(usize::MAX);
                let end = bytes.len().min(start.saturating_add(max));
                let slice = bytes.slice(start..end);
                Ok(if slice.len() < bytes.len() / COPY_BELOW { Bytes::copy_from_slice(&slice) } else { slice })
            }
        }
    }

    fn plan(&self, offset: u64, max: usize) -> Result<Plan, Error> {
        let state = self.state();
        if let Some(until) = state.checked_until(offset) {
            return Ok(Plan::Plain(ByteRange { start: offset, end: until.min(offset.saturating_add(max as u64)) }));
        }
        let run = state.map.covering(offset).filter(|_| state.readable.covering(offset).is_some());
        run.cloned().map(Plan::Compare).ok_or(Error::Absent { blob: self.id, offset })
    }

    /// Hands every run of `range` to `take`, in order; runs not read since the start are compared first.
    pub(super) fn read_whole(
        self: &Arc<Self>,
        store: &Arc<Shared>,
        range: ByteRange,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let bytes = self.read_blocking(store, at, usize::try_from(range.end - at).unwrap_or(READ_AHEAD).min(READ_AHEAD))?;
            take(&bytes);
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Reads a whole run and compares it with its sum; what does not match is dropped.
    pub(super) fn read_compared(self: &Arc<Self>, store: &Arc<Shared>, run: &Run) -> Result<Vec<u8>, Error> {
        let bytes = self.read_bytes(store, run.range)?;
        if identity::sum(run.range.start, &bytes) != run.sum {
            store.drop_corrupt(self, run.range);
            return Err(Error::Corrupt { blob: self.id, offset: run.range.start });
        }
        self.state().map.mark_checked(run);
        Ok(bytes)
    }

    fn read_bytes(self: &Arc<Self>, store: &Arc<Shared>, range: ByteRange) -> Result<Vec<u8>, Error> {
        self.foretell(range);
        let mut bytes = vec![0; usize::try_from(range.len()).unwrap_or(usize::MAX)];
        self.fill(store, range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// The disk brings what is read in several parts, or is long, in one go.
    fn foretell(&self, range: ByteRange) {
        if range.len() > BUFFER_LEN as u64 {
            self.file.will_read(range);
        }
    }

    /// Reads bytes that are readable. A sector that cannot be read, or a file that is too short, is corruption: fetching anew is the cure.
    fn fill(self: &Arc<Self>, store: &Arc<Shared>, offset: u64, room: &mut [u8]) -> Result<(), Error> {
        let range = ByteRange { start: offset, end: offset + room.len() as u64 };
        match self.file.read_exact_at(offset, room) {
            Ok(()) => {
                store.metrics.read_bytes.add(range.len());
                Ok(())
            }
            Err(source) => {
                tracing::warn!(blob = %self.id, ?range, error = %source, "stored bytes cannot be read, dropped");
                store.metrics.errors.inc("read");
                store.drop_corrupt(self, range);
                Err(Error::Corrupt { blob: self.id, offset })
            }
        }
    }

    /// Keeps a small content in memory once all of it was read.
    fn remember(&self, store: &Shared, range: ByteRange, bytes: &Bytes) {
        let is_whole = range.start == 0 && range.len() <= SMALL_MAX && {
            let state = self.state();
            state.len == Some(range.len()) && !state.detached
        };
        if is_whole {
            store.memory.keep(self.id, bytes);
        }
    }
}

impl Shared {
    /// A whole small content without opening its blob, if that takes no waiting: from memory, or from the page cache when it lies in an open
    /// pack and its checksum was compared since the start.
    pub(super) fn small_now(&self, id: BlobId) -> Option<Bytes> {
        if let Some(bytes) = self.memory.contents.get(&id) {
            self.metrics.memory_hits.inc();
            return Some(bytes);
        }
        let place = Place::of(id)?;
        let good = |entry: &BlobEntry| (entry.complete && entry.checked).then_some(entry.bytes);
        let good_len = || self.table.blob(id, good).flatten();
        let len = usize::try_from(good_len()?).ok().filter(|len| *len > 0)?;
        let file = self.packs.file_now(place.pack)?;
        let mut buffer = self.buffers.take(len);
        if file.read_cached_at(place.range().start, buffer.room()) != Some(len) {
            return None;
        }
        let bytes = buffer.into_bytes(len);
        self.memory.keep(id, &bytes);
        // What is removed leaves the table before a hole is made where it lay.
        good_len().map(|_| bytes)
    }
}

fn slice_of(bytes: &Bytes, offset: u64, max: usize) -> Option<Bytes> {
    let start = usize::try_from(offset).ok().filter(|start| *start < bytes.len())?;
    Some(bytes.slice(start..bytes.len().min(start.saturating_add(max.max(1)))))
}
