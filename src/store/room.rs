//! Room: how much is stored, how much may be, what goes when there is too much, and whether writing works at all.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    metrics,
    object::BlobId,
    piece::ByteRange,
    store::{
        Error, State,
        blob::Blob,
        evict::{Queues, Standing},
        shared::Shared,
        table::BlobEntry,
    },
};

#[derive(Debug)]
pub(super) struct Room {
    queues: Mutex<Queues>,
    state: AtomicU8,
    /// Free on the file system when last asked, less what was written since.
    free: AtomicU64,
    /// Removed from the store, but its files are not gone yet.
    freeing: AtomicU64,
    /// What was refused last: the store stays full until so much fits.
    refused: AtomicU64,
}

/// Room made at once for content of known length; the rest is made while it arrives, for it may never come.
const AHEAD_MAX: u64 = 64 << 20;

/// The least that must fit again before a full store counts as working: less would only make it change its mind all the time.
const REFUSED_MIN: u64 = 64 << 10;

/// The part of the limit that the background keeps clear, so that writers seldom evict: one in 50, at most 256 MiB.
const CLEAR_SHARE: u64 = 50;
const CLEAR_MAX: u64 = 256 << 20;

impl Room {
    pub(super) fn new(free: u64) -> Self {
        Self {
            queues: Mutex::default(),
            state: AtomicU8::new(0),
            free: AtomicU64::new(free),
            freeing: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Working,
            1 => State::Full,
            _ => State::Degraded,
        }
    }

    pub(super) fn free(&self) -> u64 {
        self.free.load(Relaxed)
    }

    pub(super) fn freeing(&self, bytes: u64) {
        self.freeing.fetch_add(bytes, Relaxed);
    }

    /// All files of what was removed are gone.
    pub(super) fn freed(&self, bytes: u64) {
        let _ = self.freeing.fetch_update(Relaxed, Relaxed, |freeing| Some(freeing.saturating_sub(bytes)));
    }

    /// Changes the state; each change is one line in the log.
    pub(super) fn enter(&self, state: State, metrics: &metrics::Store) {
        let before = self.state();
        if before == state {
            return;
        }
        self.state.store(state as u8, Relaxed);
        metrics.degraded.set(u64::from(state != State::Working));
        match state {
            State::Working => tracing::info!("the store takes new content again"),
            State::Full => tracing::warn!("the store is full, new content is passed through"),
            State::Degraded => tracing::error!("the store cannot write, new content is passed through"),
        }
    }

    /// The disk said it is full, or the limits do.
    pub(super) fn ran_out(&self, refused: u64, metrics: &metrics::Store) {
        self.refused.store(refused.max(REFUSED_MIN), Relaxed);
        if self.state() == State::Working {
            self.enter(State::Full, metrics);
        }
    }

    pub(super) fn admit(&self, id: BlobId, ghost: u64) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).admit(id, ghost);
    }

    pub(super) fn restore(&self, ids: impl Iterator<Item = BlobId>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        ids.for_each(|id| queues.restore(id));
    }
}

impl Shared {
    /// Makes room for a new content. Runs in the pool.
    pub(super) fn make_room(&self, len: Option<u64>) -> Result<(), Error> {
        let needed = len.unwrap_or(0);
        if needed > self.config.object_max {
            return Err(Error::TooLarge { len: needed, max: self.config.object_max });
        }
        if needed > self.config.size {
            return Err(Error::Full { needed });
        }
        self.take_room(needed.min(AHEAD_MAX)).map_err(|error| match error {
            Error::Full { .. } => Error::Full { needed },
            error => error,
        })
    }

    /// Lets `range` of a blob be written, or says why not.
    pub(super) fn admit_bytes(&self, blob: &Blob, range: ByteRange) -> Result<(), Error> {
        self.check_open()?;
        let max = blob.len().unwrap_or(self.config.object_max).min(self.config.object_max);
        if range.end > max {
            return Err(Error::TooLarge { len: range.end, max });
        }
        self.take_room(range.len())
    }

