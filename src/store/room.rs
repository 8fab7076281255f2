//! Room: how much is stored, how much may be, what goes when there is too much, and whether writing works at all.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    metrics,
    object::BlobId,
    piece::ByteRange,
    store::{
        Error, State,
        blob::Blob,
        evict::{Queues, Standing},
        pool::Kind,
        shared::Shared,
        table::{BlobEntry, on_disk, taken_by},
    },
};

#[derive(Debug)]
pub(super) struct Room {
    queues: Mutex<Queues>,
    state: AtomicU8,
    /// Free on the file system when last asked, less what was written since.
    free: AtomicU64,
    /// Let in, and not counted among what is stored yet.
    arriving: AtomicU64,
    /// Removed from the store, but its files are not gone yet.
    freeing: AtomicU64,
    /// Told when `arriving` or `freeing` became less.
    eased: Notify,
    /// What was refused last: the store stays full until so much fits.
    refused: AtomicU64,
}

/// Room that arriving bytes have until they count as stored. Given back when dropped.
#[derive(Debug)]
pub(super) struct Allotment {
    store: Weak<Shared>,
    bytes: u64,
}

/// How long arriving bytes wait for what was evicted to be gone from the disk: it goes with the next commit.
const ROOM_WAIT: Duration = Duration::from_secs(2);

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
            arriving: AtomicU64::new(0),
            freeing: AtomicU64::new(0),
            eased: Notify::new(),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Working,
            1 => State::Full,
            2 => State::Degraded,
            _ => State::Missing,
        }
    }

    pub(super) fn free(&self) -> u64 {
        self.free.load(Relaxed)
    }

    /// Blob `id`, of which `bytes` are present, is being removed: what it takes on the disk is not free before its file is gone.
    pub(super) fn freeing(&self, id: BlobId, bytes: u64) {
        self.freeing.fetch_add(taken_by(id, bytes), Relaxed);
    }

    /// The files of these blobs, of which so many bytes were present, are gone.
    pub(super) fn freed(&self, removed: &[(BlobId, u64)]) {
        subtract(&self.freeing, removed.iter().map(|(id, bytes)| taken_by(*id, *bytes)).sum());
        self.eased.notify_waiters();
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
            State::Missing => tracing::error!(
                "the data directory is gone (removed, or no longer mounted): new content is passed through; \
                 bring it back, or start weir again, which makes a new one"
            ),
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
        self.check_writable()?;
        let max = blob.len().unwrap_or(self.config.object_max).min(self.config.object_max);
        if range.end > max {
            return Err(Error::TooLarge { len: range.end, max });
        }
        Ok(())
    }

    /// Room for `bytes` that arrive: with them all content takes no more of the disk than it may. Waits a bounded time for evicted content to
    /// be gone; [`Error::Full`] if that was not enough. Dropping the future leaves nothing behind.
    pub(super) async fn allot(self: &Arc<Self>, bytes: u64) -> Result<Allotment, Error> {
        let bytes = on_disk(bytes);
        let deadline = Instant::now() + ROOM_WAIT;
        loop {
            let mut eased = std::pin::pin!(self.room.eased.notified());
            eased.as_mut().enable();
            self.check_writable()?;
            if let Some(allotment) = self.allot_now(bytes) {
                return Ok(allotment);
            }
            let store = Arc::clone(self);
            self.pool.run(Kind::Write, move || store.take_room(bytes)).await.unwrap_or(Err(Error::Degraded))?;
            if let Some(allotment) = self.allot_now(bytes) {
                return Ok(allotment);
            }
            if timeout_at(deadline, eased).await.is_err() {
                self.room.ran_out(bytes, &self.metrics);
                return Err(Error::Full { needed: bytes });
            }
        }
    }

    /// Room for `bytes` if nothing has to go for it.
    fn allot_now(self: &Arc<Self>, bytes: u64) -> Option<Allotment> {
        self.room.arriving.fetch_add(bytes, Relaxed);
        if self.taken() > self.config.size || self.room.free() < self.config.reserve.saturating_add(bytes) {
            // Nobody is told: there is no more room than before.
            subtract(&self.room.arriving, bytes);
            return None;
        }
        subtract(&self.room.free, bytes);
        self.has_room();
        Some(Allotment { store: Arc::downgrade(self), bytes })
    }

    /// What all content takes on the disk now or will in a moment.
    fn taken(&self) -> u64 {
        self.table.used.load(Relaxed) + self.room.arriving.load(Relaxed) + self.room.freeing.load(Relaxed)
    }

    fn check_writable(&self) -> Result<(), Error> {
        self.check_open()?;
        match self.room.state() {
            State::Working | State::Full => Ok(()),
            State::Degraded | State::Missing => Err(Error::Degraded),
        }
    }

    /// Evicts until there may be room for `bytes` more once the files are gone. Runs in the pool.
    fn take_room(&self, bytes: u64) -> Result<(), Error> {
        self.check_writable()?;
        let coming = self.table.used.load(Relaxed) + self.room.arriving.load(Relaxed) + bytes;
        let over = coming.saturating_sub(self.config.size);
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
        if self.taken() + bytes > self.config.size {
            // What was evicted goes with the next commit.
            self.journal.hurry();
        } else {
            self.has_room();
        }
        Ok(())
    }

    fn has_room(&self) {
        if self.room.state() == State::Full {
            self.room.enter(State::Working, &self.metrics);
        }
    }

    /// Keeps some room clear. Called by the committer.
    pub(super) fn keep_clear(&self) {
        let clear = self.clear_bytes();
        let coming = self.table.used.load(Relaxed) + self.room.arriving.load(Relaxed);
        let over = (coming + clear).saturating_sub(self.config.size);
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
        // A disk that does not say is not a full one: nothing is evicted for it.
        let free = self.disk.free_space(self.layout.directory()).unwrap_or(self.room.free());
        self.room.free.store(free, Relaxed);
        self.metrics.free_bytes.set(free);
        free
    }

    /// Evicts what takes at least `bytes` of the disk, if so much may go; says how much that is.
    fn evict(&self, bytes: u64) -> u64 {
        let victims = {
            let mut queues = self.room.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.evict(bytes, |id| self.table.blob(id, |entry| standing(id, entry)).unwrap_or(Standing::Gone))
        };
        let mut freed = 0;
        for id in victims {
            freed += taken_by(id, self.remove_blob(id).1);
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

fn standing(id: BlobId, entry: &BlobEntry) -> Standing {
    if entry.pinned || entry.is_being_written() {
        Standing::Kept
    } else if entry.take_use() {
        Standing::Used
    } else {
        let ghost = entry.keys().first().map_or(0, |key| u64::from_le_bytes(key.0[..8].try_into().unwrap_or_default()));
        Standing::Unused { bytes: taken_by(id, entry.bytes), ghost }
    }
}

impl Allotment {
    /// None yet, of the store of `blob`.
    pub(super) fn none(blob: &Blob) -> Self {
        Self { store: Weak::clone(&blob.store), bytes: 0 }
    }

    /// Takes the room of `other` too.
    pub(super) fn add(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what is not needed for `bytes` that have not arrived yet.
    pub(super) fn keep(&mut self, bytes: u64) {
        let kept = on_disk(bytes).min(self.bytes);
        let back = self.bytes - kept;
        self.bytes = kept;
        if let Some(store) = self.store.upgrade().filter(|_| back > 0) {
            subtract(&store.room.arriving, back);
            store.room.eased.notify_waiters();
        }
    }
}

impl Drop for Allotment {
    fn drop(&mut self) {
        self.keep(0);
    }
}

fn subtract(sum: &AtomicU64, bytes: u64) {
    let _ = sum.fetch_update(Relaxed, Relaxed, |sum| Some(sum.saturating_sub(bytes)));
}