    /// Sees to it that `bytes` more may be stored.
    fn take_room(&self, bytes: u64) -> Result<(), Error> {
        if self.room.state() == State::Degraded {
            return Err(Error::Degraded);
        }
        let over = (self.table.used.load(Relaxed) + bytes).saturating_sub(self.config.size);
        if over > 0 && self.evict(over.saturating_add(self.clear_bytes())) < over {
            self.room.ran_out(bytes, &self.metrics);
            return Err(Error::Full { needed: bytes });
        }
        let wanted = self.config.reserve.saturating_add(bytes);
        if self.room.free() < wanted && self.measure_free() < wanted {
            // Files go with the next commit: this content is refused, the next may fit.
            self.evict_for_free(wanted);
            self.journal.hurry();
            self.room.ran_out(bytes, &self.metrics);
            return Err(Error::Full { needed: bytes });
        }
        let _ = self.room.free.fetch_update(Relaxed, Relaxed, |free| Some(free.saturating_sub(bytes)));
        if self.room.state() == State::Full {
            self.room.enter(State::Working, &self.metrics);
        }
        Ok(())
    }

    /// Keeps some room clear. Called by the committer.
    pub(super) fn keep_clear(&self) {
        let clear = self.clear_bytes();
        let over = (self.table.used.load(Relaxed) + clear).saturating_sub(self.config.size);
        if over > 0 {
            self.evict(over);
        }
        let free = self.measure_free();
        self.evict_for_free(self.config.reserve.saturating_add(self.clear_free_bytes()));
        let refused = self.room.refused.load(Relaxed);
        let fits =
            free >= self.config.reserve.saturating_add(refused) && self.table.used.load(Relaxed) + refused <= self.config.size;
        if self.room.state() == State::Full && fits {
            self.room.enter(State::Working, &self.metrics);
        }
    }

    /// Evicts until `wanted` bytes of the file system are free or about to be.
    fn evict_for_free(&self, wanted: u64) {
        let short = wanted.saturating_sub(self.room.free()).saturating_sub(self.room.freeing.load(Relaxed));
        if short > 0 {
            self.evict(short);
        }
    }

    fn clear_bytes(&self) -> u64 {
        (self.config.size / CLEAR_SHARE).min(CLEAR_MAX)
    }

    /// The free space kept clear above the reserve: a share of what could be used at all, for the file system may be far smaller than the limit.
    fn clear_free_bytes(&self) -> u64 {
        self.clear_bytes().min(self.room.free().saturating_add(self.table.used.load(Relaxed)) / CLEAR_SHARE)
    }

    fn measure_free(&self) -> u64 {
        let free = self.disk.free_space(self.layout.directory()).unwrap_or(0);
        self.room.free.store(free, Relaxed);
        self.metrics.free_bytes.set(free);
        free
    }

    /// Evicts at least `bytes`, if so much may go; says how much went.
    fn evict(&self, bytes: u64) -> u64 {
        let victims = {
            let mut queues = self.room.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.evict(bytes, |id| self.table.blob(id, standing).unwrap_or(Standing::Gone))
        };
        let mut freed = 0;
        for id in victims {
            freed += self.remove_blob(id).1;
            self.metrics.evictions.inc();
        }
        self.metrics.evicted_bytes.add(freed);
        freed
    }

    /// What a failed write means for the run and for the store.
    pub(super) fn write_failed(&self, blob: &Arc<Blob>, needed: u64, source: io::Error) -> Error {
        match self.io_failed("write", blob.path.clone(), source) {
            Error::Full { .. } => {
                // The estimate was wrong: somebody else writes to this file system too.
                self.measure_free();
                self.room.ran_out(needed, &self.metrics);
                self.evict(self.clear_free_bytes().max(needed));
                self.journal.hurry();
                Error::Full { needed }
            }
            error => error,
        }
    }
}

fn standing(entry: &BlobEntry) -> Standing {
    if entry.pinned || entry.writers > 0 {
        Standing::Kept
    } else if entry.take_use() {
        Standing::Used
    } else {
        let ghost = entry.keys().first().map_or(0, |key| u64::from_le_bytes(key.0[..8].try_into().unwrap_or_default()));
        Standing::Unused { bytes: entry.bytes, ghost }
    }
}
